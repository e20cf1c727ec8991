//! What the stages need of a request's headers, found in one pass.

pub mod cluster;
pub mod grpc;
pub mod headers;

use portcullis_model::Reason;
use portcullis_model::config::is_reserved_header;
use portcullis_protocol::scan::{self, same};

use crate::head::cluster::{CLUSTER_HEADER, Selectors};
use crate::head::grpc::Grpc;
use crate::head::headers::Headers;

/// What a header counts as that came twice: it says nothing that could be believed.
const TWICE: &[u8] = b"";

/// A header of which there should be one at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Single<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// Its value.
    Once(&'a [u8]),
    /// It is there several times.
    Repeated,
}

impl<'a> Single<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = if self.is_there() { Self::Repeated } else { Self::Once(value) };
    }

    /// Whether it is there at all.
    #[must_use]
    pub fn is_there(self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// The head of a request. Values are as the client sent them.
#[derive(Debug, Default)]
pub struct Head<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:path`.
    pub path: &'a [u8],
    /// `:authority`.
    pub authority: &'a [u8],
    /// `Authorization`.
    pub authorization: Single<'a>,
    /// The header that carries an API key.
    pub api_key: Single<'a>,
    /// The header by which a client names a cluster.
    pub cluster: Option<&'a [u8]>,
    /// `x-portcullis-identity`.
    pub identity: Option<&'a [u8]>,
    /// `x-request-id`.
    pub request_id: &'a [u8],
    /// `content-length`.
    pub length: Option<u64>,
    /// `traceparent`.
    pub traceparent: Option<&'a [u8]>,
    /// Reserved headers that came in, to be removed.
    pub reserved: Vec<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a [u8]>,
    /// `Upgrade` is there, of a WebSocket for example.
    pub upgrade: bool,
    /// The client asks for an event stream before anything else.
    pub event_stream: bool,
    /// `Access-Control-Request-Method`: by which method the request would come that a preflight asks about.
    pub asked_method: Option<&'a [u8]>,
    /// A gRPC request, and in which encoding.
    pub grpc: Grpc,
    /// A request of the Model Context Protocol's HTTP transport.
    pub mcp: bool,
    /// `Mcp-Method`: which of its methods, as the client says beside the body (revision 2026-07-28).
    pub mcp_method: &'a [u8],
    /// `Mcp-Name`: which tool, prompt or resource, as the client says beside the body.
    pub mcp_name: &'a [u8],
    path_only: &'a [u8],
    authorities: u32,
    repeated: bool,
}

impl<'a> Head<'a> {
    /// Whether the request is of a kind that lasts: an upgrade, a gRPC call, an event stream.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.upgrade || self.grpc != Grpc::No || self.event_stream
    }

    /// Reads the headers.
    #[must_use]
    pub fn read(headers: &'a Headers, api_key_header: &str) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            if !head.take_known(name, value) {
                head.take_configured(name, value, api_key_header.as_bytes());
            }
        }
        head.repeated |= head.authorities > 1;
        head
    }

    /// Takes a header of a name that never changes; false when it is none of them. The length picks the few
    /// names that it could be, so that most headers are compared with one name or none.
    fn take_known(&mut self, name: &[u8], value: &'a [u8]) -> bool {
        match name.len() {
            4 if same(name, b"host") => self.take_authority(value),
            5 if same(name, b":path") => self.take_path(value),
            6 if same(name, b"accept") => self.event_stream = value.starts_with(b"text/event-stream"),
            6 if same(name, b"origin") => self.origin = Some(self.origin.map_or(value, |_| TWICE)),
            7 if same(name, b":method") => self.method = value,
            7 if same(name, b"upgrade") => self.upgrade = true,
            8 if same(name, b"mcp-name") => (self.mcp, self.mcp_name) = (true, value),
            10 if same(name, b":authority") => self.take_authority(value),
            10 if same(name, b"mcp-method") => (self.mcp, self.mcp_method) = (true, value),
            11 if same(name, b"traceparent") => self.traceparent = Some(value),
            12 if same(name, b"x-request-id") => self.request_id = value,
            12 if same(name, b"content-type") => self.grpc = Grpc::of(value),
            13 if same(name, b"authorization") => self.authorization.add(value),
            14 if same(name, b"content-length") => self.length = scan::number(value),
            14 if same(name, b"sec-fetch-site") => {
                self.fetch_site = Some(self.fetch_site.map_or(value, |_| TWICE));
            }
            14 if same(name, b"mcp-session-id") => self.mcp = true,
            20 if same(name, b"mcp-protocol-version") => self.mcp = true,
            29 if same(name, b"access-control-request-method") => self.asked_method = Some(value),
            _ => return false,
        }
        true
    }

    fn take_path(&mut self, value: &'a [u8]) {
        self.path = value;
        let end = scan::position(value, |bytes| bytes.is(b'?')).unwrap_or(value.len());
        self.path_only = value.get(..end).unwrap_or_default();
    }

    fn take_authority(&mut self, value: &'a [u8]) {
        self.authority = value;
        self.authorities = self.authorities.saturating_add(1);
        // Envoy joins two Host headers by a comma, and no host contains one.
        self.repeated |= scan::any(value, |bytes| bytes.is(b','));
    }

    fn take_configured(&mut self, name: &'a [u8], value: &'a [u8], api_key_header: &[u8]) {
        if same(name, api_key_header) {
            self.api_key.add(value);
        } else if same(name, CLUSTER_HEADER.as_bytes()) {
            self.repeated |= self.cluster.replace(value).is_some();
        } else if is_reserved_header(name) {
            if name == portcullis_identity::HEADER.as_bytes() {
                self.repeated |= self.identity.replace(value).is_some();
            }
            if !self.reserved.contains(&name) {
                self.reserved.push(name);
            }
        }
    }

    /// Security-relevant headers must not be there twice.
    ///
    /// # Errors
    /// [`Reason::HeaderInvalid`] when one is.
    pub fn check(&self) -> Result<(), Reason> {
        if self.repeated { Err(Reason::HeaderInvalid) } else { Ok(()) }
    }

    /// Where the request may name its cluster.
    #[must_use]
    pub fn selectors(&self) -> Selectors<'a> {
        Selectors { authority: self.authority, path: self.path, header: self.cluster }
    }

    /// What the request is for: its path without the query, or for CONNECT, which has none, the authority
    /// (RFC 9110 §9.3.6).
    #[must_use]
    pub fn target(&self) -> &'a [u8] {
        if self.path.is_empty() { self.authority } else { self.path_only }
    }

    /// A browser's preflight (Fetch standard §3.2.2).
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        self.method == b"OPTIONS" && self.origin.is_some() && self.asked_method.is_some()
    }

    /// Whether the method makes an upstream send back what it got, the forwarded identity included (TRACE,
    /// RFC 9110 §9.3.8; TRACK and DEBUG of some servers), or open a tunnel (CONNECT). Without regard to case,
    /// although methods have one: an upstream may not be as strict.
    #[must_use]
    pub fn is_never_passed_on(&self) -> bool {
        matches!(self.method.len(), 5 | 7)
            && [&b"TRACE"[..], b"TRACK", b"DEBUG", b"CONNECT"]
                .iter()
                .any(|m| self.method.eq_ignore_ascii_case(m))
    }

    /// The path without its query.
    #[must_use]
    pub fn path_only(&self) -> &'a [u8] {
        self.path_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&[u8], &[u8])], test: impl FnOnce(Head<'_>)) {
        let headers = Headers::from_pairs(pairs).unwrap();
        test(Head::read(&headers, "x-api-key"));
    }

    #[test]
    fn everything_is_found_in_one_pass() {
        let pairs: &[(&[u8], &[u8])] = &[
            (b":method", b"OPTIONS"),
            (b":path", b"/a?b"),
            (b":authority", b"h"),
            (b"origin", b"o"),
            (b"access-control-request-method", b"PUT"),
            (b"x-portcullis-identity", b"forged"),
            (b"x_portcullis_subject", b"forged"),
            (b"x-target-cluster", b"acme"),
            (b"x-other", b"\xff\xfe"),
            (b"x-request-id", b"r"),
            (b"traceparent", b"t"),
            (b"content-length", b"7"),
            (b"content-type", b"application/grpc+proto"),
            (b"mcp-method", b"tools/call"),
            (b"mcp-name", b"query"),
            (b"mcp-session-id", b"m"),
            (b"sec-fetch-site", b"none"),
            (b"upgrade", b"websocket"),
            (b"authorization", b"a"),
            (b"x-api-key", b"k"),
        ];
        read(pairs, |head| {
            assert!(head.is_preflight() && head.check().is_ok());
            assert_eq!(head.path_only(), b"/a");
            assert_eq!(head.cluster, Some(&b"acme"[..]));
            assert_eq!(head.identity, Some(&b"forged"[..]));
            assert_eq!(head.reserved, [&b"x-portcullis-identity"[..], b"x_portcullis_subject"]);
            assert_eq!((head.request_id, head.traceparent), (&b"r"[..], Some(&b"t"[..])));
            assert_eq!((head.length, head.fetch_site), (Some(7), Some(&b"none"[..])));
            assert!(head.grpc == Grpc::Native && head.mcp && head.upgrade);
            assert_eq!((head.mcp_method, head.mcp_name), (&b"tools/call"[..], &b"query"[..]));
            assert_eq!((head.authorization, head.api_key), (Single::Once(b"a"), Single::Once(b"k")));
        });
    }

    #[test]
    fn each_header_of_the_model_context_protocol_tells_it() {
        for name in [&b"mcp-session-id"[..], b"mcp-protocol-version", b"mcp-method", b"mcp-name"] {
            read(&[(name, b"x")], |head| assert!(head.mcp));
        }
        for name in [&b"mcp-methods"[..], b"mcp-nam", b"mcp"] {
            read(&[(name, b"x")], |head| assert!(!head.mcp));
        }
    }

    #[test]
    fn security_relevant_headers_must_not_repeat() {
        for name in [&b":authority"[..], b"x-target-cluster", b"x-portcullis-identity"] {
            read(&[(name, b"a"), (name, b"a")], |head| assert_eq!(head.check(), Err(Reason::HeaderInvalid)));
        }
        read(&[(b":authority", b"a"), (b"host", b"b")], |head| {
            assert_eq!(head.check(), Err(Reason::HeaderInvalid));
        });
        read(&[(b":authority", b"a,b")], |head| assert_eq!(head.check(), Err(Reason::HeaderInvalid)));
        read(&[(b"authorization", b"a"), (b"authorization", b"a")], |head| {
            assert_eq!(head.authorization, Single::Repeated);
        });
    }

    #[test]
    fn methods_that_reflect_or_tunnel_are_never_passed_on() {
        for method in [&b"TRACE"[..], b"trace", b"Track", b"DEBUG", b"CONNECT", b"connect"] {
            read(&[(b":method", method)], |head| assert!(head.is_never_passed_on()));
        }
        for method in [&b"GET"[..], b"TRACER", b"PATCH", b"OPTIONS"] {
            read(&[(b":method", method)], |head| assert!(!head.is_never_passed_on()));
        }
    }
}
