//! Connections without a request under way, in the order in which they will give way to new ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The connections of one listener that have no request under way.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the one that has been without a request for longest to end; false when there is none.
    pub(super) fn ask_oldest(&self) -> bool {
        let oldest = self.lock().waiting.pop_first();
        oldest.map(|(_, asked)| asked.notify_one()).is_some()
    }

    fn add(&self, asked: &Arc<Notify>) -> u64 {
        let mut queue = self.lock();
        queue.next += 1;
        let at = queue.next;
        queue.waiting.insert(at, Arc::clone(asked));
        at
    }

    /// False when it was not there any more.
    fn remove(&self, at: u64) -> bool {
        self.lock().waiting.remove(&at).is_some()
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Member {
    idle: Arc<Idle>,
    asked: Arc<Notify>,
    state: Mutex<ConnectionState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    /// Nothing was asked yet.
    New(u64),
    /// Between two requests.
    Idle(u64),
    /// A request is under way; whether it was asked to give way before.
    Busy { asked: bool },
    /// It ends after the request that it had.
    Leaving,
}

impl Member {
    pub(super) fn new(idle: Arc<Idle>) -> Arc<Self> {
        let asked = Arc::new(Notify::new());
        let state = Mutex::new(ConnectionState::New(idle.add(&asked)));
        Arc::new(Self { idle, asked, state })
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; it ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.lock();
        let asked = match *state {
            ConnectionState::New(at) | ConnectionState::Idle(at) => !self.idle.remove(at),
            ConnectionState::Busy { asked } => asked,
            ConnectionState::Leaving => true,
        };
        *state = ConnectionState::Busy { asked };
        UnderWay(Arc::clone(self))
    }

    /// Waits until it is asked to give way.
    pub(super) async fn is_asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(*self.lock(), ConnectionState::New(_))
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(*self.lock(), ConnectionState::Busy { .. })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let ConnectionState::New(at) | ConnectionState::Idle(at) = *self.lock() {
            self.idle.remove(at);
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Member>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        *state = match *state {
            ConnectionState::Busy { asked: false } => ConnectionState::Idle(self.0.idle.add(&self.0.asked)),
            _ => ConnectionState::Leaving,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_is_asked_first_and_a_busy_one_never() {
        let idle = Arc::new(Idle::default());
        let (busy, first, second) =
            (Member::new(Arc::clone(&idle)), Member::new(Arc::clone(&idle)), Member::new(Arc::clone(&idle)));
        let under_way = busy.begin();
        drop(first.begin());
        assert!(idle.ask_oldest() && second.is_new(), "the second has been idle for longer than the first");
        assert!(idle.ask_oldest() && !idle.ask_oldest());
        drop(under_way);
        assert!(!busy.is_busy() && idle.ask_oldest());
        // Asked and then busy all the same: it ends after that request and is not asked again.
        drop(first.begin());
        assert!(!idle.ask_oldest());
    }

    #[test]
    fn one_that_has_ended_is_not_asked() {
        let idle = Arc::new(Idle::default());
        drop(Member::new(Arc::clone(&idle)));
        let under_way = Member::new(Arc::clone(&idle)).begin();
        drop(under_way);
        assert!(!idle.ask_oldest());
    }
}
