//! Requests that wait: for a worker's first snapshot, for the answer to an introspection, for an issuer's
//! new keys.
//!
//! However many come, few are held, of those with a credential from one source no more than there is room left, and none for longer than its deadline; then it is decided with what
//! there is, which is a refusal.

use std::sync::Arc;

use portcullis_host::{ContextId, Host};
use portcullis_model::fair::{Source, has_room};
use portcullis_model::policy::IssuerDocument;

/// How long a request waits for a snapshot, in milliseconds.
pub(crate) const HOLD_MS: u64 = 1_000;

/// Requests of each kind that may wait at a time; further ones are refused at once. Of the places for tokens
/// and keys, which anybody can ask for with made-up ones, no source has more than are free.
const MAX_FOR_SNAPSHOT: usize = 1_000;
const MAX_FOR_TOKENS: usize = 1_000;
const MAX_FOR_ONE_TOKEN: usize = 200;
const MAX_FOR_KEYS: usize = 100;

/// What a request waits for.
#[derive(Debug, Clone)]
pub(crate) enum Awaited {
    /// The first snapshot.
    Snapshot,
    /// What a token of this digest stands for.
    Token(u128),
    /// Another document of this issuer than this one.
    Keys(Arc<IssuerDocument>),
}

/// A request that waits.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// Number of its root context.
    pub root: u64,
    /// Its stream.
    pub stream: ContextId,
    /// Where it comes from.
    pub source: Source,
    /// When it is decided in any case, by the monotonic clock.
    pub until_ms: u64,
    /// For what.
    pub awaited: Awaited,
}

/// Where the current request comes from: its client's address as the proxy knows it. Asked for only where it
/// matters, for most requests wait for nothing.
pub(crate) fn source(host: &dyn Host) -> Source {
    let address = host.property(&["source", "address"]).ok().flatten();
    address.map_or(Source::Unknown, |address| Source::of_address(&address))
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Vec<Held>);

impl Waiting {
    /// Lets a request wait; false when too many wait already.
    pub(crate) fn hold(&mut self, held: Held) -> bool {
        let count = |test: &dyn Fn(&Held) -> bool| self.0.iter().filter(|h| test(h)).count();
        let share = |kind: fn(&Awaited) -> bool, most| {
            let own = count(&|h| kind(&h.awaited) && h.source == held.source);
            has_room(own, count(&|h| kind(&h.awaited)), most)
        };
        let room = match &held.awaited {
            Awaited::Snapshot => count(&|h| matches!(h.awaited, Awaited::Snapshot)) < MAX_FOR_SNAPSHOT,
            Awaited::Keys(_) => share(|a| matches!(a, Awaited::Keys(_)), MAX_FOR_KEYS),
            Awaited::Token(digest) => {
                let same = |h: &Held| matches!(&h.awaited, Awaited::Token(other) if other == digest);
                share(|a| matches!(a, Awaited::Token(_)), MAX_FOR_TOKENS) && count(&same) < MAX_FOR_ONE_TOKEN
            }
        };
        if room {
            self.0.push(held);
        }
        room
    }

    /// Takes out the requests of a root context whose waiting is over.
    pub(crate) fn take_ready(
        &mut self,
        root: u64,
        now_ms: u64,
        came: impl Fn(&Awaited) -> bool,
    ) -> Vec<ContextId> {
        let mut ready = Vec::new();
        self.0.retain(|held| {
            if held.root == root && (now_ms >= held.until_ms || came(&held.awaited)) {
                ready.push(held.stream);
                return false;
            }
            // Requests of a root context that is gone are gone as well.
            now_ms <= held.until_ms.saturating_add(HOLD_MS)
        });
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(stream: u32, awaited: Awaited) -> Held {
        let source = Source::V4(stream.to_be_bytes());
        Held { root: 1, stream: ContextId(stream), source, until_ms: 100, awaited }
    }

    #[test]
    fn each_kind_has_its_own_bound() {
        let mut waiting = Waiting::default();
        for stream in 0..u32::try_from(MAX_FOR_ONE_TOKEN).unwrap() {
            assert!(waiting.hold(held(stream, Awaited::Token(1))));
        }
        assert!(!waiting.hold(held(9_999, Awaited::Token(1))), "one token's bound");
        for digest in 2..=u32::try_from(MAX_FOR_TOKENS - MAX_FOR_ONE_TOKEN + 1).unwrap() {
            assert!(waiting.hold(held(10_000 + digest, Awaited::Token(digest.into()))));
        }
        assert!(!waiting.hold(held(9_999, Awaited::Token(0))), "all tokens' bound");
        for _ in 0..MAX_FOR_SNAPSHOT {
            assert!(waiting.hold(held(9_999, Awaited::Snapshot)));
        }
        assert!(!waiting.hold(held(9_999, Awaited::Snapshot)));
    }

    #[test]
    fn one_source_leaves_room_for_others() {
        let mut waiting = Waiting::default();
        let mut took = |source, digest| waiting.hold(held(source, Awaited::Token(digest)));
        // Tokens differ, so that the bound of one token is not what holds.
        let greedy = (0..u128::try_from(MAX_FOR_TOKENS).unwrap()).filter(|n| took(1, *n)).count();
        assert_eq!(greedy, MAX_FOR_TOKENS / 2);
        assert!(took(2, 9_999) && !took(1, 9_998));
    }

    #[test]
    fn a_request_wakes_once_when_its_own_awaited_came_or_its_time_is_over() {
        let mut waiting = Waiting::default();
        waiting.hold(held(1, Awaited::Token(1)));
        waiting.hold(held(2, Awaited::Token(2)));
        waiting.hold(Held { root: 2, ..held(3, Awaited::Token(2)) });
        let came = |a: &Awaited| matches!(a, Awaited::Token(2));
        assert_eq!(waiting.take_ready(1, 0, came), [ContextId(2)]);
        assert_eq!(waiting.take_ready(1, 99, came), []);
        assert_eq!(waiting.take_ready(1, 100, |_| false), [ContextId(1)]);
        assert_eq!(waiting.take_ready(2, 0, came), [ContextId(3)]);
        waiting.hold(held(4, Awaited::Snapshot));
        assert_eq!(waiting.take_ready(7, 100 + HOLD_MS + 1, |_| true), [], "of another root context");
        assert!(waiting.0.is_empty(), "forgotten");
    }
}
