//! Who does what only one replica may do. Among those who serve a database of a server it is whoever holds an advisory
//! lock; who has a file for itself leads always.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_sql::{Connection, params};
use tokio::sync::watch;

use super::connect::Purpose;
use super::failure::Failure;
use super::location::Location;
use super::replica_id::ReplicaId;
use super::transaction::Transaction;
use crate::StoreError;

/// Who leads holds this advisory lock, on a connection of its own.
const LEADING: i64 = 5_762_481_079;

/// How often who leads makes sure of it, and who does not lead tries to.
const BEAT: Duration = Duration::from_secs(1);

/// The server ends the connection of a leader that it does not hear of for [`CUT_OFF_AFTER`], so that another one can lead:
/// also where that process hangs, or its network takes what it sends and brings nothing.
const CUT_OFF: &str =
    "SET idle_session_timeout = '3s'; SET lock_timeout = '2s'; SET statement_timeout = '2s'";
const CUT_OFF_AFTER: Duration = Duration::from_secs(3);

/// What may lie between two beats of one leader, and between when the one before was last heard of and the lead of the
/// next. More means that the clock was set, that the leader did not run, or that there was none.
const EVEN: Duration = Duration::from_secs(2);
const HANDOVER: Duration = Duration::from_secs(7);

/// The time for which a replica leads. What it writes as the leader it writes under its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    epoch: u64,
    watched_since: Option<Instant>,
    /// When it was last made sure of.
    beat: Instant,
}

impl Term {
    /// Which one of all terms it is.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether there was a leader for all of that time, it ran, and the database's clock went evenly: only then something
    /// that did not happen was not missed. Of a process that was stopped, and does not know how long yet, that is not so.
    #[must_use]
    pub fn has_watched_for(&self, time: Duration) -> bool {
        self.beat.elapsed() <= EVEN && self.watched_since.is_none_or(|since| since.elapsed() >= time)
    }
}

/// Takes part in the election, until this is dropped or told to end.
pub(super) struct Leader {
    term: watch::Receiver<Option<Term>>,
    /// What is not made sure of for so long is over.
    lasts: Duration,
    stop: Mutex<Option<mpsc::Sender<()>>>,
}

impl Leader {
    /// Tries to lead at once, so that who is alone does so from the beginning. `connection` is that of a file's writer.
    pub(super) fn start(
        location: &Location,
        connection: &Connection,
        replica: &ReplicaId,
    ) -> Result<Self, StoreError> {
        let (tell, term) = watch::channel(None);
        let mut beat_ms = 0;
        let mut candidate = if location.is_shared() {
            let mut among = Candidate::Among(Box::new(Among::new(location.clone(), replica.clone())));
            among.round(&tell, &mut beat_ms);
            among
        } else {
            let epoch = connection.exclusively(|_| raise(connection, replica))?;
            beat_ms = now_ms();
            let now = Instant::now();
            tell.send_replace(Some(Term { epoch, watched_since: Some(now), beat: now }));
            Candidate::Alone
        };
        let lasts = if location.is_shared() { CUT_OFF_AFTER } else { Duration::MAX };
        let (stop, stopped) = mpsc::channel();
        std::thread::Builder::new()
            .name("store-leader".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    candidate.round(&tell, &mut beat_ms);
                }
            })
            .map_err(|e| StoreError::Database(format!("no thread for the leader: {e}")))?;
        Ok(Self { term, lasts, stop: Mutex::new(Some(stop)) })
    }

    /// Gives the lead away.
    pub(super) fn end(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The term, as long as nobody else can have one.
    pub(super) fn term(&self) -> Option<Term> {
        let term = *self.term.borrow();
        term.filter(|term| term.beat.elapsed() < self.lasts)
    }

    pub(super) fn terms(&self) -> watch::Receiver<Option<Term>> {
        self.term.clone()
    }
}

fn epoch_of(connection: &Connection) -> Result<u64, Failure> {
    Ok(connection.query_one("SELECT epoch FROM leadership", params![], |row| row.get(0))?)
}

/// Begins a new epoch.
fn raise(connection: &Connection, replica: &ReplicaId) -> Result<u64, Failure> {
    let epoch = epoch_of(connection)? + 1;
    let sql = "UPDATE leadership SET epoch = ?1, leader = ?2";
    connection.execute(sql, params![epoch, replica.as_str()])?;
    Ok(epoch)
}

enum Candidate {
    Alone,
    Among(Box<Among>),
}

impl Candidate {
    /// One beat of who leads, or one try of who does not.
    fn round(&mut self, tell: &watch::Sender<Option<Term>>, beat_ms: &mut u64) {
        let term = *tell.borrow();
        let beat = Instant::now();
        let now = match (&mut *self, term) {
            (Self::Alone, _) => now_ms(),
            (Self::Among(among), None) => {
                if let Some(Won { epoch, heard_ms, now_ms }) = among.told_once(Among::stand) {
                    let even = heard_ms.is_some_and(|heard_ms| went_evenly(heard_ms, now_ms, HANDOVER));
                    let watched_since = (!even).then_some(beat);
                    *beat_ms = now_ms;
                    tell.send_replace(Some(Term { epoch, watched_since, beat }));
                    tracing::info!(epoch, replica = among.replica.as_str(), "this replica leads");
                }
                return;
            }
            (Self::Among(among), Some(term)) => match among.told_once(|among| among.beat(term)) {
                Some(now) => now,
                None => {
                    tell.send_replace(None);
                    tracing::warn!(epoch = term.epoch, "this replica leads no more");
                    return;
                }
            },
        };
        let before = std::mem::replace(beat_ms, now);
        let even = went_evenly(before, now, EVEN);
        if !even {
            tracing::warn!(
                "the leader did not run for a while, or a clock was set; no cluster is blamed for it"
            );
        }
        // Whoever waits for another term is not woken for that.
        tell.send_if_modified(|term| {
            if let Some(term) = term {
                term.beat = beat;
                term.watched_since = if even { term.watched_since } else { Some(beat) };
            }
            false
        });
    }
}

fn went_evenly(before_ms: u64, now_ms: u64, bound: Duration) -> bool {
    now_ms.checked_sub(before_ms).is_some_and(|passed| Duration::from_millis(passed) <= bound)
}

/// Who has begun to lead.
struct Won {
    epoch: u64,
    /// When the leader before was last heard of, if that is known.
    heard_ms: Option<u64>,
    now_ms: u64,
}

/// One of several.
struct Among {
    location: Location,
    replica: ReplicaId,
    connection: Option<Connection>,
    outage: OutageLog,
}

impl Among {
    fn new(location: Location, replica: ReplicaId) -> Self {
        let outage = OutageLog::new(
            "this replica cannot take part in the election of a leader",
            "this replica takes part in the election of a leader again",
        );
        Self { location, replica, connection: None, outage }
    }

    /// Does something on the connection; one that failed is given up, and with it the lock.
    fn told_once<T>(&mut self, job: impl FnOnce(&mut Self) -> Result<Option<T>, Failure>) -> Option<T> {
        let outcome = job(self);
        self.outage.note(outcome.as_ref().err());
        if outcome.is_err() {
            self.connection = None;
        }
        outcome.ok().flatten()
    }

    /// Tries to lead.
    fn stand(&mut self) -> Result<Option<Won>, Failure> {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => {
                let made = self.location.connect(Purpose::Write)?;
                made.batch(CUT_OFF)?;
                self.connection.insert(made)
            }
        };
        let sql = "SELECT pg_try_advisory_lock(?1)";
        if !connection.query_one(sql, params![LEADING], |row| row.get::<bool>(0))? {
            return Ok(None);
        }
        let heard = "SELECT seen_at_ms FROM replica WHERE id = (SELECT leader FROM leadership)";
        let heard_ms = connection.query_optional(heard, params![], |row| row.get(0))?;
        // Among the groups of writes: one under an older epoch has ended before, or is refused.
        let epoch = connection.exclusively(|_| raise(connection, &self.replica))?;
        Ok(Some(Won { epoch, heard_ms, now_ms: connection.now_ms()? }))
    }

    /// Makes sure that nobody else leads, and that the server does not take this one for dead; returns the time, and
    /// nothing when somebody else leads.
    fn beat(&mut self, term: Term) -> Result<Option<u64>, Failure> {
        let Some(connection) = &self.connection else { return Ok(None) };
        Ok((epoch_of(connection)? == term.epoch).then_some(connection.now_ms()?))
    }
}

impl Transaction<'_> {
    /// Refuses what another one than the leader of now wants to write as the leader.
    pub(super) fn is_led_by(&self, term: Term) -> Result<(), Failure> {
        let newest = epoch_of(self.connection())?;
        if newest == term.epoch { Ok(()) } else { Err(StoreError::Superseded.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_or_a_leader_that_did_not_run_is_noticed() {
        let (hour, even_ms) = (3_600_000, 2_000);
        for (before, now, even) in [
            (hour, hour, true),
            (hour, hour + even_ms, true),
            (hour, hour + even_ms + 1, false),
            (hour, 2 * hour, false),
            (hour, hour - 1, false),
        ] {
            assert_eq!(went_evenly(before, now, EVEN), even, "{before} {now}");
        }
        let now = Instant::now();
        let term = |watched_since, beat| Term { epoch: 1, watched_since, beat };
        assert!(term(None, now).has_watched_for(Duration::MAX));
        assert!(!term(Some(now), now).has_watched_for(Duration::from_secs(60)));
        let stopped = now.checked_sub(Duration::from_secs(60)).unwrap();
        assert!(!term(None, stopped).has_watched_for(Duration::ZERO), "nobody knows for how long yet");
    }
}
