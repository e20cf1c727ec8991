//! The control service of Portcullis: policy, keys, cluster state and the audit log.
//!
//! `portcullis serve` has three listeners: the mesh API, by which filters get their snapshot and deliver
//! audit records; the platform API, by which operators and data clusters speak to it; and operations,
//! for health and metrics.

pub mod cli;
pub mod location;
pub mod serve;
