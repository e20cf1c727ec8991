//! The engine's metrics in the words of the interface: all of them are defined with the configuration, since
//! Envoy takes none later.

use portcullis_engine::metrics::{Kind, Metric, MetricId};

use crate::abi::{AbiResult, Counter, Gauge, Histogram, MainHandle, Setup, StreamHandle};

/// What Envoy knows of a metric.
#[derive(Clone, Copy)]
enum Slot {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// One slot for each metric of the closed list; none where Envoy refused it.
pub(super) struct Metrics(Vec<Option<Slot>>);

impl Metrics {
    /// Makes every metric of the list known.
    pub(super) fn define(setup: &Setup<'_>) -> Self {
        let define = |metric: MetricId| -> Option<Slot> {
            let (kind, name) = metric.stat()?;
            let slot = match kind {
                Kind::Counter => setup.define_counter(&name).map(Slot::Counter),
                Kind::Gauge => setup.define_gauge(&name).map(Slot::Gauge),
                Kind::Histogram => setup.define_histogram(&name).map(Slot::Histogram),
            };
            slot.ok()
        };
        Self(MetricId::all().map(define).collect())
    }

    /// The counter of panics, which the layer below counts itself.
    pub(super) fn panics(&self) -> Option<Counter> {
        match self.slot(Metric::Panic.id())? {
            Slot::Counter(counter) => Some(counter),
            Slot::Gauge(_) | Slot::Histogram(_) => None,
        }
    }

    fn slot(&self, metric: MetricId) -> Option<Slot> {
        self.0.get(metric.index()).copied().flatten()
    }

    /// Changes a metric from the main thread. What fails is lost: no request depends on what is counted.
    pub(super) fn tell(&self, main: &MainHandle<'_>, metric: MetricId, value: u64) {
        let _lost: Option<AbiResult<()>> = self.slot(metric).map(|slot| match slot {
            Slot::Counter(counter) => main.count(counter, value),
            Slot::Gauge(gauge) => main.set(gauge, value),
            Slot::Histogram(histogram) => main.record(histogram, value),
        });
    }

    /// Adds to a counter or a histogram from a worker, which cannot set a gauge.
    pub(super) fn tell_stream(&self, stream: &StreamHandle<'_>, metric: MetricId, value: u64) {
        let _lost: Option<AbiResult<()>> = self.slot(metric).map(|slot| match slot {
            Slot::Counter(counter) => stream.count(counter, value),
            Slot::Gauge(_) => Ok(()),
            Slot::Histogram(histogram) => stream.record(histogram, value),
        });
    }
}
