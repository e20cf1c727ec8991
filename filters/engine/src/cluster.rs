//! Which cluster a request names.
//!
//! A cluster can be named in three places: the host (`<cluster>.clusters.<domain>`), the path
//! (`/clusters/<cluster>/…`) and the header [`CLUSTER_HEADER`]. All that are present must agree. Whether
//! it may be reached is decided by [`portcullis_model::Permit::decide`].

use std::borrow::Cow;

use portcullis_identity::ClusterId;
use portcullis_model::Reason;

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
/// one, [`Reason::ClusterUnknown`] when the name cannot be a cluster's.
pub fn select(selectors: Selectors<'_>, domain: &str) -> Result<ClusterId, Reason> {
    let host = from_host(selectors.authority, domain);
    let path = from_path(selectors.path);
    let named = [host.as_deref(), path, selectors.header];
    let mut chosen: Option<&[u8]> = None;
    for name in named.into_iter().flatten() {
        match chosen {
            Some(before) if before != name => return Err(Reason::ClusterAmbiguous),
            _ => chosen = Some(name),
        }
    }
    let name = chosen.ok_or(Reason::ClusterMissing)?;
    std::str::from_utf8(name).ok().and_then(|text| ClusterId::new(text).ok()).ok_or(Reason::ClusterUnknown)
}

/// The label before `.clusters.<domain>`; hosts are compared without case, port and final dot
/// (RFC 9110 §4.2.3).
fn from_host<'a>(authority: &'a [u8], domain: &str) -> Option<Cow<'a, [u8]>> {
    let host = match authority.iter().rposition(|b| *b == b':') {
        Some(colon) => authority.get(..colon)?,
        None => authority,
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    let label = without_suffix(without_suffix(host, domain.as_bytes())?, b".clusters.")?;
    let lower = !label.iter().any(u8::is_ascii_uppercase);
    Some(if lower { Cow::Borrowed(label) } else { Cow::Owned(label.to_ascii_lowercase()) })
}

/// What stands before a suffix, which is compared without case.
fn without_suffix<'a>(text: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

/// The segment after `/clusters/`.
fn from_path(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(b"/clusters/")?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
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
