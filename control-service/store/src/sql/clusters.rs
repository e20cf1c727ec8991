//! Data clusters in the database. Every change of a state is published to the filters with it.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::clock::{millis, now_ms};
use portcullis_control_domain::cluster::{
    Administer, Administrative, Cluster, ClusterQuery, Heartbeat, KnownCluster, NewCluster, Observation,
    Observed, SilentCluster, effective,
};
use portcullis_control_domain::hold::{Holds, Word};
use portcullis_control_domain::limits::{Made, TenantLimits};
use portcullis_control_domain::signal::{Rules, Said, SignalName, SignalReport, SignalValue, Signals};
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_domain::{Listed, Refused};
use portcullis_control_snapshot::entries;
use portcullis_identity::ids::ClusterId;
use portcullis_model::decision::ClusterState;
use portcullis_sql::{Connection, Row, SqlError, params};

use super::Store;
use super::enrolled;
use super::failure::Failure;
use super::leader::Term;
use super::limits::Making;
use super::times;
use super::transaction::Transaction;
use crate::StoreError;

pub(super) const COLUMNS: &str = "id, tenant, placement, region, administrative, observed, version, created_at_ms, \
                       last_heartbeat_at_ms, token_digest, holds, \
                       reported, tunnel, tunnel_at_ms, tunnel_source, probe, probe_at_ms, probe_source, \
                       observed_since_ms, observed_by, recovers_ms";

/// A time is written unless a newer one is there. One of the future was written before the clock was set back.
const NOTE_TIMES: [&str; 2] = [
    "UPDATE cluster SET last_heartbeat_at_ms = noted.at_ms",
    "WHERE id = noted.name AND (coalesce(last_heartbeat_at_ms, 0) < noted.at_ms OR last_heartbeat_at_ms > ?2)
     RETURNING id, reported",
];

/// What the audit log calls a change of what is observed, where a call has its method.
const STATE: &str = "STATE";

/// By how much a heartbeat's time may be in the future without being one of before the clock was set back.
const FUTURE_MS: u64 = 5_000;

pub(super) fn read(row: &Row<'_>) -> Result<KnownCluster, SqlError> {
    let (administrative, observed): (Administrative, Observed) = (row.parse(4)?, row.parse(5)?);
    let holds = holds(row, 10)?;
    Ok(KnownCluster {
        cluster: Cluster {
            id: row.parse(0)?,
            tenant: row.parse(1)?,
            placement: row.parse(2)?,
            region: row.get(3)?,
            state: effective(administrative, observed),
            observed,
            observed_since_ms: row.get(18)?,
            observed_by: optional(row, 19)?,
            signals: signals(row)?,
            recovers_ms: row.get(20)?,
            administrative,
            suspended_by: holds.sides().collect(),
            holds,
            version: row.get(6)?,
            created_at_ms: row.get(7)?,
            last_heartbeat_at_ms: row.get(8)?,
        },
        token_digest: row.get(9)?,
    })
}

/// A word that may not be there.
fn optional<T: FromStr>(row: &Row<'_>, column: usize) -> Result<Option<T>, SqlError> {
    let is_there = row.get::<Option<String>>(column)?.is_some();
    is_there.then(|| row.parse(column)).transpose()
}

/// What a signal said last, by the columns of its value, of the time, and of who was asked.
fn said(row: &Row<'_>, (value, at, source): (usize, usize, Option<usize>)) -> Result<Option<Said>, SqlError> {
    let Some(value) = optional(row, value)? else { return Ok(None) };
    let at_ms: Option<u64> = row.get(at)?;
    let source: Option<String> = source.map(|source| row.get(source)).transpose()?;
    Ok(Some(Said { value, at_ms: at_ms.unwrap_or_default(), source: source.unwrap_or_default() }))
}

fn signals(row: &Row<'_>) -> Result<Signals, SqlError> {
    Ok(Signals {
        heartbeat: said(row, (11, 8, None))?,
        tunnel: said(row, (12, 13, Some(14)))?,
        probe: said(row, (15, 16, Some(17)))?,
    })
}

fn holds(row: &Row<'_>, column: usize) -> Result<Holds, SqlError> {
    let wrong = |_| SqlError::Column { index: column, wanted: std::any::type_name::<Holds>() };
    serde_json::from_str(&row.get::<String>(column)?).map_err(wrong)
}

fn holds_text(holds: &Holds) -> Result<String, Failure> {
    serde_json::to_string(holds).map_err(|error| Failure::database(error.to_string()))
}

fn find(connection: &Connection, id: &ClusterId) -> Result<Option<KnownCluster>, Failure> {
    let sql = ["SELECT ", COLUMNS, " FROM cluster WHERE id = ?1"].concat();
    Ok(connection.query_optional(&sql, params![id.as_str()], read)?)
}

/// A cluster, for somebody who can touch so much: what is beyond that is not there.
pub(super) fn within(connection: &Connection, id: &ClusterId, reach: &Reach) -> Result<Cluster, Failure> {
    let found = find(connection, id)?.map(|known| known.cluster);
    Ok(found.filter(|cluster| cluster.is_within(reach)).ok_or(Refused::ClusterUnknown)?)
}

/// Runs a change of one cluster; publishes it if its state changed.
fn change(
    transaction: &mut Transaction<'_>,
    (id, reach): (&ClusterId, &Reach),
    edit: impl FnOnce(&mut Cluster) -> Result<(), Refused>,
) -> Result<(Cluster, u64), Failure> {
    let mut cluster = within(transaction.connection(), id, reach)?;
    let before = cluster.state;
    edit(&mut cluster)?;
    let Signals { heartbeat, tunnel, probe } = &cluster.signals;
    let value = |said: &Option<Said>| said.as_ref().map(|said| said.value.as_str());
    let at_ms = |said: &Option<Said>| said.as_ref().map(|said| said.at_ms);
    let source = |said: &Option<Said>| said.as_ref().map(|said| said.source.clone()).unwrap_or_default();
    transaction.connection().execute(
        "UPDATE cluster SET administrative = ?2, observed = ?3, version = ?4, last_heartbeat_at_ms = ?5,
                holds = ?6, reported = ?7, tunnel = ?8, tunnel_at_ms = ?9, tunnel_source = ?10, probe = ?11,
                probe_at_ms = ?12, probe_source = ?13, observed_since_ms = ?14, observed_by = ?15, recovers_ms = ?16
            WHERE id = ?1",
        params![
            id.as_str(),
            cluster.administrative.as_str(),
            cluster.observed.as_str(),
            cluster.version,
            cluster.last_heartbeat_at_ms,
            holds_text(&cluster.holds)?,
            value(heartbeat),
            value(tunnel),
            at_ms(tunnel),
            source(tunnel),
            value(probe),
            at_ms(probe),
            source(probe),
            cluster.observed_since_ms,
            cluster.observed_by.map(SignalName::as_str),
            cluster.recovers_ms
        ],
    )?;
    let revision = match cluster.state == before {
        true => transaction.revision(),
        false => transaction.publish(&entries::of_cluster(&cluster))?,
    };
    Ok((cluster, revision))
}

/// Does what an operator wants with a cluster; returns the revision from which on it is so.
pub(super) fn administer(
    transaction: &mut Transaction<'_>,
    (id, reach): (&ClusterId, &Reach),
    (what, word): (Administer, Word),
) -> Result<(Cluster, u64), Failure> {
    let retires = what == Administer::Retire;
    let changed = change(transaction, (id, reach), |cluster| cluster.administer(what, word))?;
    if retires {
        enrolled::revoke_certificates(transaction.connection(), id, None)?;
        enrolled::revoke_tokens_of(transaction.connection(), id)?;
    }
    Ok(changed)
}

/// Suspends a cluster by somebody's word, whoever tells of it.
pub(super) fn suspend(transaction: &mut Transaction<'_>, id: &ClusterId, word: Word) -> Result<(), Failure> {
    administer(transaction, (id, &Reach::Platform), (Administer::Suspend(None), word)).map(drop)
}

fn register(
    transaction: &mut Transaction<'_>,
    new: NewCluster,
    digest: [u8; 32],
    (action, limits): (&AuditEvent, TenantLimits),
) -> Result<(Cluster, u64), Failure> {
    // First of all: nobody learns from the answer what is there in another tenant.
    if !action.reach().has_tenant(new.tenant.as_str()) {
        return Err(Refused::OutOfReach.into());
    }
    let making = Making { what: Made::Clusters, tenant: new.tenant.as_str(), in_place_of: "", limits };
    making.allow(transaction.connection(), action)?;
    if find(transaction.connection(), &new.id)?.is_some() {
        return Err(Refused::ClusterExists.into());
    }
    let cluster = Cluster::registered(new, now_ms());
    transaction.connection().execute(
        "INSERT INTO cluster (id, tenant, placement, region, administrative, observed, token_digest,
                created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            cluster.id.as_str(),
            cluster.tenant.as_str(),
            cluster.placement.as_str(),
            cluster.region,
            cluster.administrative.as_str(),
            cluster.observed.as_str(),
            digest,
            cluster.created_at_ms
        ],
    )?;
    let revision = transaction.publish(&entries::of_cluster(&cluster))?;
    Ok((cluster, revision))
}

/// Takes over what a signal of a cluster says, and what follows from it; a change is audited with it.
fn hear(
    transaction: &mut Transaction<'_>,
    (id, by): (&ClusterId, &RecordedCaller),
    (signal, rules, now_ms): (SignalName, &Rules, u64),
    edit: impl FnOnce(&mut Cluster),
) -> Result<Cluster, Failure> {
    let mut changed = false;
    let (cluster, _) = change(transaction, (id, &Reach::Platform), |cluster| {
        edit(cluster);
        changed = cluster.judge(signal, rules, now_ms);
        Ok(())
    })?;
    if changed {
        let path = ["/clusters", id.as_str(), cluster.observed.as_str(), signal.as_str()].join("/");
        let event = AuditEvent { by: by.clone(), method: STATE.to_owned(), path, ..AuditEvent::default() };
        let mut record = event.record(200, "");
        record.cluster = cluster.id.to_string();
        record.tenant = cluster.tenant.to_string();
        transaction.record(record)?;
    }
    Ok(cluster)
}

fn observe(
    transaction: &mut Transaction<'_>,
    heartbeats: Vec<Heartbeat>,
    rules: &Rules,
) -> Result<Vec<Cluster>, Failure> {
    let mut changed = Vec::with_capacity(heartbeats.len());
    let now_ms = transaction.connection().now_ms()?;
    for heartbeat in heartbeats {
        let id = heartbeat.id.clone();
        let by = RecordedCaller::Cluster { key_id: String::new() };
        let outcome = hear(transaction, (&id, &by), (SignalName::Heartbeat, rules, now_ms), |cluster| {
            cluster.observe(heartbeat, now_ms);
        });
        match outcome {
            Ok(cluster) => changed.push(cluster),
            Err(Failure(StoreError::Refused(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

impl Store {
    /// Takes over by which rules signals make a state.
    pub fn judge_clusters_by(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// By which rules signals make a state.
    #[must_use]
    pub fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a cluster; the token is its own, to be shown once.
    ///
    /// # Errors
    /// [`Refused::OutOfReach`], [`Refused::LimitReached`], [`Refused::ClusterExists`], or the database fails.
    pub async fn register_cluster(
        &self,
        new: NewCluster,
        action: AuditEvent,
    ) -> Result<(Cluster, Token, u64), StoreError> {
        let token = Token::generate(TokenKind::Cluster);
        let (digest, limits) = (token.digest(), self.limits());
        let (cluster, revision) = self
            .writer
            .run(move |transaction| {
                let (cluster, revision) = register(transaction, new, digest, (&action, limits))?;
                let mut record = action.record(201, "");
                record.cluster = cluster.id.to_string();
                record.tenant = cluster.tenant.to_string();
                transaction.record(record)?;
                Ok((cluster, revision))
            })
            .await?;
        Ok((cluster, token, revision))
    }

    /// Suspends, resumes or retires a cluster; returns the revision from which on it is so.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], [`Refused::ClusterRetired`], [`Refused::HeldAbove`], [`Refused::HeldBelow`], or the database fails.
    pub async fn administer_cluster(
        &self,
        id: ClusterId,
        what: Administer,
        action: AuditEvent,
    ) -> Result<(Cluster, u64), StoreError> {
        self.writer
            .run(move |transaction| {
                let (cluster, revision) =
                    administer(transaction, (&id, &action.reach()), (what, Word::from(&action)))?;
                let mut record = action.record(200, "");
                record.cluster = cluster.id.to_string();
                record.tenant = cluster.tenant.to_string();
                transaction.record(record)?;
                Ok((cluster, revision))
            })
            .await
    }

    /// Writes down what heartbeats say. Clusters that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; nothing is written then.
    pub async fn observe(&self, heartbeats: Vec<Heartbeat>) -> Result<Observation, StoreError> {
        let (order, rules) = (Arc::clone(&self.observations), self.rules());
        self.writer
            .run(move |transaction| {
                let clusters = observe(transaction, heartbeats, &rules)?;
                // Counted on the writer's thread, so that it follows the order of the writes.
                let order = order.fetch_add(1, Ordering::Relaxed) + 1;
                Ok(Observation { clusters, revision: transaction.revision(), order })
            })
            .await
    }

    /// Writes down when clusters were last heard of, and what they reported then; everything else goes first. Of those of
    /// which nobody knows anything newer the state is put right where it is another one; these are returned.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; nothing is written then.
    pub async fn note_times(
        &self,
        heard: Vec<(ClusterId, SignalValue, Instant)>,
    ) -> Result<Observation, StoreError> {
        let (order, rules) = (Arc::clone(&self.observations), self.rules());
        self.writer
            .run_bulk(move |transaction| {
                let connection = transaction.connection();
                let now_ms = connection.now_ms()?;
                // Only now: what waited for its turn would seem to be newer than it is, and than what others wrote meanwhile.
                let at_ms = |at: &Instant| now_ms.saturating_sub(millis(at.elapsed()));
                let list = times::list(heard.iter().map(|(id, _, at)| (id.as_str(), at_ms(at))));
                let read = |row: &Row<'_>| Ok((row.parse::<ClusterId>(0)?, optional::<SignalValue>(row, 1)?));
                let noted =
                    connection.query(&times::update(connection, NOTE_TIMES), params![list, now_ms], read)?;
                let noted: HashMap<_, _> = noted.into_iter().collect();
                let wrong = heard.into_iter().filter_map(|(id, said, _)| {
                    let is_wrong = noted.get(&id).is_some_and(|stored| *stored != Some(said));
                    is_wrong.then_some(Heartbeat { id, said, version: None })
                });
                let wrong = wrong.collect();
                let clusters = observe(transaction, wrong, &rules)?;
                let order = order.fetch_add(1, Ordering::Relaxed) + 1;
                Ok(Observation { clusters, revision: transaction.revision(), order })
            })
            .await
    }

    /// Open clusters that were not heard of for so long by the database's clock, a number of them at most. A time in the
    /// future was written before the clock was set back.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn silent_clusters(
        &self,
        silence: Duration,
        limit: usize,
    ) -> Result<Vec<SilentCluster>, StoreError> {
        let silence_ms = millis(silence);
        self.readers
            .run(move |connection| {
                let now_ms = connection.now_ms()?;
                let sql = "SELECT id, last_heartbeat_at_ms FROM cluster
                    WHERE reported IN ('good', 'degraded') AND administrative <> 'retired'
                        AND (coalesce(last_heartbeat_at_ms, 0) <= ?1 OR last_heartbeat_at_ms > ?2)
                    ORDER BY last_heartbeat_at_ms, id LIMIT ?3";
                let before = now_ms.saturating_sub(silence_ms);
                Ok(connection.query(sql, params![before, now_ms + FUTURE_MS, limit], |row| {
                    Ok(SilentCluster { id: row.parse(0)?, last_heartbeat_at_ms: row.get(1)? })
                })?)
            })
            .await
    }

    /// Writes down that clusters fell silent, as the leader. Those that were heard of meanwhile are passed over.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], or the database fails; nothing is written then.
    pub async fn fell_silent(
        &self,
        term: Term,
        silent: Vec<SilentCluster>,
    ) -> Result<Vec<Cluster>, StoreError> {
        let rules = self.rules();
        self.writer
            .run(move |transaction| {
                transaction.is_led_by(term)?;
                let now_ms = transaction.connection().now_ms()?;
                let mut changed = Vec::new();
                for SilentCluster { id, last_heartbeat_at_ms } in silent {
                    let found = find(transaction.connection(), &id)?;
                    let same =
                        |known: &KnownCluster| known.cluster.last_heartbeat_at_ms == last_heartbeat_at_ms;
                    if found.is_some_and(|known| same(&known)) {
                        let (by, of) = (RecordedCaller::Service, (SignalName::Heartbeat, &rules, now_ms));
                        changed.push(hear(transaction, (&id, &by), of, Cluster::fall_silent)?);
                    }
                }
                Ok(changed)
            })
            .await
    }

    /// A cluster, for somebody who can touch so much.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], or the database fails.
    pub async fn cluster(&self, reach: Reach, id: ClusterId) -> Result<Cluster, StoreError> {
        self.readers.run(move |connection| within(connection, &id, &reach)).await
    }

    /// The same, with what its signals said last.
    ///
    /// # Errors
    /// [`Refused::ClusterUnknown`], or the database fails.
    pub async fn cluster_with_signals(
        &self,
        reach: Reach,
        id: ClusterId,
    ) -> Result<(Cluster, Vec<SignalReport>), StoreError> {
        let rules = self.rules();
        self.readers
            .run(move |connection| {
                let cluster = within(connection, &id, &reach)?;
                let now_ms = connection.now_ms()?;
                let signals = SignalReport::all(&cluster.signals, cluster.required(&rules), now_ms);
                Ok((cluster, signals))
            })
            .await
    }

    /// The ids of all clusters that somebody of this reach can touch.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn cluster_ids(&self, reach: Reach) -> Result<Vec<ClusterId>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = "SELECT id FROM cluster WHERE (CAST(?1 AS TEXT) IS NULL OR tenant = ?1)
                    AND (CAST(?2 AS TEXT) IS NULL OR id = ?2)";
                let (tenant, cluster) = reach.bounds();
                Ok(connection.query(sql, params![tenant, cluster], |row| row.parse(0))?)
            })
            .await
    }

    /// Clusters in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn clusters(&self, query: ClusterQuery) -> Result<Listed<Cluster>, StoreError> {
        self.readers
            .run(move |connection| {
                let sql = [
                    "SELECT ",
                    COLUMNS,
                    " FROM cluster WHERE id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR tenant = ?2) AND (CAST(?3 AS TEXT) IS NULL OR ?3 =
                        CASE administrative WHEN 'active' THEN observed ELSE administrative END)
                      AND (CAST(?5 AS TEXT) IS NULL OR tenant = ?5) AND (CAST(?6 AS TEXT) IS NULL OR id = ?6)
                      ORDER BY id LIMIT ?4",
                ]
                .concat();
                let state = query.state.map(ClusterState::as_str);
                let limit = query.limit + 1;
                let (tenant, cluster) = query.reach.bounds();
                let parameters = params![query.after, query.tenant, state, limit, tenant, cluster];
                let items = connection.query(&sql, parameters, |row| Ok(read(row)?.cluster))?;
                Ok(Listed::new(items, query.limit, |cluster: &Cluster| cluster.id.to_string()))
            })
            .await
    }

    /// A cluster with the digest of its token, if it is there.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn known_cluster(&self, id: ClusterId) -> Result<Option<KnownCluster>, StoreError> {
        self.readers.run(move |connection| find(connection, &id)).await
    }

    /// Every cluster with the digest of its token, for the heartbeat path.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn known_clusters(&self) -> Result<Vec<KnownCluster>, StoreError> {
        self.readers
            .run(|connection| {
                let sql = ["SELECT ", COLUMNS, " FROM cluster"].concat();
                Ok(connection.query(&sql, params![], read)?)
            })
            .await
    }
}
