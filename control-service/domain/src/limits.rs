//! How much a tenant may make by its own administrators. The platform's are not bound.

use crate::Refused;
pub use crate::made::Made;

/// How much of each a tenant may have. What was made within a day counts although it has ended: otherwise somebody who
/// makes and ends things by turns would fill the database with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLimits {
    /// Clusters.
    pub clusters: u32,
    /// API keys.
    pub api_keys: u32,
    /// Clients of the token endpoint.
    pub service_clients: u32,
    /// Tokens of the platform API.
    pub administrators: u32,
    /// Revocations.
    pub revocations: u32,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self { clusters: 200, api_keys: 2_000, service_clients: 200, administrators: 200, revocations: 2_000 }
    }
}

/// For how long what has ended counts, in milliseconds.
pub const COUNTS_FOR_MS: u64 = 24 * 3600 * 1000;

impl TenantLimits {
    /// How many there may be of something.
    #[must_use]
    pub fn of(&self, what: Made) -> u32 {
        match what {
            Made::Clusters => self.clusters,
            Made::ApiKeys => self.api_keys,
            Made::ServiceClients => self.service_clients,
            Made::Administrators => self.administrators,
            Made::Revocations => self.revocations,
        }
    }

    /// Whether a tenant that has so many of something may make one more.
    ///
    /// # Errors
    /// [`Refused::LimitReached`].
    pub fn allow(&self, what: Made, there: u64) -> Result<(), Refused> {
        let limit = self.of(what);
        if there < u64::from(limit) { Ok(()) } else { Err(Refused::LimitReached { what, limit }) }
    }
}
