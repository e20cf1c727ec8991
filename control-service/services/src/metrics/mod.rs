//! What the service counts and measures, for Prometheus.

mod described;
mod exposition;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_control_domain::histogram::{Histogram, Observed};
use portcullis_control_domain::issuer::{IssuerReport, KeyState};

pub use described::{ALL, Described, Kind};
use described::{
    AUDIT_DUPLICATES, AUDIT_REFUSED, AUDIT_REJECTED, AUDIT_STORED, CALLS, CONFIG_REFUSED, ENTRIES,
    HEARTBEATS, HTTP_REQUESTS, INTROSPECTIONS, ISSUER_FETCH_FAILURES, ISSUER_FETCHES, ISSUER_KEYS,
    ISSUER_KEYS_AGE, ISSUER_KEYS_EMPTY, ISSUER_KEYS_EXPIRED, ISSUER_KEYS_STALE, JWKS_FAILED, JWKS_FETCHED,
    KEY_REFRESHES, PAGE_BYTES, POLLS, REFUSED_CALLERS, REFUSED_CLUSTERS, REPLICA_BEHIND,
    REPLICA_CONFIRMED_AGE, REPLICA_LEADS, RESTART_PENDING, REVISION, STORE_COMMITS, STORE_RECOVERING,
    STORE_UP, TOKEN_REQUESTS, WORKERS, WORKERS_CURRENT,
};
use exposition::Exposition;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one name, told apart by labels.
#[derive(Debug, Default)]
pub struct Family(Mutex<BTreeMap<Vec<String>, u64>>);

impl Family {
    /// Counts one; the values of the labels must come from a bounded set.
    pub fn count(&self, labels: &[&str]) {
        self.add(labels, 1);
    }

    /// Counts several.
    pub fn add(&self, labels: &[&str], n: u64) {
        let labels = labels.iter().map(|&l| l.to_owned()).collect();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(labels).or_default() += n;
    }

    fn render(&self, metric: &Described, text: &mut Exposition) {
        text.head(metric);
        for (values, n) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            text.sample(metric, &values, n);
        }
    }
}

/// What the service counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Snapshot polls answered.
    pub polls: Counter,
    /// Bytes of snapshot pages sent.
    pub page_bytes: Counter,
    /// Audit records stored.
    pub audit_stored: Counter,
    /// Audit records that were there already.
    pub audit_duplicates: Counter,
    /// Audit records that could not be read, or that their sender may not write.
    pub audit_rejected: Counter,
    /// What of audit batches was not taken, by principal and reason.
    pub audit_refused: Family,
    /// Heartbeats taken.
    pub heartbeats: Counter,
    /// Key sets fetched.
    pub jwks_fetched: Counter,
    /// Key sets that could not be fetched.
    pub jwks_failed: Counter,
    /// Introspections by provider and outcome.
    pub introspections: Family,
    /// Token requests by outcome.
    pub token_requests: Family,
    /// Filters' wishes for newer keys by outcome.
    pub key_refreshes: Family,
    /// Calls of the platform API without an administrator's token, by what became of them.
    pub refused_callers: Family,
    /// Calls of agents and heartbeats without a token or a certificate that is good, by what became of them.
    pub refused_clusters: Family,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    calls: Mutex<BTreeMap<(&'static str, u16), Arc<Histogram>>>,
}

/// What is measured at the moment of the scrape.
#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Newest revision of the snapshot.
    pub revision: u64,
    /// Entries of the snapshot.
    pub entries: usize,
    /// Workers that are alive.
    pub workers: usize,
    /// Of these, those that have the newest revision.
    pub current: usize,
    /// Whether the database can be used.
    pub store_up: bool,
    /// Whether this replica does what only one may do.
    pub leads: bool,
    /// Whether this replica may lack something of the database.
    pub behind: bool,
    /// How long ago it was certain that it lacks nothing.
    pub confirmed_age: Duration,
    /// Fields of the configuration that wait for a restart.
    pub restart_pending: usize,
    /// Whether the configuration file was refused when it was last read.
    pub file_refused: bool,
    /// Whether the store was restored and has not recovered yet.
    pub recovering: bool,
    /// How long commits took.
    pub commits: Observed,
}

impl Metrics {
    /// The text of a service that waits for its database, of which nothing else can be told yet.
    #[must_use]
    pub fn without_a_database() -> String {
        let mut text = Exposition::default();
        text.single(&STORE_UP, 0);
        text.into_text()
    }

    /// Counts a request by listener and status.
    pub fn request(&self, listener: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((listener, status)).or_default() += 1;
    }

    /// Measures a call, by its name and the hundred of its status.
    pub fn call(&self, call: &'static str, status: u16, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let times = Arc::clone(calls.entry((call, status / 100)).or_default());
        drop(calls);
        times.observe(took);
    }

    /// The Prometheus text.
    #[must_use]
    pub fn render(&self, gauges: &Gauges, issuers: &[IssuerReport]) -> String {
        let mut text = Exposition::default();
        self.requests(&mut text);
        self.counted(&mut text);
        gauges.render(&mut text);
        issuer_metrics(issuers, &mut text);
        text.into_text()
    }

    fn requests(&self, text: &mut Exposition) {
        text.head(&HTTP_REQUESTS);
        for ((listener, status), n) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            text.sample(&HTTP_REQUESTS, &[listener, &status.to_string()], n);
        }
        text.head(&CALLS);
        for ((call, hundred), times) in self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            text.times(&CALLS, &[call, &format!("{hundred}xx")], &times.observed());
        }
    }

    fn counted(&self, text: &mut Exposition) {
        for (metric, counter) in [
            (&POLLS, &self.polls),
            (&PAGE_BYTES, &self.page_bytes),
            (&AUDIT_STORED, &self.audit_stored),
            (&AUDIT_DUPLICATES, &self.audit_duplicates),
            (&AUDIT_REJECTED, &self.audit_rejected),
            (&HEARTBEATS, &self.heartbeats),
            (&JWKS_FETCHED, &self.jwks_fetched),
            (&JWKS_FAILED, &self.jwks_failed),
        ] {
            text.single(metric, counter.get());
        }
        for (metric, family) in [
            (&AUDIT_REFUSED, &self.audit_refused),
            (&INTROSPECTIONS, &self.introspections),
            (&TOKEN_REQUESTS, &self.token_requests),
            (&KEY_REFRESHES, &self.key_refreshes),
            (&REFUSED_CALLERS, &self.refused_callers),
            (&REFUSED_CLUSTERS, &self.refused_clusters),
        ] {
            family.render(metric, text);
        }
    }
}

impl Gauges {
    fn render(&self, text: &mut Exposition) {
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (metric, value) in [
            (&REVISION, self.revision),
            (&ENTRIES, size(self.entries)),
            (&WORKERS, size(self.workers)),
            (&WORKERS_CURRENT, size(self.current)),
            (&STORE_UP, self.store_up.into()),
            (&STORE_RECOVERING, self.recovering.into()),
            (&REPLICA_LEADS, self.leads.into()),
            (&REPLICA_BEHIND, self.behind.into()),
            (&RESTART_PENDING, size(self.restart_pending)),
            (&CONFIG_REFUSED, self.file_refused.into()),
        ] {
            text.single(metric, value);
        }
        text.single(&REPLICA_CONFIRMED_AGE, self.confirmed_age.as_secs_f64());
        text.head(&STORE_COMMITS);
        text.times(&STORE_COMMITS, &[], &self.commits);
    }
}

/// How the issuers' keys are doing: what an operator alerts on.
fn issuer_metrics(issuers: &[IssuerReport], text: &mut Exposition) {
    let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut family = |metric: &Described, value: &dyn Fn(&IssuerReport) -> Option<u64>| {
        text.head(metric);
        for issuer in issuers {
            if let Some(value) = value(issuer) {
                text.sample(metric, &[&issuer.issuer], value);
            }
        }
    };
    let fetched = |i: &IssuerReport| i.state != KeyState::Configured;
    family(&ISSUER_KEYS, &|i| Some(size(i.key_count)));
    family(&ISSUER_KEYS_AGE, &|i| i.age_s);
    family(&ISSUER_KEYS_STALE, &|i| {
        let well = matches!(i.state, KeyState::Fresh | KeyState::Empty) && i.last_error.is_none();
        fetched(i).then(|| u64::from(!well))
    });
    family(&ISSUER_KEYS_EXPIRED, &|i| fetched(i).then(|| u64::from(i.state == KeyState::Expired)));
    family(&ISSUER_KEYS_EMPTY, &|i| fetched(i).then(|| u64::from(i.state == KeyState::Empty)));
    family(&ISSUER_FETCHES, &|i| fetched(i).then_some(i.fetched));
    family(&ISSUER_FETCH_FAILURES, &|i| fetched(i).then_some(i.failed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_the_exposition() {
        let family = Family::default();
        family.add(&["a\"b\\c\nd", "active"], 2);
        let mut text = Exposition::default();
        family.render(&INTROSPECTIONS, &mut text);
        let text = text.into_text();
        let wanted = r#"portcullis_introspections_total{provider="a\"b\\c\nd",outcome="active"} 2"#;
        assert!(text.lines().any(|line| line == wanted), "{text}");
    }

    #[test]
    fn times_are_told_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.call("GetCluster", 404, Duration::from_millis(3));
        metrics.call("GetCluster", 410, Duration::from_secs(70));
        let mut text = Exposition::default();
        metrics.requests(&mut text);
        let text = text.into_text();
        for wanted in [
            r#"_bucket{call="GetCluster",status="4xx",le="0.002"} 0"#,
            r#"_bucket{call="GetCluster",status="4xx",le="0.005"} 1"#,
            r#"_bucket{call="GetCluster",status="4xx",le="60"} 1"#,
            r#"_bucket{call="GetCluster",status="4xx",le="+Inf"} 2"#,
            r#"_sum{call="GetCluster",status="4xx"} 70.003"#,
            r#"_count{call="GetCluster",status="4xx"} 2"#,
        ] {
            let wanted = ["portcullis_call_duration_seconds", wanted].concat();
            assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
        }
    }
}
