//! The names of the sample platform: its tenants' data clusters, and the clients of its identity provider.

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
/// The OAuth client whose users are people.
pub const CLIENT_PEOPLE: &str = "web-console";
/// The OAuth client of workflows.
pub const CLIENT_WORKERS: &str = "workflow-engine";
/// The OAuth client of MCP agents.
pub const CLIENT_AGENTS: &str = "mcp-gateway";
