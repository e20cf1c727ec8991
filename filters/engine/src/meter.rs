//! What a worker counted and did not tell the proxy yet.

use crate::exchange::request_state::RequestState;
use crate::guarded::Rebuild;
use crate::metrics::{COUNT, CallEnd, Metric, MetricId, SourceLabel};
use crate::port::Proxy;

/// Values of histograms that may wait for the tick. Where more come, the request that brings one more tells
/// all of them, which costs each what it would have cost by itself.
const MAX_SAMPLES: usize = 4_096;

/// Time between two looks at gauges, in milliseconds.
const GAUGES_MS: u64 = 1_000;

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// What was decided about it.
    pub exchange: &'a RequestState,
    /// The status that the client got.
    pub status: Option<u16>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Bytes of its body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
}

/// Counts of a worker: plain numbers, so that a request costs no call of the proxy. What is not told yet is
/// lost when the worker ends in a trap: that of one tick at most.
#[derive(Debug)]
pub struct Meter {
    counts: Box<[u64]>,
    /// Those that are not zero.
    touched: Vec<MetricId>,
    samples: Vec<(MetricId, u64)>,
    gauges_ms: u64,
}

impl Default for Meter {
    fn default() -> Self {
        let counts = vec![0; COUNT].into();
        Self { counts, touched: Vec::new(), samples: Vec::new(), gauges_ms: 0 }
    }
}

impl Rebuild for Meter {
    fn rebuild(&mut self) {
        *self = Self::default();
    }
}

impl Meter {
    /// Counts.
    pub fn count(&mut self, metric: Metric<'_>, by: u64) {
        let id = metric.id();
        let Some(count) = self.counts.get_mut(id.index()).filter(|_| by > 0) else { return };
        if *count == 0 {
            self.touched.push(id);
        }
        *count = count.saturating_add(by);
    }

    /// Takes a value of a histogram.
    pub fn observe(&mut self, proxy: &dyn Proxy, metric: Metric<'_>, value: u64) {
        if self.samples.len() >= MAX_SAMPLES {
            self.tell_samples(proxy);
        }
        self.samples.push((metric.id(), value));
    }

    /// Counts a request.
    pub fn request(&mut self, proxy: &dyn Proxy, ended: &Ended<'_>) {
        let exchange = ended.exchange;
        let identity = exchange.known.as_ref().and_then(|known| known.identity());
        let caller = SourceLabel::from(identity.map(|identity| identity.source_type));
        self.count(Metric::Decision(&exchange.decision, caller), 1);
        if let Some(refusal) = exchange.refusal() {
            self.count(Metric::Refusal(refusal), 1);
        }
        self.count(Metric::Response(ended.status, caller), 1);
        self.count(Metric::RequestBytes(caller), ended.request_bytes);
        self.count(Metric::ResponseBytes(caller), ended.response_bytes);
        self.observe(proxy, Metric::RequestDuration(caller), ended.duration_us / 1_000);
    }

    /// Counts a call of the control service.
    pub fn call(&mut self, proxy: &dyn Proxy, end: CallEnd) {
        self.count(Metric::Call(end.kind, end.outcome), 1);
        self.observe(proxy, Metric::CallDuration(end.kind), end.took_ms);
    }

    /// Whether it is time to look at gauges.
    pub fn gauges_are_due(&mut self, now_ms: u64) -> bool {
        let due = now_ms >= self.gauges_ms;
        if due {
            self.gauges_ms = now_ms.saturating_add(GAUGES_MS);
        }
        due
    }

    /// Tells the proxy everything that was counted.
    pub fn tell(&mut self, proxy: &dyn Proxy) {
        for id in self.touched.drain(..) {
            if let Some(count) = self.counts.get_mut(id.index()) {
                proxy.count(id, std::mem::take(count));
            }
        }
        self.tell_samples(proxy);
    }

    fn tell_samples(&mut self, proxy: &dyn Proxy) {
        for (id, value) in self.samples.drain(..) {
            proxy.observe(id, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CallKind, CallOutcome};
    use portcullis_model::Decision;

    use crate::testing::FakeProxy;

    #[test]
    fn what_is_counted_is_told_once_at_the_tick() {
        let (proxy, mut meter) = (FakeProxy::new(), Meter::default());
        let exchange = RequestState { decision: Decision::Allow, ..RequestState::default() };
        let ended = Ended {
            exchange: &exchange,
            status: Some(204),
            duration_us: 7_900,
            request_bytes: 5,
            response_bytes: 0,
        };
        meter.request(&proxy, &ended);
        meter.request(&proxy, &ended);
        assert!(proxy.counters.borrow().is_empty() && proxy.observed.borrow().is_empty(), "no call yet");
        for _ in 0..2 {
            meter.tell(&proxy);
            let count = |metric: Metric<'_>| proxy.counter(metric);
            assert_eq!(count(Metric::Decision(&Decision::Allow, SourceLabel::Unknown)), 2);
            assert_eq!(count(Metric::Response(Some(200), SourceLabel::Unknown)), 2);
            assert_eq!(count(Metric::RequestBytes(SourceLabel::Unknown)), 10);
            assert_eq!(proxy.counters.borrow().len(), 3, "what is zero is not told");
            let duration = Metric::RequestDuration(SourceLabel::Unknown).id();
            assert_eq!(*proxy.observed.borrow(), [(duration, 7), (duration, 7)]);
        }
    }

    #[test]
    fn no_value_is_lost_however_many_come_and_few_wait() {
        let (proxy, mut meter) = (FakeProxy::new(), Meter::default());
        let end = CallEnd { kind: CallKind::Keys, outcome: CallOutcome::Ok, took_ms: 1 };
        for _ in 0..MAX_SAMPLES + 1 {
            meter.call(&proxy, end);
        }
        assert_eq!((proxy.observed.borrow().len(), meter.samples.len()), (MAX_SAMPLES, 1));
        meter.tell(&proxy);
        assert_eq!(proxy.observed.borrow().len(), MAX_SAMPLES + 1);
    }
}
