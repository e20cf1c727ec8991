//! Where policy comes from: the long poll of the control service, and what it brought.
//!
//! Workers that share a [`PolicySource`] share one copy of the snapshot. The poll is driven by one of the
//! plugins that share it.

mod policy;

use std::time::Duration;

use portcullis_model::backoff::pause_ms;
use portcullis_model::config::{PluginConfig, SnapshotSource};
use portcullis_model::outage::Outage;
use portcullis_model::state::Applied;
use portcullis_protocol::audit::hex;
use portcullis_protocol::snapshot::{NONCE_LEN, verify_page};

use crate::guarded::{Guarded, Rebuild, Shared};
use crate::metrics::{CallEnd, CallKind, CallOutcome, Metric};
use crate::owner::{Claim, Owner};
use crate::port::{Call, CallId, CalloutResponse, Proxy, Severity};
pub use crate::source::policy::Policy;

/// Name of the environment variable that holds the mesh token.
pub const TOKEN_ENV: &str = "PORTCULLIS_MESH_TOKEN";

/// First and longest pause after a failed poll.
const RETRY_MS: (u64, u64) = (100, 1_000);

/// A poll that is answered faster than this without news is followed by a pause of the same length, so
/// that a service that does not hold polls is not asked thousands of times a second.
const IDLE_MS: u64 = 250;

/// The path of the snapshot.
const SNAPSHOT: &str = "/mesh/v1/snapshot";

/// What makes two plugins share a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceKey {
    config: SnapshotSource,
    view: String,
}

impl SourceKey {
    /// The key of a configuration.
    #[must_use]
    pub fn of(config: &PluginConfig) -> Self {
        Self { config: config.snapshot.clone(), view: config.view() }
    }
}

/// State of the poll.
#[derive(Debug, Default)]
struct Poller {
    under_way: Option<CallId>,
    nonce: [u8; NONCE_LEN],
    sent_ms: u64,
    failures: u32,
    next_ms: u64,
    outage: Outage,
}

impl Rebuild for Poller {
    fn rebuild(&mut self) {
        *self = Self::default();
    }
}

impl Poller {
    /// Tells of a failure, and of the same one once.
    fn tell(&mut self, proxy: &dyn Proxy, severity: Severity, line: &str) {
        if self.outage.failed(line, || true) {
            proxy.log(severity, line);
        }
    }

    fn failed(&mut self, now_ms: u64) {
        let pause = pause_ms(RETRY_MS, self.failures);
        self.failures = self.failures.saturating_add(1);
        // A few milliseconds that differ from worker to worker keep them from returning all at once.
        let jitter = u64::from(self.nonce.first().copied().unwrap_or_default()).saturating_mul(pause) / 1024;
        self.next_ms = now_ms.saturating_add(pause).saturating_add(jitter);
    }
}

/// One connection to the control service.
pub struct PolicySource {
    /// Where it goes.
    pub config: SnapshotSource,
    /// The view that is asked for.
    pub view: String,
    /// Names this reader to the control service, in hexadecimal.
    pub worker: String,
    /// The proxy's instance.
    pub instance: String,
    /// What came over it.
    pub policy: Shared<Policy>,
    poller: Guarded<Poller>,
    owner: Guarded<Owner>,
    token: Box<str>,
}

impl std::fmt::Debug for PolicySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySource").field("view", &self.view).finish_non_exhaustive()
    }
}

impl PolicySource {
    /// Makes a source. `None`, with the reason in the log, when the mesh token is not there.
    #[must_use]
    pub fn new(proxy: &dyn Proxy, config: &PluginConfig, worker: &[u8]) -> Option<Self> {
        let token = proxy.env(TOKEN_ENV).and_then(|t| String::from_utf8(t).ok()).filter(|t| !t.is_empty());
        let Some(token) = token else {
            proxy.log(
                Severity::Critical,
                &format!(
                    "{TOKEN_ENV} is not set: add it to vmConfig.env (valueFrom: HOST) and to the proxy's environment"
                ),
            );
            return None;
        };
        Some(Self {
            config: config.snapshot.clone(),
            view: config.view(),
            worker: hex(worker),
            instance: String::from_utf8_lossy(&proxy.instance()).into_owned(),
            policy: Shared::default(),
            poller: Guarded::default(),
            owner: Guarded::default(),
            token: token.into(),
        })
    }

    /// The bearer token of the mesh API.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A tick of a plugin: starts a poll unless one is under way, has to wait, or is another plugin's to start.
    /// What an owner that is gone had under way is given up.
    pub fn on_tick(&self, proxy: &dyn Proxy, plugin: u64, now_ms: u64) {
        match self.owner.lock().claim(plugin, now_ms) {
            Claim::Anothers => return,
            Claim::New => self.poller.lock().under_way = None,
            Claim::Mine => {}
        }
        self.poll(proxy, now_ms);
    }

    fn poll(&self, proxy: &dyn Proxy, now_ms: u64) {
        let mut poller = self.poller.lock();
        if poller.under_way.is_some() || now_ms < poller.next_ms {
            return;
        }
        if proxy.random(&mut poller.nonce).is_err() {
            proxy.log(Severity::Error, "no randomness for a poll's nonce");
            return poller.failed(now_ms);
        }
        let path = self.path(&poller.nonce);
        let timeout = Duration::from_secs(u64::from(self.config.poll_s).saturating_add(5));
        poller.sent_ms = now_ms;
        match self.call(proxy, CallKind::Snapshot, ("GET", &path), &[], timeout) {
            Some(call) => poller.under_way = Some(call),
            None => poller.failed(now_ms),
        }
    }

    fn path(&self, nonce: &[u8; NONCE_LEN]) -> String {
        let policy = self.policy.read();
        let snapshot = &policy.snapshot;
        format!(
            "{SNAPSHOT}?view={}&generation={}&revision={}&cursor={}&nonce={}&wait={}&worker={}&stale={}&proxy={}",
            self.view,
            hex(snapshot.generation()),
            snapshot.revision(),
            hex(snapshot.cursor()),
            hex(nonce),
            self.config.poll_s,
            self.worker,
            self.config.stale_after_s,
            encode_query(&self.instance),
        )
    }

    /// Takes an answer; `None` when it is none to a poll.
    pub fn on_answer(&self, proxy: &dyn Proxy, answer: &CalloutResponse<'_>, now_ms: u64) -> Option<CallEnd> {
        let mut poller = self.poller.lock();
        if poller.under_way != Some(answer.call) {
            return None;
        }
        poller.under_way = None;
        let times = (poller.sent_ms, now_ms);
        let taken = self.take_page(proxy, answer, &mut poller, now_ms);
        drop(poller);
        if taken {
            self.poll(proxy, now_ms);
        }
        Some(CallEnd::new(CallKind::Snapshot, answer.status, taken, times))
    }

    /// Takes a page in; true when the next poll may follow at once.
    fn take_page(
        &self,
        proxy: &dyn Proxy,
        answer: &CalloutResponse<'_>,
        poller: &mut Poller,
        now_ms: u64,
    ) -> bool {
        if answer.status != Some(200) {
            let line = format!("snapshot poll of {}: {}", self.config.upstream, describe(answer.status));
            poller.tell(proxy, Severity::Warning, &line);
            poller.failed(now_ms);
            return false;
        }
        let (news, applied) = match self.apply(answer, &poller.nonce, now_ms) {
            Ok(taken) => taken,
            Err(error) => {
                poller.tell(proxy, Severity::Error, &format!("snapshot page refused: {error}"));
                poller.failed(now_ms);
                return false;
            }
        };
        for entry in applied.unreadable.iter().take(10) {
            proxy.log(Severity::Error, &format!("snapshot entry not usable: {entry}"));
        }
        poller.failures = 0;
        if let Some(failures) = poller.outage.over() {
            let line = format!("snapshot poll of {}: good after {failures} failures", self.config.upstream);
            proxy.log(Severity::Warning, &line);
        }
        let fast = now_ms.saturating_sub(poller.sent_ms) < IDLE_MS;
        poller.next_ms = if fast && !news { now_ms.saturating_add(IDLE_MS) } else { 0 };
        true
    }

    /// Verifies a page and takes it over; also tells whether it says anything new.
    fn apply(
        &self,
        answer: &CalloutResponse<'_>,
        nonce: &[u8; NONCE_LEN],
        now_ms: u64,
    ) -> Result<(bool, Applied), String> {
        let body = answer.body.ok_or_else(|| "the body cannot be read".to_owned())?;
        let page = verify_page(body, &self.config.key, nonce, &self.view).map_err(|e| e.to_string())?;
        let content = page.page();
        let news = content.more || !content.records.is_empty() || !content.cursor.is_empty();
        let mut policy = self.policy.write();
        let applied = policy.snapshot.apply(page).map_err(|e| e.to_string())?;
        policy.last_completed_ms = Some(now_ms);
        Ok((news, applied))
    }

    /// Posts to the control service; `None`, with the reason in the log, when the proxy does not take it.
    #[must_use]
    pub fn post(&self, proxy: &dyn Proxy, kind: CallKind, body: &[u8], timeout: Duration) -> Option<CallId> {
        self.call(proxy, kind, ("POST", path(kind)), body, timeout)
    }

    fn call(
        &self,
        proxy: &dyn Proxy,
        kind: CallKind,
        (method, path): (&str, &str),
        body: &[u8],
        timeout: Duration,
    ) -> Option<CallId> {
        let authorization = format!("Bearer {}", self.token);
        let headers: [(&[u8], &[u8]); 5] = [
            (b":method", method.as_bytes()),
            (b":path", path.as_bytes()),
            (b":authority", self.config.authority.as_bytes()),
            (b"authorization", authorization.as_bytes()),
            (b"content-type", b"application/x-protobuf"),
        ];
        let upstream = &self.config.upstream;
        proxy
            .call(&Call { upstream, headers: &headers, body, timeout })
            .map_err(|error| {
                proxy.count(Metric::Call(kind, CallOutcome::Failed).id(), 1);
                proxy.log(Severity::Error, &format!("cannot call {upstream}: {error}"));
            })
            .ok()
    }
}

/// The path of a call of a kind.
fn path(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Snapshot => SNAPSHOT,
        CallKind::Audit => "/mesh/v1/audit",
        CallKind::Introspection => "/mesh/v1/introspect",
        CallKind::Keys => "/mesh/v1/keys/refresh",
    }
}

/// An answer's status in words.
#[must_use]
pub fn describe(status: Option<u16>) -> String {
    status.map_or("no answer".to_owned(), |status| format!("status {status}"))
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
