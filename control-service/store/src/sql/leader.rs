//! Who does what only one replica may do. Among those who serve a database of a server it is whoever holds an advisory
//! lock; who has a file for itself leads always.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_control_domain::clock::now_ms;
use portcullis_model::outage::Outage;
use portcullis_sql::{Connection, params};
use tokio::sync::watch;

use super::connect::Purpose;
use super::failure::Failure;
use super::location::Location;
use super::transaction::Transaction;
use crate::StoreError;

/// Who leads holds this advisory lock, on a connection of its own.
const LEADING: i64 = 5_762_481_079;

/// How often who leads is heard of, and who does not lead tries to.
const BEAT: Duration = Duration::from_secs(1);

/// The server ends the connection of a leader that it does not hear of for so long, so that another one can lead: also
/// where that process hangs, or its network takes what it sends and brings nothing.
const CUT_OFF: &str =
    "SET idle_session_timeout = '3s'; SET lock_timeout = '2s'; SET statement_timeout = '2s'";

/// What may lie between two beats of one leader by the database's clock, and between the last of one and the lead of the
/// next. More means that the clock was set, that the leader did not run, or that there was none.
const EVEN_MS: u64 = 3_000;
const HANDOVER_MS: u64 = 7_000;

/// The time for which a replica leads. What it writes as the leader it writes under its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    epoch: u64,
    watched_since: Option<Instant>,
}

impl Term {
    /// Which one of all terms it is.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether there was a leader for all of that time, and the database's clock went evenly: only then something that
    /// did not happen was not missed.
    #[must_use]
    pub fn has_watched_for(&self, time: Duration) -> bool {
        self.watched_since.is_none_or(|since| since.elapsed() >= time)
    }
}

/// Takes part in the election, until this is dropped or told to end.
pub(super) struct Leader {
    term: watch::Receiver<Option<Term>>,
    stop: Mutex<Option<mpsc::Sender<()>>>,
}

impl Leader {
    /// Tries to lead at once, so that who is alone does so from the beginning. `connection` is that of a file's writer.
    pub(super) fn start(location: &Location, connection: &Connection) -> Result<Self, StoreError> {
        let (tell, term) = watch::channel(None);
        let mut candidate = match location.is_shared() {
            true => Candidate::Among(Among {
                location: location.clone(),
                connection: None,
                outage: Outage::default(),
            }),
            false => Candidate::Alone,
        };
        let mut beat_ms = 0;
        match &mut candidate {
            Candidate::Alone => {
                let epoch = connection.exclusively(|_| raise(connection))?.0;
                beat_ms = now_ms();
                tell.send_replace(Some(Term { epoch, watched_since: Some(Instant::now()) }));
            }
            Candidate::Among(_) => candidate.round(&tell, &mut beat_ms),
        }
        let (stop, stopped) = mpsc::channel();
        std::thread::Builder::new()
            .name("store-leader".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    candidate.round(&tell, &mut beat_ms);
                }
            })
            .map_err(|e| StoreError::Database(format!("no thread for the leader: {e}")))?;
        Ok(Self { term, stop: Mutex::new(Some(stop)) })
    }

    /// Gives the lead away.
    pub(super) fn end(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn term(&self) -> Option<Term> {
        *self.term.borrow()
    }

    pub(super) fn terms(&self) -> watch::Receiver<Option<Term>> {
        self.term.clone()
    }
}

/// Begins a new epoch; returns it, and when the leader of the one before was last heard of.
fn raise(connection: &Connection) -> Result<(u64, u64), Failure> {
    let before = connection.query_one("SELECT epoch, beat_at_ms FROM leadership", params![], |row| {
        Ok((row.get::<u64>(0)?, row.get::<u64>(1)?))
    })?;
    let now = connection.now_ms()?;
    let epoch = before.0 + 1;
    connection.execute("UPDATE leadership SET epoch = ?1, beat_at_ms = ?2", params![epoch, now])?;
    Ok((epoch, before.1))
}

enum Candidate {
    Alone,
    Among(Among),
}

impl Candidate {
    /// One beat of who leads, or one try of who does not.
    fn round(&mut self, tell: &watch::Sender<Option<Term>>, beat_ms: &mut u64) {
        let term = *tell.borrow();
        let now = match (&mut *self, term) {
            (Self::Alone, _) => now_ms(),
            (Self::Among(among), None) => {
                if let Some((epoch, last_ms, now)) = among.told_once(Among::stand) {
                    let even = went_evenly(last_ms, now, HANDOVER_MS);
                    let watched_since = (!even).then(Instant::now);
                    *beat_ms = now;
                    tell.send_replace(Some(Term { epoch, watched_since }));
                    tracing::info!(epoch, "this replica leads");
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
        if let Some(term) = term.filter(|_| !went_evenly(before, now, EVEN_MS)) {
            tracing::warn!(
                "the leader did not run for a while, or a clock was set; no cluster is blamed for it"
            );
            tell.send_replace(Some(Term { watched_since: Some(Instant::now()), ..term }));
        }
    }
}

fn went_evenly(before_ms: u64, now_ms: u64, bound_ms: u64) -> bool {
    now_ms.checked_sub(before_ms).is_some_and(|passed| passed <= bound_ms)
}

/// One of several.
struct Among {
    location: Location,
    connection: Option<Connection>,
    outage: Outage,
}

impl Among {
    /// Does something on the connection; one that failed is given up, and with it the lock. An outage is told once.
    fn told_once<T>(&mut self, job: impl FnOnce(&mut Self) -> Result<Option<T>, Failure>) -> Option<T> {
        match job(self) {
            Ok(outcome) => {
                self.outage.over();
                outcome
            }
            Err(error) => {
                self.connection = None;
                let error = error.to_string();
                if self.outage.failed(&error, || true) {
                    tracing::warn!(error, "this replica cannot take part in the election of a leader");
                }
                None
            }
        }
    }

    /// Tries to lead; returns the new epoch, when the leader before was last heard of, and the time.
    fn stand(&mut self) -> Result<Option<(u64, u64, u64)>, Failure> {
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
        // Among the groups of writes: one under an older epoch has ended before, or is refused.
        let (epoch, last_ms) = connection.exclusively(|_| raise(connection))?;
        Ok(Some((epoch, last_ms, connection.now_ms()?)))
    }

    /// Says that it is still there; returns the time, and nothing when somebody else leads.
    fn beat(&mut self, term: Term) -> Result<Option<u64>, Failure> {
        let Some(connection) = &self.connection else { return Ok(None) };
        let now = connection.now_ms()?;
        let sql = "UPDATE leadership SET beat_at_ms = ?1 WHERE epoch = ?2";
        Ok((connection.execute(sql, params![now, term.epoch])? == 1).then_some(now))
    }
}

impl Transaction<'_> {
    /// Refuses what another one than the leader of now wants to write as the leader.
    pub(super) fn is_led_by(&self, term: Term) -> Result<(), Failure> {
        let sql = "SELECT epoch FROM leadership";
        let epoch: u64 = self.connection().query_one(sql, params![], |row| row.get(0))?;
        if epoch == term.epoch { Ok(()) } else { Err(StoreError::Superseded.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_or_a_leader_that_did_not_run_is_noticed() {
        let hour = 3_600_000;
        for (before, now, even) in [
            (hour, hour, true),
            (hour, hour + EVEN_MS, true),
            (hour, hour + EVEN_MS + 1, false),
            (hour, 2 * hour, false),
            (hour, hour - 1, false),
        ] {
            assert_eq!(went_evenly(before, now, EVEN_MS), even, "{before} {now}");
        }
        let term = |watched_since| Term { epoch: 1, watched_since };
        assert!(term(None).has_watched_for(Duration::MAX));
        assert!(!term(Some(Instant::now())).has_watched_for(Duration::from_secs(60)));
    }
}
