//! What is counted: a closed list.
//!
//! Every metric that there can ever be is a number below [`COUNT`], so a target may keep what its proxy knows
//! of them in an array, or make all of them known at the start. Labels come from closed sets: nothing that a
//! caller chose, and no name out of a policy, ever becomes one.
//!
//! Requests count in the [`Meter`](crate::meter::Meter) of their worker, which tells the proxy at the next tick.

mod family;

use portcullis_identity::SourceType;
use portcullis_model::{Decision, Refusal};

pub use family::{COUNT, FAMILIES, Family, Kind, Label};

use family::{CALL_OUTCOMES, CALLER_COUNT, Index, REASON_COUNT, STAGES, UNKNOWN_CLASS, UNKNOWN_STAGE, base};

/// A metric of the closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId(u16);

impl MetricId {
    /// Every metric that there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..u16::try_from(COUNT).unwrap_or(u16::MAX)).map(Self)
    }

    /// Its place in the list, below [`COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The family that it belongs to, and the values of that family's labels.
    #[must_use]
    pub fn describe(self) -> Option<(&'static Family, Vec<&'static str>)> {
        let mut rest = self.index();
        for family in FAMILIES {
            if rest < family.size() {
                return Some((family, family.values(rest)));
            }
            rest = rest.saturating_sub(family.size());
        }
        None
    }

    /// The kind and the name of a metric in the proxy. Labels stand in the name as Istio writes those of its
    /// own metrics, `label=.=value;.;`, so that `extraStatTags` of its mesh configuration makes labels of them
    /// again.
    #[must_use]
    pub fn stat(self) -> Option<(Kind, String)> {
        let (family, values) = self.describe()?;
        let mut name = String::new();
        for (label, value) in family.labels.iter().zip(values) {
            for part in [label.name, "=.=", value, ";.;"] {
                name.push_str(part);
            }
        }
        name.push_str(family.name);
        Some((family.kind, name))
    }
}

/// Who calls, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceLabel {
    /// A person.
    Human,
    /// A service.
    Worker,
    /// An agent.
    McpAgent,
    /// Nobody knows: without an identity, or one that no rule fits.
    Unknown,
}

impl From<Option<SourceType>> for SourceLabel {
    fn from(source_type: Option<SourceType>) -> Self {
        match source_type {
            Some(SourceType::Human) => Self::Human,
            Some(SourceType::Worker) => Self::Worker,
            Some(SourceType::McpAgent) => Self::McpAgent,
            None => Self::Unknown,
        }
    }
}

/// What is asked of the control service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A poll for the snapshot.
    Snapshot,
    /// A delivery of audit records.
    Audit,
    /// What an opaque token stands for.
    Introspection,
    /// An issuer's new keys.
    Keys,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It was answered as wanted.
    Ok,
    /// It was answered with another status, or with something that cannot be trusted or read.
    Refused,
    /// There was no answer, or it could not be sent.
    Failed,
}

/// A call that was answered, or will not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallEnd {
    /// What was asked.
    pub kind: CallKind,
    /// What came of it.
    pub outcome: CallOutcome,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl CallEnd {
    /// The end of a call that was sent at some time. `taken`: its answer served.
    #[must_use]
    pub fn new(kind: CallKind, status: Option<u16>, taken: bool, (sent_ms, now_ms): (u64, u64)) -> Self {
        let outcome = match (taken, status) {
            (true, _) => CallOutcome::Ok,
            (false, Some(_)) => CallOutcome::Refused,
            (false, None) => CallOutcome::Failed,
        };
        Self { kind, outcome, took_ms: now_ms.saturating_sub(sent_ms) }
    }
}

/// What can be counted, in the engine's words.
#[derive(Debug, Clone, Copy)]
pub enum Metric<'a> {
    /// A request was decided about.
    Decision(&'a Decision, SourceLabel),
    /// A request was refused.
    Refusal(&'a Refusal),
    /// A request ended with this status, or without one.
    Response(Option<u16>, SourceLabel),
    /// How long a request took, in milliseconds.
    RequestDuration(SourceLabel),
    /// Bytes of requests' bodies.
    RequestBytes(SourceLabel),
    /// Bytes of responses' bodies.
    ResponseBytes(SourceLabel),
    /// A call to the control service ended.
    Call(CallKind, CallOutcome),
    /// How long a call took, in milliseconds.
    CallDuration(CallKind),
    /// A credential was known already.
    CacheHit,
    /// A credential had to be judged.
    CacheMiss,
    /// An identity was made without all roles and scopes of its credential.
    IncompleteIdentity,
    /// The snapshot's revision.
    SnapshotRevision,
    /// Seconds since a poll was completed.
    SnapshotAge,
    /// Audit records that wait.
    JournalRecords,
    /// An audit record was dropped.
    JournalDropped,
    /// Audit records of a worker that is gone were taken over.
    RecordsRecovered,
    /// A worker began.
    WorkerStart,
    /// A panic was caught.
    Panic,
}

impl Metric<'_> {
    /// The metric's place in the closed list.
    #[must_use]
    pub fn id(self) -> MetricId {
        let caller = |caller: SourceLabel| caller as usize;
        let (index, value) = match self {
            Self::Decision(decision, who) => (Index::Decisions, pair(decision_place(decision), caller(who))),
            Self::Refusal(refusal) => {
                let stage = place(STAGES, refusal.stage).unwrap_or(UNKNOWN_STAGE);
                (Index::Refusals, stage.saturating_mul(REASON_COUNT).saturating_add(refusal.reason as usize))
            }
            Self::Response(status, who) => (Index::Responses, pair(class(status), caller(who))),
            Self::RequestDuration(who) => (Index::RequestDuration, caller(who)),
            Self::RequestBytes(who) => (Index::RequestBytes, caller(who)),
            Self::ResponseBytes(who) => (Index::ResponseBytes, caller(who)),
            Self::Call(kind, outcome) => {
                let kind = (kind as usize).saturating_mul(CALL_OUTCOMES.len());
                (Index::Calls, kind.saturating_add(outcome as usize))
            }
            Self::CallDuration(kind) => (Index::CallDuration, kind as usize),
            Self::CacheHit => (Index::CacheHits, 0),
            Self::CacheMiss => (Index::CacheMisses, 0),
            Self::IncompleteIdentity => (Index::IncompleteIdentities, 0),
            Self::SnapshotRevision => (Index::SnapshotRevision, 0),
            Self::SnapshotAge => (Index::SnapshotAge, 0),
            Self::JournalRecords => (Index::JournalRecords, 0),
            Self::JournalDropped => (Index::JournalDropped, 0),
            Self::RecordsRecovered => (Index::RecordsRecovered, 0),
            Self::WorkerStart => (Index::WorkerStarts, 0),
            Self::Panic => (Index::Panics, 0),
        };
        MetricId(u16::try_from(base(index).saturating_add(value)).unwrap_or(u16::MAX))
    }
}

/// The place of a value and a caller in a family with these two labels.
fn pair(value: usize, caller: usize) -> usize {
    value.saturating_mul(CALLER_COUNT).saturating_add(caller)
}

fn place(values: &[&str], value: &str) -> Option<usize> {
    values.iter().position(|v| *v == value)
}

fn decision_place(decision: &Decision) -> usize {
    match decision {
        Decision::None => 0,
        Decision::Allow => 1,
        Decision::Exempt => 2,
        Decision::Platform => 3,
        Decision::Refuse(_) => 4,
        Decision::End(_) => 5,
    }
}

/// The place of a status's class among the values of its label.
fn class(status: Option<u16>) -> usize {
    match status {
        Some(status @ 100..600) => usize::from(status / 100).saturating_sub(1),
        _ => UNKNOWN_CLASS,
    }
}

/// Whether refusals of a stage of this name are counted under it, and not as those of another one.
#[must_use]
pub fn knows_stage(stage: &str) -> bool {
    place(STAGES, stage).is_some_and(|place| place != UNKNOWN_STAGE)
}

#[cfg(test)]
mod tests {
    use portcullis_model::Reason;

    use super::*;

    fn told(metric: Metric<'_>) -> String {
        let (family, values) = metric.id().describe().unwrap();
        format!("{} {}", family.name, values.join(" "))
    }

    #[test]
    fn every_metric_is_another_one_and_has_a_description() {
        let mut names: Vec<String> = MetricId::all()
            .map(|id| {
                let (family, values) = id.describe().unwrap();
                assert_eq!(values.len(), family.labels.len());
                format!("{} {}", family.name, values.join(" "))
            })
            .collect();
        assert_eq!(names.len(), COUNT);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), COUNT, "two of one name");
        const { assert!(COUNT < 500, "these are many metrics") };
    }

    #[test]
    fn labels_say_what_happened() {
        for reason in Reason::ALL {
            for stage in ["authn", "source-type", "cluster-status", "audit", "gateway"] {
                let refusal = Refusal::new(stage, *reason);
                let expected = format!("portcullis_filter_refusals_total {stage} {}", reason.code());
                assert_eq!(told(Metric::Refusal(&refusal)), expected);
                let decision = Decision::Refuse(refusal);
                let expected = "portcullis_filter_decisions_total refuse unknown";
                assert_eq!(told(Metric::Decision(&decision, None.into())), expected);
            }
        }
        for decision in [Decision::None, Decision::Allow, Decision::Exempt, Decision::Platform] {
            let expected = format!("portcullis_filter_decisions_total {} human", decision.as_str());
            assert_eq!(told(Metric::Decision(&decision, SourceLabel::Human)), expected);
        }
        for source_type in [SourceType::Human, SourceType::Worker, SourceType::McpAgent] {
            let expected = format!("portcullis_filter_request_bytes_total {}", source_type.as_str());
            assert_eq!(told(Metric::RequestBytes(Some(source_type).into())), expected);
        }
        let statuses = [(Some(101), "1xx"), (Some(599), "5xx"), (Some(99), "none"), (Some(600), "none")];
        for (status, class) in statuses.into_iter().chain([(None, "none")]) {
            let expected = format!("portcullis_filter_responses_total {class} worker");
            assert_eq!(told(Metric::Response(status, SourceLabel::Worker)), expected);
        }
        let call = Metric::Call(CallKind::Introspection, CallOutcome::Failed);
        assert_eq!(told(call), "portcullis_filter_calls_total introspection failed");
        assert_eq!(told(Metric::CallDuration(CallKind::Keys)), "portcullis_filter_call_duration_ms keys");
        assert_eq!(told(Metric::Panic), "portcullis_filter_panics_total ");
    }

    #[test]
    fn a_stage_that_the_list_does_not_know_makes_no_metric_of_its_own() {
        let told = told(Metric::Refusal(&Refusal::new("made-up", Reason::Internal)));
        assert_eq!(told, "portcullis_filter_refusals_total other internal");
        assert!(knows_stage("authn") && !knows_stage("made-up") && !knows_stage("other"));
    }
}
