//! A few connections beside the writer's: for reading, and for what needs no place in the order of changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_sql::{Backend, Connection};
use tokio::sync::Semaphore;

use super::connect::Purpose;
use super::failure::Failure;
use super::location::{Location, PATIENCE};
use crate::StoreError;

/// Connections at most; queries wait for one.
const MOST: usize = 16;
/// Those that may write.
const MOST_WRITING: usize = 2;
/// Of these, those that are kept when nobody needs them.
const IDLE: usize = 4;

/// Connections that are opened when they are needed.
#[derive(Clone)]
pub(super) struct Readers {
    location: Location,
    purpose: Purpose,
    idle: Arc<Idle>,
    places: Arc<Semaphore>,
    /// Turns false when the database cannot be read: whoever writes to it next finds out whether it is up again.
    up: Arc<AtomicBool>,
}

/// Those that nobody needs.
#[derive(Default)]
struct Idle(Mutex<Vec<Connection>>);

impl Drop for Idle {
    /// Taking leave of a server blocks, and the last owner may stand where nothing may.
    fn drop(&mut self) {
        let left = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        if left.iter().any(|connection| connection.backend() == Backend::Postgres) {
            std::thread::spawn(move || drop(left));
        }
    }
}

impl Readers {
    /// Connections that may only read.
    pub(super) fn new(location: Location, up: Arc<AtomicBool>) -> Self {
        Self::opened_for(location, Purpose::Read, MOST, up)
    }

    /// Connections that may write what no other process writes.
    pub(super) fn that_write(location: Location, up: Arc<AtomicBool>) -> Self {
        Self::opened_for(location, Purpose::Write, MOST_WRITING, up)
    }

    fn opened_for(location: Location, purpose: Purpose, most: usize, up: Arc<AtomicBool>) -> Self {
        Self { location, purpose, idle: Arc::default(), places: Arc::new(Semaphore::new(most)), up }
    }

    /// Where they lead.
    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// Runs a query on a thread where it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = self.attempt(query).await;
        if outcome.as_ref().is_err_and(StoreError::is_outage) {
            self.up.store(false, Ordering::Release);
        }
        outcome
    }

    async fn attempt<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_| self.location.silent())?.map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            let connection = match readers.take() {
                Some(connection) => connection,
                None => readers.location.connect(readers.purpose)?,
            };
            let outcome = query(&connection);
            match &outcome {
                // The others lead to the same server, and each would fail once more.
                Err(Failure(error)) if error.is_disconnected() => readers.forget(),
                _ => readers.put_back(connection),
            }
            outcome
        });
        let outcome = tokio::time::timeout(PATIENCE, task).await.map_err(|_| self.location.silent())?;
        let outcome = outcome.map_err(|e| StoreError::Database(format!("a query was cut off: {e}")))?;
        outcome.map_err(StoreError::from)
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn forget(&self) {
        let idle = std::mem::take(&mut *self.idle.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }
}
