//! Which cluster a request names.
//!
//! A cluster can be named in three places: the host (`<cluster>.clusters.<domain>`), the path
//! (`/clusters/<cluster>/…`) and the header [`CLUSTER_HEADER`]. All that are present must agree. Whether
//! it may be reached is decided by [`portcullis_model::Permit::decide`].

use std::borrow::Cow;

use portcullis_identity::ClusterId;
use portcullis_model::Reason;
use portcullis_protocol::scan;

/// The request header by which a client may name a cluster.
pub const CLUSTER_HEADER: &str = "x-target-cluster";

/// Where a request may name its cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selectors<'a> {
    /// `:authority` or `Host`.
    pub authority: &'a [u8],
    /// `:path`, with its query.
    pub path: &'a [u8],
    /// Value of [`CLUSTER_HEADER`].
    pub header: Option<&'a [u8]>,
}

/// Tells which cluster is meant.
///
/// # Errors
/// [`Reason::ClusterAmbiguous`] when two places disagree, [`Reason::ClusterMissing`] when none names
/// one, [`Reason::ClusterUnknown`] when the name cannot be a cluster's, [`Reason::HeaderInvalid`] when the host's port is
/// none.
pub fn select(selectors: Selectors<'_>, domain: &str) -> Result<ClusterId, Reason> {
    id(&named(selectors, domain)?)
}

/// The id of a cluster of this name.
///
/// # Errors
/// [`Reason::ClusterUnknown`] when it cannot be one.
pub fn id(name: &[u8]) -> Result<ClusterId, Reason> {
    std::str::from_utf8(name).ok().and_then(|text| ClusterId::new(text).ok()).ok_or(Reason::ClusterUnknown)
}

/// The one name that all places agree on, of which nothing else is known.
///
/// # Errors
/// [`Reason::ClusterAmbiguous`] when two places disagree, [`Reason::ClusterMissing`] when none names one,
/// [`Reason::HeaderInvalid`] when the host's port is none.
pub fn named<'a>(selectors: Selectors<'a>, domain: &str) -> Result<Cow<'a, [u8]>, Reason> {
    let host = from_host(without_port(selectors.authority)?, domain);
    let path = from_path(selectors.path);
    let others = [path, selectors.header].map(|name| name.map(Cow::Borrowed));
    let mut chosen = host;
    for name in others.into_iter().flatten() {
        match &chosen {
            Some(before) if *before != name => return Err(Reason::ClusterAmbiguous),
            Some(_) => {}
            None => chosen = Some(name),
        }
    }
    chosen.ok_or(Reason::ClusterMissing)
}

/// The host of an authority (RFC 3986 §3.2). A port may be empty; anything else must be one.
fn without_port(authority: &[u8]) -> Result<&[u8], Reason> {
    if !scan::any(authority, |bytes| bytes.is(b':')) {
        return Ok(authority);
    }
    // The colons of an IPv6 address stand in brackets.
    let name = authority.iter().rposition(|byte| *byte == b']').map_or(0, |end| end + 1);
    let (address, rest) = authority.split_at_checked(name).ok_or(Reason::HeaderInvalid)?;
    let Some(colon) = rest.iter().position(|byte| *byte == b':') else { return Ok(authority) };
    let (host, port) = rest.split_at_checked(colon).ok_or(Reason::HeaderInvalid)?;
    let port = port.get(1..).unwrap_or_default();
    let digits = port.iter().all(u8::is_ascii_digit);
    let number = || std::str::from_utf8(port).ok()?.parse::<u16>().ok();
    if !digits || !(port.is_empty() || number().is_some_and(|port| port > 0)) {
        return Err(Reason::HeaderInvalid);
    }
    authority.get(..address.len() + host.len()).ok_or(Reason::HeaderInvalid)
}

/// Whether an authority is of a host, which is lower case: without regard to case, port and final dot.
#[must_use]
pub fn is_host(authority: &[u8], host: &str) -> bool {
    // The shorter one first: no more than the port and the dot may be missing.
    authority.len() >= host.len()
        && without_port(authority)
            .is_ok_and(|name| same_but_for_case(name.strip_suffix(b".").unwrap_or(name), host.as_bytes()))
}

/// The label before `.clusters.<domain>`; hosts are compared without case, port and final dot
/// (RFC 9110 §4.2.3).
fn from_host<'a>(host: &'a [u8], domain: &str) -> Option<Cow<'a, [u8]>> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    // The shorter one first: most hosts that are no cluster's differ there.
    let (rest, end) = host.split_at_checked(host.len().checked_sub(domain.len())?)?;
    let label = without_suffix(rest, b".clusters.")?;
    if !same_but_for_case(end, domain.as_bytes()) {
        return None;
    }
    let lower = !scan::any(label, |bytes| bytes.above(b'A' - 1) & bytes.below(b'Z' + 1));
    Some(if lower { Cow::Borrowed(label) } else { Cow::Owned(label.to_ascii_lowercase()) })
}

/// What stands before a suffix, which is compared without case.
fn without_suffix<'a>(text: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    same_but_for_case(end, suffix).then_some(rest)
}

/// Whether two texts are the same without case, as they nearly always are with it.
fn same_but_for_case(a: &[u8], b: &[u8]) -> bool {
    scan::same(a, b) || a.eq_ignore_ascii_case(b)
}

/// The segment after `/clusters/`.
fn from_path(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(b"/clusters/")?;
    let end =
        scan::position(rest, |bytes| bytes.is(b'/') | bytes.is(b'?') | bytes.is(b'#')).unwrap_or(rest.len());
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(authority: &str, path: &str, header: Option<&str>) -> Result<String, Reason> {
        let selectors = Selectors {
            authority: authority.as_bytes(),
            path: path.as_bytes(),
            header: header.map(str::as_bytes),
        };
        select(selectors, "example.com").map(|id| id.to_string())
    }

    #[test]
    fn each_place_alone_names_the_cluster() {
        for (authority, path, header) in [
            ("acme.clusters.example.com", "/", None),
            ("ACME.Clusters.Example.com.:8443", "/", None),
            ("api.example.com", "/clusters/acme/v1?x=/clusters/b", None),
            ("api.example.com", "/clusters/acme", None),
            ("api.example.com", "/clusters/acme?x", None),
            ("api.example.com", "/", Some("acme")),
            ("acme.clusters.example.com", "/clusters/acme/", Some("acme")),
        ] {
            assert_eq!(tell(authority, path, header), Ok("acme".into()), "{authority} {path} {header:?}");
        }
    }

    #[test]
    fn a_host_is_known_in_every_spelling_and_no_other_is() {
        for same in [
            "admin.example.com",
            "ADMIN.Example.com",
            "admin.example.com.",
            "admin.example.com:443",
            "admin.example.com.:8443",
        ] {
            assert!(is_host(same.as_bytes(), "admin.example.com"), "{same}");
        }
        for other in [
            "",
            "example.com",
            "admin.example.com..",
            "admin.example.com:0",
            "admin.example.com:443:443",
            "admin.example.com@evil.test",
            "u@admin.example.com",
            "xadmin.example.com",
            "admin.example.com.evil.test",
            "admin.clusters.example.com",
            "admin.example.com, admin.example.com",
            "admin%2eexample.com",
            "[admin.example.com]",
        ] {
            assert!(!is_host(other.as_bytes(), "admin.example.com"), "{other}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        for port in [
            ":x",
            ":8443x",
            ":-1",
            ":+80",
            ":0",
            ":65536",
            ":99999999999999999999",
            ":80:80",
            ": 80",
            ":８０",
        ] {
            let host = ["acme.clusters.example.com", port].concat();
            assert_eq!(tell(&host, "/", None), Err(Reason::HeaderInvalid), "{host}");
            assert_eq!(tell(&["x", port].concat(), "/", Some("acme")), Err(Reason::HeaderInvalid), "{port}");
            assert_eq!(
                tell(&["[::1]", port].concat(), "/", Some("acme")),
                Err(Reason::HeaderInvalid),
                "{port}"
            );
        }
        for host in
            ["acme.clusters.example.com:", "acme.clusters.example.com:1", "acme.clusters.example.com:65535"]
        {
            assert_eq!(tell(host, "/", None), Ok("acme".into()), "{host}");
        }
        for host in ["[::1]", "[::1]:80", "[::1]:", "x:080"] {
            assert_eq!(tell(host, "/", Some("acme")), Ok("acme".into()), "{host}");
        }
    }

    #[test]
    fn places_that_disagree_are_refused() {
        for (authority, path, header) in [
            ("acme.clusters.example.com", "/clusters/globex/", None),
            ("acme.clusters.example.com", "/", Some("globex")),
            ("x", "/clusters/acme", Some("globex")),
            ("x", "/clusters/acme", Some("ACME")),
            ("x", "/clusters/acme", Some("")),
        ] {
            assert_eq!(tell(authority, path, header), Err(Reason::ClusterAmbiguous), "{authority} {path}");
        }
    }

    #[test]
    fn nothing_named_or_nothing_possible() {
        assert_eq!(tell("example.com", "/", None), Err(Reason::ClusterMissing));
        assert_eq!(tell("clusters.example.com", "/clusters", None), Err(Reason::ClusterMissing));
        assert_eq!(tell("acme.clusters.example.com.evil", "/", None), Err(Reason::ClusterMissing));
        assert_eq!(tell("acmeclusters.example.com", "/", None), Err(Reason::ClusterMissing));
        for path in ["/clusters/", "/clusters//x", "/clusters/../x", "/clusters/a%2fb/", "/clusters/A"] {
            assert_eq!(tell("x", path, None), Err(Reason::ClusterUnknown), "{path}");
        }
        assert_eq!(tell("a.b.clusters.example.com", "/", None), Err(Reason::ClusterUnknown));
        assert_eq!(
            select(Selectors { header: Some(b"\xff"), ..Selectors::default() }, "d"),
            Err(Reason::ClusterUnknown)
        );
    }
}
