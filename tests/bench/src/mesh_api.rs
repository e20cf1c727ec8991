//! The mesh API in this process: serves the snapshot by long poll and acknowledges audit records.
//!
//! It keeps nothing on disk, so what is measured is the gateway and not a database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use portcullis_mesh::wait::PATIENCE;
use portcullis_protocol::audit::{hex, unhex};
use portcullis_protocol::snapshot::{public_key, sign_page};
use portcullis_protocol::wire::{AuditAck, AuditBatch, AuditRecord, Page, Record, SNAPSHOT_FORMAT};
use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::error::{BenchError, Result};

/// The bearer token of the mesh API in this run.
pub(crate) const TOKEN: &str = "bench-mesh-token-0123456789";

/// Seed of the key that signs pages.
const SEED: [u8; 32] = [9; 32];

/// Bytes of records on one page, as the control service has it.
const PAGE_BYTES: usize = 24 * 1024;

type Key = (i32, Vec<u8>);

#[derive(Default)]
struct Store {
    generation: u64,
    revision: u64,
    entries: BTreeMap<Key, Record>,
    changes: Vec<(u64, Key)>,
}

struct Shared {
    store: Mutex<Store>,
    revision: watch::Sender<u64>,
    records: AtomicU64,
    pages: AtomicU64,
    acknowledged: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Audit records, where somebody wants to read them and not only to count them.
    kept: Mutex<Option<Vec<AuditRecord>>>,
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
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            revision: watch::Sender::new(0),
            records: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            kept: Mutex::default(),
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
        let mut store = lock(&self.shared.store);
        store.generation += 1;
        store.changes.clear();
        store.entries = records.into_iter().map(|r| ((r.kind, r.key.clone()), r)).collect();
        self.publish(store);
    }

    /// Publishes changes as one revision, and tells which.
    pub(crate) fn change(&self, records: Vec<Record>) -> u64 {
        let mut store = lock(&self.shared.store);
        let revision = store.revision + 1;
        for record in records {
            let key = (record.kind, record.key.clone());
            store.changes.push((revision, key.clone()));
            store.entries.insert(key, record);
        }
        self.publish(store)
    }

    fn publish(&self, mut store: MutexGuard<'_, Store>) -> u64 {
        store.revision += 1;
        let revision = store.revision;
        drop(store);
        self.shared.revision.send_replace(revision);
        revision
    }

    /// Audit records received so far.
    pub(crate) fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// Keeps audit records from now on.
    #[cfg(test)]
    pub(crate) fn keep_records(&self) {
        *lock(&self.shared.kept) = Some(Vec::new());
    }

    /// The audit records that were kept.
    #[cfg(test)]
    pub(crate) fn kept_records(&self) -> Vec<AuditRecord> {
        lock(&self.shared.kept).clone().unwrap_or_default()
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
        self.shared.pages.load(Ordering::Relaxed)
    }

    /// Waits until so many readers have come, and all have the current revision; false when they never do.
    pub(crate) fn await_readers(&self, count: usize) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let store = lock(&self.shared.store);
            let wanted = (store.generation, store.revision);
            drop(store);
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

impl Store {
    fn generation(&self) -> [u8; 16] {
        u128::from(self.generation).to_be_bytes()
    }

    fn page(&self, revision: u64) -> Page {
        Page {
            format: SNAPSHOT_FORMAT,
            view: "gateway".into(),
            generation: self.generation().to_vec(),
            revision,
            ..Page::default()
        }
    }

    /// The answer to a reader; `None` when there is nothing new for it.
    fn answer(&self, generation: &[u8], revision: u64, cursor: &[u8]) -> Option<Page> {
        if generation != self.generation() {
            return Some(self.full(None, self.revision));
        }
        match cursor.split_at_checked(4) {
            Some((kind, key)) => {
                let kind = i32::from_be_bytes(kind.try_into().unwrap_or_default());
                Some(self.full(Some((kind, key.to_vec())), revision))
            }
            None => self.delta(revision),
        }
    }

    fn full(&self, after: Option<Key>, pinned: u64) -> Page {
        let mut page = self.page(pinned);
        page.reset = after.is_none();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut room = PAGE_BYTES;
        for ((kind, key), record) in self.entries.range((from, Bound::Unbounded)) {
            let size = record.encoded_len();
            if size > room {
                break;
            }
            room -= size;
            page.records.push(record.clone());
            page.cursor = [&kind.to_be_bytes(), key.as_slice()].concat();
        }
        let last = page.records.last().map(|r| (r.kind, r.key.clone()));
        if last.as_ref() == self.entries.keys().next_back() {
            page.cursor.clear();
        }
        page.more = !page.cursor.is_empty() || self.delta(pinned).is_some();
        page
    }

    fn delta(&self, after: u64) -> Option<Page> {
        let begin = self.changes.partition_point(|(revision, _)| *revision <= after);
        let mut page = self.page(self.revision);
        let changes = self.changes.get(begin..).unwrap_or_default();
        let records = changes.iter().filter_map(|(_, key)| self.entries.get(key)).cloned();
        page.records.extend(records);
        (!page.records.is_empty()).then_some(page)
    }
}

type Poll = Query<BTreeMap<String, String>>;

async fn snapshot(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(poll): Poll,
) -> std::result::Result<Vec<u8>, StatusCode> {
    authorize(&headers)?;
    let field = |name: &str| poll.get(name).map(String::as_str).unwrap_or_default();
    let bytes = |name: &str| unhex(field(name)).ok_or(StatusCode::BAD_REQUEST);
    let (generation, cursor, nonce) = (bytes("generation")?, bytes("cursor")?, bytes("nonce")?);
    let revision = field("revision").parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let wait = Duration::from_secs(field("wait").parse().unwrap_or(0));
    if field("view") != "gateway" {
        return Err(StatusCode::FORBIDDEN);
    }
    let mut changed = shared.revision.subscribe();
    if cursor.is_empty() && !generation.is_empty() {
        let number = u64::from_str_radix(&hex(&generation), 16).unwrap_or_default();
        lock(&shared.acknowledged).insert(field("worker").to_owned(), (number, revision));
    }
    let end = tokio::time::Instant::now() + wait;
    let mut page = loop {
        changed.mark_unchanged();
        let answer = lock(&shared.store).answer(&generation, revision, &cursor);
        if let Some(page) = answer {
            break page;
        }
        if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
            break lock(&shared.store).page(revision);
        }
    };
    page.nonce = nonce;
    shared.pages.fetch_add(1, Ordering::Relaxed);
    Ok(sign_page(&page, SEED))
}

async fn audit(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> std::result::Result<Vec<u8>, StatusCode> {
    authorize(&headers)?;
    let batch = AuditBatch::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let stored = batch.records.len() as u64;
    shared.records.fetch_add(stored, Ordering::Relaxed);
    if let Some(kept) = &mut *lock(&shared.kept) {
        let read = |record: &Vec<u8>| AuditRecord::decode(record.as_slice());
        let read: std::result::Result<Vec<_>, _> = batch.records.iter().map(read).collect();
        kept.extend(read.map_err(|_| StatusCode::BAD_REQUEST)?);
    }
    Ok(AuditAck { stored, ..AuditAck::default() }.encode_to_vec())
}

fn authorize(headers: &HeaderMap) -> std::result::Result<(), StatusCode> {
    let presented = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if presented.strip_prefix("Bearer ") == Some(TOKEN) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u32) -> Record {
        Record { kind: 10, key: key.to_be_bytes().to_vec(), value: vec![0; 100], removed: false }
    }

    #[test]
    fn a_resync_brings_every_entry_once_and_then_the_changes() {
        let api = MeshApi::start((0..1_000).map(record).collect()).unwrap();
        let store = lock(&api.shared.store);
        let (mut seen, mut cursor, mut pages) = (0, Vec::new(), 0);
        let mut page = store.answer(&[], 0, &cursor).unwrap();
        let pinned = page.revision;
        loop {
            pages += 1;
            assert_eq!(page.reset, pages == 1);
            seen += page.records.len();
            cursor.clone_from(&page.cursor);
            if cursor.is_empty() {
                break;
            }
            page = store.answer(&store.generation(), pinned, &cursor).unwrap();
        }
        assert_eq!(seen, 1_000);
        assert!(pages > 1);
        assert_eq!(store.answer(&store.generation(), pinned, &[]), None);
        drop(store);
        api.change(vec![record(7)]);
        let store = lock(&api.shared.store);
        assert_eq!(store.answer(&store.generation(), pinned, &[]).unwrap().records.len(), 1);
    }
}
