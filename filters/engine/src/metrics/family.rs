//! The families of metrics, with their labels and all values of these.

use portcullis_model::Reason;
pub use portcullis_model::metric::Kind;

/// A label and every value that it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

/// Metrics of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name, as Prometheus shows it.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels; the last one changes fastest in the list.
    pub labels: &'static [Label],
    /// What it says.
    pub help: &'static str,
}

impl Family {
    /// How many metrics it has.
    #[must_use]
    pub const fn size(&self) -> usize {
        let (mut size, mut labels) = (1_usize, self.labels);
        while let [first, rest @ ..] = labels {
            size = size.saturating_mul(first.values.len());
            labels = rest;
        }
        size
    }

    /// The values of the labels of the metric at a place in the family.
    pub(super) fn values(&self, place: usize) -> Vec<&'static str> {
        let mut rest = place;
        let mut values: Vec<&'static str> = Vec::with_capacity(self.labels.len());
        for label in self.labels.iter().rev() {
            let length = label.values.len().max(1);
            values.push(label.values.get(rest % length).copied().unwrap_or_default());
            rest /= length;
        }
        values.reverse();
        values
    }
}

/// In the order of [`Decision`](portcullis_model::Decision).
pub(super) const DECISIONS: &[&str] = &["none", "allow", "exempt", "platform", "refuse", "end"];
/// In the order of [`SourceLabel`](super::SourceLabel).
const CALLERS: &[&str] = &["human", "worker", "mcp_agent", "unknown"];
/// In the order of [`CallKind`](super::CallKind).
pub(super) const CALL_KINDS: &[&str] = &["snapshot", "audit", "introspection", "keys"];
/// In the order of [`CallOutcome`](super::CallOutcome).
pub(super) const CALL_OUTCOMES: &[&str] = &["ok", "refused", "failed"];
/// By the first digit of a status.
pub(super) const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
/// The place of what has no class.
pub(super) const UNKNOWN_CLASS: usize = CLASSES.len() - 1;
/// The stages that refuse, and `other` for one that was added and not entered here.
pub(super) const STAGES: &[&str] =
    &["authn", "source-type", "cluster-status", "audit", "gateway", "cors", "other"];
/// The place of `other`.
pub(super) const UNKNOWN_STAGE: usize = STAGES.len() - 1;

/// How many values these labels have.
pub(super) const CALLER_COUNT: usize = CALLERS.len();
pub(super) const REASON_COUNT: usize = portcullis_model::Reason::CODES.len();

const SOURCE_TYPE: Label = Label { name: "source_type", values: CALLERS };
const KIND: Label = Label { name: "kind", values: CALL_KINDS };

/// The families in the order of [`FAMILIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Decisions,
    Refusals,
    Responses,
    RequestDuration,
    RequestBytes,
    ResponseBytes,
    Calls,
    CallDuration,
    CacheHits,
    CacheMisses,
    IncompleteIdentities,
    SnapshotRevision,
    SnapshotAge,
    JournalRecords,
    JournalDropped,
    RecordsRecovered,
    WorkerStarts,
    Panics,
}

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels: &[], help }
}

const fn histogram(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, labels, help }
}

/// Everything that is counted.
pub const FAMILIES: &[Family] = &[
    counter(
        "portcullis_filter_decisions_total",
        &[Label { name: "decision", values: DECISIONS }, SOURCE_TYPE],
        "Requests by what was decided, counted where they are recorded",
    ),
    counter(
        "portcullis_filter_refusals_total",
        &[Label { name: "stage", values: STAGES }, Label { name: "reason", values: Reason::CODES }],
        "Refused requests, in dry-run those that would have been",
    ),
    counter(
        "portcullis_filter_responses_total",
        &[Label { name: "class", values: CLASSES }, SOURCE_TYPE],
        "Requests by the class of the status that the client got",
    ),
    histogram(
        "portcullis_filter_request_duration_ms",
        &[SOURCE_TYPE],
        "Milliseconds from the request's headers to its end",
    ),
    counter("portcullis_filter_request_bytes_total", &[SOURCE_TYPE], "Bytes of requests' bodies"),
    counter("portcullis_filter_response_bytes_total", &[SOURCE_TYPE], "Bytes of responses' bodies"),
    counter(
        "portcullis_filter_calls_total",
        &[KIND, Label { name: "outcome", values: CALL_OUTCOMES }],
        "Calls of the control service: answered as wanted, answered otherwise, not answered or not sent",
    ),
    histogram(
        "portcullis_filter_call_duration_ms",
        &[KIND],
        "Milliseconds until a call was answered; a poll for the snapshot hangs until there is news",
    ),
    counter("portcullis_filter_identity_cache_hits_total", &[], "Credentials that were verified before"),
    counter("portcullis_filter_identity_cache_misses_total", &[], "Credentials that had to be verified"),
    counter(
        "portcullis_filter_incomplete_identities_total",
        &[],
        "Identities made without all roles and scopes of their credential",
    ),
    gauge("portcullis_filter_snapshot_revision", "The snapshot's revision, of the worker that wrote last"),
    gauge(
        "portcullis_filter_snapshot_age_seconds",
        "Seconds since a poll was completed, of the worker that wrote last; before the first since it began",
    ),
    gauge("portcullis_filter_journal_records", "Audit records that wait, of all workers"),
    counter(
        "portcullis_filter_journal_dropped_total",
        &[],
        "Audit records that found no room, or that were given up",
    ),
    counter(
        "portcullis_filter_recovered_records_total",
        &[],
        "Audit records that were taken over from a worker that is gone",
    ),
    counter(
        "portcullis_filter_worker_starts_total",
        &[],
        "Workers that began: at the start, with a new configuration, and after each trap",
    ),
    counter("portcullis_filter_panics_total", &[], "Panics that a module caught; a Wasm VM ends with one"),
];

/// How many metrics there are.
pub const COUNT: usize = size_before(FAMILIES.len());

/// The place of a family's first metric.
pub(super) const fn base(index: Index) -> usize {
    const BASES: [usize; FAMILIES.len()] = bases();
    let place = index as usize;
    if place < BASES.len() { take(&BASES, place) } else { COUNT }
}

#[allow(clippy::indexing_slicing, reason = "the caller looked at the length")]
const fn take(bases: &[usize; FAMILIES.len()], place: usize) -> usize {
    bases[place]
}

#[allow(clippy::indexing_slicing, reason = "evaluated while compiling")]
const fn bases() -> [usize; FAMILIES.len()] {
    let mut bases = [0; FAMILIES.len()];
    let mut at = 0;
    while at < bases.len() {
        bases[at] = size_before(at);
        at += 1;
    }
    bases
}

#[allow(clippy::indexing_slicing, reason = "evaluated while compiling")]
const fn size_before(end: usize) -> usize {
    let (mut at, mut size) = (0, 0);
    while at < end {
        size += FAMILIES[at].size();
        at += 1;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_names_its_family() {
        let names = [
            (Index::Decisions, "decisions_total"),
            (Index::Refusals, "refusals_total"),
            (Index::Responses, "responses_total"),
            (Index::RequestDuration, "request_duration_ms"),
            (Index::RequestBytes, "request_bytes_total"),
            (Index::ResponseBytes, "response_bytes_total"),
            (Index::Calls, "calls_total"),
            (Index::CallDuration, "call_duration_ms"),
            (Index::CacheHits, "identity_cache_hits_total"),
            (Index::CacheMisses, "identity_cache_misses_total"),
            (Index::IncompleteIdentities, "incomplete_identities_total"),
            (Index::SnapshotRevision, "snapshot_revision"),
            (Index::SnapshotAge, "snapshot_age_seconds"),
            (Index::JournalRecords, "journal_records"),
            (Index::JournalDropped, "journal_dropped_total"),
            (Index::RecordsRecovered, "recovered_records_total"),
            (Index::WorkerStarts, "worker_starts_total"),
            (Index::Panics, "panics_total"),
        ];
        assert_eq!(names.len(), FAMILIES.len());
        for (index, name) in names {
            let family = &FAMILIES[index as usize];
            assert_eq!(family.name, format!("portcullis_filter_{name}"));
            let before: usize = FAMILIES.iter().take(index as usize).map(Family::size).sum();
            assert_eq!(base(index), before);
        }
    }

    /// Istio tells labels from the stat's name by expressions that are not anchored.
    #[test]
    fn no_label_ends_like_another_one() {
        let mut names: Vec<&str> = FAMILIES.iter().flat_map(|f| f.labels).map(|l| l.name).collect();
        names.sort_unstable();
        names.dedup();
        for name in &names {
            assert!(names.iter().all(|other| other == name || !other.ends_with(name)), "{name}");
        }
    }
}
