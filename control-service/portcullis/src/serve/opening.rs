//! From the start of the process until it has its database. The listeners are there already, so that probes and callers
//! are told what it waits for: a server that is away, or a long audit log that is brought into a new form.

use std::time::Duration;

use portcullis_control_api::{self as api, Opening, listen};
use portcullis_control_config::Config;
use portcullis_control_store::StoreError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::assemble::{Running, States, assemble};
use super::error::ServeError;
use crate::location;

/// For so long whoever waits for what the service lacks may end first.
const HANDING_OVER: Duration = Duration::from_millis(500);
/// How often a server that is away is asked.
const AGAIN: Duration = Duration::from_secs(1);
/// When it is told again that it is away; each time after twice as long, and at last after the longest.
const FIRST_WORD: Duration = Duration::from_secs(10);
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// Opens everything that the handlers need. While the server of the database is away it is waited for; whatever somebody has
/// to change ends this at once. `listeners`: mesh, platform, operations.
pub(super) async fn opened(
    config: &Config,
    listeners: [&TcpListener; 3],
    stopping: watch::Receiver<bool>,
) -> Result<(Running, States), ServeError> {
    let location = location::of(config)?;
    let (opening, seen) = watch::channel(Opening::default());
    // Dropped with this, which ends them.
    let (done, is_done) = watch::channel(false);
    let mut servers = JoinSet::new();
    for (listener, routes) in listeners.into_iter().zip([api::closed(), api::closed(), api::waiting(seen)]) {
        let listener = listen::again(listener)
            .map_err(|source| ServeError::System { what: "a listener once more", source })?;
        servers.spawn(listen::serve(listener, routes, config.listeners.limits, is_done.clone()));
    }
    tracing::info!(database = location.kind(), "opening the database");
    let mut words = Words::default();
    let opened = loop {
        match assemble(config, location.clone(), stopping.clone()).await {
            Err(StoreError::Disconnected(why)) => {
                let waited = opening.borrow().age();
                if words.are_due(waited) {
                    tracing::warn!(waited_s = waited.as_secs(), "waiting for the database: {why}");
                }
                opening.send_modify(|opening| opening.waits_because(why));
                tokio::time::sleep(AGAIN).await;
            }
            outcome => break outcome?,
        }
    };
    if words.were_said() {
        tracing::info!(waited_s = opening.borrow().age().as_secs(), "the database is there");
    }
    done.send_replace(true);
    // They take no more connections once this has gone on, or one that comes next would be told that there is no database.
    let ended = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(HANDING_OVER, ended).await;
    // What is answered just now is answered to its end, beside what comes next.
    servers.detach_all();
    Ok(opened)
}

/// When the log tells of it.
#[derive(Default)]
struct Words {
    next: Duration,
    silence: Option<Duration>,
}

impl Words {
    /// Whether something is to be said after such a wait.
    fn are_due(&mut self, waited: Duration) -> bool {
        if self.silence.is_some() && waited < self.next {
            return false;
        }
        let silence = self.silence.map_or(FIRST_WORD, |silence| (silence * 2).min(LONGEST_SILENCE));
        (self.next, self.silence) = (waited + silence, Some(silence));
        true
    }

    fn were_said(&self) -> bool {
        self.silence.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_at_once_and_then_ever_more_rarely() {
        let mut words = Words::default();
        assert!(!words.were_said());
        let said = (0..2_000).filter(|second| words.are_due(Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), [0, 10, 30, 70, 150, 310, 630, 1230, 1830]);
    }
}
