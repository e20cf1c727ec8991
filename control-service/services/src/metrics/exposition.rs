//! The Prometheus text form (exposition format 0.0.4).

use std::fmt::{Display, Write};
use std::time::Duration;

use portcullis_control_domain::histogram::{BOUNDS_MS, Observed};

use super::described::Described;

/// The text as it grows.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// What a metric is, before its series.
    pub(super) fn head(&mut self, metric: &Described) {
        let Described { name, kind, help, .. } = metric;
        let kind = kind.as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A metric with one series.
    pub(super) fn single(&mut self, metric: &Described, value: impl Display) {
        self.head(metric);
        self.sample(metric, &[], value);
    }

    /// A series, by the values of the metric's labels in their order.
    pub(super) fn sample(&mut self, metric: &Described, values: &[&str], value: impl Display) {
        self.line(metric.name, &pairs(metric, values), value);
    }

    /// A series of times.
    pub(super) fn times(&mut self, metric: &Described, values: &[&str], observed: &Observed) {
        let [bucket, sum, count] = ["_bucket", "_sum", "_count"].map(|part| [metric.name, part].concat());
        let pairs = pairs(metric, values);
        let bounds = BOUNDS_MS.iter().map(|ms| Duration::from_millis(*ms).as_secs_f64().to_string());
        let within = bounds.zip(observed.within).chain([("+Inf".to_owned(), observed.all)]);
        for (bound, count) in within {
            let pairs = [pairs.clone(), vec![pair("le", &bound)]].concat();
            self.line(&bucket, &pairs, count);
        }
        self.line(&sum, &pairs, observed.sum.as_secs_f64());
        self.line(&count, &pairs, observed.all);
    }

    fn line(&mut self, name: &str, pairs: &[String], value: impl Display) {
        let labels = if pairs.is_empty() { String::new() } else { ["{", &pairs.join(","), "}"].concat() };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// The whole.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

fn pairs(metric: &Described, values: &[&str]) -> Vec<String> {
    metric.labels.iter().zip(values).map(|(label, value)| pair(label, value)).collect()
}

fn pair(label: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    [label, "=\"", &escaped, "\""].concat()
}
