//! The audit log: who may write what, and what can be asked.

mod entry;
mod event;
mod ingested;
mod names;
mod parts;
mod query;
mod record;
mod recorded_caller;
mod sender;
mod stream;

pub use entry::{LogBody, LogEntry, commitment, leaf_hash};
pub use event::AuditEvent;
pub use ingested::Ingested;
pub use names::{DecisionName, Hop};
pub use parts::{DataSubject, Parts, say_the_same};
pub use query::{AuditRow, AuditStatus, Erased, LogProof, Order, RecordQuery, StreamStatus};
pub use record::Parsed;
pub use recorded_caller::RecordedCaller;
pub use sender::{CONTROL_HOP, Refusals, RejectReason, Sender, Tenants};
pub use stream::{Settled, Stream};
