//! The audit log: append-only, each record once, gaps known.

mod append;
mod convert;
mod erase;
mod evidence;
mod incoming;
mod ingest;
#[cfg(test)]
mod plans;
mod read;
mod recorder;
mod streams;

pub(super) use append::append;
pub(super) use convert::{convert, is_converted};
pub(super) use erase::erase;
pub(super) use evidence::{Evidence, FROM};
pub(super) use incoming::Incoming;
pub(super) use read::oldest_ms;
pub(super) use recorder::{AUDIT_KEYS, Recorder};
