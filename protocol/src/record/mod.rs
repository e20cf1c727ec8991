//! Writes an [`AuditRecord`](crate::wire::AuditRecord) straight from what is at hand.
//!
//! Filling the message first would copy some twenty texts per request. Protobuf fields may come in any
//! order, so what is the same for every request of a hop or an identity is encoded once and appended.

mod text;

use portcullis_identity::{Principal, SourceType};

use crate::audit::StreamId;
use crate::scan;
use crate::tags::audit_record as tag;

use self::text::{MAX_MCP, MAX_METHOD, MAX_REQUEST_ID, cut, trace_id, without_query, without_secrets};

/// Wire types (the encoding of Protocol Buffers).
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

/// What the fields of an [`Entry`] take at most besides its texts.
const ENTRY_ROOM: usize = 100;

/// The part of a record that is the same for every request of a plugin.
#[must_use]
pub fn hop(stream: StreamId, proxy: &str, hop: &str, mode: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, tag::STREAM, &stream.0);
    text(&mut out, tag::PROXY, proxy.as_bytes());
    text(&mut out, tag::MODE, mode.as_bytes());
    text(&mut out, tag::HOP, hop.as_bytes());
    out
}

/// The part of a record that is the same for every request of an identity.
#[must_use]
pub fn identity(principal: &Principal, source_type: Option<SourceType>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut text = |tag: u32, value: &str| text(&mut out, tag, value.as_bytes());
    text(tag::SUBJECT, principal.subject.as_str());
    text(tag::TENANT, principal.tenant.as_str());
    text(tag::SOURCE_TYPE, source_type.map(SourceType::as_str).unwrap_or_default());
    text(tag::CREDENTIAL, principal.credential.as_str());
    text(tag::KEY_ID, principal.key_id.as_ref().map(|k| k.as_str()).unwrap_or_default());
    text(tag::ISSUER, principal.issuer.as_ref().map(|i| i.as_str()).unwrap_or_default());
    principal.actors.iter().for_each(|actor| text(tag::ACTORS, actor.as_str()));
    number(&mut out, tag::OMITTED, u64::from(principal.omitted));
    out
}

/// What a record keeps of a credential that was refused although it is known whose it is: its signature was verified,
/// or the control service made it. Empty where that is not known.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the fields are those of AuditRecord, where each is described")]
pub struct Refused<'a> {
    pub subject: &'a str,
    pub tenant: &'a str,
    pub credential: &'a str,
    pub key_id: &'a str,
    pub issuer: &'a str,
    pub claim: &'a str,
}

impl Refused<'_> {
    /// As a part of the record, in the place of an identity's.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        text(&mut out, tag::SUBJECT, self.subject.as_bytes());
        text(&mut out, tag::TENANT, self.tenant.as_bytes());
        text(&mut out, tag::CREDENTIAL, self.credential.as_bytes());
        text(&mut out, tag::KEY_ID, self.key_id.as_bytes());
        text(&mut out, tag::ISSUER, self.issuer.as_bytes());
        text(&mut out, tag::CLAIM, self.claim.as_bytes());
        out
    }
}

/// The part of a record that is known when a request begins. What a client sent is cut, and the query,
/// which may carry secrets, left out. Appended to `out`.
pub fn request(request_id: &[u8], traceparent: Option<&[u8]>, method: &[u8], path: &[u8], out: &mut Vec<u8>) {
    text(out, tag::REQUEST_ID, &cut(request_id, MAX_REQUEST_ID));
    text(out, tag::TRACE_ID, &trace_id(traceparent));
    text(out, tag::METHOD, &cut(method, MAX_METHOD));
    text(out, tag::PATH, &without_query(path));
}

/// Appends what a client of the Model Context Protocol says of its request beside the body, encoded.
pub fn mcp(method: &[u8], name: &[u8], out: &mut Vec<u8>) {
    text(out, tag::MCP_METHOD, &without_secrets(method, MAX_MCP));
    text(out, tag::MCP_NAME, &without_secrets(name, MAX_MCP));
}

/// What is known only when a request has ended.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the fields are those of AuditRecord, where each is described")]
pub struct Entry<'a> {
    pub sequence: u64,
    pub time_ms: u64,
    pub decision: &'a str,
    pub stage: &'a str,
    pub reason: &'a str,
    pub status: u32,
    pub response_flags: u64,
    pub duration_us: u64,
    pub cluster: &'a str,
    pub client_address: &'a [u8],
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl Entry<'_> {
    /// Appends the whole record: this entry with the parts of its hop, its identity and its request.
    pub fn encode(&self, hop: &[u8], identity: &[u8], request: &[u8], out: &mut Vec<u8>) {
        out.reserve(hop.len() + identity.len() + request.len() + self.texts() + ENTRY_ROOM);
        out.extend_from_slice(hop);
        out.extend_from_slice(identity);
        out.extend_from_slice(request);
        number(out, tag::SEQUENCE, self.sequence);
        number(out, tag::TIME_MS, self.time_ms);
        text(out, tag::DECISION, self.decision.as_bytes());
        text(out, tag::STAGE, self.stage.as_bytes());
        text(out, tag::REASON, self.reason.as_bytes());
        number(out, tag::STATUS, u64::from(self.status));
        number(out, tag::RESPONSE_FLAGS, self.response_flags);
        number(out, tag::DURATION_US, self.duration_us);
        text(out, tag::CLUSTER, self.cluster.as_bytes());
        let is_text = scan::is_ascii(self.client_address) || std::str::from_utf8(self.client_address).is_ok();
        text(out, tag::CLIENT_ADDRESS, if is_text { self.client_address } else { b"" });
        number(out, tag::REQUEST_BYTES, self.request_bytes);
        number(out, tag::RESPONSE_BYTES, self.response_bytes);
    }

    fn texts(&self) -> usize {
        let texts = [self.decision.len(), self.stage.len(), self.reason.len(), self.cluster.len()];
        texts.iter().sum::<usize>() + self.client_address.len()
    }
}

#[inline(always)]
fn text(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    if !value.is_empty() {
        bytes(out, tag, value);
    }
}

/// A field of bytes.
#[inline(always)]
pub fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    key_and(out, tag << 3 | LENGTH_DELIMITED, u64::try_from(value.len()).unwrap_or_default());
    out.extend_from_slice(value);
}

/// A number, unless it is 0.
#[inline(always)]
pub fn number(out: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        key_and(out, tag << 3 | VARINT, value);
    }
}

/// A field's key and what follows it. Most are a byte or two, which are written together: making sure that there is
/// room is what costs.
#[inline(always)]
fn key_and(out: &mut Vec<u8>, key: u32, value: u64) {
    match (key, value) {
        (..0x80, ..0x80) => out.extend_from_slice(&[low_byte(key.into()), low_byte(value)]),
        (0x80..0x4000, ..0x80) => {
            let (low, high) = (low_byte(key.into()) | 0x80, low_byte(u64::from(key) >> 7));
            out.extend_from_slice(&[low, high, low_byte(value)]);
        }
        _ => {
            varint(out, key.into());
            varint(out, value);
        }
    }
}

/// Seven bits a byte, the low ones first; the highest bit says that more follow.
#[inline(always)]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

#[inline(always)]
fn low_byte(value: u64) -> u8 {
    u8::try_from(value & 0xff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::AuditRecord;
    use portcullis_identity::CredentialKind;
    use portcullis_identity::ids::{IssuerId, KeyId, Subject, TenantId};
    use prost::Message;

    #[test]
    fn every_field_stands_where_the_message_has_it() {
        let principal = Principal {
            subject: Subject::new("ann").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            roles: vec![],
            scopes: vec![],
            credential: CredentialKind::Jwt,
            key_id: Some(KeyId::new("k1").unwrap()),
            issuer: Some(IssuerId::new("https://idp").unwrap()),
            client_id: None,
            spiffe_id: None,
            actors: vec![Subject::new("a1").unwrap(), Subject::new("a2").unwrap()],
            expires_at: 0,
            token_id: None,
            session_id: None,
            derived_from: vec![],
            omitted: 3,
            roles_incomplete: true,
        };
        let entry = Entry {
            sequence: 7,
            time_ms: 8,
            decision: "refuse",
            stage: "authn",
            reason: "why",
            status: 401,
            response_flags: 1 << 40,
            duration_us: 12,
            cluster: "c",
            client_address: b"192.0.2.1:1",
            request_bytes: 23,
            response_bytes: 24,
        };
        let hop = hop(StreamId([5; 16]), "gw", "gateway", "enforce");
        let traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut parts = Vec::new();
        request(b"r", Some(traceparent), b"GET", b"/p?secret", &mut parts);
        mcp(b"tools/call", b"query", &mut parts);
        let identity = identity(&principal, Some(SourceType::McpAgent));
        let mut encoded = Vec::new();
        entry.encode(&hop, &identity, &parts, &mut encoded);
        let expected = AuditRecord {
            stream: vec![5; 16],
            sequence: 7,
            time_ms: 8,
            proxy: "gw".into(),
            request_id: "r".into(),
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            decision: "refuse".into(),
            stage: "authn".into(),
            reason: "why".into(),
            status: 401,
            response_flags: 1 << 40,
            duration_us: 12,
            subject: "ann".into(),
            tenant: "acme".into(),
            source_type: "mcp_agent".into(),
            credential: "jwt".into(),
            key_id: "k1".into(),
            actors: vec!["a1".into(), "a2".into()],
            cluster: "c".into(),
            method: "GET".into(),
            path: "/p".into(),
            client_address: "192.0.2.1:1".into(),
            request_bytes: 23,
            response_bytes: 24,
            mode: "enforce".into(),
            hop: "gateway".into(),
            issuer: "https://idp".into(),
            omitted: 3,
            mcp_method: "tools/call".into(),
            mcp_name: "query".into(),
            claim: String::new(),
            role: String::new(),
        };
        assert_eq!(AuditRecord::decode(encoded.as_slice()).unwrap(), expected);
        encoded.clear();
        Entry::default().encode(b"", b"", b"", &mut encoded);
        assert_eq!(encoded, b"");
    }

    #[test]
    fn a_refused_credentials_part_says_whose_it_is_and_which_claim() {
        let part = Refused { subject: "ann", issuer: "https://idp", claim: "org > id", ..Refused::default() };
        let mut encoded = Vec::new();
        Entry::default().encode(&[], &part.encode(), &[], &mut encoded);
        let expected = AuditRecord {
            subject: "ann".into(),
            issuer: "https://idp".into(),
            claim: "org > id".into(),
            ..AuditRecord::default()
        };
        assert_eq!(AuditRecord::decode(encoded.as_slice()).unwrap(), expected);
        assert!(Refused::default().encode().is_empty());
    }
}
