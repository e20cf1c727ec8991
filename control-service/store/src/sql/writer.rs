//! One writer thread with group commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_control_domain::histogram::Histogram;
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_sql::Connection;
use tokio::sync::{mpsc, oneshot};

use super::audit::Recorder;
use super::connect::Purpose;
use super::failure::Failure;
use super::location::{Location, PATIENCE};
use super::news::Followed;
use super::transaction::Transaction;
use crate::StoreError;

/// Jobs that may wait for the writer; more wait at their senders.
const QUEUE: usize = 1024;
/// Jobs in one group at most, and how long it may grow: a commit must not be put off for long.
const GROUP: usize = 256;
const GROUP_TIME: Duration = Duration::from_millis(20);

/// What a job leaves to be said when its group is committed, or has failed.
type Completion = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// A job gets the failure instead of a transaction where there can be none.
type Job = Box<dyn FnOnce(Result<&mut Transaction<'_>, Failure>) -> Completion + Send>;

enum Message {
    Run(Job),
    Close(oneshot::Sender<()>),
}

/// The way to the writer thread.
#[derive(Clone)]
pub(super) struct Writer {
    location: Location,
    urgent: mpsc::Sender<Message>,
    bulk: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the thread. It owns the connection until it is closed.
    pub(super) fn start(mut database: Written) -> Result<Self, StoreError> {
        let failed = |e: std::io::Error| StoreError::Database(format!("no thread for the writer: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(failed)?;
        let (urgent, urgent_jobs) = mpsc::channel(QUEUE);
        let (bulk, bulk_jobs) = mpsc::channel(QUEUE);
        let mut queue = Queue { urgent: urgent_jobs, bulk: bulk_jobs };
        let location = database.location.clone();
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let mut closing = None;
                while let Some(first) = runtime.block_on(queue.first()) {
                    closing = database.write_group(&mut queue, first);
                    if closing.is_some() {
                        break;
                    }
                }
                // SQLite does so by itself for the last connection, but those that only read may leave later.
                if let Err(error) = database.connection.settle() {
                    tracing::warn!(%error, "the database's log could not be brought into its file");
                }
                // Only then is it closed: nothing more is taken, and SQLite has tidied up its files.
                drop((queue, database));
                if let Some(closed) = closing {
                    // Who asked for it may have stopped waiting.
                    let _ = closed.send(());
                }
            })
            .map_err(failed)?;
        Ok(Self { location, urgent, bulk })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.urgent.is_closed()
    }

    /// Runs a job in the next group, before everything that is bulk; returns when it is durable. A job
    /// that fails leaves nothing.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(&self.urgent, job).await
    }

    /// Runs a job that nobody's access depends on: audit records, times of heartbeats.
    pub(super) async fn run_bulk<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(&self.bulk, job).await
    }

    /// Puts such a job behind those that wait already; what comes of it can be waited for later.
    pub(super) async fn begin_bulk<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Pending<'_, T>, StoreError> {
        self.begin(&self.bulk, job).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        queue: &mpsc::Sender<Message>,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.begin(queue, job).await?.done().await
    }

    async fn begin<T: Send + 'static>(
        &self,
        queue: &mpsc::Sender<Message>,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Pending<'_, T>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let outcome = transaction.and_then(|transaction| transaction.nested(job));
            Box::new(move |committed| {
                // Nobody waits any more when the request was given up; the write stands all the same.
                let _ = reply.send(committed.and(outcome).map_err(StoreError::from));
            })
        });
        let sent = tokio::time::timeout(PATIENCE, queue.send(Message::Run(job))).await;
        sent.map_err(|_| self.location.silent())?.map_err(|_| StoreError::Closed)?;
        Ok(Pending { answer, location: &self.location })
    }

    /// Ends the thread when everything sent before is written.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.urgent.send(Message::Close(done)).await.is_ok() {
            // An error means that the thread has ended, which is what was asked for.
            let _ = closed.await;
        }
    }
}

/// What comes of a job.
pub(super) struct Pending<'w, T> {
    answer: oneshot::Receiver<Result<T, StoreError>>,
    location: &'w Location,
}

impl<T> Pending<'_, T> {
    /// Returns when the job is durable.
    pub(super) async fn done(self) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(PATIENCE, self.answer).await.map_err(|_| self.location.silent())?;
        answer.map_err(|_| StoreError::Closed)?
    }
}

/// What waits for the writer.
struct Queue {
    urgent: mpsc::Receiver<Message>,
    bulk: mpsc::Receiver<Message>,
}

impl Queue {
    async fn first(&mut self) -> Option<Message> {
        tokio::select! {
            biased;
            message = self.urgent.recv() => message,
            Some(message) = self.bulk.recv() => Some(message),
        }
    }

    /// What else belongs into a group: everything urgent that waits; bulk only while there is room and
    /// nothing urgent would have to wait for it.
    fn next(&mut self, room: bool) -> Option<Message> {
        self.urgent.try_recv().ok().or_else(|| if room { self.bulk.try_recv().ok() } else { None })
    }

    /// Whether something urgent waits.
    fn is_pressed(&self) -> bool {
        !self.urgent.is_empty()
    }
}

/// What the writer writes to, and what it needs to reach that again.
pub(super) struct Written {
    pub(super) location: Location,
    pub(super) connection: Connection,
    pub(super) followed: Followed,
    pub(super) recorder: Arc<Recorder>,
    /// What was told of groups that failed.
    pub(super) outage: OutageLog,
    /// Whether it did not.
    pub(super) up: Arc<AtomicBool>,
    /// How long commits took.
    pub(super) commits: Arc<Histogram>,
}

impl Written {
    /// Writes one group; returns whom to tell when it was the last.
    fn write_group(&mut self, queue: &mut Queue, first: Message) -> Option<oneshot::Sender<()>> {
        let since = Instant::now();
        let mut completions = Vec::new();
        let mut closing = None;
        let mut pressed = queue.is_pressed();
        let begun = self.begin();
        let mut group = begun.and_then(|()| self.up_to_date());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Run(job) => completions.push(job(group.as_mut().map_err(|e| e.clone()))),
                Message::Close(done) => closing = Some(done),
            }
            pressed |= queue.is_pressed();
            let room = !pressed && completions.len() < GROUP && since.elapsed() < GROUP_TIME;
            next = queue.next(room || closing.is_some());
        }
        let outage = group.as_ref().ok().and_then(Transaction::outage).cloned();
        let committed = group.and_then(|group| {
            let since = Instant::now();
            let committed = group.commit();
            self.commits.observe(since.elapsed());
            committed
        });
        self.note(committed.as_ref().err().or(outage.as_ref()));
        let outcome = committed.map(|published| self.followed.hub.publish(published));
        for completion in completions {
            completion(outcome.clone());
        }
        closing
    }

    /// What is told of groups that fail.
    pub(super) fn outage() -> OutageLog {
        OutageLog::new("a group of writes failed", "the database takes what is written to it again")
    }

    /// Takes note of whether the database took what it was given.
    fn note(&mut self, failure: Option<&Failure>) {
        self.up.store(failure.is_none(), Ordering::Release);
        self.outage.note(failure);
    }

    /// Begins a transaction; on a new connection where the server had broken off the one before, which shows only now.
    fn begin(&mut self) -> Result<(), Failure> {
        match self.connection.begin().map(|_| ()) {
            Err(error) if error.is_disconnected() => {
                let connection = self.location.connect(Purpose::Write)?;
                self.location.serve(&connection)?;
                self.connection = connection;
                tracing::info!("connected to the database server again, which had broken off");
                Ok(self.connection.begin().map(|_| ())?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// The transaction that was begun, on a snapshot that has all of the database: what other replicas wrote, and what
    /// was committed here though the answer was lost. Whoever wanted that was told that it failed, but it is so, and
    /// filters must not learn less.
    fn up_to_date(&self) -> Result<Transaction<'_>, Failure> {
        let transaction = Transaction::begun(&self.connection, &self.followed.sealing, &self.recorder)?;
        self.followed.catch_up(&self.connection, transaction.life(), self.followed.hub.revision())?;
        Ok(transaction)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use portcullis_control_snapshot::{Freshness, Hub, SnapshotIndex};
    use zeroize::Zeroizing;

    use super::*;

    #[tokio::test]
    async fn what_is_urgent_does_not_wait_behind_bulk() {
        let connection = super::super::transaction::tests::database();
        let recorder = Arc::new(Recorder::with(&[1; 32]));
        let sealing = super::super::transaction::tests::sealing();
        Transaction::begin(&connection, &sealing, &recorder).unwrap().commit().unwrap();
        let generation = super::super::life::life(&connection).unwrap().generation;
        let (empty, seed) = (SnapshotIndex::new(generation, 0, 0), Zeroizing::new([0; 32]));
        let hub = Hub::new(empty, generation, seed, Freshness::always());
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(Written {
            location: Location::folder(folder.path()),
            connection,
            followed: Followed { hub: Arc::new(hub), sealing: Arc::new(sealing) },
            recorder,
            outage: Written::outage(),
            up: Arc::default(),
            commits: Arc::default(),
        })
        .unwrap();
        let (go, gate) = mpsc::channel::<()>();
        let (note, notes) = mpsc::channel();
        let begin = writer.run_bulk(move |_| {
            gate.recv().unwrap();
            Ok(())
        });
        let noted = |name: &'static str| {
            let note = note.clone();
            move |_: &mut Transaction<'_>| {
                note.send(name).unwrap();
                Ok(())
            }
        };
        let bulk = writer.run_bulk(noted("bulk"));
        let urgent = writer.run(noted("urgent"));
        // The first job holds the writer until both others wait: each is queued when it is polled first.
        let open = async { go.send(()).unwrap() };
        let (a, b, c, ()) = tokio::join!(biased; begin, bulk, urgent, open);
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(notes.try_iter().collect::<Vec<_>>(), ["urgent", "bulk"]);
        let last = writer.run_bulk(noted("last"));
        let (last, ()) = tokio::join!(last, async {
            tokio::task::yield_now().await;
            writer.close().await;
        });
        assert!(last.is_ok(), "what waits is written before the end");
        assert!(!writer.is_open() && writer.run(noted("late")).await.is_err());
    }
}
