//! Opaque tokens: one question for each at a time, asked through the control service, and what was answered.
//!
//! What an attacker can send without limit, tokens that nobody issued, fills only the cache of inactive
//! ones, which is apart and of fixed size. Of the questions under way no source has more than are free. What
//! fails is not remembered, and refuses.

pub mod kept_tokens;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use portcullis_model::Reason;
use portcullis_model::fair::{ClientNetwork, has_room};
use portcullis_model::policy::{INTROSPECTION_MS, IntrospectionDocument};
use portcullis_protocol::snapshot::{NONCE_LEN, verify_introspection};
use portcullis_protocol::wire::IntrospectionRequest;
use prost::Message;

use crate::introspection::kept_tokens::KeptTokens;
use crate::metrics::{CallEnd, CallKind};
use crate::port::{CallId, CalloutResponse, Proxy, Severity, Stream};
use crate::source::{PolicySource, describe};
use crate::waiting::source;

/// Time in which the control service must answer.
const TIMEOUT: Duration = Duration::from_millis(INTROSPECTION_MS as u64);

/// The same in milliseconds, with a margin in which the time-out itself is reported.
pub const LONGEST_MS: u64 = INTROSPECTION_MS as u64 + 200;

/// Questions under way at a time.
pub const MAX_FLIGHTS: usize = 64;

/// Active tokens kept, and the bytes of what was said of them.
const MAX_ACTIVE: usize = 2_000;
const MAX_ACTIVE_BYTES: usize = 4 * 1024 * 1024;

/// Longest answer about one token.
const MAX_CLAIMS: usize = 16 * 1024;

/// Inactive tokens kept.
const MAX_INACTIVE: usize = 4_096;

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introspected {
    /// It is active.
    Active {
        /// What the provider said, a JSON object.
        claims: Arc<[u8]>,
        /// For how many seconds that holds without asking again; 0: for this request only.
        fresh_s: u64,
    },
    /// It is not.
    Inactive,
}

#[derive(Debug)]
struct PendingIntrospection {
    call: CallId,
    nonce: [u8; NONCE_LEN],
    provider: Arc<IntrospectionDocument>,
    source: ClientNetwork,
    asked_ms: u64,
    until_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Validity {
    answered_ms: u64,
    until_ms: u64,
}

impl Validity {
    fn new(now_ms: u64, seconds: u32, most: u32) -> Self {
        let lives = u64::from(seconds.min(most)).saturating_mul(1_000);
        Self { answered_ms: now_ms, until_ms: now_ms.saturating_add(lives) }
    }

    /// Whole seconds that are left.
    fn left_s(self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms) / 1_000
    }

    /// Whether it may be used: while it is fresh, and by a request that was waiting when it came.
    fn serves(self, now_ms: u64, asked_ms: Option<u64>) -> bool {
        self.left_s(now_ms) > 0 || asked_ms.is_some_and(|asked| asked <= self.answered_ms)
    }

    /// Whether nobody can use it any more: those who waited have been woken long since.
    fn is_over(self, now_ms: u64) -> bool {
        now_ms > self.until_ms.max(self.answered_ms.saturating_add(LONGEST_MS))
    }
}

/// The questions under way and the answers that are kept.
pub struct Introspections {
    flights: HashMap<u128, PendingIntrospection>,
    active: LruCache<u128, (Arc<[u8]>, Validity)>,
    active_bytes: usize,
    inactive: LruCache<u128, Validity>,
    /// The tokens of requests that are open.
    pub kept: KeptTokens,
    /// When a failure was logged last.
    warned_ms: Option<u64>,
}

impl Default for Introspections {
    fn default() -> Self {
        let bound = |entries: usize| NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        Self {
            flights: HashMap::new(),
            active: LruCache::new(bound(MAX_ACTIVE)),
            active_bytes: 0,
            inactive: LruCache::new(bound(MAX_INACTIVE)),
            kept: KeptTokens::default(),
            warned_ms: None,
        }
    }
}

impl Introspections {
    /// Whether a failure may be logged: once a second. Clients bring failures about, the metrics count them.
    fn may_warn(&mut self, now_ms: u64) -> bool {
        let may = self.warned_ms.is_none_or(|last| now_ms.saturating_sub(last) >= 1_000);
        if may {
            self.warned_ms = Some(now_ms);
        }
        may
    }

    /// What is known of a token. `asked_ms`: since when the request has been waiting for that.
    pub fn find(&mut self, digest: u128, now_ms: u64, asked_ms: Option<u64>) -> Option<Introspected> {
        if let Some((claims, validity)) = self.active.get(&digest)
            && validity.serves(now_ms, asked_ms)
        {
            let fresh_s = validity.left_s(now_ms);
            return Some(Introspected::Active { claims: Arc::clone(claims), fresh_s });
        }
        let inactive = self.inactive.get(&digest)?;
        inactive.serves(now_ms, asked_ms).then_some(Introspected::Inactive)
    }

    /// Whether a question about the token is under way.
    pub fn is_asking(&self, digest: u128) -> bool {
        self.flights.contains_key(&digest)
    }

    /// Whether one more question of this source may be under way.
    fn has_room_for(&self, source: ClientNetwork) -> bool {
        let own = self.flights.values().filter(|flight| flight.source == source).count();
        has_room(own, self.flights.len(), MAX_FLIGHTS)
    }

    fn keep_active(&mut self, digest: u128, claims: Vec<u8>, validity: Validity) {
        self.inactive.pop(&digest);
        self.active_bytes = self.active_bytes.saturating_add(claims.len());
        if let Some((_, (old, _))) = self.active.push(digest, (claims.into(), validity)) {
            self.active_bytes = self.active_bytes.saturating_sub(old.len());
        }
        while self.active_bytes > MAX_ACTIVE_BYTES
            && let Some((_, (old, _))) = self.active.pop_lru()
        {
            self.active_bytes = self.active_bytes.saturating_sub(old.len());
        }
    }

    fn keep_inactive(&mut self, digest: u128, validity: Validity) {
        if let Some((old, _)) = self.active.pop(&digest) {
            self.active_bytes = self.active_bytes.saturating_sub(old.len());
        }
        self.inactive.put(digest, validity);
    }

    /// Forgets questions that nobody will answer.
    pub fn give_up_unanswered(&mut self, now_ms: u64) {
        self.flights.retain(|_, flight| now_ms < flight.until_ms);
    }

    /// Drops answers that are over.
    pub fn sweep(&mut self, now_ms: u64) {
        let over: Vec<u128> =
            self.active.iter().filter(|(_, (_, v))| v.is_over(now_ms)).map(|(digest, _)| *digest).collect();
        for digest in over {
            if let Some((old, _)) = self.active.pop(&digest) {
                self.active_bytes = self.active_bytes.saturating_sub(old.len());
            }
        }
        let over: Vec<u128> =
            self.inactive.iter().filter(|(_, v)| v.is_over(now_ms)).map(|(digest, _)| *digest).collect();
        for digest in over {
            self.inactive.pop(&digest);
        }
    }
}

impl Introspections {
    /// Asks what a token stands for, unless that is being asked already.
    ///
    /// # Errors
    /// [`Reason::IntrospectionBusy`] when too many are being asked about, in all or for this source,
    /// [`Reason::IntrospectionUnavailable`] when nobody can be asked.
    pub(crate) fn ask(
        &mut self,
        service: &PolicySource,
        now_ms: u64,
        stream: &dyn Stream,
        digest: u128,
        provider: &Arc<IntrospectionDocument>,
        token: &str,
    ) -> Result<(), Reason> {
        if self.is_asking(digest) {
            return Ok(());
        }
        let source = source(stream);
        if !self.has_room_for(source) {
            return Err(Reason::IntrospectionBusy);
        }
        let mut nonce = [0; NONCE_LEN];
        stream.random(&mut nonce).map_err(|_| Reason::IntrospectionUnavailable)?;
        let question = IntrospectionRequest {
            nonce: nonce.to_vec(),
            provider: provider.name.clone(),
            token: token.to_owned(),
            source: source.to_bytes(),
        };
        let call = service
            .post(stream, CallKind::Introspection, &question.encode_to_vec(), TIMEOUT)
            .ok_or(Reason::IntrospectionUnavailable)?;
        let (asked_ms, until_ms) = (now_ms, now_ms.saturating_add(LONGEST_MS));
        let provider = Arc::clone(provider);
        let flight = PendingIntrospection { call, nonce, provider, source, asked_ms, until_ms };
        self.flights.insert(digest, flight);
        Ok(())
    }

    /// Takes the answer to a question; `None` when this is none.
    pub(crate) fn on_answer(
        &mut self,
        service: &PolicySource,
        now_ms: u64,
        proxy: &dyn Proxy,
        answer: &CalloutResponse<'_>,
    ) -> Option<CallEnd> {
        let found = self.flights.iter().find(|(_, flight)| flight.call == answer.call);
        let digest = found.map(|(digest, _)| *digest)?;
        let flight = self.flights.remove(&digest)?;
        let provider = &flight.provider;
        let told = match (answer.status, answer.body) {
            (Some(200), Some(body)) => {
                verify_introspection(body, &service.config.key, &flight.nonce, &provider.name)
                    .map_err(|e| e.to_string())
                    .and_then(|told| match told.claims.len() {
                        0..=MAX_CLAIMS => Ok(told),
                        bytes => Err(format!("{bytes} bytes of claims are too many")),
                    })
            }
            (Some(200), None) => Err("the body cannot be read".to_owned()),
            (status, _) => Err(describe(status)),
        };
        let times = (flight.asked_ms, now_ms);
        let end = CallEnd::new(CallKind::Introspection, answer.status, told.is_ok(), times);
        match told {
            Err(error) => {
                if self.may_warn(now_ms) {
                    let line = format!("introspection by {}: {error}", provider.name);
                    proxy.log(Severity::Warning, &line);
                }
            }
            Ok(told) if told.active => {
                let validity = Validity::new(now_ms, provider.active_seconds, 300);
                self.keep_active(digest, told.claims, validity);
            }
            Ok(_) => {
                let validity = Validity::new(now_ms, provider.inactive_seconds, 60);
                self.keep_inactive(digest, validity);
            }
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(now_ms: u64) -> Validity {
        Validity::new(now_ms, 10, 300)
    }

    #[test]
    fn an_answer_serves_while_it_is_fresh_and_those_who_waited() {
        let mut known = Introspections::default();
        known.keep_active(1, b"{}".to_vec(), Validity::new(5_000, 2, 300));
        let fresh = |known: &mut Introspections, now_ms| match known.find(1, now_ms, None) {
            Some(Introspected::Active { fresh_s, .. }) => Some(fresh_s),
            _ => None,
        };
        assert_eq!(fresh(&mut known, 5_000), Some(2));
        assert_eq!(fresh(&mut known, 6_000), Some(1));
        assert_eq!(fresh(&mut known, 6_001), None, "less than a second is left");
        assert!(known.find(1, 6_500, Some(4_000)).is_some(), "it came while the request waited");
        assert!(known.find(1, 6_500, Some(5_001)).is_none(), "it was there before");
        assert!(known.find(2, 5_000, None).is_none(), "another token");
        known.keep_inactive(3, Validity::new(5_000, 0, 60));
        assert_eq!(known.find(3, 5_000, None), None, "not kept");
        assert_eq!(known.find(3, 5_000, Some(4_999)), Some(Introspected::Inactive));
    }

    #[test]
    fn inactive_tokens_cannot_push_out_active_ones() {
        let mut known = Introspections::default();
        known.keep_active(0, b"{}".to_vec(), fresh(0));
        for digest in 1..=u128::try_from(MAX_INACTIVE * 3).unwrap() {
            known.keep_inactive(digest, fresh(0));
        }
        assert!(known.find(0, 1, None).is_some());
        assert_eq!((known.active.len(), known.inactive.len()), (1, MAX_INACTIVE));
    }

    #[test]
    fn both_caches_are_bounded_in_entries_and_bytes() {
        let mut known = Introspections::default();
        for digest in 0..u128::try_from(MAX_ACTIVE * 2).unwrap() {
            known.keep_active(digest, vec![b'x'; 8], fresh(0));
        }
        assert_eq!((known.active.len(), known.active_bytes), (MAX_ACTIVE, MAX_ACTIVE * 8));
        for digest in 0..1_000 {
            known.keep_active(digest, vec![b'x'; MAX_CLAIMS], fresh(0));
        }
        assert!(known.active_bytes <= MAX_ACTIVE_BYTES);
        let sum: usize = known.active.iter().map(|(_, (claims, _))| claims.len()).sum();
        assert_eq!(sum, known.active_bytes);
        // A token that became inactive takes its bytes with it, and one that is over too.
        let kept: Vec<u128> = known.active.iter().map(|(digest, _)| *digest).collect();
        known.keep_inactive(kept[0], fresh(0));
        known.sweep(10_001);
        assert_eq!((known.active.len(), known.active_bytes, known.inactive.len()), (0, 0, 0));
    }
}
