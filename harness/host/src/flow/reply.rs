//! Answers that do not come from the upstream.

use crate::headers::HeaderMap;

/// A local reply before it enters the response's way.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) details: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Below zero: none was given.
    pub(crate) grpc_status: i32,
    /// The plugin that answers; `None` for the host.
    pub(crate) plugin: Option<usize>,
    /// Envoy's response flags.
    pub(crate) flags: u64,
}

impl Reply {
    /// A reply of the host itself.
    pub(crate) fn host(status: u32, details: &str, body: &str, flags: u64) -> Self {
        let (details, body) = (details.to_owned(), body.as_bytes().to_vec());
        Self { status, details, body, grpc_status: -1, flags, ..Self::default() }
    }

    /// The headers and body to send for a request with these headers.
    pub(crate) fn render(self, request: &HeaderMap) -> (HeaderMap, Vec<u8>) {
        let grpc = request.get("content-type").is_some_and(is_grpc);
        if grpc {
            return (self.grpc(), Vec::new());
        }
        let mut headers = HeaderMap::from([(":status", self.status.to_string())]);
        for (name, value) in self.headers.iter() {
            headers.add(name, value);
        }
        if self.body.is_empty() {
            headers.remove("content-length");
            headers.remove("content-type");
        } else {
            headers.set("content-length", self.body.len().to_string());
            if headers.get_bytes("content-type").is_none() {
                headers.add("content-type", "text/plain");
            }
        }
        let head = request.get(":method") == Some("HEAD");
        (headers, if head { Vec::new() } else { self.body })
    }

    fn grpc(self) -> HeaderMap {
        let status = if self.grpc_status >= 0 { self.grpc_status } else { grpc_from_http(self.status) };
        let mut headers = HeaderMap::from([
            (":status", "200".to_owned()),
            ("content-type", "application/grpc".to_owned()),
            ("grpc-status", status.to_string()),
        ]);
        if !self.body.is_empty() {
            headers.add("grpc-message", percent_encode(&self.body));
        }
        for (name, value) in self.headers.iter() {
            headers.add(name, value);
        }
        headers
    }
}

fn is_grpc(content_type: &str) -> bool {
    content_type.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

/// The mapping of the gRPC project's "HTTP to gRPC Status Code Mapping".
pub(crate) fn grpc_from_http(status: u32) -> i32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

fn percent_encode(bytes: &[u8]) -> String {
    let mut encoded = String::new();
    for byte in bytes {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(*byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_body_has_no_length_and_no_type() {
        let (headers, body) = Reply::host(503, "x", "", 0).render(&HeaderMap::new());
        assert_eq!(headers, HeaderMap::from([(":status", "503")]));
        assert!(body.is_empty());
    }

    #[test]
    fn a_grpc_request_gets_a_grpc_status() {
        let request = HeaderMap::from([("content-type", "application/grpc+proto")]);
        let (headers, body) = Reply::host(403, "x", "no way", 0).render(&request);
        assert_eq!(headers.get("grpc-status"), Some("7"));
        assert_eq!(headers.get("grpc-message"), Some("no way"));
        assert!(body.is_empty());
    }
}
