//! The mesh API in this process: the stand-in behind a port of its own, with the long poll.
//!
//! It keeps nothing on disk, so what is measured is the gateway and not a database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, OriginalUri, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use portcullis_mesh::wait::PATIENCE;
use portcullis_mesh_stand_in::{Answer, Ask, MeshApi as StandIn};
use portcullis_protocol::audit::unhex;
use portcullis_protocol::snapshot::public_key;
use portcullis_protocol::wire::Record;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::error::{BenchError, Result};

/// The bearer token of the mesh API in this run.
pub(crate) const TOKEN: &str = "bench-mesh-token-0123456789";

/// Seed of the key that signs pages.
const SEED: [u8; 32] = [9; 32];

/// Generation and revision that a reader has, by its name.
type Readers = BTreeMap<String, (Vec<u8>, u64)>;

struct Shared {
    api: Mutex<StandIn>,
    revision: watch::Sender<u64>,
    pages: Mutex<u64>,
    acknowledged: Mutex<Readers>,
}

/// A running mesh API.
pub(crate) struct MeshApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    _runtime: Runtime,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MeshApi {
    /// Serves a snapshot on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub(crate) fn start(records: Vec<Record>) -> Result<Self> {
        let failed = BenchError::io;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed("start", "the mesh API"))?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))
            .map_err(failed("bind a port for", "the mesh API"))?;
        let address = listener.local_addr().map_err(failed("bind a port for", "the mesh API"))?;
        let mut api = StandIn::new(TOKEN, SEED);
        // A run sends millions: they are counted.
        api.keep_records = false;
        let shared = Arc::new(Shared {
            api: Mutex::new(api),
            revision: watch::Sender::new(0),
            pages: Mutex::default(),
            acknowledged: Mutex::default(),
        });
        let router = Router::new()
            .route("/mesh/v1/snapshot", get(snapshot))
            .route("/mesh/v1/audit", post(audit))
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(Arc::clone(&shared));
        runtime.spawn(async move {
            // It serves until the runtime ends; a failure shows as proxies that never become ready.
            let _ = axum::serve(listener, router).await;
        });
        let api = Self { shared, address, _runtime: runtime };
        api.replace(records);
        Ok(api)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The public key of the pages.
    pub(crate) fn key() -> [u8; 32] {
        public_key(SEED)
    }

    /// Begins a new generation with these records: every reader resyncs in full.
    pub(crate) fn replace(&self, records: Vec<Record>) {
        let revision = lock(&self.shared.api).store.replace(records);
        self.shared.revision.send_replace(revision);
    }

    /// Publishes changes as one revision, and tells which.
    pub(crate) fn change(&self, records: Vec<Record>) -> u64 {
        let revision = lock(&self.shared.api).store.change(records);
        self.shared.revision.send_replace(revision);
        revision
    }

    /// Audit records received so far.
    pub(crate) fn records(&self) -> u64 {
        lock(&self.shared.api).taken
    }

    /// Keeps audit records from now on.
    #[cfg(test)]
    pub(crate) fn keep_records(&self) {
        lock(&self.shared.api).keep_records = true;
    }

    /// The audit records that were kept.
    #[cfg(test)]
    pub(crate) fn kept_records(&self) -> Vec<portcullis_protocol::wire::AuditRecord> {
        lock(&self.shared.api).records.clone()
    }

    /// Waits until no audit record has come for a quarter of a second, so that a round does not pay for
    /// the one before it.
    pub(crate) fn drain(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let before = self.records();
            std::thread::sleep(Duration::from_millis(250));
            if self.records() == before || Instant::now() > end {
                return;
            }
        }
    }

    /// Pages answered so far.
    pub(crate) fn pages(&self) -> u64 {
        *lock(&self.shared.pages)
    }

    /// Waits until so many readers have come, and all have the current revision; false when they never do.
    pub(crate) fn await_readers(&self, count: usize) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let api = lock(&self.shared.api);
            let wanted = (api.store.generation().to_vec(), api.store.revision());
            drop(api);
            let readers = lock(&self.shared.acknowledged);
            if readers.len() >= count && readers.values().all(|has| *has == wanted) {
                return true;
            }
            drop(readers);
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

type Poll = Query<BTreeMap<String, String>>;
type Answered = std::result::Result<Vec<u8>, StatusCode>;

/// Takes note of what a reader has: a poll without a cursor says so.
fn acknowledge(shared: &Shared, poll: &BTreeMap<String, String>) {
    let field = |name: &str| poll.get(name).map(String::as_str).unwrap_or_default();
    let (Some(generation), Ok(revision)) = (unhex(field("generation")), field("revision").parse()) else {
        return;
    };
    if field("cursor").is_empty() && !generation.is_empty() {
        lock(&shared.acknowledged).insert(field("worker").to_owned(), (generation, revision));
    }
}

async fn snapshot(
    State(shared): State<Arc<Shared>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(poll): Poll,
) -> Answered {
    let mut changed = shared.revision.subscribe();
    acknowledge(&shared, &poll);
    let wait = poll.get("wait").and_then(|wait| wait.parse().ok()).unwrap_or(0);
    let end = tokio::time::Instant::now() + Duration::from_secs(wait);
    let answer = loop {
        changed.mark_unchanged();
        match ask(&shared, &uri.to_string(), &headers, b"") {
            Answer::Wait => {}
            answer => break answer,
        }
        if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
            break lock(&shared.api).no_news(uri.query().unwrap_or_default());
        }
    };
    *lock(&shared.pages) += 1;
    respond(answer)
}

async fn audit(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answered {
    respond(ask(&shared, "/mesh/v1/audit", &headers, &body))
}

fn ask(shared: &Shared, path: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    lock(&shared.api).answer(&Ask { call: 0, path, authorization, body })
}

fn respond(answer: Answer) -> Answered {
    match answer {
        Answer::Body(body) => Ok(body),
        Answer::Status(status) => {
            Err(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Answer::Reset | Answer::Wait => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}
