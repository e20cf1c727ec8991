//! Taking connections: so many at a time, and none that is slow to say what it wants.
//!
//! `axum::serve` knows neither bound, so the connections are taken here and served by hyper. A connection
//! without a request under way gives way to a new one; when every one has a request, the new one is refused.

mod client;
mod idle;
mod tls;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use portcullis_control_config::Limits;
use portcullis_control_domain::log_throttle::LogThrottle;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use client::{Answers, Client, GRACE, is_stopping};
use idle::{Idle, Member};
pub use tls::{ConnectionPeer, Tls};

/// After a failure that has nothing to do with one client, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);
/// Connections that may wait for being taken, however many are there.
const BACKLOG: u32 = 1024;
/// New connections that wait for a place at a time; a further one is refused at once.
const WAITING: usize = 1024;
/// Connections that are asked to give way to a new one, before it is refused.
const ASKED: usize = 4;
/// How long a new connection waits for a place that others are about to get, before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before it looks again.
const AGAIN: Duration = Duration::from_millis(1);
/// What a connection too many gets.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Takes an address, with a queue that is long enough for a burst.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The same listener once more: whoever takes a connection first has it.
///
/// # Errors
/// What the system says.
pub fn again(listener: &TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}

/// Serves a listener until `stopping` turns true, and then until the requests under way have ended.
pub async fn serve(listener: TcpListener, routes: Router, limits: Limits, stopping: watch::Receiver<bool>) {
    answer(listener, Answers { routes, tls: None }, limits, stopping).await;
}

/// The same by TLS. Handlers find a [`ConnectionPeer`] with each request.
pub async fn serve_tls(
    listener: TcpListener,
    routes: Router,
    tls: Tls,
    limits: Limits,
    stopping: watch::Receiver<bool>,
) {
    answer(listener, Answers { routes, tls: Some(Arc::new(tls)) }, limits, stopping).await;
}

async fn answer(
    listener: TcpListener,
    answers: Answers,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Places::new(limits.connections));
    let mut connections = JoinSet::new();
    let stopped = stopping.clone();
    loop {
        let accepted = tokio::select! {
            () = is_stopping(&mut stopping) => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // That client has gone away again.
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "no connection could be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let arrival = Arrival { stream, peer, places: Arc::clone(&places) };
        // One that has to wait for a place waits by itself: others are taken meanwhile.
        if let Some(slot) = places.free() {
            connections.spawn(arrival.placed(slot).served(answers.clone(), limits, stopped.clone()));
        } else if let Some(turn) = places.turn() {
            connections.spawn(arrival.waits(turn, answers.clone(), limits, stopped.clone()));
        } else {
            arrival.refuse();
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The places of a listener.
struct Places {
    slots: Arc<Semaphore>,
    /// Those that may wait for one at a time.
    turns: Arc<Semaphore>,
    /// Those of them that may ask others to give way at a time: in the order in which they came.
    askers: Semaphore,
    /// Those that have asked, and for which somebody is leaving.
    changing: AtomicUsize,
    idle: Arc<Idle>,
    said: LogThrottle,
    connections: usize,
}

impl Places {
    fn new(connections: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(connections)),
            turns: Arc::new(Semaphore::new(WAITING)),
            askers: Semaphore::new(connections),
            changing: AtomicUsize::new(0),
            idle: Arc::default(),
            said: LogThrottle::default(),
            connections,
        }
    }

    fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    /// A place for one more connection, made by those without a request. None when all have one.
    async fn made(&self) -> Option<(OwnedSemaphorePermit, Changing<'_>)> {
        let _asker = self.askers.acquire().await.ok()?;
        let (begun, mut asked) = (Instant::now(), 0);
        while asked < ASKED && begun.elapsed() < PATIENCE {
            let changing = Changing::new(&self.changing);
            if self.idle.ask_oldest() {
                asked += 1;
                let slot = Arc::clone(&self.slots).acquire_owned();
                if let Ok(Ok(slot)) = tokio::time::timeout(GRACE * 2, slot).await {
                    return Some((slot, changing));
                }
            } else if let Some(slot) = self.free() {
                return Some((slot, changing));
            } else if changing.is_the_only_one() {
                return None;
            } else {
                // Whoever takes a place that is made just now will have no request at first.
                drop(changing);
                tokio::time::sleep(AGAIN).await;
            }
        }
        None
    }
}

/// From asking somebody to give way until the place is taken.
struct Changing<'a>(&'a AtomicUsize);

impl<'a> Changing<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }

    fn is_the_only_one(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that was taken and has no place yet.
struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    places: Arc<Places>,
}

impl Arrival {
    fn placed(self, slot: OwnedSemaphorePermit) -> Client {
        let member = Member::new(Arc::clone(&self.places.idle));
        Client { stream: self.stream, peer: self.peer, member, slot }
    }

    async fn waits(
        self,
        turn: OwnedSemaphorePermit,
        answers: Answers,
        limits: Limits,
        stopping: watch::Receiver<bool>,
    ) {
        let places = Arc::clone(&self.places);
        let Some((slot, changing)) = places.made().await else { return self.refuse() };
        drop(turn);
        let client = self.placed(slot);
        drop(changing);
        client.served(answers, limits, stopping).await;
    }

    fn refuse(self) {
        refuse(self.stream);
        if self.places.said.allow("maxConnections") {
            let (peer, connections) = (self.peer, self.places.connections);
            tracing::warn!(%peer, connections, "refused: listeners.maxConnections is reached");
        }
    }
}

/// Says why and closes, so that no proxy holds a connection that nobody serves.
fn refuse(stream: TcpStream) {
    // Whatever fails here, the connection is closed.
    let Ok(mut stream) = stream.into_std() else { return };
    // Closing with something unread would be a reset, which may overtake the answer.
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write(FULL);
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
