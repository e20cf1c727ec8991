//! The audit log: who may write what, and what can be asked.

mod event;
mod ingested;
mod query;
mod record;
mod sender;
mod stream;

pub use event::AuditEvent;
pub use ingested::Ingested;
pub use query::{AuditRow, AuditStatus, RecordQuery, StreamStatus};
pub use record::Parsed;
pub use sender::{Refusals, RejectReason, Sender, Tenants};
pub use stream::{Settled, Stream};
