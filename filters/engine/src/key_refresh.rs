//! Keys that the snapshot does not have yet.
//!
//! A token of a known issuer may name a key that was published a moment ago. The control service is then
//! asked to fetch the issuer's keys, and the request waits for a moment. Anybody can make such a token, so
//! an issuer is asked about at a bounded pace and few requests wait.
//!
//! A bad signature can mean that a key was replaced under its name. It is refused at once, and the keys are asked
//! for at a pace of its own.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_identity::KeyId;
use portcullis_model::pace::{DoubtLimiter, EVERY_MS, KeyRefreshAdmission, KeyRefreshLimiter};
use portcullis_model::policy::IssuerDocument;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::wire::KeyRefresh;
use prost::Message;

use crate::metrics::{CallEnd, CallKind};
use crate::port::{CallId, CalloutResponse, Proxy, Severity};
use crate::source::{PolicySource, describe};
use crate::waiting::HOLD_MS;

/// Time in which the control service must answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A question that went out.
#[derive(Debug)]
struct Question {
    key_id: KeyId,
    asked_ms: u64,
    /// `None` once it was answered.
    call: Option<CallId>,
    failed: bool,
}

/// The questions about one issuer.
#[derive(Debug, Default)]
struct Refresh {
    refresh_limiter: KeyRefreshLimiter,
    /// Those of the last seconds; the pace bounds their number.
    questions: Vec<Question>,
    doubts: DoubtLimiter,
    /// What a bad signature led to, until it is answered, and when it was asked. Nobody waits for it.
    doubt: Option<(CallId, u64)>,
}

impl Refresh {
    /// Whether an answer may still bring something to a request that waits for this key, or for any.
    fn may_bring(&self, key_id: Option<&KeyId>, now_ms: u64) -> bool {
        let asked = |q: &Question| key_id.is_none_or(|key_id| q.key_id == *key_id);
        // The keys come with the snapshot, a little after the answer.
        let hopeful = |q: &Question| !q.failed && now_ms.saturating_sub(q.asked_ms) < HOLD_MS;
        self.questions.iter().any(|question| asked(question) && hopeful(question))
    }
}

/// What was asked about each issuer.
#[derive(Debug, Default)]
pub struct KeyRefreshes(HashMap<Box<str>, Refresh>);

impl KeyRefreshes {
    /// Whether every question about an issuer led nowhere.
    pub fn failed(&self, issuer: &str) -> bool {
        self.0.get(issuer).is_none_or(|refresh| refresh.questions.iter().all(|question| question.failed))
    }

    /// When the question was asked that a bad signature led to and that is answered now.
    fn take_doubt(&mut self, call: CallId) -> Option<u64> {
        let is_it = |refresh: &&mut Refresh| refresh.doubt.is_some_and(|(asked, _)| asked == call);
        let (_, asked_ms) = self.0.values_mut().find(is_it)?.doubt.take()?;
        Some(asked_ms)
    }

    /// Asks for an issuer's keys, unless that was done a moment ago or too often; whether it makes sense to
    /// wait.
    pub(crate) fn ask(
        &mut self,
        service: &PolicySource,
        now_ms: u64,
        proxy: &dyn Proxy,
        snapshot: &SnapshotState,
        document: &IssuerDocument,
        key_id: &KeyId,
    ) -> bool {
        let issuer = document.issuer.as_str();
        self.0.retain(|issuer, _| snapshot.issuer(issuer).is_some());
        let refresh = self.0.entry(issuer.into()).or_default();
        refresh.questions.retain(|question| now_ms.saturating_sub(question.asked_ms) < EVERY_MS);
        match refresh.refresh_limiter.admit(key_id.as_str(), now_ms) {
            KeyRefreshAdmission::Granted => {}
            KeyRefreshAdmission::Duplicate => return refresh.may_bring(Some(key_id), now_ms),
            // Whatever is on its way brings all keys of the issuer, this one too if it was there by then.
            KeyRefreshAdmission::Limited => return refresh.may_bring(None, now_ms),
        }
        let question =
            KeyRefresh { issuer: issuer.to_owned(), key_id: key_id.as_str().to_owned() }.encode_to_vec();
        let call = service.post(proxy, CallKind::Keys, &question, TIMEOUT);
        let failed = call.is_none();
        if let Some(refresh) = self.0.get_mut(issuer) {
            refresh.questions.push(Question { key_id: key_id.clone(), asked_ms: now_ms, call, failed });
        }
        !failed
    }

    /// Asks for an issuer's keys because a signature fitted none of them, if that was not done a moment ago.
    pub(crate) fn doubt(
        &mut self,
        service: &PolicySource,
        now_ms: u64,
        proxy: &dyn Proxy,
        snapshot: &SnapshotState,
        document: &IssuerDocument,
    ) {
        let issuer = document.issuer.as_str();
        if self.0.get_mut(issuer).is_some_and(|refresh| !refresh.doubts.admit(now_ms)) {
            return;
        }
        self.0.retain(|issuer, _| snapshot.issuer(issuer).is_some());
        let question = KeyRefresh { issuer: issuer.to_owned(), key_id: String::new() }.encode_to_vec();
        let call = service.post(proxy, CallKind::Keys, &question, TIMEOUT);
        let fresh = || {
            let mut refresh = Refresh::default();
            refresh.doubts.admit(now_ms);
            refresh
        };
        self.0.entry(issuer.into()).or_insert_with(fresh).doubt = call.map(|call| (call, now_ms));
    }

    /// Takes the answer to a question; `None` when this is none.
    pub(crate) fn on_answer(
        &mut self,
        now_ms: u64,
        proxy: &dyn Proxy,
        answer: &CalloutResponse<'_>,
    ) -> Option<CallEnd> {
        if let Some(asked_ms) = self.take_doubt(answer.call) {
            let taken = answer.status == Some(204);
            return Some(CallEnd::new(CallKind::Keys, answer.status, taken, (asked_ms, now_ms)));
        }
        let questions = self.0.iter_mut().flat_map(|(issuer, refresh)| {
            refresh.questions.iter_mut().map(move |question| (issuer, question))
        });
        let mut found = questions.filter(|(_, question)| question.call == Some(answer.call));
        let (issuer, question) = found.next()?;
        question.call = None;
        match answer.status {
            // Another worker may have asked just now: its keys are on their way to us too.
            Some(204 | 429) => {}
            status => {
                question.failed = true;
                let line = format!("new keys of {issuer}: {}", describe(status));
                proxy.log(Severity::Warning, &line);
            }
        }
        let taken = answer.status == Some(204);
        Some(CallEnd::new(CallKind::Keys, answer.status, taken, (question.asked_ms, now_ms)))
    }
}
