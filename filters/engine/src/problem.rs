//! Bodies of refusals. Written straight to text: whoever floods a gateway with bad credentials should not
//! make it build trees of JSON.

use portcullis_model::Reason;
use serde::Serialize;

/// Problem details (RFC 9457 §3).
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    reason: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
}

impl<'a> Problem<'a> {
    /// The problem of a refusal.
    #[must_use]
    pub(crate) fn new(reason: Reason, request_id: &'a str) -> Self {
        Self {
            r#type: "about:blank",
            title: reason.title(),
            status: reason.status(),
            reason: reason.code(),
            request_id,
        }
    }

    /// As text.
    #[must_use]
    pub(crate) fn to_json(self) -> Vec<u8> {
        to_json(&self)
    }
}

/// An error response of JSON-RPC 2.0 (§5), to a request whose id was not read.
#[derive(Debug, Serialize)]
pub(crate) struct RpcError<'a> {
    jsonrpc: &'static str,
    id: (),
    error: RpcErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct RpcErrorObject<'a> {
    code: i32,
    message: &'static str,
    data: &'a Problem<'a>,
}

impl<'a> RpcError<'a> {
    /// The error of a problem.
    #[must_use]
    pub(crate) fn new(problem: &'a Problem<'a>) -> Self {
        let error = RpcErrorObject { code: -32_001, message: problem.title, data: problem };
        Self { jsonrpc: "2.0", id: (), error }
    }

    /// As text.
    #[must_use]
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// Texts and numbers always have a form in JSON; should that fail all the same, the status has to do.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
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
        let told: Value = serde_json::from_slice(&RpcError::new(&problem).to_json()).unwrap();
        let message = Reason::ClusterUnknown.title();
        let error = json!({"code": -32_001, "message": message, "data": expected});
        assert_eq!(told, json!({"jsonrpc": "2.0", "id": null, "error": error}));
    }

    #[test]
    fn no_request_id_no_member() {
        let told: Value = serde_json::from_slice(&Problem::new(Reason::Internal, "").to_json()).unwrap();
        assert!(told.get("request_id").is_none());
    }
}
