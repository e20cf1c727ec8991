//! What the plugins of one worker share that decide by the same source.

use std::sync::Arc;
use std::time::Duration;

use portcullis_model::config::{AuditLimits, PluginConfig};
use portcullis_protocol::audit::StreamId;

use crate::guarded::Guarded;
use crate::journal::courier::Courier;
use crate::link::Link;
use crate::meter::Meter;
use crate::metrics::Metric;
use crate::owner::{Claim, Owner};
use crate::port::{CalloutResponse, Proxy, Severity, StreamKey};
use crate::source::PolicySource;

/// Requests that are answered, let on or ended in one tick. Envoy carries out what a Wasm module asks for when the module
/// returns. Ending a request calls the module, and when that returns the next one is ended, all on one stack: V8 gave up
/// at some 900, and took every request of the worker along.
pub const MAX_AT_ONCE: usize = 250;

/// Time between the ticks that a target gives its plugins: they restart polls, deliver records, end holds.
pub const TICK: Duration = Duration::from_millis(50);

/// What the plugins of a worker share that decide by the same source.
pub struct Worker {
    /// Where policy comes from.
    pub source: Arc<PolicySource>,
    /// Caches, questions under way, requests that wait.
    pub link: Guarded<Link>,
    /// Audit records.
    pub courier: Guarded<Courier>,
    /// What was counted and not told yet.
    pub meter: Guarded<Meter>,
    /// The bounds of its records: those of the plugin that came first.
    limits: AuditLimits,
    /// Names this life of this worker: the stream of its records.
    pub stream: StreamId,
    /// When it began, by the monotonic clock in milliseconds.
    started_ms: u64,
    owner: Guarded<Owner>,
}

impl Worker {
    /// A worker of a source. `None`, with the reason in the log, when the proxy gives no randomness.
    #[must_use]
    pub fn new(
        proxy: &dyn Proxy,
        config: &PluginConfig,
        stream: StreamId,
        source: Arc<PolicySource>,
    ) -> Option<Self> {
        let cache_key = random(proxy)?;
        let courier = Courier::new(&source, stream, config.audit);
        let mut meter = Meter::default();
        meter.count(Metric::WorkerStart, 1);
        Some(Self {
            link: Guarded::new(Link::new(Arc::clone(&source), cache_key)),
            courier: Guarded::new(courier),
            meter: Guarded::new(meter),
            limits: config.audit,
            stream,
            started_ms: proxy.monotonic_ns().unwrap_or_default() / 1_000_000,
            owner: Guarded::default(),
            source,
        })
    }

    /// A tick of one of the worker's plugins, by its number.
    pub fn on_tick(&self, proxy: &dyn Proxy, plugin: u64) {
        let now_ms = self.read_clock(proxy);
        self.source.on_tick(proxy, plugin, now_ms);
        match self.owner.lock().claim(plugin, now_ms) {
            Claim::Anothers => return,
            Claim::New => self.courier.lock().forget_delivery(now_ms),
            Claim::Mine => {}
        }
        let lookups = {
            let policy = self.source.policy.read();
            let mut link = self.link.lock();
            link.tidy(proxy, &policy);
            link.identities.take_lookups()
        };
        let recovered = self.courier.lock().on_tick(proxy, &self.source, now_ms);
        let mut meter = self.meter.lock();
        meter.count(Metric::CacheHit, lookups.hits);
        meter.count(Metric::CacheMiss, lookups.misses);
        meter.count(Metric::IncompleteIdentity, lookups.incomplete);
        meter.count(Metric::RecordsRecovered, recovered);
        meter.tell(proxy);
        let gauges = meter.gauges_are_due(now_ms);
        drop(meter);
        if gauges {
            self.tell_gauges(proxy, now_ms);
        }
    }

    /// Says so when a plugin that shares this worker wants other bounds of its records than the one that came first.
    pub fn compare_limits(&self, proxy: &dyn Proxy, config: &PluginConfig) {
        let (wanted, own) = (config.audit, self.limits);
        if wanted != own {
            let line = format!(
                "pluginConfig.audit: maxWaiting {} and batch {} do not hold: plugins with the same snapshot share one \
                 journal, and that has maxWaiting {} and batch {}. Write the same in all of them, and restart the proxy",
                wanted.max_waiting, wanted.batch, own.max_waiting, own.batch
            );
            proxy.log(Severity::Warning, &line);
        }
    }

    /// Delivers what waits on behalf of plugins that are gone; gives how many records still wait.
    pub fn deliver_rest(&self, proxy: &dyn Proxy, plugin: u64) -> u64 {
        let now_ms = self.read_clock(proxy);
        let mut courier = self.courier.lock();
        match self.owner.lock().claim(plugin, now_ms) {
            Claim::Anothers => {}
            claim => {
                if claim == Claim::New {
                    courier.forget_delivery(now_ms);
                }
                courier.on_tick(proxy, &self.source, now_ms);
                self.meter.lock().tell(proxy);
            }
        }
        courier.journal.waiting()
    }

    /// Counts records that were given up.
    pub fn give_up(&self, proxy: &dyn Proxy, records: u64) {
        let mut meter = self.meter.lock();
        meter.count(Metric::JournalDropped, records);
        meter.tell(proxy);
    }

    fn tell_gauges(&self, proxy: &dyn Proxy, now_ms: u64) {
        let policy = self.source.policy.read();
        let age_ms = now_ms.saturating_sub(policy.last_completed_ms().unwrap_or(self.started_ms));
        proxy.gauge(Metric::SnapshotRevision.id(), policy.snapshot.revision());
        proxy.gauge(Metric::SnapshotAge.id(), age_ms / 1_000);
        proxy.gauge(Metric::JournalRecords.id(), self.courier.lock().journal.waiting_in_all());
    }

    /// An answer to a call; false when nobody here asked.
    pub fn on_answer(&self, proxy: &dyn Proxy, answer: &CalloutResponse<'_>) -> bool {
        let now_ms = self.read_clock(proxy);
        let end = self
            .source
            .on_answer(proxy, answer, now_ms)
            .or_else(|| self.courier.lock().on_answer(proxy, &self.source, answer, now_ms))
            .or_else(|| self.link.lock().on_answer(proxy, answer));
        if let Some(end) = end {
            self.meter.lock().call(proxy, end);
        }
        end.is_some()
    }

    /// Takes out the requests of a plugin that can be decided now: those that waited, and open ones that have to
    /// be looked at again.
    #[must_use]
    pub fn take_ready(&self, plugin: u64) -> Vec<StreamKey> {
        let policy = self.source.policy.read();
        let mut link = self.link.lock();
        let mut ready = link.take_ready((plugin, MAX_AT_ONCE), &policy);
        let now_ms = link.now_ms;
        link.open.tick(policy.snapshot.changes(), now_ms);
        let left = MAX_AT_ONCE.saturating_sub(ready.len());
        ready.append(&mut link.open.take_due(plugin, now_ms, left));
        ready
    }

    fn read_clock(&self, proxy: &dyn Proxy) -> u64 {
        let mut link = self.link.lock();
        link.read_clock(proxy);
        link.now_ms
    }
}

/// Random bytes; `None`, with the reason in the log, when the proxy gives none.
#[must_use]
pub fn random<const N: usize>(proxy: &dyn Proxy) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    proxy
        .random(&mut bytes)
        .map_err(|error| proxy.log(Severity::Critical, &format!("no randomness: {error}")))
        .ok()?;
    Some(bytes)
}
