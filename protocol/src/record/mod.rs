//! Writes an [`AuditRecord`](crate::wire::AuditRecord) straight from what is at hand.
//!
//! Filling the message first would copy some twenty texts per request. Protobuf fields may come in any
//! order, so what is the same for every request of a hop or an identity is encoded once and appended.

mod text;

use portcullis_identity::{Principal, SourceType};
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::audit::StreamId;
use crate::tags::audit_record as tag;

use self::text::{MAX_METHOD, MAX_REQUEST_ID, cut, trace_id, without_query};

/// The part of a record that is the same for every request of a plugin.
#[must_use]
pub fn hop(stream: StreamId, proxy: &str, hop: &str, mode: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, tag::STREAM, &stream.0);
    text(&mut out, tag::PROXY, proxy);
    text(&mut out, tag::MODE, mode);
    text(&mut out, tag::HOP, hop);
    out
}

/// The part of a record that is the same for every request of an identity.
#[must_use]
pub fn identity(principal: &Principal, source_type: Option<SourceType>) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, tag::SUBJECT, principal.subject.as_str());
    text(&mut out, tag::TENANT, principal.tenant.as_str());
    text(&mut out, tag::SOURCE_TYPE, source_type.map(SourceType::as_str).unwrap_or_default());
    text(&mut out, tag::CREDENTIAL, principal.credential.as_str());
    text(&mut out, tag::KEY_ID, principal.key_id.as_ref().map(|k| k.as_str()).unwrap_or_default());
    text(&mut out, tag::ISSUER, principal.issuer.as_ref().map(|i| i.as_str()).unwrap_or_default());
    for actor in &principal.actors {
        text(&mut out, tag::ACTORS, actor.as_str());
    }
    out
}

/// The part of a record that is known when a request begins. What a client sent is cut, and the query,
/// which may carry secrets, left out.
#[must_use]
pub fn request(request_id: &[u8], traceparent: Option<&[u8]>, method: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    text(&mut out, tag::REQUEST_ID, &cut(request_id, MAX_REQUEST_ID));
    text(&mut out, tag::TRACE_ID, &trace_id(traceparent));
    text(&mut out, tag::METHOD, &cut(method, MAX_METHOD));
    text(&mut out, tag::PATH, &without_query(path));
    out
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
    pub client_address: &'a str,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl Entry<'_> {
    /// Appends the whole record: this entry with the parts of its hop, its identity and its request.
    pub fn encode(&self, hop: &[u8], identity: &[u8], request: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(hop);
        out.extend_from_slice(identity);
        out.extend_from_slice(request);
        number(out, tag::SEQUENCE, self.sequence);
        number(out, tag::TIME_MS, self.time_ms);
        text(out, tag::DECISION, self.decision);
        text(out, tag::STAGE, self.stage);
        text(out, tag::REASON, self.reason);
        number(out, tag::STATUS, u64::from(self.status));
        number(out, tag::RESPONSE_FLAGS, self.response_flags);
        number(out, tag::DURATION_US, self.duration_us);
        text(out, tag::CLUSTER, self.cluster);
        text(out, tag::CLIENT_ADDRESS, self.client_address);
        number(out, tag::REQUEST_BYTES, self.request_bytes);
        number(out, tag::RESPONSE_BYTES, self.response_bytes);
    }
}

fn text(out: &mut Vec<u8>, tag: u32, value: &str) {
    if !value.is_empty() {
        bytes(out, tag, value.as_bytes());
    }
}

/// A field of bytes.
pub fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(u64::try_from(value.len()).unwrap_or_default(), out);
    out.extend_from_slice(value);
}

/// A number, unless it is 0.
pub fn number(out: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
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
            client_address: "192.0.2.1:1",
            request_bytes: 23,
            response_bytes: 24,
        };
        let hop = hop(StreamId([5; 16]), "gw", "gateway", "enforce");
        let traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let request = request(b"r", Some(traceparent), b"GET", b"/p?secret");
        let identity = identity(&principal, Some(SourceType::McpAgent));
        let mut encoded = Vec::new();
        entry.encode(&hop, &identity, &request, &mut encoded);
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
        };
        assert_eq!(AuditRecord::decode(encoded.as_slice()).unwrap(), expected);
        encoded.clear();
        Entry::default().encode(b"", b"", b"", &mut encoded);
        assert_eq!(encoded, b"");
    }
}
