//! Counters, gauges and histograms, by name, shared by all VMs of a host.

use std::collections::BTreeMap;
use std::fmt;

use crate::codes::{MetricKind, Status};

/// A metric's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The sum of all increments.
    Counter(u64),
    /// The value at the moment.
    Gauge(u64),
    /// All recorded values, in order.
    Histogram(Vec<u64>),
}

/// All metrics of a host by name (without Envoy's `wasmcustom.` prefix).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    values: BTreeMap<(String, u32), Metric>,
}

impl Metrics {
    /// The metric of this name; `None` if no module defined it.
    pub fn get(&self, name: &str) -> Option<&Metric> {
        self.values.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX)).next().map(|(_, value)| value)
    }

    /// A counter's value.
    ///
    /// # Panics
    /// If no module defined such a counter: a name with a mistake in it would be 0 for ever. [`Metrics::get`] asks
    /// whether it is defined.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        match self.values.get(&(name.to_owned(), MetricKind::Counter.code())) {
            Some(Metric::Counter(value)) => *value,
            _ => self.undefined("counter", name),
        }
    }

    /// A gauge's value.
    ///
    /// # Panics
    /// If no module defined such a gauge.
    #[track_caller]
    pub fn gauge(&self, name: &str) -> u64 {
        match self.values.get(&(name.to_owned(), MetricKind::Gauge.code())) {
            Some(Metric::Gauge(value)) => *value,
            _ => self.undefined("gauge", name),
        }
    }

    /// A histogram's recorded values.
    ///
    /// # Panics
    /// If no module defined such a histogram.
    #[track_caller]
    pub fn histogram(&self, name: &str) -> &[u64] {
        match self.values.get(&(name.to_owned(), MetricKind::Histogram.code())) {
            Some(Metric::Histogram(values)) => values,
            _ => self.undefined("histogram", name),
        }
    }

    #[track_caller]
    fn undefined(&self, kind: &str, name: &str) -> ! {
        let all = if self.values.is_empty() { "none".to_owned() } else { format!("\n{self}") };
        panic!("no module defined a {kind} {name:?}; there is {all}");
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Metric)> {
        self.values.iter().map(|((name, _), value)| (name.as_str(), value))
    }

    pub(crate) fn define(&mut self, kind: MetricKind, name: &str) {
        self.values.entry((name.to_owned(), kind.code())).or_insert_with(|| match kind {
            MetricKind::Counter => Metric::Counter(0),
            MetricKind::Gauge => Metric::Gauge(0),
            MetricKind::Histogram => Metric::Histogram(Vec::new()),
        });
    }

    fn find(&mut self, kind: MetricKind, name: &str) -> Result<&mut Metric, Status> {
        self.values.get_mut(&(name.to_owned(), kind.code())).ok_or(Status::NotFound)
    }

    pub(crate) fn increment(&mut self, kind: MetricKind, name: &str, offset: i64) -> Result<(), Status> {
        match self.find(kind, name)? {
            Metric::Counter(value) if offset > 0 => *value = value.saturating_add(offset.unsigned_abs()),
            Metric::Gauge(value) if offset > 0 => *value = value.saturating_add(offset.unsigned_abs()),
            Metric::Gauge(value) => *value = value.saturating_sub(offset.unsigned_abs()),
            Metric::Counter(_) | Metric::Histogram(_) => return Err(Status::BadArgument),
        }
        Ok(())
    }

    pub(crate) fn record(&mut self, kind: MetricKind, name: &str, recorded: u64) -> Result<(), Status> {
        match self.find(kind, name)? {
            Metric::Counter(value) => *value = value.saturating_add(recorded),
            Metric::Gauge(value) => *value = recorded,
            Metric::Histogram(values) => values.push(recorded),
        }
        Ok(())
    }

    pub(crate) fn read(&mut self, kind: MetricKind, name: &str) -> Result<u64, Status> {
        match self.find(kind, name)? {
            Metric::Counter(value) | Metric::Gauge(value) => Ok(*value),
            Metric::Histogram(_) => Err(Status::BadArgument),
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, metric) in self.iter() {
            match metric {
                Metric::Counter(value) => writeln!(f, "{name} = {value} (counter)")?,
                Metric::Gauge(value) => writeln!(f, "{name} = {value} (gauge)")?,
                Metric::Histogram(values) => writeln!(f, "{name} = {values:?} (histogram)")?,
            }
        }
        Ok(())
    }
}
