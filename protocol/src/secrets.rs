//! How the secrets that the control service makes begin, so that scanners find leaked ones.

/// API keys.
pub const API_KEY: &str = "pck_";
/// Administrators' tokens.
pub const ADMINISTRATOR: &str = "pca_";
/// Clusters' tokens.
pub const CLUSTER: &str = "pcc_";
/// Clients' secrets.
pub const SERVICE_CLIENT: &str = "pcs_";
/// Join tokens.
pub const JOIN: &str = "pcj_";

/// All of them.
pub const PREFIXES: [&str; 5] = [API_KEY, ADMINISTRATOR, CLUSTER, SERVICE_CLIENT, JOIN];
