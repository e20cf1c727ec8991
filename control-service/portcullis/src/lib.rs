//! The control service of Portcullis: policy, keys, cluster state and the audit log.
//!
//! `portcullis serve` has these listeners: the mesh API, by which filters get their snapshot and deliver
//! audit records; the platform API, by which operators and data clusters speak to it; operations,
//! for health and metrics; and, where it is configured, that of the agents of data clusters.

pub mod cli;
pub mod location;
pub mod serve;
