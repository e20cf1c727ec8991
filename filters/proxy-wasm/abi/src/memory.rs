//! Buffers that the proxy asks for in order to hand data over.
//!
//! A hostcall that returns data calls back into the module for memory, fills it and returns the
//! address. The buffers wait here as ordinary vectors until the hostcall that asked for them takes
//! them by address, so nothing is rebuilt from a raw pointer and a wrong address is an error.

use std::cell::RefCell;

use crate::error::Fault;

/// Buffers that may wait at once. A hostcall asks for one or two; what is older belongs to a call
/// that failed after it had asked, and is given back.
const WAITING: usize = 4;

/// The buffers handed to the proxy and not yet taken back.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    waiting: RefCell<Vec<Vec<u8>>>,
}

impl Handover {
    pub(crate) const fn new() -> Self {
        Self { waiting: RefCell::new(Vec::new()) }
    }

    /// Memory of `size` bytes for the proxy to write into; null if there is none.
    pub(crate) fn allocate(&self, size: usize) -> *mut u8 {
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(size).is_err() {
            return std::ptr::null_mut();
        }
        buffer.resize(size, 0);
        let address = buffer.as_mut_ptr();
        let Ok(mut waiting) = self.waiting.try_borrow_mut() else {
            return std::ptr::null_mut();
        };
        if waiting.len() >= WAITING {
            waiting.remove(0);
        }
        waiting.push(buffer);
        address
    }

    /// The buffer at `address`, cut to `size`.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if no such buffer was handed out or it is shorter than `size`.
    pub(crate) fn take(&self, address: *const u8, size: usize) -> Result<Vec<u8>, Fault> {
        if size == 0 {
            self.discard(address);
            return Ok(Vec::new());
        }
        let mut buffer = self.discard(address).ok_or(Fault::Malformed)?;
        if buffer.len() < size {
            return Err(Fault::Malformed);
        }
        buffer.truncate(size);
        Ok(buffer)
    }

    fn discard(&self, address: *const u8) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.try_borrow_mut().ok()?;
        let at = waiting.iter().rposition(|b| b.as_ptr() == address)?;
        Some(waiting.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_cut_to_what_was_written() {
        let handover = Handover::new();
        let address = handover.allocate(8);
        assert_eq!(handover.take(address, 3), Ok(vec![0; 3]));
        assert_eq!(handover.take(address, 3), Err(Fault::Malformed), "once");
    }

    #[test]
    fn wrong_answers_of_the_proxy_are_errors() {
        let handover = Handover::new();
        let address = handover.allocate(8);
        assert_eq!(handover.take(std::ptr::null(), 8), Err(Fault::Malformed));
        let inside = address.wrapping_add(1);
        assert_eq!(handover.take(inside, 7), Err(Fault::Malformed));
        assert_eq!(handover.take(address, 9), Err(Fault::Malformed));
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
        assert_eq!(handover.waiting.borrow().len(), WAITING);
        let last = handover.allocate(64);
        assert_eq!(handover.take(last, 64), Ok(vec![0; 64]));
    }
}
