//! Requests that wait: for a worker's first snapshot, for the answer to an introspection, for an issuer's
//! new keys.
//!
//! However many come, few are held: of those with a credential, no source has more than there is room left.
//! None is held for longer than its deadline; then it is decided with what there is, which is a refusal.

use std::sync::Arc;

use portcullis_model::Reason;
use portcullis_model::fair::{ClientNetwork, has_room};
use portcullis_model::policy::IssuerDocument;

use crate::port::{Stream, StreamKey};

/// How long a request waits for a snapshot, in milliseconds.
pub const HOLD_MS: u64 = 1_000;

/// Requests of each kind that may wait at a time; further ones are refused at once. Of the places for tokens
/// and keys, which anybody can ask for with made-up ones, no source has more than are free.
const MAX_FOR_SNAPSHOT: usize = 1_000;
const MAX_FOR_TOKENS: usize = 1_000;
const MAX_FOR_ONE_TOKEN: usize = 200;
const MAX_FOR_KEYS: usize = 100;

/// What a request waits for.
#[derive(Debug, Clone)]
pub enum Awaited {
    /// The first snapshot.
    Snapshot,
    /// What a token of this digest stands for.
    Token(u128),
    /// Another document of this issuer than this one.
    Keys(Arc<IssuerDocument>),
}

impl Awaited {
    /// The reason of the refusal where more requests wait for this than may: that of what did not come.
    #[must_use]
    pub fn refused_as(&self) -> Reason {
        match self {
            Self::Keys(_) => Reason::KeyUnknown,
            Self::Token(_) => Reason::IntrospectionBusy,
            Self::Snapshot => Reason::SnapshotMissing,
        }
    }
}

/// What a request has waited for so far: nothing is waited for twice.
#[derive(Debug, Default)]
pub struct Waited {
    /// For the first snapshot: until when at most.
    pub snapshot_until_ms: Option<u64>,
    /// For what a token stands for: since when, and until when at most.
    pub token: Option<(u64, u64)>,
    /// For an issuer's keys.
    pub keys: bool,
}

/// A request that waits.
#[derive(Debug, Clone)]
pub struct Held {
    /// The number of its plugin.
    pub plugin: u64,
    /// Its name.
    pub stream: StreamKey,
    /// Where it comes from.
    pub source: ClientNetwork,
    /// When it is decided in any case, by the monotonic clock.
    pub until_ms: u64,
    /// For what.
    pub awaited: Awaited,
}

/// Where the current request comes from: its client's address as the proxy knows it. Asked for only where it
/// matters, for most requests wait for nothing.
pub fn source(stream: &dyn Stream) -> ClientNetwork {
    stream.client_address().map_or(ClientNetwork::Unknown, |address| ClientNetwork::of_address(&address))
}

/// The requests that wait.
#[derive(Debug, Default)]
pub struct Waiting(Vec<Held>);

impl Waiting {
    /// Lets a request wait; false when too many wait already.
    pub fn hold(&mut self, held: Held) -> bool {
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

    /// Takes out the requests of a plugin whose waiting is over, so many at most.
    pub fn take_ready(
        &mut self,
        (plugin, most): (u64, usize),
        now_ms: u64,
        came: impl Fn(&Awaited) -> bool,
    ) -> Vec<StreamKey> {
        let mut ready = Vec::new();
        self.0.retain(|held| {
            let is_due = ready.len() < most && held.plugin == plugin;
            if is_due && (now_ms >= held.until_ms || came(&held.awaited)) {
                ready.push(held.stream);
                return false;
            }
            // Requests of a plugin that is gone are gone as well. Those of this one wait for their turn, however late.
            held.plugin == plugin || now_ms <= held.until_ms.saturating_add(HOLD_MS)
        });
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(stream: u32, awaited: Awaited) -> Held {
        let source = ClientNetwork::V4(stream.to_be_bytes());
        Held { plugin: 1, stream: StreamKey(stream.into()), source, until_ms: 100, awaited }
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
        waiting.hold(Held { plugin: 2, ..held(3, Awaited::Token(2)) });
        let came = |a: &Awaited| matches!(a, Awaited::Token(2));
        assert_eq!(waiting.take_ready((1, 9), 0, came), [StreamKey(2)]);
        assert_eq!(waiting.take_ready((1, 9), 99, came), []);
        assert_eq!(waiting.take_ready((1, 9), 100, |_| false), [StreamKey(1)]);
        assert_eq!(waiting.take_ready((2, 9), 0, came), [StreamKey(3)]);
        waiting.hold(held(4, Awaited::Snapshot));
        assert_eq!(waiting.take_ready((7, 9), 100 + HOLD_MS + 1, |_| true), [], "of another plugin");
        assert!(waiting.0.is_empty(), "forgotten");
    }

    #[test]
    fn many_wake_bit_by_bit() {
        let mut waiting = Waiting::default();
        (0..7).for_each(|stream| assert!(waiting.hold(held(stream, Awaited::Snapshot))));
        let sizes = [(); 4].map(|()| waiting.take_ready((1, 3), 100, |_| false).len());
        assert_eq!(sizes, [3, 3, 1, 0]);
        // Also those of a worker that stood still for long.
        (0..7).for_each(|stream| assert!(waiting.hold(held(stream, Awaited::Snapshot))));
        let sizes = [(); 4].map(|()| waiting.take_ready((1, 3), 101 + HOLD_MS, |_| false).len());
        assert_eq!(sizes, [3, 3, 1, 0]);
    }
}
