//! Bodies of refusals. Written straight to text: whoever floods a gateway with bad credentials should not
//! make it build trees of JSON.

use portcullis_model::Reason;
use portcullis_protocol::scan::{self, Lanes};

/// About how many bytes a body has besides the request's id.
const ROOM: usize = 320;

/// Problem details (RFC 9457 §3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Problem<'a> {
    reason: Reason,
    request_id: &'a str,
}

impl<'a> Problem<'a> {
    /// The problem of a refusal.
    #[must_use]
    pub(crate) fn new(reason: Reason, request_id: &'a str) -> Self {
        Self { reason, request_id }
    }

    /// As text.
    #[must_use]
    pub(crate) fn to_json(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.request_id.len().saturating_add(ROOM));
        self.write(&mut out);
        out
    }

    /// As an error response of JSON-RPC 2.0 (§5), to a request whose id was not read.
    #[must_use]
    pub(crate) fn to_rpc_json(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.request_id.len().saturating_add(ROOM));
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":""#);
        out.extend_from_slice(self.reason.title().as_bytes());
        out.extend_from_slice(br#"","data":"#);
        self.write(&mut out);
        out.extend_from_slice(b"}}");
        out
    }

    /// Titles and codes are ours and stand in JSON as they are; a test sees to that.
    fn write(self, out: &mut Vec<u8>) {
        let status = self.reason.status();
        let digit = |n: u16| u8::try_from(n % 10).unwrap_or_default().saturating_add(b'0');
        out.extend_from_slice(br#"{"type":"about:blank","title":""#);
        out.extend_from_slice(self.reason.title().as_bytes());
        out.extend_from_slice(br#"","status":"#);
        out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status)]);
        out.extend_from_slice(br#","reason":""#);
        out.extend_from_slice(self.reason.code().as_bytes());
        out.push(b'"');
        if !self.request_id.is_empty() {
            out.extend_from_slice(br#","request_id":"#);
            write_text(self.request_id, out);
        }
        out.push(b'}');
    }
}

/// A text of a client. Nearly every request id is of letters and digits and needs no escapes.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let odd = |b: Lanes| b.below(b' ') | b.above(b'~') | b.is(b'"') | b.is(b'\\');
    if scan::any(text.as_bytes(), odd) {
        // A text always has a form in JSON; should it have none all the same, it is left out.
        let escaped = serde_json::to_vec(text).unwrap_or_else(|_| b"\"\"".to_vec());
        out.extend_from_slice(&escaped);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_a_client_sent_cannot_break_out_of_its_text() {
        let problem = Problem::new(Reason::ClusterUnknown, "r\"1\n");
        let told: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        let expected = json!({"type": "about:blank", "title": Reason::ClusterUnknown.title(), "status": 404,
            "reason": "cluster_unknown", "request_id": "r\"1\n"});
        assert_eq!(told, expected);
        let told: Value = serde_json::from_slice(&problem.to_rpc_json()).unwrap();
        let message = Reason::ClusterUnknown.title();
        let error = json!({"code": -32_001, "message": message, "data": expected});
        assert_eq!(told, json!({"jsonrpc": "2.0", "id": null, "error": error}));
    }

    #[test]
    fn no_request_id_no_member() {
        let told: Value = serde_json::from_slice(&Problem::new(Reason::Internal, "").to_json()).unwrap();
        assert!(told.get("request_id").is_none());
    }

    #[test]
    fn titles_and_codes_need_no_escapes() {
        for reason in Reason::ALL {
            let told: Value = serde_json::from_slice(&Problem::new(*reason, "r").to_json()).unwrap();
            let expected = json!({"type": "about:blank", "title": reason.title(), "status": reason.status(),
                "reason": reason.code(), "request_id": "r"});
            assert_eq!(told, expected);
        }
    }
}
