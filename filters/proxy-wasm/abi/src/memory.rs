//! Buffers that the proxy asks for in order to hand data over.
//!
//! A hostcall that returns data calls back into the module for memory, fills it and returns the
//! address. The buffers wait here as ordinary vectors until the hostcall that asked for them takes
//! them by address, so nothing is rebuilt from a raw pointer and a wrong address is an error.
//!
//! Buffers come back and are handed out again as they are: what a request costs most here would be
//! memory that is found, cleared and freed for a few bytes of a property. What an earlier call left
//! in a buffer is never shown, because a buffer counts only up to the size that was asked for.

use std::cell::RefCell;

use crate::error::HostErrorKind;
use crate::host::Block;

/// Buffers that may wait at once. A hostcall asks for one or two; what is older belongs to a call
/// that failed after it had asked, and is given back.
const WAITING: usize = 4;

/// Buffers that are kept to be handed out again.
const SPARE: usize = 4;

/// The size that a buffer has at least, and the size up to which one is kept: bodies are rare.
const KEPT: (usize, usize) = (256, 64 * 1024);

/// The buffers handed to the proxy and not yet taken back, and those to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    buffers: RefCell<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    waiting: Vec<Block>,
    spare: Vec<Vec<u8>>,
}

impl Handover {
    pub(crate) const fn new() -> Self {
        Self { buffers: RefCell::new(Buffers { waiting: Vec::new(), spare: Vec::new() }) }
    }

    /// Memory of `size` bytes for the proxy to write into; null if there is none.
    pub(crate) fn allocate(&self, size: usize) -> *mut u8 {
        let Ok(mut buffers) = self.buffers.try_borrow_mut() else {
            return std::ptr::null_mut();
        };
        let fitting = buffers.spare.iter().rposition(|spare| spare.len() >= size);
        let buffer = match fitting {
            Some(at) => buffers.spare.swap_remove(at),
            None => match fresh(size) {
                Some(buffer) => buffer,
                None => return std::ptr::null_mut(),
            },
        };
        if buffers.waiting.len() >= WAITING {
            buffers.waiting.remove(0);
        }
        buffers.waiting.push(Block { buffer, length: size });
        buffers.waiting.last_mut().map_or(std::ptr::null_mut(), |block| block.buffer.as_mut_ptr())
    }

    /// The buffer at `address`, of which `size` bytes count.
    ///
    /// # Errors
    /// [`HostErrorKind::Malformed`] if no such buffer was handed out or it is shorter than `size`.
    pub(crate) fn lend(&self, address: *const u8, size: usize) -> Result<Block, HostErrorKind> {
        let found = self.discard(address);
        if size == 0 {
            found.into_iter().for_each(|block| self.give_back(block.buffer));
            return Ok(Block::default());
        }
        let block = found.ok_or(HostErrorKind::Malformed)?;
        if block.length < size {
            return Err(HostErrorKind::Malformed);
        }
        Ok(Block { length: size, ..block })
    }

    /// A copy of what is at `address`, or for large data the buffer itself.
    ///
    /// # Errors
    /// As [`Self::lend`].
    pub(crate) fn take(&self, address: *const u8, size: usize) -> Result<Vec<u8>, HostErrorKind> {
        let Block { mut buffer, length } = self.lend(address, size)?;
        if length > KEPT.0 {
            buffer.truncate(length);
            return Ok(buffer);
        }
        let copy = buffer.get(..length).unwrap_or_default().to_vec();
        self.give_back(buffer);
        Ok(copy)
    }

    /// Takes a buffer to be handed out again.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        if (KEPT.0..=KEPT.1).contains(&buffer.len())
            && let Ok(mut buffers) = self.buffers.try_borrow_mut()
            && buffers.spare.len() < SPARE
        {
            buffers.spare.push(buffer);
        }
    }

    fn discard(&self, address: *const u8) -> Option<Block> {
        let mut buffers = self.buffers.try_borrow_mut().ok()?;
        if let Some(last) = buffers.waiting.pop_if(|block| block.buffer.as_ptr() == address) {
            return Some(last);
        }
        let at = buffers.waiting.iter().rposition(|block| block.buffer.as_ptr() == address)?;
        Some(buffers.waiting.swap_remove(at))
    }
}

/// A new buffer, a little longer than asked for so that it serves for others as well.
fn fresh(size: usize) -> Option<Vec<u8>> {
    let size = if size > KEPT.1 { size } else { size.max(KEPT.0).next_power_of_two() };
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(size).ok()?;
    buffer.resize(size, 0);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_cut_to_what_was_written() {
        let handover = Handover::new();
        let address = handover.allocate(8);
        assert_eq!(handover.take(address, 3), Ok(vec![0; 3]));
        assert_eq!(handover.take(address, 3), Err(HostErrorKind::Malformed), "once");
    }

    #[test]
    fn wrong_answers_of_the_proxy_are_errors() {
        let handover = Handover::new();
        let address = handover.allocate(8);
        assert_eq!(handover.take(std::ptr::null(), 8), Err(HostErrorKind::Malformed));
        let inside = address.wrapping_add(1);
        assert_eq!(handover.take(inside, 7), Err(HostErrorKind::Malformed));
        assert_eq!(handover.take(address, 9), Err(HostErrorKind::Malformed));
    }

    #[test]
    fn nothing_handed_over_is_an_empty_buffer() {
        let handover = Handover::new();
        assert_eq!(handover.take(std::ptr::null(), 0), Ok(Vec::new()));
    }

    #[test]
    fn memory_that_cannot_be_had_is_null() {
        assert!(Handover::new().allocate(usize::MAX).is_null());
    }

    #[test]
    fn buffers_of_failed_calls_do_not_pile_up() {
        let handover = Handover::new();
        for _ in 0..100 {
            assert!(!handover.allocate(64).is_null());
        }
        assert_eq!(handover.buffers.borrow().waiting.len(), WAITING);
        let last = handover.allocate(64);
        assert_eq!(handover.take(last, 64), Ok(vec![0; 64]));
    }

    #[test]
    fn a_buffer_is_handed_out_again_and_shows_nothing_of_the_call_before() {
        let handover = Handover::new();
        let first = handover.allocate(300);
        let mut block = handover.lend(first, 300).unwrap();
        block.buffer.fill(7);
        handover.give_back(block.buffer);
        let second = handover.allocate(10);
        assert_eq!(first, second);
        assert_eq!(handover.lend(second, 11), Err(HostErrorKind::Malformed), "more than was asked for");
        let third = handover.allocate(64 * 1024 + 1);
        handover.give_back(handover.lend(third, 1).unwrap().buffer);
        assert!(handover.buffers.borrow().spare.iter().all(|b| b.len() <= KEPT.1));
    }
}
