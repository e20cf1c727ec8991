//! How much a tenant may have of each thing. Counted in the transaction that makes one more: there is one writer at a time,
//! so no two make the last one.

use std::sync::PoisonError;

use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::limits::{COUNTS_FOR_MS, Made, TenantLimits};
use portcullis_control_domain::revocation::names_within;
use portcullis_sql::{Connection, Value, params};

use super::failure::Failure;
use super::store::Store;

/// Of a tenant `?1` what was made after `?2`, or has not ended, but for the one that is to be replaced, `?3`. Where things end
/// by themselves, `?4` is the time in seconds.
const CLUSTERS: &str = "SELECT count(*) FROM cluster WHERE tenant = ?1 AND id <> ?3
    AND (created_at_ms > ?2 OR administrative <> 'retired')";
const API_KEYS: &str = "SELECT count(*) FROM api_key WHERE tenant = ?1 AND id <> ?3
    AND (created_at_ms > ?2 OR (revoked_at_ms IS NULL AND replaced_by IS NULL
        AND (expires_at_s IS NULL OR expires_at_s > ?4)))";
const SERVICE_CLIENTS: &str = "SELECT count(*) FROM service_client WHERE tenant = ?1 AND id <> ?3
    AND (created_at_ms > ?2 OR revoked_at_ms IS NULL)";
const ADMINISTRATORS: &str = "SELECT count(*) FROM administrator WHERE tenant = ?1 AND id <> ?3
    AND (created_at_ms > ?2 OR (revoked_at_ms IS NULL AND (expires_at_s IS NULL OR expires_at_s > ?4)))";
/// Of a tenant's names, from the first to the one behind them; those that the platform made are not the tenant's.
const REVOCATIONS: &str =
    "SELECT count(*) FROM revocation WHERE name >= ?1 AND name < ?2 AND made_by = 'tenant'";

/// Whether a key `?1` took the place of another one.
const REPLACES: &str = "SELECT EXISTS (SELECT 1 FROM api_key WHERE replaced_by = ?1)";

/// Something that somebody is about to make.
pub(super) struct Making<'a> {
    pub(super) what: Made,
    /// The tenant that will have it.
    pub(super) tenant: &'a str,
    /// The id of what it takes the place of.
    pub(super) in_place_of: &'a str,
    pub(super) limits: TenantLimits,
}

impl Making<'_> {
    /// Whether whoever does this may make it.
    pub(super) fn allow(&self, connection: &Connection, action: &AuditEvent) -> Result<(), Failure> {
        if action.reach() == Reach::Platform {
            return Ok(());
        }
        let there = self.there(connection, now_ms())?;
        Ok(self.limits.allow(self.what, there)?)
    }

    /// Whether whoever does this may make it in the place of a key that was made at this time. It may have leaked, so
    /// no bound keeps anybody from replacing it. But a key that took another's place within a day is replaced within the
    /// bound: otherwise somebody who replaces one again and again would fill the database.
    pub(super) fn allow_replacement(
        &self,
        connection: &Connection,
        action: &AuditEvent,
        replaced_ms: u64,
    ) -> Result<(), Failure> {
        if now_ms().saturating_sub(replaced_ms) >= COUNTS_FOR_MS {
            return Ok(());
        }
        let took_a_place = connection.query_one(REPLACES, params![self.in_place_of], |row| row.get(0))?;
        if took_a_place { self.allow(connection, action) } else { Ok(()) }
    }

    fn there(&self, connection: &Connection, now_ms: u64) -> Result<u64, Failure> {
        let Self { tenant, in_place_of, .. } = self;
        let (since, now_s) = (now_ms.saturating_sub(COUNTS_FOR_MS), now_ms / 1000);
        let count = |sql, values: &[Value<'_>]| connection.query_one(sql, values, |row| row.get(0));
        let lasting = params![tenant, since, in_place_of];
        let ending = params![tenant, since, in_place_of, now_s];
        Ok(match self.what {
            Made::Clusters => count(CLUSTERS, lasting)?,
            Made::ServiceClients => count(SERVICE_CLIENTS, lasting)?,
            Made::ApiKeys => count(API_KEYS, ending)?,
            Made::Administrators => count(ADMINISTRATORS, ending)?,
            Made::Revocations => {
                let (first, behind) = names_within(tenant);
                count(REVOCATIONS, params![first, behind])?
            }
        })
    }
}

impl Store {
    /// Takes over how much a tenant may have.
    pub fn limit_tenants(&self, limits: TenantLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// How much a tenant may have.
    pub(super) fn limits(&self) -> TenantLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }
}
