//! What the processes that serve one database server know of each other: who lives, and which workers poll whom.
//!
//! A file is served by one process, which has all of this in memory. Nothing here has a place in the order of changes, so
//! it passes the writer by: a statement is a transaction of its own, and each process writes rows of its own alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portcullis_control_snapshot::{OtherReplica, Sighting, WorkerChanges};
use portcullis_sql::{Backend, Connection, Row, SqlError, params};
use serde_json::{Value, json};

use super::Store;
use super::failure::Failure;
use super::replica_id::ReplicaId;
use crate::StoreError;

/// A process that was not heard of for so long has died, or is cut off.
pub const LEASE: Duration = Duration::from_secs(5);

/// The server's clock, as a table of one row: `now.ms`.
fn now() -> String {
    ["(SELECT ", Backend::Postgres.now_ms(), " AS ms) AS now"].concat()
}

/// A process that lives, as it has told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Which.
    pub id: ReplicaId,
    /// The processes that it knew of.
    pub members: String,
}

/// The workers of another process.
#[derive(Debug, Clone)]
pub struct ReplicaWorkers {
    /// How often it has written something.
    pub changed: u64,
    /// What it knows; `None` when that is what was known already.
    pub sightings: Option<Arc<[Sighting]>>,
    /// When it was asked.
    pub at: Instant,
    /// How long it had not been heard of then.
    pub silence: Duration,
}

impl ReplicaWorkers {
    /// With what it knows.
    #[must_use]
    pub fn knowing(&self, sightings: Arc<[Sighting]>) -> OtherReplica {
        OtherReplica { at: self.at, silence: self.silence, lease: LEASE, sightings }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A time that has passed; by a server whose clock was set back, none.
fn ago(row: &Row<'_>, column: usize) -> Result<Duration, SqlError> {
    let ms: i64 = row.get(column)?;
    Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// PostgreSQL's text holds every character but this one.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn row_of(seen: &Sighting) -> Value {
    json!({
        "principal": text(&seen.principal),
        "worker": text(&seen.worker),
        "proxy": text(&seen.proxy),
        "view": text(&seen.view),
        "acknowledged": seen.acknowledged,
        "polling": seen.polling,
        "polled_ms_ago": ms(seen.polled_ago),
        "seen_ms_ago": ms(seen.silence),
        "stale_after_ms": ms(seen.stale_after),
    })
}

fn sighting(row: &Row<'_>) -> Result<Sighting, SqlError> {
    let (polling, silence) = (row.get(5)?, ago(row, 7)?);
    Ok(Sighting {
        principal: row.get(0)?,
        worker: row.get(1)?,
        proxy: row.get(2)?,
        view: row.get(3)?,
        acknowledged: row.get(4)?,
        polling,
        polled_ago: ago(row, 6)?,
        silence: if polling { Duration::ZERO } else { silence },
        stale_after: ago(row, 8)?,
    })
}

/// Writes everything at once; false when the server had lost what was written before. A count that begins anew begins at a
/// number that was never reached, or others would take it for the old one.
fn write(connection: &Connection, replica: &ReplicaId, changes: &WorkerChanges) -> Result<bool, Failure> {
    if changes.anew {
        connection.execute("DELETE FROM worker WHERE replica = ?1", params![replica.0])?;
    }
    let changed = Value::Array(changes.changed.iter().map(row_of).collect()).to_string();
    let gone = changes
        .gone
        .iter()
        .map(|(principal, worker)| json!({"principal": text(principal), "worker": text(worker)}));
    let gone = Value::Array(gone.collect()).to_string();
    let sql = [
        "WITH gone AS (
            DELETE FROM worker USING
                jsonb_to_recordset(CAST(CAST(?3 AS TEXT) AS jsonb)) AS g (principal TEXT, worker TEXT)
            WHERE worker.replica = ?1 AND worker.principal = g.principal AND worker.worker = g.worker
         ), changed AS (
            INSERT INTO worker (replica, principal, worker, proxy, view, acknowledged, polling, polled_at_ms,
                seen_at_ms, stale_after_ms)
            SELECT CAST(?1 AS TEXT), w.principal, w.worker, w.proxy, w.view, w.acknowledged, w.polling,
                now.ms - w.polled_ms_ago, now.ms - w.seen_ms_ago, w.stale_after_ms
            FROM ",
        &now(),
        ", jsonb_to_recordset(CAST(CAST(?2 AS TEXT) AS jsonb)) AS w (principal TEXT, worker TEXT, proxy TEXT,
                view TEXT, acknowledged BIGINT, polling BOOLEAN, polled_ms_ago BIGINT, seen_ms_ago BIGINT,
                stale_after_ms BIGINT)
            ON CONFLICT (replica, principal, worker) DO UPDATE SET proxy = excluded.proxy, view = excluded.view,
                acknowledged = excluded.acknowledged, polling = excluded.polling,
                polled_at_ms = excluded.polled_at_ms, seen_at_ms = excluded.seen_at_ms,
                stale_after_ms = excluded.stale_after_ms
         )
         INSERT INTO replica (id, seen_at_ms, changed, members) SELECT CAST(?1 AS TEXT), now.ms, now.ms, '' FROM ",
        &now(),
        " ON CONFLICT (id) DO UPDATE SET changed =
            CASE replica.changed WHEN 0 THEN excluded.changed ELSE replica.changed + 1 END
         RETURNING EXISTS (SELECT 1 FROM replica AS before WHERE before.id = ?1 AND before.changed <> 0)",
    ]
    .concat();
    let was_there: bool = connection.query_one(&sql, params![replica.0, changed, gone], |row| row.get(0))?;
    Ok(was_there || changes.anew)
}

/// Renews the lease; true when there was none. What this process knows of its workers is not written then (`changed` is 0).
fn renew(connection: &Connection, replica: &ReplicaId, members: &str) -> Result<bool, Failure> {
    let sql = [
        "INSERT INTO replica (id, seen_at_ms, changed, members) SELECT CAST(?1 AS TEXT), now.ms, 0,
            CAST(?2 AS TEXT) FROM ",
        &now(),
        " ON CONFLICT (id) DO UPDATE SET seen_at_ms = excluded.seen_at_ms, members = excluded.members
         RETURNING xmax = 0",
    ]
    .concat();
    Ok(connection.query_one(&sql, params![replica.0, members], |row| row.get(0))?)
}

/// Removes what processes that died have left: their workers when those can serve no longer, then themselves.
fn remove_dead(connection: &Connection) -> Result<(), Failure> {
    let workers = [
        "DELETE FROM worker USING replica, ",
        &now(),
        " WHERE worker.replica = replica.id AND replica.seen_at_ms + ?1 + worker.stale_after_ms < now.ms",
    ]
    .concat();
    connection.execute(&workers, params![ms(LEASE)])?;
    let replicas = [
        "DELETE FROM replica USING ",
        &now(),
        " WHERE replica.seen_at_ms + ?1 < now.ms
            AND NOT EXISTS (SELECT 1 FROM worker WHERE worker.replica = replica.id)",
    ]
    .concat();
    connection.execute(&replicas, params![ms(LEASE)])?;
    Ok(())
}

fn living(connection: &Connection) -> Result<Vec<Replica>, Failure> {
    let sql = [
        "SELECT replica.id, replica.members FROM replica, ",
        &now(),
        " WHERE replica.seen_at_ms + ?1 >= now.ms ORDER BY replica.id",
    ]
    .concat();
    let read = |row: &Row<'_>| Ok(Replica { id: ReplicaId(row.get(0)?), members: row.get(1)? });
    Ok(connection.query(&sql, params![ms(LEASE)], read)?)
}

fn workers_of(connection: &Connection, replica: &ReplicaId) -> Result<Vec<Sighting>, Failure> {
    let sql = [
        "SELECT principal, worker, proxy, view, acknowledged, polling, now.ms - polled_at_ms, now.ms - seen_at_ms,
            stale_after_ms FROM worker, ",
        &now(),
        " WHERE replica = ?1",
    ]
    .concat();
    Ok(connection.query(&sql, params![replica.0], sighting)?)
}

impl Store {
    /// Whether other processes may serve the database as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.beside.location().is_shared()
    }

    /// Which of them this one is.
    #[must_use]
    pub fn replica(&self) -> &ReplicaId {
        &self.replica
    }

    /// Says that this process lives, and which others it knows of; returns those that do, this one included, and
    /// whether the database had no word of this one. `tidy`: what the dead have left is removed.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn renew_lease(&self, members: String, tidy: bool) -> Result<(Vec<Replica>, bool), StoreError> {
        let replica = self.replica.clone();
        let renewed = self.beside.run(move |connection| {
            let is_new = renew(connection, &replica, &members)?;
            if tidy {
                remove_dead(connection)?;
            }
            Ok((living(connection)?, is_new))
        });
        // Later it is of no use, and a database that is silent for so long is away.
        tokio::time::timeout(LEASE, renewed).await.unwrap_or_else(|_| {
            self.up.store(false, Ordering::Release);
            Err(StoreError::Disconnected(format!(
                "the database server gave no answer within {} s",
                LEASE.as_secs()
            )))
        })
    }

    /// Writes down what changed of the workers that poll this process; false when what was written before is lost.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails. Some of it may be written then.
    pub async fn write_workers(&self, changes: WorkerChanges) -> Result<bool, StoreError> {
        let replica = self.replica.clone();
        self.beside.run(move |connection| write(connection, &replica, &changes)).await
    }

    /// The workers that poll the other processes. `known`: how often each of these had written something when it was
    /// asked last.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn other_workers(
        &self,
        known: HashMap<ReplicaId, u64>,
    ) -> Result<HashMap<ReplicaId, ReplicaWorkers>, StoreError> {
        let own = self.replica.clone();
        self.readers
            .run(move |connection| {
                let at = Instant::now();
                let sql =
                    ["SELECT id, changed, now.ms - seen_at_ms FROM replica, ", &now(), " WHERE id <> ?1"]
                        .concat();
                let others = connection.query(&sql, params![own.0], |row| {
                    let other =
                        ReplicaWorkers { changed: row.get(1)?, sightings: None, at, silence: ago(row, 2)? };
                    Ok((ReplicaId(row.get(0)?), other))
                })?;
                let mut others: HashMap<_, _> = others.into_iter().collect();
                for (id, other) in &mut others {
                    // Who has not written what it knows since the server lost it still has the workers of before.
                    if other.changed != 0 && known.get(id) != Some(&other.changed) {
                        other.sightings = Some(workers_of(connection, id)?.into());
                    }
                }
                Ok(others)
            })
            .await
    }
}
