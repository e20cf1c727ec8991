//! What was measured: a table for people, `target/bench.json` for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::error::{BenchError, Result};
use crate::stats::Spread;

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// One measured number.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Metric {
    /// The number; the median where it was taken over rounds.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What is to be reached, where something is.
    pub target: Option<Target>,
    /// Whether it is reached.
    pub met: Option<bool>,
    /// Least and greatest round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// What it was measured with.
    pub inputs: Value,
}

/// Everything measured in a run, by stable names.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    metrics: BTreeMap<String, Metric>,
    #[serde(skip)]
    order: Vec<String>,
}

impl Report {
    /// Adds a single number.
    pub(crate) fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &'static str,
        target: Option<Target>,
        inputs: Value,
    ) {
        let met = target.map(|t| t.met(value));
        self.put(name, Metric { value, unit, target, met, spread: None, inputs });
    }

    /// Adds the median of rounds.
    pub(crate) fn add_rounds(
        &mut self,
        name: &str,
        samples: &[f64],
        unit: &'static str,
        target: Option<Target>,
        inputs: Value,
    ) {
        let Some(spread) = Spread::of(samples) else { return };
        let met = target.map(|t| t.met(spread.median));
        self.put(name, Metric { value: spread.median, unit, target, met, spread: Some(spread), inputs });
    }

    fn put(&mut self, name: &str, metric: Metric) {
        if self.metrics.insert(name.to_owned(), metric).is_none() {
            self.order.push(name.to_owned());
        }
    }

    /// The table, in the order in which the numbers were added.
    pub(crate) fn table(&self) -> String {
        let mut out =
            format!("{:<44} {:>12} {:>23} {:>10}  \n", "what", "median", "least … greatest", "target");
        for name in &self.order {
            let Some(metric) = self.metrics.get(name) else { continue };
            let spread =
                metric.spread.map_or(String::new(), |s| format!("{} … {}", number(s.min), number(s.max)));
            let target = match metric.target {
                Some(Target::AtLeast(bound)) => format!("≥ {bound}"),
                Some(Target::AtMost(bound)) => format!("≤ {bound}"),
                None => String::new(),
            };
            let met = match metric.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let value = format!("{} {}", number(metric.value), metric.unit);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<44} {value:>12} {spread:>23} {target:>10}  {met}");
        }
        out
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, path: &Path, environment: Value, breakdown: Option<Value>) -> Result<()> {
        let whole = serde_json::json!({
            "environment": environment, "metrics": self.metrics, "breakdown": breakdown,
        });
        let text =
            serde_json::to_string_pretty(&whole).map_err(|e| BenchError::io("write", path)(e.into()))?;
        std::fs::write(path, text + "\n").map_err(BenchError::io("write", path))
    }
}

/// Digits that mean something: none behind the point for large numbers, three for small ones.
fn number(value: f64) -> String {
    match value.abs() {
        n if n >= 1_000.0 => format!("{value:.0}"),
        n if n >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_met_or_missed_by_the_median() {
        let mut report = Report::default();
        report.add_rounds("ratio", &[0.5, 0.7, 0.9], "", Some(Target::AtLeast(0.6)), json!({}));
        report.add("late", 51.0, "ms", Some(Target::AtMost(50.0)), json!({}));
        let table = report.table();
        let line = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        assert!(line("ratio").ends_with("met"), "{table}");
        assert!(line("late").ends_with("MISSED"), "{table}");
    }
}
