//! Who sent which HTTP call.
//!
//! Envoy hands the answer to every call to the *root* context, also when a stream sent it, and it
//! cancels a stream's calls with the stream, without a callback. So somebody must remember the
//! sender, and forget it when the sender ends.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use crate::host::Host;
use crate::types::{CallToken, ContextId};

/// A host that remembers the senders of its calls; what a [`Dispatcher`](crate::Dispatcher) needs.
pub trait Proxy: Host {
    /// The calls of this VM.
    fn calls(&self) -> &Calls;
}

/// The current context and the outstanding calls of one VM.
#[derive(Debug, Default)]
pub struct Calls {
    current: Cell<ContextId>,
    /// The newest context that ever sent a call. Nearly every stream that ends is newer, and sent none.
    newest_sender: Cell<ContextId>,
    outstanding: RefCell<Outstanding>,
}

#[derive(Debug, Default)]
struct Outstanding {
    sender: HashMap<CallToken, ContextId>,
    /// The same the other way round, so that the end of a stream costs nothing that grows with the
    /// calls of others.
    by_sender: BTreeSet<(ContextId, CallToken)>,
}

impl Calls {
    /// A callback of this context begins, or it becomes the effective one.
    pub fn enter(&self, context: ContextId) {
        self.current.set(context);
    }

    /// The context that calls act on.
    #[must_use]
    pub fn current(&self) -> ContextId {
        self.current.get()
    }

    /// The current context sent a call.
    pub fn sent(&self, token: CallToken) {
        let context = self.current.get();
        self.newest_sender.set(self.newest_sender.get().max(context));
        if let Ok(mut outstanding) = self.outstanding.try_borrow_mut() {
            outstanding.sender.insert(token, context);
            outstanding.by_sender.insert((context, token));
        }
    }

    /// A call was answered: its sender, unless that has ended.
    #[must_use]
    pub fn answered(&self, token: CallToken) -> Option<ContextId> {
        let mut outstanding = self.outstanding.try_borrow_mut().ok()?;
        let sender = outstanding.sender.remove(&token)?;
        outstanding.by_sender.remove(&(sender, token));
        Some(sender)
    }

    /// A context ended, and its calls with it.
    pub fn ended(&self, context: ContextId) {
        if context > self.newest_sender.get() {
            return;
        }
        let Ok(mut outstanding) = self.outstanding.try_borrow_mut() else {
            return;
        };
        let first = (context, CallToken(0));
        while let Some(&(sender, token)) = outstanding.by_sender.range(first..).next()
            && sender == context
        {
            outstanding.by_sender.remove(&(sender, token));
            outstanding.sender.remove(&token);
        }
    }

    /// Number of calls that wait for an answer.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.try_borrow().map_or(0, |o| o.sender.len())
    }
}
