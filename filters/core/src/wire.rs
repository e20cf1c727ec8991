//! Protobuf messages between the filters and the control service.
//!
//! Protobuf, because a filter and a service one minor version apart must understand each other: unknown
//! fields are skipped, missing ones read as empty. The messages carry raw values; checked types are made
//! from them in [`crate::snapshot`] and [`crate::audit`].

use std::fmt;

use prost::Message;

/// The newest snapshot format that this code writes and reads.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// A slice of the snapshot: small enough to be applied in about a millisecond.
#[derive(Clone, PartialEq, Message)]
pub struct Page {
    /// [`SNAPSHOT_FORMAT`] of the writer.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The nonce of the request, so that no old page can be played back.
    #[prost(bytes = "vec", tag = "2")]
    pub nonce: Vec<u8>,
    /// The view: `gateway` or `public`, and for `public` the cluster it was made for.
    #[prost(string, tag = "3")]
    pub view: String,
    /// 16 bytes that name the life of the store; a restore begins a new one.
    #[prost(bytes = "vec", tag = "4")]
    pub generation: Vec<u8>,
    /// The revision that the reader has after this page.
    #[prost(uint64, tag = "5")]
    pub revision: u64,
    /// True for the first page of a full resync: what the reader has is marked as old.
    #[prost(bool, tag = "6")]
    pub reset: bool,
    /// True when more pages are ready; the reader asks again at once.
    #[prost(bool, tag = "7")]
    pub more: bool,
    /// Where the next page of a full resync begins; empty when none is under way.
    #[prost(bytes = "vec", tag = "8")]
    pub cursor: Vec<u8>,
    /// Changes, in order.
    #[prost(message, repeated, tag = "9")]
    pub records: Vec<Record>,
    /// The service's clock when the page was made, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "10")]
    pub issued_at_ms: u64,
}

/// One entry of the snapshot.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Record {
    /// A [`RecordKind`]; a reader skips kinds that it does not know.
    #[prost(enumeration = "RecordKind", tag = "1")]
    pub kind: i32,
    /// The key within its kind.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// The value; its form depends on the kind.
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
    /// True when the entry is gone.
    #[prost(bool, tag = "4")]
    pub removed: bool,
}

/// What a [`Record`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RecordKind {
    /// Never written.
    Unspecified = 0,
    /// Key: issuer. Value: JSON, [`crate::snapshot::policy::IssuerDocument`].
    Issuer = 1,
    /// Key: empty. Value: JSON, [`crate::snapshot::policy::SourceRulesDocument`].
    SourceRules = 2,
    /// Key: name. Value: JSON, [`crate::snapshot::policy::IntrospectionDocument`].
    Introspection = 3,
    /// Key: empty. Value: JSON, [`crate::snapshot::policy::WorkloadsDocument`].
    Workloads = 4,
    /// Key: cluster id. Value: [`Cluster`].
    Cluster = 10,
    /// Key: HMAC-SHA-256 digest of the API key, 32 bytes. Value: [`ApiKey`].
    ApiKey = 11,
    /// Gateway view only. Key: kind and value of what is revoked (`jti:…`, `sub:…`, `sid:…`, `kid:…`, `client:…`). Value:
    /// empty.
    Revocation = 12,
    /// Sidecars' view only. Key: [`crate::snapshot::revocation_digest`] of what is revoked, 32 bytes. Value:
    /// empty.
    RevocationDigest = 13,
    /// Key: `kid`. Value: Ed25519 public key, 32 bytes. Keys that verify identity tokens.
    IdentityKey = 20,
    /// Gateway view only. Key: empty. Value: [`IdentitySigner`].
    IdentitySigner = 21,
    /// Gateway view only. Key: empty. Value: the key of the API-key digests, 32 bytes.
    ApiKeyPepper = 22,
    /// Gateway view only. Key: issuer. Value: the shared secret of its HS256, HS384 or HS512 tokens.
    IssuerSecret = 23,
}

/// A data cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Cluster {
    /// The tenant that owns it.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// [`crate::decision::ClusterState::code`].
    #[prost(uint32, tag = "2")]
    pub state: u32,
}

/// What an API key grants. The key itself is nowhere but with its holder.
#[derive(Clone, PartialEq, Message)]
pub struct ApiKey {
    /// Public id of the key.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The tenant it belongs to.
    #[prost(string, tag = "2")]
    pub tenant: String,
    /// Whom it speaks for.
    #[prost(string, tag = "3")]
    pub subject: String,
    /// Source type, by name.
    #[prost(string, tag = "4")]
    pub source_type: String,
    /// Roles.
    #[prost(string, repeated, tag = "5")]
    pub roles: Vec<String>,
    /// Scopes.
    #[prost(string, repeated, tag = "6")]
    pub scopes: Vec<String>,
    /// End, seconds since the Unix epoch; 0 for none.
    #[prost(uint64, tag = "7")]
    pub expires_at: u64,
}

/// The key with which gateways sign identity tokens.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct IdentitySigner {
    /// `kid` of the key.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// Ed25519 seed, 32 bytes (RFC 8032 §5.1.5).
    #[prost(bytes = "vec", tag = "2")]
    pub seed: Vec<u8>,
    /// `iss` of the tokens.
    #[prost(string, tag = "3")]
    pub issuer: String,
    /// Lifetime of a token in seconds, at most 60.
    #[prost(uint32, tag = "4")]
    pub lifetime_s: u32,
}

/// What an opaque token stands for, asked by a filter: `POST /mesh/v1/introspect`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct IntrospectionRequest {
    /// Random, 16 bytes; repeated in the answer.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// Name of the [`crate::snapshot::policy::IntrospectionDocument`].
    #[prost(string, tag = "2")]
    pub provider: String,
    /// The token. Neither logged nor stored.
    #[prost(string, tag = "3")]
    pub token: String,
    /// Whose question it is, as far as fairness goes: [`crate::fair::Source::to_bytes`].
    #[prost(bytes = "vec", tag = "4")]
    pub source: Vec<u8>,
}

/// The answer to an [`IntrospectionRequest`], within a [`SignedMessage`] under
/// [`crate::snapshot::INTROSPECTION_CONTEXT`].
#[derive(Clone, PartialEq, Message)]
pub struct IntrospectionAnswer {
    /// The nonce of the request.
    #[prost(bytes = "vec", tag = "1")]
    pub nonce: Vec<u8>,
    /// Name of the provider that was asked.
    #[prost(string, tag = "2")]
    pub provider: String,
    /// `active` of RFC 7662 §2.2.
    #[prost(bool, tag = "3")]
    pub active: bool,
    /// The provider's JSON object, as it came; empty for an inactive token.
    #[prost(bytes = "vec", tag = "4")]
    pub claims: Vec<u8>,
}

/// Asks the control service to fetch an issuer's keys anew because a token named one that the snapshot has
/// not: `POST /mesh/v1/keys/refresh`. Answered by 204 when the keys were fetched and published, by 429 when
/// the issuer was asked too recently, by 404 when there is no such issuer, by 502 when it cannot be reached.
#[derive(Clone, PartialEq, Message)]
pub struct KeyRefresh {
    /// The issuer.
    #[prost(string, tag = "1")]
    pub issuer: String,
    /// The unknown `kid`.
    #[prost(string, tag = "2")]
    pub key_id: String,
}

/// A message and the control service's signature over its context and it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct SignedMessage {
    /// The encoded message.
    #[prost(bytes = "vec", tag = "1")]
    pub message: Vec<u8>,
    /// Ed25519 (RFC 8032) over the context followed by `message`.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// A batch of audit records, posted by a filter.
#[derive(Clone, PartialEq, Message)]
pub struct AuditBatch {
    /// Encoded [`AuditRecord`]s.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub records: Vec<Vec<u8>>,
    /// The stream of the filter that sends it.
    #[prost(bytes = "vec", tag = "2")]
    pub stream: Vec<u8>,
    /// Numbers of that stream up to this one were sent, now or before, or were dropped: none of them is
    /// still to come. Without it, what was dropped last would show only when a later record comes.
    #[prost(uint64, tag = "3")]
    pub settled: u64,
}

/// The answer to an [`AuditBatch`]: everything in it is durable.
#[derive(Clone, PartialEq, Message)]
pub struct AuditAck {
    /// Records stored now.
    #[prost(uint64, tag = "1")]
    pub stored: u64,
    /// Records that were stored already.
    #[prost(uint64, tag = "2")]
    pub duplicates: u64,
    /// Records that could not be read, or that the sender may not write; they are counted as lost.
    #[prost(uint64, tag = "3")]
    pub rejected: u64,
}

/// What one request left behind at one hop.
#[derive(Clone, PartialEq, Message)]
pub struct AuditRecord {
    /// Random per start of a VM, 16 bytes; with `sequence` the record's identity.
    #[prost(bytes = "vec", tag = "1")]
    pub stream: Vec<u8>,
    /// Counts from 1 without gaps within a stream.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// When the request ended, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    /// The proxy instance (Istio's node id).
    #[prost(string, tag = "4")]
    pub proxy: String,
    /// Request id.
    #[prost(string, tag = "5")]
    pub request_id: String,
    /// Trace id (W3C Trace Context), if any.
    #[prost(string, tag = "6")]
    pub trace_id: String,
    /// `allow`, `refuse`, `exempt` for a request of the closed list, or `none` where an earlier filter ended
    /// the request.
    #[prost(string, tag = "7")]
    pub decision: String,
    /// The stage that refused.
    #[prost(string, tag = "8")]
    pub stage: String,
    /// The reason code of the refusal.
    #[prost(string, tag = "9")]
    pub reason: String,
    /// HTTP status that the client saw; 0 when it saw none.
    #[prost(uint32, tag = "10")]
    pub status: u32,
    /// Envoy's response flags.
    #[prost(uint64, tag = "11")]
    pub response_flags: u64,
    /// Duration in microseconds.
    #[prost(uint64, tag = "12")]
    pub duration_us: u64,
    /// Subject.
    #[prost(string, tag = "13")]
    pub subject: String,
    /// Tenant.
    #[prost(string, tag = "14")]
    pub tenant: String,
    /// Source type.
    #[prost(string, tag = "15")]
    pub source_type: String,
    /// Credential kind.
    #[prost(string, tag = "16")]
    pub credential: String,
    /// Public id of the key.
    #[prost(string, tag = "17")]
    pub key_id: String,
    /// Actor chain, the current actor first.
    #[prost(string, repeated, tag = "18")]
    pub actors: Vec<String>,
    /// Cluster asked for.
    #[prost(string, tag = "19")]
    pub cluster: String,
    /// Method.
    #[prost(string, tag = "20")]
    pub method: String,
    /// Path without its query.
    #[prost(string, tag = "21")]
    pub path: String,
    /// Address of the client.
    #[prost(string, tag = "22")]
    pub client_address: String,
    /// Bytes of the request's body.
    #[prost(uint64, tag = "23")]
    pub request_bytes: u64,
    /// Bytes of the response's body.
    #[prost(uint64, tag = "24")]
    pub response_bytes: u64,
    /// `enforce` or `dry-run`.
    #[prost(string, tag = "25")]
    pub mode: String,
    /// The root id that recorded it; at a sidecar `sidecar`, whatever the root id.
    #[prost(string, tag = "26")]
    pub hop: String,
    /// Issuer of the credential, where there is one: only together with it does a subject name one person.
    #[prost(string, tag = "27")]
    pub issuer: String,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind())
            .field("value_bytes", &self.value.len())
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IdentitySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentitySigner").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for IntrospectionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionRequest").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl fmt::Debug for SignedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedMessage").field("message_bytes", &self.message.len()).finish_non_exhaustive()
    }
}
