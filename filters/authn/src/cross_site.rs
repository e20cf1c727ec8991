//! Whether somebody else's page may have made a browser send a request with its cookies, or with the certificate that
//! it shows to whoever asks.

use portcullis_engine::head::Head;

/// Whether a browser may have been made to send the request by somebody else's page, so that a cookie proves
/// nothing: it changes something or opens a channel, and neither `Origin` (RFC 6454 §7) nor `Sec-Fetch-Site`
/// (Fetch Metadata §2.3), which no page can set, says that it comes from a page of this host. One that says
/// otherwise is not outvoted by the other.
#[must_use]
pub(crate) fn may_be_cross_site(head: &Head<'_>) -> bool {
    let safe = matches!(head.method, b"GET" | b"HEAD" | b"OPTIONS") && !head.upgrade;
    !safe
        && match head.origin {
            None => !head.fetch_site.is_some_and(is_own_site),
            Some(origin) => !is_by_own_page(head, origin),
        }
}

/// The page of another origin that made the browser send the request, whatever its method: where `Origin` says
/// so. It stands on every request whose answer a page can read, or to which it can add headers (Fetch §3.1), so a
/// cookie counts there only by the policy of the cluster.
#[must_use]
pub(crate) fn page_of_another_origin<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    head.origin.filter(|origin| !is_by_own_page(head, origin))
}

/// Whether a browser sent the request: it says so, with all but the plainest of its requests, and over TLS with those,
/// too. What is no browser sends neither header.
#[must_use]
pub(crate) fn is_by_browser(head: &Head<'_>) -> bool {
    head.origin.is_some() || head.fetch_site.is_some()
}

fn is_own_site(site: &[u8]) -> bool {
    site == b"same-origin"
}

fn is_by_own_page(head: &Head<'_>, origin: &[u8]) -> bool {
    match head.fetch_site {
        None => is_own_origin(head, origin),
        // A page that hides where it comes from (`Referrer-Policy: no-referrer`) sends `null`.
        Some(site) => is_own_site(site) && (origin == b"null" || is_own_origin(head, origin)),
    }
}

/// Whether an origin is that of the host that was asked. Both schemes count, because the gateway does not
/// know which one the browser used when TLS ends before it.
fn is_own_origin(head: &Head<'_>, origin: &[u8]) -> bool {
    let host = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    !head.authority.is_empty() && host.is_some_and(|host| host.eq_ignore_ascii_case(head.authority))
}

#[cfg(test)]
mod tests {
    use portcullis_engine::head::headers::Headers;

    use super::*;

    fn read(pairs: &[(&[u8], &[u8])], test: impl FnOnce(Head<'_>)) {
        let headers = Headers::from_pairs(pairs).unwrap();
        test(Head::read(&headers, "x-api-key"));
    }

    #[test]
    fn only_a_page_of_the_same_host_is_no_other_site() {
        type Headers<'a> = &'a [(&'a [u8], &'a [u8])];
        let tell = |method: &[u8], more: Headers<'_>| {
            let mut pairs: Vec<(&[u8], &[u8])> =
                vec![(&b":method"[..], method), (b":authority", b"h.test:8443")];
            pairs.extend(more);
            let mut found = None;
            read(&pairs, |head| found = Some(may_be_cross_site(&head)));
            found.unwrap()
        };
        let (origin, site) = (&b"origin"[..], &b"sec-fetch-site"[..]);
        let own = (origin, &b"https://h.test:8443"[..]);
        let same = (site, &b"same-origin"[..]);
        for method in [&b"GET"[..], b"HEAD", b"OPTIONS"] {
            assert!(!tell(method, &[]) && !tell(method, &[(origin, b"https://evil.test")]));
        }
        let page = |more: Headers<'_>| {
            let mut pairs: Vec<(&[u8], &[u8])> = vec![(b":method", b"GET"), (b":authority", b"h.test:8443")];
            pairs.extend(more);
            let mut found = None;
            read(&pairs, |head| found = Some(page_of_another_origin(&head).map(<[u8]>::to_vec)));
            found.unwrap()
        };
        for good in [&[][..], &[own], &[(site, b"cross-site")], &[own, same], &[(origin, b"null"), same]] {
            assert_eq!(page(good), None, "{good:?}");
        }
        let evil = (origin, &b"https://evil.test"[..]);
        for bad in
            [&[evil][..], &[evil, same], &[own, own], &[own, (site, b"cross-site")], &[(origin, b"null")]]
        {
            assert!(page(bad).is_some(), "{bad:?}");
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
        read(&[(b":method", b"POST"), (origin, b"https://")], |head| assert!(may_be_cross_site(&head)));
    }
}
