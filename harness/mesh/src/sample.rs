//! The names of the sample platform: its tenants' data clusters.

/// The tenant that owns the clusters whose names begin with it.
pub const TENANT: &str = "acme";
/// The platform-hosted data cluster.
pub const HOSTED: &str = "acme-hosted";
/// The on-premises data cluster, reached through a tunnel.
pub const ONPREM: &str = "acme-onprem";
/// A cluster of tenant `acme` that has never sent a heartbeat.
pub const SILENT: &str = "acme-silent";
/// A cluster of tenant `acme` that sent one heartbeat and no more: it goes offline.
pub const OFFLINE: &str = "acme-offline";
/// An online cluster of another tenant.
pub const FOREIGN: &str = "globex-hosted";
