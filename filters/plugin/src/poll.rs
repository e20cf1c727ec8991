//! The long poll that brings the snapshot, and the delivery of audit records.
//!
//! One root context per VM and link does both; when it dies, another takes over.

use std::time::Duration;

use portcullis_audit::Store;
use portcullis_host::{BufferType, CallResponse, CallToken, Cas, Host, HttpCall, LogLevel, MapType};
use portcullis_model::config::SnapshotSource;
use portcullis_protocol::audit::hex;
use portcullis_protocol::snapshot::{NONCE_LEN, verify_page};
use portcullis_protocol::wire::AuditAck;
use prost::Message;

use crate::link::Link;

/// Without a tick of the owner for so long, another root context takes over. Root contexts of a VM tick on
/// one thread, so an owner that is late is one that is gone.
const OWNER_LOST_MS: u64 = 200;

/// First and longest pause after a failed poll.
const RETRY_MS: (u64, u64) = (100, 1_000);

/// A poll that is answered faster than this without news is followed by a pause of the same length, so
/// that a service that does not hold polls is not asked thousands of times a second.
const IDLE_MS: u64 = 250;

/// Time between two sweeps of what is kept of credentials.
const SWEEP_MS: u64 = 10_000;

/// Largest page that is read, in bytes.
const MAX_PAGE: usize = 256 * 1024;

/// Time in which a batch must be acknowledged.
const SHIP_TIMEOUT: Duration = Duration::from_secs(10);

/// The proxy's shared data.
pub(crate) struct SharedData<'a>(pub(crate) &'a dyn Host);

impl Store for SharedData<'_> {
    fn set(&self, key: &str, value: &[u8]) -> bool {
        self.0.set_shared_data(key, value, None).is_ok()
    }

    fn get(&self, key: &str) -> (Vec<u8>, u32) {
        self.0.shared_data(key).ok().flatten().map(|v| (v.data, v.cas.0)).unwrap_or_default()
    }

    fn swap(&self, key: &str, value: &[u8], version: u32) -> bool {
        self.0.set_shared_data(key, value, Some(Cas(version))).is_ok()
    }
}

/// State of the poll and of the delivery.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    owner: Option<u64>,
    owner_seen_ms: u64,
    poll: Option<CallToken>,
    nonce: [u8; NONCE_LEN],
    sent_ms: u64,
    failures: u32,
    next_ms: u64,
    last_completed_ms: Option<u64>,
    ship: Option<CallToken>,
    sweep_ms: u64,
}

impl Poller {
    /// When the last poll was completed, by the monotonic clock.
    #[must_use]
    pub(crate) fn last_completed_ms(&self) -> Option<u64> {
        self.last_completed_ms
    }

    fn failed(&mut self, now_ms: u64) {
        let pause = RETRY_MS.0.saturating_mul(1 << self.failures.min(10)).min(RETRY_MS.1);
        self.failures = self.failures.saturating_add(1);
        // A few milliseconds that differ from worker to worker keep them from returning all at once.
        let jitter = u64::from(self.nonce.first().copied().unwrap_or_default()).saturating_mul(pause) / 1024;
        self.next_ms = now_ms.saturating_add(pause).saturating_add(jitter);
    }
}

impl Link {
    /// A tick of a root context.
    pub(crate) fn on_tick(&mut self, host: &dyn Host, root: u64) {
        self.read_clock(host);
        let lost = self.now_ms.saturating_sub(self.poller.owner_seen_ms) > OWNER_LOST_MS;
        if self.poller.owner != Some(root) && (self.poller.owner.is_none() || lost) {
            self.take_over(root);
        }
        if self.poller.owner == Some(root) {
            self.poller.owner_seen_ms = self.now_ms;
            self.poll(host);
            self.introspections.tend(self.now_ms);
            self.sweep(host);
            let recovered = self.journal.tend(&SharedData(host), self.now_ms);
            if recovered > 0 {
                host.log(
                    LogLevel::Warn,
                    &format!("recovered {recovered} audit records of a VM that is gone"),
                );
            }
            self.ship(host);
        }
    }

    /// From time to time, drops what is kept of credentials that have ended.
    fn sweep(&mut self, host: &dyn Host) {
        if self.now_ms < self.poller.sweep_ms {
            return;
        }
        self.poller.sweep_ms = self.now_ms.saturating_add(SWEEP_MS);
        self.introspections.sweep(self.now_ms);
        let snapshot = &self.snapshot;
        self.keys.retain(|issuer| snapshot.issuer(issuer).is_some());
        if let Ok(now_ns) = host.now() {
            self.identities.sweep(snapshot.authentication_revision(), now_ns / 1_000_000_000);
        }
    }

    fn take_over(&mut self, root: u64) {
        self.poller.owner = Some(root);
        self.poller.poll = None;
        if self.poller.ship.take().is_some() {
            self.journal.answered(false, self.now_ms);
        }
    }

    /// Reads the monotonic clock.
    pub(crate) fn read_clock(&mut self, host: &dyn Host) {
        if let Ok(nanoseconds) = host.monotonic() {
            self.now_ms = nanoseconds / 1_000_000;
        }
    }

    /// Starts a poll unless one is under way or has to wait.
    fn poll(&mut self, host: &dyn Host) {
        if self.poller.poll.is_some() || self.now_ms < self.poller.next_ms {
            return;
        }
        if host.random(&mut self.poller.nonce).is_err() {
            host.log(LogLevel::Error, "no randomness for a poll's nonce");
            return self.poller.failed(self.now_ms);
        }
        let path = format!(
            "/mesh/v1/snapshot?view={}&generation={}&revision={}&cursor={}&nonce={}&wait={}&worker={}&stale={}&proxy={}",
            self.view,
            hex(self.snapshot.generation()),
            self.snapshot.revision(),
            hex(self.snapshot.cursor()),
            hex(&self.poller.nonce),
            self.source.poll_s,
            self.stream.to_hex(),
            self.source.stale_after_s,
            encode_query(&self.proxy),
        );
        let timeout = Duration::from_secs(u64::from(self.source.poll_s).saturating_add(5));
        self.poller.sent_ms = self.now_ms;
        match self.call(host, "GET", &path, &[], timeout) {
            Some(token) => self.poller.poll = Some(token),
            None => self.poller.failed(self.now_ms),
        }
    }

    /// Sends the next batch of records, if there is one.
    fn ship(&mut self, host: &dyn Host) {
        let Some(batch) = self.journal.next_batch(self.now_ms) else { return };
        self.poller.ship =
            send(host, &self.source, &self.token, "POST", "/mesh/v1/audit", batch, SHIP_TIMEOUT);
        if self.poller.ship.is_none() {
            self.journal.answered(false, self.now_ms);
        }
    }

    /// Sends a call to the control service.
    pub(crate) fn call(
        &self,
        host: &dyn Host,
        method: &str,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Option<CallToken> {
        send(host, &self.source, &self.token, method, path, body, timeout)
    }

    /// An answer to a call of a root context.
    pub(crate) fn on_answer(&mut self, host: &dyn Host, response: CallResponse) {
        self.read_clock(host);
        if self.poller.poll == Some(response.token) {
            self.poller.poll = None;
            if self.on_page(host, response) {
                self.poll(host);
            }
        } else if self.poller.ship == Some(response.token) {
            self.poller.ship = None;
            let acknowledged = status(host, response) == Some(200)
                && body(host, response).is_some_and(|b| AuditAck::decode(b.as_slice()).is_ok());
            if !acknowledged {
                host.log(LogLevel::Warn, "audit records were not acknowledged; they are kept and sent again");
            }
            self.journal.answered(acknowledged, self.now_ms);
            if self.journal.has_full_batch() {
                self.ship(host);
            }
        } else if !self.on_introspection(host, response) {
            self.on_refresh(host, response);
        }
    }

    /// Takes a page in; true when the next poll may follow at once.
    fn on_page(&mut self, host: &dyn Host, response: CallResponse) -> bool {
        let status = status(host, response);
        if status != Some(200) {
            let what = status.map_or("no answer".to_owned(), |s| format!("status {s}"));
            host.log(LogLevel::Warn, &format!("snapshot poll of {}: {what}", self.source.upstream));
            self.poller.failed(self.now_ms);
            return false;
        }
        let taken = body(host, response)
            .ok_or_else(|| "the body cannot be read".to_owned())
            .and_then(|b| {
                verify_page(&b, &self.source.key, &self.poller.nonce, &self.view).map_err(|e| e.to_string())
            })
            .and_then(|page| {
                let news =
                    page.page().more || !page.page().records.is_empty() || !page.page().cursor.is_empty();
                self.snapshot.apply(page).map(|applied| (news, applied)).map_err(|e| e.to_string())
            });
        match taken {
            Err(error) => {
                host.log(LogLevel::Error, &format!("snapshot page refused: {error}"));
                self.poller.failed(self.now_ms);
                false
            }
            Ok((news, applied)) => {
                for entry in applied.unreadable.iter().take(10) {
                    host.log(LogLevel::Error, &format!("snapshot entry not usable: {entry}"));
                }
                self.poller.failures = 0;
                self.poller.last_completed_ms = Some(self.now_ms);
                let fast = self.now_ms.saturating_sub(self.poller.sent_ms) < IDLE_MS;
                self.poller.next_ms = if fast && !news { self.now_ms.saturating_add(IDLE_MS) } else { 0 };
                true
            }
        }
    }
}

/// Calls the mesh API; `None`, with the reason in the log, when the proxy does not take the call.
fn send(
    host: &dyn Host,
    source: &SnapshotSource,
    token: &str,
    method: &str,
    path: &str,
    body: &[u8],
    timeout: Duration,
) -> Option<CallToken> {
    let authorization = format!("Bearer {token}");
    let headers: [(&[u8], &[u8]); 5] = [
        (b":method", method.as_bytes()),
        (b":path", path.as_bytes()),
        (b":authority", source.authority.as_bytes()),
        (b"authorization", authorization.as_bytes()),
        (b"content-type", b"application/x-protobuf"),
    ];
    let call = HttpCall { upstream: &source.upstream, headers: &headers, body, trailers: &[], timeout };
    host.http_call(&call)
        .map_err(|error| host.log(LogLevel::Error, &format!("cannot call {}: {error}", source.upstream)))
        .ok()
}

/// The status of an answer; none when there was no answer.
pub(crate) fn status(host: &dyn Host, response: CallResponse) -> Option<u16> {
    if response.headers == 0 {
        return None;
    }
    let value = host.header(MapType::HttpCallResponseHeaders, ":status").ok().flatten()?;
    std::str::from_utf8(&value).ok()?.parse().ok()
}

/// The body of an answer, unless it is too long.
pub(crate) fn body(host: &dyn Host, response: CallResponse) -> Option<Vec<u8>> {
    if response.body > MAX_PAGE {
        return None;
    }
    host.buffer(BufferType::HttpCallResponseBody, 0, response.body).ok()
}

/// Percent-encodes what is not unreserved (RFC 3986 §2.3).
fn encode_query(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex(&[byte]));
        }
        out
    })
}
