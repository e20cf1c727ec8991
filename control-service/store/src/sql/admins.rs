//! Who has a token of the platform API. Only the digests of the tokens are kept.

use portcullis_control_domain::administrator::{Administrator, bootstrap_event};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::{Caller, CallerCredential, Person, Reach, Role, RoleParts, Voucher};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::limits::Made;
use portcullis_control_domain::tokens::Token;
use portcullis_control_domain::{Listed, Refused};
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, Row, SqlError, params};
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::limits::Making;
use super::transaction::Transaction;
use super::vouched::{self, GOOD, still_good};
use super::{Database, Store, clusters};
use crate::StoreError;

pub(super) const COLUMNS: &str =
    "id, break_glass, created_at_ms, expires_at_s, revoked_at_ms, role, tenant, cluster, made_by, voucher";

pub(super) fn read(row: &Row<'_>) -> Result<Administrator, SqlError> {
    Ok(read_vouched(row)?.0)
}

/// The same, and who vouches for the token.
fn read_vouched(row: &Row<'_>) -> Result<(Administrator, Option<Voucher>), SqlError> {
    let voucher = vouched::read(row, 9)?;
    let administrator = Administrator {
        id: row.get(0)?,
        break_glass: row.get(1)?,
        created_at_ms: row.get(2)?,
        expires_at_s: row.get(3)?,
        revoked_at_ms: row.get(4)?,
        role: role(row)?,
        made_by: row.get(8)?,
        person: voucher.as_ref().map(|voucher| voucher.person.clone()),
    };
    Ok((administrator, voucher))
}

/// The role in columns 5 to 7.
fn role(row: &Row<'_>) -> Result<Role, SqlError> {
    let optional = |column| row.get::<Option<String>>(column);
    let wrong = |index| SqlError::Column { index, wanted: "role with its bounds" };
    let tenant = optional(6)?.map(|text| text.parse().map_err(|_| wrong(6))).transpose()?;
    let cluster = optional(7)?.map(|text| text.parse().map_err(|_| wrong(7))).transpose()?;
    RoleParts { role: row.parse(5)?, tenant, cluster }.try_into().map_err(|_| wrong(5))
}

/// A token to be kept: what is known of it, its digest, and who vouches for it.
struct NewToken {
    administrator: Administrator,
    digest: [u8; 32],
    voucher: Option<String>,
}

fn insert(connection: &Connection, new: &NewToken) -> Result<(), Failure> {
    let NewToken { administrator, digest, voucher } = new;
    let role = RoleParts::from(administrator.role.clone());
    connection.execute(
        "INSERT INTO administrator
                (id, token_digest, break_glass, created_at_ms, expires_at_s, role, tenant, cluster, made_by, voucher)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            administrator.id,
            digest,
            administrator.break_glass,
            administrator.created_at_ms,
            administrator.expires_at_s,
            role.role.as_str(),
            role.tenant.as_ref().map(|tenant| tenant.as_str()),
            role.cluster.as_ref().map(|cluster| cluster.as_str()),
            administrator.made_by,
            voucher
        ],
    )?;
    Ok(())
}

impl Database {
    /// Makes the first administrator. `None` when somebody has a token already, also one whose token has ended or was
    /// revoked, unless `break_glass` is set; the making is audited either way.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn bootstrap_administrator(
        &mut self,
        break_glass: bool,
        expires_at_s: Option<u64>,
    ) -> Result<Option<Token>, StoreError> {
        let (administrator, token) =
            Administrator::generate(Role::Administrator, expires_at_s, None, now_ms());
        let mut new = NewToken { administrator, digest: token.digest(), voucher: None };
        let made = self.write(move |transaction| {
            let exists: bool = transaction.connection().query_one(
                "SELECT EXISTS (SELECT 1 FROM administrator)",
                params![],
                |row| row.get(0),
            )?;
            if exists && !break_glass {
                return Ok(false);
            }
            new.administrator.break_glass = exists;
            insert(transaction.connection(), &new)?;
            let action = bootstrap_event(&new.administrator.id, exists);
            transaction.record(action.record(201, ""))?;
            Ok(true)
        })?;
        Ok(made.then_some(token))
    }
}

impl Store {
    /// Whose token this is, neither revoked nor ended. Asked for each call, so that a revocation holds with the next one.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn caller(&self, token: &Token) -> Result<Option<Caller>, StoreError> {
        let (id, digest) = (token.id().to_owned(), token.digest());
        self.readers
            .run(move |connection| {
                let sql = ["SELECT ", COLUMNS, ", token_digest FROM administrator WHERE id = ?1 AND ", GOOD]
                    .concat();
                let found = connection.query_optional(&sql, params![id, now_ms() / 1000], |row| {
                    Ok((read_vouched(row)?, row.get::<[u8; 32]>(10)?))
                })?;
                let known = found.filter(|(_, stored)| bool::from(stored.ct_eq(&digest)));
                Ok(known.map(
                    |((Administrator { id, role, expires_at_s, created_at_ms, .. }, voucher), _)| Caller {
                        credential: CallerCredential::Token { id },
                        role,
                        expires_at_s,
                        voucher: voucher.map(Box::new),
                        made_at_ms: Some(created_at_ms),
                    },
                ))
            })
            .await
    }

    /// Whether a caller who was let in would be let in again, as far as the store knows.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn is_still_good(&self, caller: Caller) -> Result<bool, StoreError> {
        self.readers.run(move |connection| still_good(connection, &caller, now_ms())).await
    }

    /// Gives out a token of this role, to be shown once.
    ///
    /// # Errors
    /// [`Refused::OutOfReach`] when its role has what the caller's lacks, [`Refused::ClusterUnknown`] of a cluster owner's
    /// that is not that tenant's, [`Refused::CallerRevoked`], [`Refused::LimitReached`], or the database fails.
    pub async fn create_administrator(
        &self,
        role: Role,
        expires_at_s: Option<u64>,
        by: Caller,
        action: AuditEvent,
    ) -> Result<(Administrator, Token), StoreError> {
        let (administrator, token) = Administrator::generate(role, expires_at_s, Some(&by), now_ms());
        let voucher = by.voucher.as_ref().map(serde_json::to_string).transpose();
        let voucher = voucher.map_err(|error| StoreError::Database(error.to_string()))?;
        let (made, digest, limits) = (administrator.clone(), token.digest(), self.limits());
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                if !may_grant(&action, &administrator.role) {
                    return Err(Refused::OutOfReach.into());
                }
                if !still_good(connection, &by, now_ms())? {
                    return Err(Refused::CallerRevoked.into());
                }
                if let Role::ClusterOwner(tenant, id) = &administrator.role {
                    clusters::within(connection, id, &Reach::Tenant(tenant.clone()))?;
                }
                let tenant = action.reach().bounds().0.unwrap_or_default().to_owned();
                let making = Making { what: Made::Administrators, tenant: &tenant, in_place_of: "", limits };
                making.allow(connection, &action)?;
                let new = NewToken { administrator, digest, voucher };
                insert(connection, &new)?;
                let NewToken { administrator, .. } = new;
                transaction.record(about(action.record_of(201, &administrator.id), administrator.role))
            })
            .await?;
        Ok((made, token))
    }

    /// Revokes a token; doing so again changes nothing. `with_made`: also all that it made, that those made, and so on;
    /// their ids are returned. The last good one of the role administrator stays: nobody could do everything any more.
    ///
    /// # Errors
    /// [`Refused::AdministratorUnknown`], [`Refused::OutOfReach`] or [`Refused::AdministratorLast`], or the database
    /// fails.
    pub async fn revoke_administrator(
        &self,
        id: String,
        with_made: bool,
        action: AuditEvent,
    ) -> Result<(Administrator, Vec<String>), StoreError> {
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let found = find(connection, &id)?;
                let found = found.filter(|administrator| action.reach().covers(&administrator.role.reach()));
                let administrator = found.ok_or(Refused::AdministratorUnknown)?;
                // Whom somebody above has set beside them is not theirs to remove.
                if !may_grant(&action, &administrator.role) {
                    return Err(Refused::OutOfReach.into());
                }
                let made = if with_made { made_by(connection, &id)? } else { Vec::new() };
                // Those first: of several administrators the one that is named must not pass for one that is left.
                for administrator in made.iter().cloned() {
                    let path = ["/v1/administrators/", &administrator.id].concat();
                    end(transaction, administrator, &AuditEvent { path, ..action.clone() })?;
                }
                let administrator = end(transaction, administrator, &action)?;
                Ok((administrator, made.into_iter().map(|administrator| administrator.id).collect()))
            })
            .await
    }

    /// Who has a token, in the order of the ids, revoked ones included, for somebody who can touch so much.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn administrators(
        &self,
        reach: Reach,
        after: String,
        limit: usize,
    ) -> Result<Listed<Administrator>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM administrator WHERE id > ?1 AND (CAST(?3 AS TEXT) IS NULL OR tenant = ?3) ORDER BY id LIMIT ?2",
                ]
                .concat();
                let mut items = connection.query(&sql, params![after, limit + 1, reach.bounds().0], read)?;
                // Who of the platform set somebody beside a tenant is not told there.
                let hidden = |person: &Person| !reach.has_tenant(person.tenant.as_str());
                for administrator in &mut items {
                    administrator.person.take_if(|person| hidden(person));
                }
                Ok(Listed::new(items, limit, |administrator: &Administrator| administrator.id.clone()))
            })
            .await
    }
}

fn find(connection: &Connection, id: &str) -> Result<Option<Administrator>, Failure> {
    let sql = ["SELECT ", COLUMNS, " FROM administrator WHERE id = ?1"].concat();
    Ok(connection.query_optional(&sql, params![id], read)?)
}

/// The tokens that a token made, those that these made, and so on, as far as they are not revoked yet.
fn made_by(connection: &Connection, id: &str) -> Result<Vec<Administrator>, Failure> {
    let sql = [
        "WITH RECURSIVE made (made_id) AS (
            SELECT id FROM administrator WHERE made_by = ?1
            UNION SELECT a.id FROM administrator a JOIN made m ON a.made_by = m.made_id)
         SELECT ",
        COLUMNS,
        " FROM administrator WHERE id IN (SELECT made_id FROM made) AND revoked_at_ms IS NULL ORDER BY id",
    ]
    .concat();
    Ok(connection.query(&sql, params![id], read)?)
}

/// Ends a token that was found.
fn end(
    transaction: &mut Transaction<'_>,
    mut administrator: Administrator,
    action: &AuditEvent,
) -> Result<Administrator, Failure> {
    let (connection, now) = (transaction.connection(), now_ms());
    let id = administrator.id.clone();
    administrator.revoke(now, || is_another_good(connection, &id, now))?;
    connection.execute(
        "UPDATE administrator SET revoked_at_ms = ?2 WHERE id = ?1",
        params![administrator.id, administrator.revoked_at_ms],
    )?;
    transaction.record(about(action.record(200, ""), administrator.role.clone()))?;
    Ok(administrator)
}

/// Whether whoever does this may give out such a role.
fn may_grant(action: &AuditEvent, role: &Role) -> bool {
    action.role.as_ref().is_some_and(|own| own.may_grant(role))
}

/// The record of something that concerns a token of this role.
fn about(record: AuditRecord, role: Role) -> AuditRecord {
    let RoleParts { tenant, cluster, .. } = role.into();
    AuditRecord {
        tenant: tenant.map(Into::into).unwrap_or_default(),
        cluster: cluster.map(Into::into).unwrap_or_default(),
        ..record
    }
}

/// Ends an administrator's token, also the last one: whoever has the service's machine can make another.
pub(super) fn end_token(transaction: &Transaction<'_>, id: &str) -> Result<(), Failure> {
    let sql = "UPDATE administrator SET revoked_at_ms = coalesce(revoked_at_ms, ?2) WHERE id = ?1";
    let changed = transaction.connection().execute(sql, params![id, now_ms()])?;
    if changed == 0 { Err(Refused::AdministratorUnknown.into()) } else { Ok(()) }
}

/// Whether there is an administrator beside this one whose token is good.
fn is_another_good(connection: &Connection, id: &str, now_ms: u64) -> Result<bool, Failure> {
    let sql = [
        "SELECT EXISTS (SELECT 1 FROM administrator WHERE role = 'administrator' AND id <> ?1 AND ",
        GOOD,
        ")",
    ]
    .concat();
    Ok(connection.query_one(&sql, params![id, now_ms / 1000], |row| row.get(0))?)
}
