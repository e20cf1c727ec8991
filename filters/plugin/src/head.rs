//! What the stages need of a request's headers, found in one pass.

use portcullis_authn::Presented;
use portcullis_cluster_status::{CLUSTER_HEADER, Selectors};
use portcullis_host::Pairs;
use portcullis_model::Reason;
use portcullis_model::config::is_reserved_header;

/// What a header counts as that came twice: it says nothing that could be believed.
const TWICE: &[u8] = b"";

/// The head of a request. Values are as the client sent them.
#[derive(Debug, Default)]
pub(crate) struct Head<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:path`.
    pub path: &'a [u8],
    /// `:authority`.
    pub authority: &'a [u8],
    /// Credentials.
    pub presented: Presented<'a>,
    /// The header by which a client names a cluster.
    pub cluster: Option<&'a [u8]>,
    /// `x-portcullis-identity`.
    pub identity: Option<&'a [u8]>,
    /// `x-request-id`.
    pub request_id: &'a [u8],
    /// `content-length`.
    pub(crate) length: Option<u64>,
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
    /// `Access-Control-Request-Method` is there.
    pub preflight: bool,
    /// A gRPC request.
    pub grpc: bool,
    /// A request of the Model Context Protocol's HTTP transport.
    pub mcp: bool,
    repeated: bool,
}

impl<'a> Head<'a> {
    /// Reads the headers.
    #[must_use]
    pub(crate) fn read(pairs: &'a Pairs, api_key_header: &str) -> Self {
        let mut head = Self::default();
        let mut authorities = 0_u32;
        for (name, value) in pairs {
            match name {
                b":method" => head.method = value,
                b":path" => head.path = value,
                b":authority" | b"host" => {
                    head.authority = value;
                    authorities = authorities.saturating_add(1);
                    // Envoy joins two Host headers by a comma, and no host contains one.
                    head.repeated |= value.contains(&b',');
                }
                b"authorization" => head.presented.authorization(value),
                b"x-request-id" => head.request_id = value,
                b"content-length" => {
                    head.length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok())
                }
                b"traceparent" => head.traceparent = Some(value),
                b"origin" => head.origin = Some(head.origin.map_or(value, |_| TWICE)),
                b"sec-fetch-site" => head.fetch_site = Some(head.fetch_site.map_or(value, |_| TWICE)),
                b"upgrade" => head.upgrade = true,
                b"access-control-request-method" => head.preflight = true,
                b"content-type" => head.grpc = value.starts_with(b"application/grpc"),
                b"mcp-protocol-version" | b"mcp-session-id" => head.mcp = true,
                _ if name == api_key_header.as_bytes() => head.presented.api_key(value),
                _ if name == CLUSTER_HEADER.as_bytes() => {
                    head.repeated |= head.cluster.replace(value).is_some();
                }
                _ if is_reserved_header(name) => {
                    if name == portcullis_identity::HEADER.as_bytes() {
                        head.repeated |= head.identity.replace(value).is_some();
                    }
                    if !head.reserved.contains(&name) {
                        head.reserved.push(name);
                    }
                }
                _ => {}
            }
        }
        head.repeated |= authorities > 1;
        head
    }

    /// Security-relevant headers must not be there twice.
    ///
    /// # Errors
    /// [`Reason::HeaderInvalid`] when one is.
    pub(crate) fn check(&self) -> Result<(), Reason> {
        if self.repeated { Err(Reason::HeaderInvalid) } else { Ok(()) }
    }

    /// Where the request may name its cluster.
    #[must_use]
    pub(crate) fn selectors(&self) -> Selectors<'a> {
        Selectors { authority: self.authority, path: self.path, header: self.cluster }
    }

    /// What an audit record says of the request, encoded.
    #[must_use]
    pub(crate) fn audit_part(&self) -> Vec<u8> {
        // CONNECT has no path: its target is the authority (RFC 9110 §9.3.6).
        let target = if self.path.is_empty() { self.authority } else { self.path };
        portcullis_audit::request(self.request_id, self.traceparent, self.method, target)
    }

    /// A browser's preflight (Fetch standard §3.2.2).
    #[must_use]
    pub(crate) fn is_preflight(&self) -> bool {
        self.method == b"OPTIONS" && self.origin.is_some() && self.preflight
    }

    /// Whether a browser may have been made to send the request by somebody else's page, so that a cookie proves
    /// nothing: it changes something or opens a channel, and neither `Origin` (RFC 6454 §7) nor `Sec-Fetch-Site`
    /// (Fetch Metadata §2.3), which no page can set, says that it comes from a page of this host. One that says
    /// otherwise is not outvoted by the other.
    #[must_use]
    pub(crate) fn may_be_cross_site(&self) -> bool {
        let safe = matches!(self.method, b"GET" | b"HEAD" | b"OPTIONS") && !self.upgrade;
        let own_site = |site: &[u8]| site == b"same-origin";
        !safe
            && match (self.origin, self.fetch_site) {
                (None, None) => true,
                (None, Some(site)) => !own_site(site),
                (Some(origin), None) => !self.is_own_origin(origin),
                // A page that hides where it comes from (`Referrer-Policy: no-referrer`) sends `null`.
                (Some(origin), Some(site)) => {
                    !(own_site(site) && (origin == b"null" || self.is_own_origin(origin)))
                }
            }
    }

    /// Whether an origin is that of the host that was asked. Both schemes count, because the gateway does not
    /// know which one the browser used when TLS ends before it.
    fn is_own_origin(&self, origin: &[u8]) -> bool {
        let host = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
        !self.authority.is_empty() && host.is_some_and(|host| host.eq_ignore_ascii_case(self.authority))
    }

    /// Whether the method makes an upstream send back what it got, the forwarded identity included (TRACE,
    /// RFC 9110 §9.3.8; TRACK and DEBUG of some servers), or open a tunnel (CONNECT). Without regard to case,
    /// although methods have one: an upstream may not be as strict.
    #[must_use]
    pub(crate) fn is_never_passed_on(&self) -> bool {
        [&b"TRACE"[..], b"TRACK", b"DEBUG", b"CONNECT"].iter().any(|m| self.method.eq_ignore_ascii_case(m))
    }

    /// The path without its query.
    #[must_use]
    pub(crate) fn path_only(&self) -> &'a [u8] {
        let end = self.path.iter().position(|b| *b == b'?').unwrap_or(self.path.len());
        self.path.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&[u8], &[u8])], test: impl FnOnce(Head<'_>)) {
        let pairs = Pairs::from_slice(pairs).unwrap();
        test(Head::read(&pairs, "x-api-key"));
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
        ];
        read(pairs, |head| {
            assert!(head.is_preflight() && head.check().is_ok());
            assert_eq!(head.path_only(), b"/a");
            assert_eq!(head.cluster, Some(&b"acme"[..]));
            assert_eq!(head.identity, Some(&b"forged"[..]));
            assert_eq!(head.reserved, [&b"x-portcullis-identity"[..], b"x_portcullis_subject"]);
        });
    }

    #[test]
    fn only_a_page_of_the_same_host_is_no_other_site() {
        type Headers<'a> = &'a [(&'a [u8], &'a [u8])];
        let tell = |method: &[u8], more: Headers<'_>| {
            let mut pairs: Vec<(&[u8], &[u8])> =
                vec![(&b":method"[..], method), (b":authority", b"h.test:8443")];
            pairs.extend(more);
            let mut found = None;
            read(&pairs, |head| found = Some(head.may_be_cross_site()));
            found.unwrap()
        };
        let (origin, site) = (&b"origin"[..], &b"sec-fetch-site"[..]);
        let own = (origin, &b"https://h.test:8443"[..]);
        let same = (site, &b"same-origin"[..]);
        for method in [&b"GET"[..], b"HEAD", b"OPTIONS"] {
            assert!(!tell(method, &[]) && !tell(method, &[(origin, b"https://evil.test")]));
        }
        for method in [&b"POST"[..], b"PUT", b"DELETE", b"PATCH", b"get", b"PROPFIND"] {
            for good in [&[own][..], &[same], &[own, same]] {
                assert!(!tell(method, good), "{good:?}");
            }
            assert!(!tell(method, &[(origin, b"http://H.TEST:8443")]));
            assert!(!tell(method, &[(origin, b"null"), same]));
            let bad: &[Headers<'_>] = &[
                &[],
                &[(origin, b"https://evil.test")],
                &[(origin, b"https://h.test")],
                &[(origin, b"https://h.test:8443.evil.test")],
                &[(origin, b"https://evil.test/https://h.test:8443")],
                &[(origin, b"h.test:8443")],
                &[(origin, b"null")],
                &[(origin, b"")],
                &[own, own],
                &[(site, b"same-site")],
                &[(site, b"cross-site")],
                &[(site, b"none")],
                &[same, same],
                &[own, (site, b"cross-site")],
                &[(origin, b"https://evil.test"), same],
            ];
            for bad in bad {
                assert!(tell(method, bad), "{bad:?}");
            }
        }
        assert!(
            tell(b"GET", &[(b"upgrade", b"websocket")]) && !tell(b"GET", &[(b"upgrade", b"websocket"), own])
        );
        read(&[(b":method", b"POST"), (origin, b"https://")], |head| assert!(head.may_be_cross_site()));
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
        read(&[(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], |head| {
            assert_eq!(head.presented.credential(), Err(Reason::CredentialAmbiguous));
        });
    }
}
