//! Hosts of the platform itself, such as `admin.<domain>`: what comes there is judged by whom it is for, and goes
//! to no data cluster.

use portcullis_identity::ids::is_dns_label;

use crate::edge::is_plain_path;
use crate::section::Section;

/// The longest list of hosts.
const MAX_HOSTS: usize = 16;

/// The longest list of paths of one host.
const MAX_PATHS: usize = 32;

/// The longest path of these, in bytes.
const MAX_PATH: usize = 256;

/// A host of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformHost {
    /// Its first label, by which routes and policies know it.
    pub name: String,
    /// The host, lower case: `<name>.<domain>`.
    pub host: String,
    /// What there is: what ends with a slash is everything below it, anything else that very path.
    paths: Vec<String>,
}

impl PlatformHost {
    /// Whether there is a path at this host. One that a later hop might read as another one is not there: whoever is
    /// let through to a path is let through to no other.
    #[must_use]
    pub fn has(&self, path: &[u8]) -> bool {
        let is_below = |known: &String| match known.ends_with('/') {
            true => path.starts_with(known.as_bytes()),
            false => path == known.as_bytes(),
        };
        self.paths.iter().any(is_below) && is_normal(path)
    }
}

/// A path that every reader takes for the same: without empty segments and dots, and with nothing encoded that has a
/// meaning when it is decoded.
fn is_normal(path: &[u8]) -> bool {
    let is_dots = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    };
    is_plain_path(path)
        && !path.windows(2).any(|two| two == b"//")
        && !path.split(|byte| *byte == b'/').any(is_dots)
        && encoded(path).all(|byte| byte.is_some_and(|b| !b.is_ascii_control() && !b"/\\.%".contains(&b)))
}

/// The bytes that are encoded in a path (RFC 3986 §2.1); none for what is no encoding.
fn encoded(path: &[u8]) -> impl Iterator<Item = Option<u8>> {
    path.split(|byte| *byte == b'%').skip(1).map(|rest| {
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
    })
}

/// Reads `platformHosts`.
pub(crate) fn platform_hosts(root: &mut Section<'_>, domain: &str) -> Vec<PlatformHost> {
    let sections = root.list("platformHosts");
    if sections.len() > MAX_HOSTS {
        root.error("platformHosts", format!("has more than {MAX_HOSTS} entries"));
    }
    let mut hosts: Vec<PlatformHost> = Vec::new();
    for section in sections {
        let host = platform_host(section, domain, &hosts);
        hosts.push(host);
    }
    hosts
}

fn platform_host(mut section: Section<'_>, domain: &str, before: &[PlatformHost]) -> PlatformHost {
    let name = section.required("name", "the label before the domain, for example admin").to_owned();
    if !(name.is_empty() || is_dns_label(name.as_bytes())) {
        section.error("name", "is no label of a host: lower-case letters, digits and '-', 63 at most");
    } else if name == "clusters" {
        section.error("name", "clusters has the hosts of data clusters");
    } else if before.iter().any(|known| known.name == name) {
        section.error("name", format!("{name} is there twice"));
    }
    let paths = section.texts("paths").unwrap_or_default();
    if paths.is_empty() {
        section.error("paths", "write which paths there are, for example /v1/; / is all of them");
    } else if paths.len() > MAX_PATHS {
        section.error("paths", format!("has more than {MAX_PATHS} entries"));
    }
    for (at, path) in paths.iter().enumerate() {
        if !is_written_plainly(path) || path.starts_with("/clusters/") {
            let problem =
                "is no path: it begins with /, is written as plainly as it can be, and is no cluster's";
            section.error(&format!("paths[{at}]"), problem);
        }
    }
    section.finish();
    PlatformHost { host: [&name, ".", domain].concat(), name, paths }
}

/// Segments of letters, digits and `-`, `.`, `_`, `~`, none of dots alone.
fn is_written_plainly(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_segment = |s: &str| s.bytes().all(plain) && s.bytes().any(|b| b != b'.');
    let Some(rest) = path.strip_prefix('/').filter(|_| path.len() <= MAX_PATH) else { return false };
    rest.is_empty() || rest.strip_suffix('/').unwrap_or(rest).split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::errors::FieldErrors;

    fn read(hosts: Value) -> (Vec<PlatformHost>, Vec<String>) {
        let errors = FieldErrors::default();
        let hosts =
            platform_hosts(&mut Section::new("", &json!({"platformHosts": hosts}), &errors), "example.com");
        (hosts, errors.into_fields())
    }

    #[test]
    fn hosts_are_labels_of_the_domain_with_their_paths() {
        let (hosts, errors) = read(
            json!([{"name": "admin", "paths": ["/v1/", "/openapi.json"]}, {"name": "ui", "paths": ["/"]}]),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!((hosts[0].host.as_str(), hosts[1].name.as_str()), ("admin.example.com", "ui"));
        for (host, path, there) in [
            (0, "/v1/clusters/acme/heartbeat", true),
            (0, "/v1/clusters/a%20b", true),
            (0, "/openapi.json", true),
            (0, "/v1", false),
            (0, "/openapi.json/", false),
            (0, "/v1x/", false),
            (0, "/V1/clusters", false),
            (0, "", false),
            (1, "/", true),
            (1, "/anything", true),
            (1, "", false),
        ] {
            assert_eq!(hosts[host].has(path.as_bytes()), there, "{path}");
        }
    }

    #[test]
    fn a_path_that_could_be_read_as_another_one_is_not_there() {
        let hosts = read(json!([{"name": "admin", "paths": ["/v1/"]}])).0;
        for path in [
            "/v1//clusters",
            "/v1/../mesh/v1/snapshot",
            "/v1/./clusters",
            "/v1/..",
            "/v1/..;x/mesh",
            "/v1/.;/clusters",
            "/v1/%2e%2e/mesh",
            "/v1/%2E./mesh",
            "/v1/a%2fb",
            "/v1/a%5Cb",
            "/v1/a\\b",
            "/v1/%252e",
            "/v1/%00",
            "/v1/%7f",
            "/v1/%",
            "/v1/%zz",
            "/v1/%+1",
            "/v1/a%2",
            "/v1/a#b",
            "/v1/a?b",
            "/v1/\u{e9}",
            "/v1/a b",
        ] {
            assert!(!hosts[0].has(path.as_bytes()), "{path}");
        }
        assert!(!hosts[0].has(&[b"/v1/", &[b'a'; 1_100][..]].concat()), "longer than any path there is");
    }

    #[test]
    fn what_is_wrong_with_a_host_is_told_with_its_place() {
        for (hosts, fields) in [
            (json!([{"paths": ["/"]}]), vec!["platformHosts[0].name"]),
            (json!([{"name": "Admin", "paths": ["/"]}]), vec!["platformHosts[0].name"]),
            (json!([{"name": "a.b", "paths": ["/"]}]), vec!["platformHosts[0].name"]),
            (json!([{"name": "-a", "paths": ["/"]}]), vec!["platformHosts[0].name"]),
            (json!([{"name": "clusters", "paths": ["/"]}]), vec!["platformHosts[0].name"]),
            (
                json!([{"name": "a", "paths": ["/"]}, {"name": "a", "paths": ["/"]}]),
                vec!["platformHosts[1].name"],
            ),
            (json!([{"name": "a"}]), vec!["platformHosts[0].paths"]),
            (json!([{"name": "a", "paths": []}]), vec!["platformHosts[0].paths"]),
            (
                json!([{"name": "a", "paths": ["v1", "/a//b", "/..", "/clusters/x", "/a%20b", "//"], "x": 1}]),
                vec![
                    "platformHosts[0].paths[0]",
                    "platformHosts[0].paths[1]",
                    "platformHosts[0].paths[2]",
                    "platformHosts[0].paths[3]",
                    "platformHosts[0].paths[4]",
                    "platformHosts[0].paths[5]",
                    "platformHosts[0].x",
                ],
            ),
        ] {
            assert_eq!(read(hosts.clone()).1, fields, "{hosts}");
        }
        let many: Vec<Value> = (0..17).map(|n| json!({"name": format!("a{n}"), "paths": ["/"]})).collect();
        assert_eq!(read(json!(many)).1, ["platformHosts"]);
        let paths: Vec<String> = (0..33).map(|n| format!("/{n}")).collect();
        assert_eq!(read(json!([{"name": "a", "paths": paths}])).1, ["platformHosts[0].paths"]);
    }
}
