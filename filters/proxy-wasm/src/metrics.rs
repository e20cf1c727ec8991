//! The engine's metrics in the words of the ABI.

use std::cell::RefCell;

use portcullis_engine::metrics::{COUNT, Kind, MetricId};
use portcullis_proxy_wasm_abi::{Host, HostResult, LogLevel, MetricId as HostId, MetricType};

/// What the host knows of a metric.
#[derive(Clone, Copy)]
enum Slot {
    /// Nothing yet.
    Unknown,
    /// This name.
    Known(HostId),
    /// It will not have it.
    Refused,
}

thread_local! {
    /// One slot for each metric of the closed list: a metric is made known when it is used first.
    static SLOTS: RefCell<Vec<Slot>> = RefCell::new(vec![Slot::Unknown; COUNT]);
}

/// Does something with a metric. What fails is lost: no request depends on what is counted.
pub(crate) fn with(host: &dyn Host, metric: MetricId, act: impl FnOnce(HostId) -> HostResult<()>) {
    let id = SLOTS.try_with(|slots| slots.try_borrow_mut().ok().and_then(|mut s| find(host, &mut s, metric)));
    if let Ok(Some(id)) = id {
        let _lost = act(id);
    }
}

fn find(host: &dyn Host, slots: &mut [Slot], metric: MetricId) -> Option<HostId> {
    let slot = slots.get_mut(metric.index())?;
    if let Slot::Unknown = slot {
        *slot = define(host, metric);
    }
    match *slot {
        Slot::Known(id) => Some(id),
        Slot::Unknown | Slot::Refused => None,
    }
}

fn define(host: &dyn Host, metric: MetricId) -> Slot {
    let Some((kind, name)) = stat(metric) else { return Slot::Refused };
    match host.define_metric(kind, &name) {
        Ok(id) => Slot::Known(id),
        Err(error) => {
            host.log(LogLevel::Warn, &format!("{name} is not counted: {error}"));
            Slot::Refused
        }
    }
}

/// The kind and the name of a metric in the proxy.
fn stat(metric: MetricId) -> Option<(MetricType, String)> {
    let (kind, name) = metric.stat()?;
    let kind = match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    Some((kind, name))
}

#[cfg(test)]
mod tests {
    use portcullis_engine::metrics::Metric;
    use portcullis_model::{Reason, Refusal};

    use super::*;

    #[test]
    fn labels_stand_in_the_name_as_istio_writes_them() {
        let refusal = Refusal::new("cluster-status", Reason::ClusterUnknown);
        let (kind, name) = stat(Metric::Refusal(&refusal).id()).unwrap();
        let expected = "stage=.=cluster-status;.;reason=.=cluster_unknown;.;portcullis_filter_refusals_total";
        assert!(matches!(kind, MetricType::Counter));
        assert_eq!(name, expected);
        let (_, name) = stat(Metric::JournalRecords.id()).unwrap();
        assert_eq!(name, "portcullis_filter_journal_records");
    }
}
