//! State behind a lock that is built anew when a panic may have left it half changed.
//!
//! In a Wasm worker nobody else is there and the lock is a flag. In a native module the workers of a process
//! share the snapshot, and a panic that was caught at the boundary poisons the lock it held.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What can be built anew.
pub trait Rebuild {
    /// Throws everything away that may be half changed.
    fn rebuild(&mut self);
}

/// One at a time.
#[derive(Debug, Default)]
pub struct Guarded<T>(Mutex<T>);

impl<T: Rebuild> Guarded<T> {
    /// Puts a state behind a lock.
    pub fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    /// The state, for one at a time.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.rebuild();
            self.0.clear_poison();
            state
        })
    }
}

/// Many readers, or one writer.
#[derive(Debug, Default)]
pub struct Shared<T>(RwLock<T>);

impl<T: Rebuild> Shared<T> {
    /// The state, to be read.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if self.0.is_poisoned() {
            drop(self.write());
        }
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to be changed.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.rebuild();
            self.0.clear_poison();
            state
        })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Pair(u32, u32);

    impl Rebuild for Pair {
        fn rebuild(&mut self) {
            *self = Self(0, 0);
        }
    }

    #[test]
    fn half_changed_state_is_never_seen() {
        let (one, many) = (Guarded::new(Pair(1, 1)), Shared::<Pair>::default());
        many.write().0 = 7;
        let half = catch_unwind(AssertUnwindSafe(|| {
            let (mut one, mut many) = (one.lock(), many.write());
            (one.0, many.0) = (2, 2);
            panic!("in the middle");
        }));
        assert!(half.is_err());
        assert_eq!(*one.lock(), Pair(0, 0));
        assert_eq!(*many.read(), Pair(0, 0));
        one.lock().0 = 5;
        assert_eq!(*one.lock(), Pair(5, 0), "built anew once");
    }
}
