//! Follows what other replicas write: woken by their calls, and by a clock as the net below.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_control_domain::outage_log::OutageLog;
use portcullis_sql::Connection;
use tokio::sync::watch;

use super::connect::Purpose;
use super::failure::Failure;
use super::life::CHANGED;
use super::location::Location;
use super::news::Followed;
use super::{schema, sealed};
use crate::StoreError;

/// How often it looks when nobody calls. A heartbeat that changes nothing waits for one look.
const LOOK: Duration = Duration::from_millis(100);

/// How long it waits before it connects again.
const PAUSE: Duration = Duration::from_millis(400);

/// Without a look for so long a replica does not know that it has everything.
pub(super) const BEHIND_AFTER: Duration = Duration::from_secs(3);

/// A thread that follows, until this is dropped or told to end.
pub(super) struct Follower {
    ended: Arc<AtomicBool>,
    unfit: watch::Receiver<Option<StoreError>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

impl Follower {
    pub(super) fn start(location: Location, followed: Followed) -> Result<Self, StoreError> {
        let (tell, unfit) = watch::channel(None);
        let ended = Arc::new(AtomicBool::new(false));
        let outage = OutageLog::new(
            "this replica cannot follow the database",
            "this replica follows the database again",
        );
        let thread = Thread { location, followed, ended: Arc::clone(&ended), outage };
        std::thread::Builder::new()
            .name("store-follower".to_owned())
            .spawn(move || {
                if let Some(error) = thread.run() {
                    tell.send_replace(Some(error));
                }
            })
            .map_err(|e| StoreError::Database(format!("no thread for the follower: {e}")))?;
        Ok(Self { ended, unfit })
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Waits until the database is another one than it was.
    pub(super) async fn until_unfit(&self) -> StoreError {
        let mut unfit = self.unfit.clone();
        match unfit.wait_for(Option::is_some).await.map(|told| told.clone()) {
            Ok(Some(error)) => error,
            // It was told to end.
            _ => std::future::pending().await,
        }
    }
}

struct Thread {
    location: Location,
    followed: Followed,
    ended: Arc<AtomicBool>,
    outage: OutageLog,
}

impl Thread {
    /// Follows to the end; returns why there is nothing to follow any more.
    fn run(mut self) -> Option<StoreError> {
        let mut connection = None;
        while !self.ended.load(Ordering::Acquire) {
            match self.round(&mut connection) {
                Ok(()) => self.outage.worked(),
                Err(Failure(error @ (StoreError::Unfit(_) | StoreError::Newer { .. }))) => {
                    return Some(error);
                }
                Err(error) => {
                    connection = None;
                    self.outage.failed(&error);
                    std::thread::sleep(PAUSE);
                }
            }
        }
        None
    }

    /// Waits for news and takes it over; the first round on a connection takes over what it finds.
    fn round(&self, connection: &mut Option<Connection>) -> Result<(), Failure> {
        let connection = match connection {
            Some(connection) => {
                connection.wait(LOOK)?;
                connection
            }
            None => {
                let made = self.location.connect(Purpose::Read)?;
                // While nobody served it, the database may have become a newer program's.
                schema::expect_current(&made)?;
                // First: what is committed after the look that follows is heard.
                made.listen(CHANGED)?;
                connection.insert(made)
            }
        };
        // Before the look: it sees at least as much.
        let begun = Instant::now();
        sealed::opening(&self.followed.sealing, || self.followed.look(connection))?;
        self.followed.hub.freshness().confirm(begun);
        Ok(())
    }
}
