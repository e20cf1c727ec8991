//! Counters of the service, and their Prometheus text form (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use portcullis_control_domain::issuer::{IssuerReport, KeyState};

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

    fn render(&self, name: &str, help: &str, labels: &[&str], text: &mut String) {
        head(name, "counter", help, text);
        for (values, n) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let pairs: Vec<_> = labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            sample(name, &pairs, *n, text);
        }
    }
}

fn head(name: &str, kind: &str, help: &str, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP portcullis_{name} {help}\n# TYPE portcullis_{name} {kind}");
}

fn sample(name: &str, labels: &[(&str, &str)], value: u64, text: &mut String) {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = labels.iter().map(|(name, v)| [name, "=\"", &escaped(v), "\""].concat()).collect();
    let _ = writeln!(text, "portcullis_{name}{{{}}} {value}", pairs.join(","));
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
    /// Heartbeats without the token of their cluster, by what became of them.
    pub refused_clusters: Family,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

/// What is measured at the moment of the scrape.
#[derive(Debug, Clone, Copy, Default)]
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
    pub confirmed_ms_ago: u64,
    /// Fields of the configuration that wait for a restart.
    pub restart_pending: usize,
    /// Whether the configuration file was refused when it was last read.
    pub file_refused: bool,
    /// Whether the store was restored and has not recovered yet.
    pub recovering: bool,
}

impl Metrics {
    /// Counts a request by listener and status.
    pub fn request(&self, listener: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((listener, status)).or_default() += 1;
    }

    /// The Prometheus text.
    #[must_use]
    pub fn render(&self, gauges: Gauges, issuers: &[IssuerReport]) -> String {
        let mut text = String::new();
        self.single(gauges, &mut text);
        self.families(&mut text);
        issuer_metrics(issuers, &mut text);
        text
    }

    /// What has one number each.
    fn single(&self, gauges: Gauges, text: &mut String) {
        let mut simple = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# HELP portcullis_{name} {help}\n# TYPE portcullis_{name} {kind}\nportcullis_{name} {value}"
            );
        };
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (name, help, counter) in [
            ("snapshot_polls_total", "Snapshot polls answered.", &self.polls),
            ("snapshot_page_bytes_total", "Bytes of snapshot pages sent.", &self.page_bytes),
            ("audit_records_stored_total", "Audit records stored.", &self.audit_stored),
            ("audit_records_duplicate_total", "Audit records received again.", &self.audit_duplicates),
            ("audit_records_rejected_total", "Audit records that were not taken.", &self.audit_rejected),
            ("heartbeats_total", "Heartbeats taken.", &self.heartbeats),
            ("jwks_fetched_total", "Key sets fetched.", &self.jwks_fetched),
            ("jwks_failed_total", "Key sets that could not be fetched.", &self.jwks_failed),
        ] {
            simple(name, "counter", help, counter.get());
        }
        for (name, help, value) in [
            ("snapshot_revision", "Newest revision of the snapshot.", gauges.revision),
            ("snapshot_entries", "Entries of the snapshot.", size(gauges.entries)),
            ("workers", "Proxy workers that are alive.", size(gauges.workers)),
            ("workers_current", "Proxy workers with the newest revision.", size(gauges.current)),
            ("replica_leads", "1 while this replica does what only one may do.", u64::from(gauges.leads)),
            (
                "store_up",
                "1 while the database can be used: it is read, and takes what is written to it.",
                u64::from(gauges.store_up),
            ),
            (
                "replica_behind",
                "1 while this replica may lack something of the database.",
                u64::from(gauges.behind),
            ),
            (
                "replica_confirmed_milliseconds",
                "Since this replica was certain to lack nothing.",
                gauges.confirmed_ms_ago,
            ),
            (
                "config_restart_pending",
                "Fields of the file not in use before a restart.",
                size(gauges.restart_pending),
            ),
            ("config_refused", "1 while the configuration file is refused.", gauges.file_refused.into()),
            ("store_recovering", "1 while a restored store lets nobody through.", gauges.recovering.into()),
        ] {
            simple(name, "gauge", help, value);
        }
    }

    /// What is told apart by labels.
    fn families(&self, text: &mut String) {
        text.push_str("# HELP portcullis_http_requests_total Requests by listener and status.\n");
        text.push_str("# TYPE portcullis_http_requests_total counter\n");
        for ((listener, status), n) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(
                text,
                "portcullis_http_requests_total{{listener=\"{listener}\",status=\"{status}\"}} {n}"
            );
        }
        let refused = "Audit records, and words about lost ones, that were not taken.";
        let callers = "Calls without an administrator's token: audited, or paused because many came.";
        let clusters = "Heartbeats without their cluster's token: audited, or paused because many came.";
        for (name, help, labels, family) in [
            ("audit_records_refused_total", refused, &["principal", "reason"][..], &self.audit_refused),
            (
                "introspections_total",
                "Opaque tokens asked about.",
                &["provider", "outcome"],
                &self.introspections,
            ),
            ("token_requests_total", "Requests for service tokens.", &["outcome"], &self.token_requests),
            ("key_refreshes_total", "Keys that filters missed.", &["outcome"], &self.key_refreshes),
            ("refused_administrators_total", callers, &["outcome"], &self.refused_callers),
            ("refused_clusters_total", clusters, &["outcome"], &self.refused_clusters),
        ] {
            family.render(name, help, labels, text);
        }
    }
}

/// How the issuers' keys are doing: what an operator alerts on.
fn issuer_metrics(issuers: &[IssuerReport], text: &mut String) {
    let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&IssuerReport) -> Option<u64>| {
        head(name, kind, help, text);
        for issuer in issuers {
            if let Some(value) = value(issuer) {
                sample(name, &[("issuer", &issuer.issuer)], value, text);
            }
        }
    };
    let fetched = |i: &IssuerReport| i.state != KeyState::Configured;
    family("issuer_keys", "gauge", "Keys of an issuer.", &|i| Some(size(i.key_count)));
    family("issuer_keys_age_seconds", "gauge", "Seconds since the last good fetch.", &|i| i.age_s);
    family("issuer_keys_stale", "gauge", "1 while the last fetch failed.", &|i| {
        let well = matches!(i.state, KeyState::Fresh | KeyState::Empty) && i.last_error.is_none();
        fetched(i).then(|| u64::from(!well))
    });
    family(
        "issuer_keys_expired",
        "gauge",
        "1 while tokens are refused because the keys are too old.",
        &|i| fetched(i).then(|| u64::from(i.state == KeyState::Expired)),
    );
    family(
        "issuer_keys_empty",
        "gauge",
        "1 while tokens are refused because the issuer publishes no usable key.",
        &|i| fetched(i).then(|| u64::from(i.state == KeyState::Empty)),
    );
    family("issuer_fetches_total", "counter", "Good fetches of keys.", &|i| fetched(i).then_some(i.fetched));
    family("issuer_fetch_failures_total", "counter", "Failed fetches of keys.", &|i| {
        fetched(i).then_some(i.failed)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_the_exposition() {
        let metrics = Metrics::default();
        metrics.introspections.count(&["a\"b\\c\nd", "active"]);
        metrics.introspections.count(&["a\"b\\c\nd", "active"]);
        let text = metrics.render(Gauges::default(), &[]);
        let wanted = r#"portcullis_introspections_total{provider="a\"b\\c\nd",outcome="active"} 2"#;
        assert!(text.lines().any(|line| line == wanted), "{text}");
    }
}
