//! Buffers that the proxy asks for in order to hand data over.
//!
//! A hostcall that returns data calls back into the module for memory, fills it and returns the
//! address. The buffers wait here as ordinary vectors until the hostcall that asked for them takes
//! them by address, so nothing is rebuilt from a raw pointer and a wrong address is an error.
//!
//! Buffers come back and are handed out again as they are: what a request costs most here would be
//! memory that is found, cleared and freed for a few bytes of a property. What an earlier call left
//! in a buffer is never shown, because a buffer counts only up to the size that was asked for.

use std::cell::{Cell, RefCell};

use crate::error::HostErrorKind;
use crate::host::Block;

/// Buffers that may wait at once besides the last one. A hostcall asks for one or two; what is older belongs to a call
/// that failed after it had asked, and is given back.
const WAITING: usize = 4;

/// Buffers that are kept to be handed out again besides the last one.
const SPARE: usize = 4;

/// The size that a buffer has at least, and the size up to which one is kept: bodies are rare.
const KEPT: (usize, usize) = (256, 64 * 1024);

/// The buffers handed to the proxy and not yet taken back, and those to be handed out.
///
/// Nearly every hostcall asks for one buffer and takes it at once. So one of each kind stands by itself, and the lists
/// are for the others.
#[derive(Default)]
pub(crate) struct Handover {
    /// The one handed out last; one without memory is none.
    handed: Cell<Block>,
    /// The one that came back last; one without memory is none.
    spare: Cell<Vec<u8>>,
    others: RefCell<Others>,
}

#[derive(Debug, Default)]
struct Others {
    waiting: Vec<Block>,
    spare: Vec<Vec<u8>>,
}

impl Handover {
    pub(crate) const fn new() -> Self {
        Self {
            handed: Cell::new(Block { buffer: Vec::new(), length: 0 }),
            spare: Cell::new(Vec::new()),
            others: RefCell::new(Others { waiting: Vec::new(), spare: Vec::new() }),
        }
    }

    /// Memory of `size` bytes for the proxy to write into; null if there is none.
    pub(crate) fn allocate(&self, size: usize) -> *mut u8 {
        let spare = self.spare.take();
        let fits = spare.len() >= size && !spare.is_empty();
        let buffer = if fits { Some(spare) } else { self.another(size, spare) };
        let Some(mut buffer) = buffer else { return std::ptr::null_mut() };
        let address = buffer.as_mut_ptr();
        let before = self.handed.replace(Block { buffer, length: size });
        if !before.buffer.is_empty() {
            self.keep_waiting(before);
        }
        address
    }

    /// A buffer of this size, when the one at hand is too short.
    #[cold]
    fn another(&self, size: usize, short: Vec<u8>) -> Option<Vec<u8>> {
        let mut others = self.others.try_borrow_mut().ok()?;
        let fitting = others.spare.iter().rposition(|spare| spare.len() >= size);
        let found = fitting.map(|at| others.spare.swap_remove(at));
        if !short.is_empty() && others.spare.len() < SPARE {
            others.spare.push(short);
        }
        found.or_else(|| fresh(size))
    }

    #[cold]
    fn keep_waiting(&self, block: Block) {
        if let Ok(mut others) = self.others.try_borrow_mut() {
            if others.waiting.len() >= WAITING {
                others.waiting.remove(0);
            }
            others.waiting.push(block);
        }
    }

    /// The buffer at `address`, of which `size` bytes count.
    ///
    /// # Errors
    /// [`HostErrorKind::Malformed`] if no such buffer was handed out or it is shorter than `size`.
    pub(crate) fn lend(&self, address: *const u8, size: usize) -> Result<Block, HostErrorKind> {
        let mut block = self.handed.take();
        if block.buffer.is_empty() || block.buffer.as_ptr() != address {
            self.handed.set(block);
            block = self.earlier(address).unwrap_or_default();
        }
        if size == 0 {
            self.give_back(block.buffer);
            return Ok(Block::default());
        }
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
        if !(KEPT.0..=KEPT.1).contains(&buffer.len()) {
            return;
        }
        let before = self.spare.replace(buffer);
        if !before.is_empty()
            && let Ok(mut others) = self.others.try_borrow_mut()
            && others.spare.len() < SPARE
        {
            others.spare.push(before);
        }
    }

    /// Has a buffer handed out next, before the one that would be; that one is returned, to be given back afterwards.
    pub(crate) fn offer(&self, buffer: Vec<u8>) -> Vec<u8> {
        let kept = (KEPT.0..=KEPT.1).contains(&buffer.len());
        if kept { self.spare.replace(buffer) } else { Vec::new() }
    }

    /// A buffer that was handed out before others.
    #[cold]
    fn earlier(&self, address: *const u8) -> Option<Block> {
        let waiting = &mut self.others.try_borrow_mut().ok()?.waiting;
        let at = waiting.iter().rposition(|block| block.buffer.as_ptr() == address)?;
        Some(waiting.swap_remove(at))
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
        assert_eq!(handover.others.borrow().waiting.len(), WAITING);
        let last = handover.allocate(64);
        assert_eq!(handover.take(last, 64), Ok(vec![0; 64]));
    }

    #[test]
    fn what_is_offered_is_handed_out_next_and_nothing_is_lost() {
        let handover = Handover::new();
        let first = handover.allocate(8);
        let block = handover.lend(first, 8).unwrap();
        handover.give_back(vec![0; KEPT.0]);
        let aside = handover.offer(block.buffer);
        assert_eq!(handover.allocate(8), first);
        let kept = aside.as_ptr();
        handover.give_back(aside);
        assert_eq!(handover.allocate(8).cast_const(), kept);
        // Two are under way, and each is taken by its address.
        assert!(handover.lend(first, 8).is_ok() && handover.lend(kept, 8).is_ok());
        assert!(handover.offer(vec![0; KEPT.1 + 1]).is_empty());
        assert!(handover.spare.take().is_empty(), "a large one is not kept");
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
        assert!(handover.others.borrow().spare.iter().all(|b| b.len() <= KEPT.1));
        assert!(handover.spare.take().len() <= KEPT.1);
    }
}
