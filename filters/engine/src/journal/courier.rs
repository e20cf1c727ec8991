//! Delivers a worker's audit records to the control service.

use std::time::Duration;

use portcullis_model::config::AuditLimits;
use portcullis_model::outage::Outage;
use portcullis_protocol::audit::{StreamId, derive_key};
use portcullis_protocol::wire::AuditAck;
use prost::Message;

use crate::guarded::Rebuild;
use crate::journal::Journal;
use crate::metrics::{CallEnd, CallKind};
use crate::port::{CallId, CalloutResponse, Proxy, Severity};
use crate::source::{PolicySource, describe};

/// Time in which a batch must be acknowledged.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The journal of a worker, and its delivery.
pub struct Courier {
    /// Records on their way.
    pub journal: Journal,
    under_way: Option<CallId>,
    sent_ms: u64,
    outage: Outage,
}

impl Rebuild for Courier {
    /// What was not delivered may be half written. The stream goes on with the next number, so that what is
    /// missing is counted as lost.
    fn rebuild(&mut self) {
        self.under_way = None;
        self.journal.begin_again();
    }
}

impl Courier {
    /// The courier of a worker.
    #[must_use]
    pub fn new(source: &PolicySource, stream: StreamId, limits: AuditLimits) -> Self {
        let space = format!("{}.{}", source.view, source.config.upstream);
        // Every worker of the proxy derives the same key, so each finds what another left.
        let key = derive_key(source.token().as_bytes(), "audit journal");
        let journal = Journal::new(stream, key, &space, limits);
        Self { journal, under_way: None, sent_ms: 0, outage: Outage::default() }
    }

    /// Takes over what workers that are gone left, and sends the next batch, if there is one. Returns
    /// how many records were taken over.
    pub fn on_tick(&mut self, proxy: &dyn Proxy, source: &PolicySource, now_ms: u64) -> u64 {
        let recovered = self.journal.renew(proxy.store(), now_ms);
        if recovered > 0 {
            let line = format!("recovered {recovered} audit records of a VM that is gone");
            proxy.log(Severity::Warning, &line);
        }
        self.deliver(proxy, source, now_ms);
        u64::try_from(recovered).unwrap_or(u64::MAX)
    }

    fn deliver(&mut self, proxy: &dyn Proxy, source: &PolicySource, now_ms: u64) {
        let Some(batch) = self.journal.next_batch(now_ms) else { return };
        self.under_way = source.post(proxy, CallKind::Audit, batch, DELIVERY_TIMEOUT);
        self.sent_ms = now_ms;
        if self.under_way.is_none() {
            self.journal.answered(false, now_ms);
        }
    }

    /// Gives up a delivery whose owner is gone.
    pub fn forget_delivery(&mut self, now_ms: u64) {
        if self.under_way.take().is_some() {
            self.journal.answered(false, now_ms);
        }
    }

    /// Takes an answer; `None` when it is none to a delivery.
    pub fn on_answer(
        &mut self,
        proxy: &dyn Proxy,
        source: &PolicySource,
        answer: &CalloutResponse<'_>,
        now_ms: u64,
    ) -> Option<CallEnd> {
        if self.under_way != Some(answer.call) {
            return None;
        }
        self.under_way = None;
        let times = (self.sent_ms, now_ms);
        let acknowledged =
            answer.status == Some(200) && answer.body.is_some_and(|body| AuditAck::decode(body).is_ok());
        if !acknowledged {
            let line = format!(
                "audit records were not acknowledged ({}); they are kept and sent again",
                describe(answer.status)
            );
            if self.outage.failed(&line, || true) {
                proxy.log(Severity::Warning, &line);
            }
        } else if let Some(failures) = self.outage.over() {
            proxy
                .log(Severity::Warning, &format!("audit records are acknowledged after {failures} failures"));
        }
        self.journal.answered(acknowledged, now_ms);
        if self.journal.has_full_batch() {
            self.deliver(proxy, source, now_ms);
        }
        Some(CallEnd::new(CallKind::Audit, answer.status, acknowledged, times))
    }
}
