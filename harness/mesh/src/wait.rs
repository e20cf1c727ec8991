//! Waiting: for what is needed to be so, never for a time to pass, and never for a push.
//!
//! istiod's push is acknowledged before an Envoy runs what was pushed: it may still compile the
//! Wasm module. So whoever changes something asks for the effect of it, again and again, with
//! [`until`] or [`in_a_row`]. The only thing that a clock decides is when to give up.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{MeshError, Result};

/// How long anything may take to become so. The slowest thing, a mesh that starts, takes 15 s on a
/// machine with two idle processors; this is for one that is three times as slow and busy besides.
/// Only what fails waits for so long, so there is no reason to be sparing.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How long a single exchange over HTTP may take. An admin page does not answer while its Envoy
/// compiles a module: half a second on a quick machine, and 5 s on a slow one that is busy.
pub const EXCHANGE: Duration = Duration::from_secs(60);

/// How long a child may take to end in order before it is killed.
pub const STOP: Duration = Duration::from_secs(20);

/// How long Envoy lets what is under way go on when its filters are replaced. Envoy begins to count
/// before it compiles the new module, so this must be longer than any compilation: otherwise requests
/// are cut as soon as the new filters are ready.
pub const DRAIN: Duration = Duration::from_secs(60);

/// How often something is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(50);

/// Answers in a row after which every worker is taken to give the same. The kernel chooses the
/// worker of a connection: of two, one stays without any of 16 connections once in 30,000 times.
const ALL_WORKERS: usize = 16;

/// What one look at something shows.
#[derive(Debug)]
pub enum Seen<T> {
    /// It is so.
    Done(T),
    /// Not yet: what is there instead, for the message if that stays so.
    NotYet(String),
}

/// What is there instead, in the words of whatever failed.
pub type Instead = Box<dyn std::error::Error + Send + Sync>;

impl<T> From<std::result::Result<T, Instead>> for Seen<T> {
    fn from(seen: std::result::Result<T, Instead>) -> Self {
        match seen {
            Ok(done) => Self::Done(done),
            Err(instead) => Self::NotYet(instead.to_string()),
        }
    }
}

/// Looks until something is so, for [`PATIENCE`] at most. `log` is where to look when it never is.
///
/// # Errors
/// [`MeshError::NotReady`] with what was seen last, or at once what the look itself fails with.
pub async fn until<T>(what: &str, log: &Path, look: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
    within(PATIENCE, what, log, look).await
}

async fn within<T>(
    patience: Duration,
    what: &str,
    log: &Path,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let last = match look().await? {
            Seen::Done(done) => return Ok(done),
            Seen::NotYet(instead) => instead,
        };
        // After the look: what takes longer than the patience was still looked at.
        if begun.elapsed() >= patience {
            let (what, log) = (what.to_owned(), log.to_owned());
            return Err(MeshError::NotReady { what, waited: begun.elapsed(), last, log });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Looks until something was so every time for as long as it takes to meet all workers of a proxy: each
/// connection may reach another one, and they learn of a change one after the other. Returns the last look.
///
/// # Errors
/// As for [`until`].
pub async fn in_a_row<T>(
    what: &str,
    log: &Path,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    until(what, log, async || {
        for _ in 1..ALL_WORKERS {
            if let Seen::NotYet(instead) = look().await? {
                return Ok(Seen::NotYet(instead));
            }
        }
        look().await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> &'static Path {
        Path::new("the.log")
    }

    /// A proxy whose two workers get a filter late, one after the other. Connections reach them in turn.
    struct Late {
        asked: usize,
        /// From which connection on each worker runs the filter.
        ready_at: [usize; 2],
    }

    impl Late {
        fn new(ready_at: [usize; 2]) -> Self {
            Self { asked: 0, ready_at }
        }

        fn ask(&mut self) -> Result<Seen<&'static str>> {
            let ready_at = self.ready_at[self.asked % 2];
            self.asked += 1;
            Ok(if self.asked > ready_at { Seen::Done("401") } else { Seen::NotYet("200".to_owned()) })
        }

        fn everywhere(&self) -> bool {
            self.ready_at.iter().all(|ready_at| self.asked > *ready_at)
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_late_is_waited_for() {
        let mut late = Late::new([9, 9]);
        assert_eq!(until("the filter", log(), async || late.ask()).await.unwrap(), "401");
        assert!(late.everywhere());
    }

    #[tokio::test]
    async fn one_worker_that_has_the_filter_is_not_all_of_them() {
        let mut late = Late::new([2, 9]);
        until("the filter", log(), async || late.ask()).await.unwrap();
        assert!(!late.everywhere(), "one answer is one worker's");
        assert_eq!(in_a_row("the filter", log(), async || late.ask()).await.unwrap(), "401");
        assert!(late.everywhere());
    }

    #[tokio::test]
    async fn what_never_comes_is_told_with_what_was_there_instead() {
        let mut never = Late::new([usize::MAX; 2]);
        let waited = within(POLL * 3, "the filter", log(), async || never.ask()).await;
        let text = waited.unwrap_err().to_string();
        for part in ["the filter", "200", "the.log"] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        assert!(never.asked > 1);
    }

    #[tokio::test]
    async fn a_look_that_fails_ends_the_wait_at_once() {
        let dead = async || -> Result<Seen<()>> { Err(MeshError::NoBlock) };
        assert!(matches!(until("the filter", log(), dead).await, Err(MeshError::NoBlock)));
    }

    #[tokio::test]
    async fn a_look_that_takes_longer_than_the_patience_counts() {
        let mut late = Late::new([0, 0]);
        assert!(within(Duration::ZERO, "the filter", log(), async || late.ask()).await.is_ok());
    }
}
