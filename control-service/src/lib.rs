//! The control service of Portcullis: policy, keys, cluster state and the audit log.
//!
//! `portcullis serve` has three listeners: the mesh API, by which filters get their snapshot and deliver
//! audit records; the platform API, by which operators and data clusters speak to it; and operations,
//! for health and metrics.

pub mod api;
pub mod causes;
pub mod cli;
pub mod introspection;
pub mod issuers;
pub mod judge;
pub mod listen;
pub mod metrics;
pub mod oauth;
pub mod outbound;
pub mod presence;
pub mod retry;
pub mod serve;
pub mod shares;
pub mod signing;
pub mod xfcc;
