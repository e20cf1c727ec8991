//! Every metric of the service, with what the documents say of it.

pub use portcullis_model::metric::Kind;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The labels of its series.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Described = Described {
            name: concat!("portcullis_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them.
        pub const ALL: &[Described] = &[$($constant),*];
    };
}

metrics! {
    HTTP_REQUESTS = Counter "http_requests_total" ["listener", "status"] "Requests by listener and status.";
    CALLS = Histogram "call_duration_seconds" ["call", "status"] "How long calls took, the time that they waited included (polls, ?wait=).";
    REFUSED_CALLERS = Counter "refused_callers_total" ["outcome"] "Calls of the platform API without a token that is good: audited, or paused because many came.";
    REFUSED_CLUSTERS = Counter "refused_clusters_total" ["outcome"] "Calls of agents and heartbeats without a token or a certificate that is good: audited, or paused because many came.";
    POLLS = Counter "snapshot_polls_total" [] "Snapshot polls answered.";
    PAGE_BYTES = Counter "snapshot_page_bytes_total" [] "Bytes of snapshot pages sent.";
    REVISION = Gauge "snapshot_revision" [] "Newest revision of the snapshot.";
    ENTRIES = Gauge "snapshot_entries" [] "Entries of the snapshot.";
    WORKERS = Gauge "workers" [] "Proxy workers that are alive.";
    WORKERS_CURRENT = Gauge "workers_current" [] "Proxy workers with the newest revision.";
    HEARTBEATS = Counter "heartbeats_total" [] "Heartbeats taken.";
    AUDIT_STORED = Counter "audit_records_stored_total" [] "Audit records stored.";
    AUDIT_DUPLICATES = Counter "audit_records_duplicate_total" [] "Audit records received again.";
    AUDIT_REJECTED = Counter "audit_records_rejected_total" [] "Audit records that were not taken.";
    AUDIT_REFUSED = Counter "audit_records_refused_total" ["principal", "reason"] "Audit records, and words about lost ones, that were not taken.";
    INTROSPECTIONS = Counter "introspections_total" ["provider", "outcome"] "Opaque tokens asked about.";
    TOKEN_REQUESTS = Counter "token_requests_total" ["outcome"] "Requests for service tokens.";
    KEY_REFRESHES = Counter "key_refreshes_total" ["outcome"] "Keys that filters missed.";
    JWKS_FETCHED = Counter "jwks_fetched_total" [] "Key sets fetched.";
    JWKS_FAILED = Counter "jwks_failed_total" [] "Key sets that could not be fetched.";
    ISSUER_KEYS = Gauge "issuer_keys" ["issuer"] "Keys of an issuer.";
    ISSUER_KEYS_AGE = Gauge "issuer_keys_age_seconds" ["issuer"] "Seconds since the last good fetch.";
    ISSUER_KEYS_STALE = Gauge "issuer_keys_stale" ["issuer"] "1 while the last fetch failed.";
    ISSUER_KEYS_EXPIRED = Gauge "issuer_keys_expired" ["issuer"] "1 while tokens are refused because the keys are too old.";
    ISSUER_KEYS_EMPTY = Gauge "issuer_keys_empty" ["issuer"] "1 while tokens are refused because the issuer publishes no usable key.";
    ISSUER_FETCHES = Counter "issuer_fetches_total" ["issuer"] "Good fetches of keys.";
    ISSUER_FETCH_FAILURES = Counter "issuer_fetch_failures_total" ["issuer"] "Failed fetches of keys.";
    STORE_UP = Gauge "store_up" [] "1 while the database can be used: it is read, and takes what is written to it.";
    STORE_COMMITS = Histogram "store_commit_duration_seconds" [] "How long the database took to make a group of changes durable.";
    STORE_RECOVERING = Gauge "store_recovering" [] "1 while a restored store lets nobody through.";
    REPLICA_LEADS = Gauge "replica_leads" [] "1 while this replica does what only one may do.";
    REPLICA_BEHIND = Gauge "replica_behind" [] "1 while this replica may lack something of the database.";
    REPLICA_CONFIRMED_AGE = Gauge "replica_confirmed_age_seconds" [] "Seconds since this replica was certain to lack nothing.";
    RESTART_PENDING = Gauge "config_restart_pending" [] "Fields of the file not in use before a restart.";
    CONFIG_REFUSED = Gauge "config_refused" [] "1 while the configuration file is refused.";
}
