//! From the text of a file to its cases. Everything that is wrong is told at once.

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use portcullis_lint::node::Node;

use super::case::{Ask, Case, State};
use super::parse_caller::{CALLER, caller};
use super::parse_expect::expect;
use super::place::Entrance;
use super::reader::{Fields, Mistake, Mistakes, word};
use crate::sample::{HOSTED, ONPREM};
use crate::scenario::SELECTOR;

const CASE: &[&str] = &["name", "clusters", "caller", "request", "expect"];
const REQUEST: &[&str] = &["at", "method", "path", "host", "cluster", "headers", "body"];
const STATES: [(&str, State); 3] =
    [("online", State::Online), ("suspended", State::Suspended), ("offline", State::Offline)];

/// The cases of a file.
///
/// # Errors
/// Every mistake in it.
pub fn cases(file: &str, text: &str) -> Result<Vec<Case>, Vec<Mistake>> {
    let mut mistakes = Mistakes::of(file);
    let documents = Node::documents(text).unwrap_or_else(|error| {
        mistakes.note(error.line, error.problem);
        Vec::new()
    });
    let mut found = Vec::new();
    for document in &documents {
        let Some(fields) = Fields::of(document, "the file", &["cases"], &mut mistakes) else { continue };
        let list = fields.get("cases").map(Node::items).unwrap_or_default();
        if list.is_empty() {
            mistakes.note(document.line, "cases: write a list with at least one case");
        }
        found.extend(list.iter().filter_map(|node| case(file, node, &mut mistakes)));
    }
    let mut names = BTreeSet::new();
    for case in &found {
        if !names.insert(&case.name) {
            mistakes.note(case.line, format!("there are two cases of the name {:?}", case.name));
        }
    }
    let mistakes = mistakes.into_list();
    if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
}

fn case(file: &str, node: &Node, mistakes: &mut Mistakes) -> Option<Case> {
    let fields = Fields::of(node, "case", CASE, mistakes)?;
    let name = fields.needed_text("name", mistakes);
    let clusters = states(&fields, mistakes);
    let caller = fields
        .fields("caller", CALLER, mistakes)
        .map(|caller_fields| caller(&caller_fields, mistakes))
        .unwrap_or_default();
    let (request, cluster) = request(&fields, mistakes);
    let expect = expect(&fields, cluster.as_deref(), mistakes);
    Some(Case {
        name: name?,
        file: file.to_owned(),
        line: node.line,
        clusters,
        caller,
        request: request?,
        expect: expect?,
    })
}

fn states(case: &Fields<'_>, mistakes: &mut Mistakes) -> BTreeMap<&'static str, State> {
    let mut states = BTreeMap::new();
    for entry in case.members("clusters", "clusters and their states", mistakes) {
        let Some(id) = [HOSTED, ONPREM].into_iter().find(|id| *id == entry.key) else {
            let problem = format!(
                "case.clusters: the state of {HOSTED} and {ONPREM} can be chosen, not of {:?}",
                entry.key
            );
            mistakes.note(entry.node.line, problem);
            continue;
        };
        let name = format!("case.clusters.{id}");
        if let Some(state) = word(&entry.node, &name, &STATES, mistakes) {
            states.insert(id, state);
        }
    }
    states
}

/// The request, and the cluster that it names by header.
fn request(case: &Fields<'_>, mistakes: &mut Mistakes) -> (Option<Ask>, Option<String>) {
    let Some(fields) = case.fields("request", REQUEST, mistakes) else {
        if case.get("request").is_none() {
            mistakes.note(case.line(), "case.request is missing; request: {} asks for / at the gateway");
        }
        return (None, None);
    };
    let at = match fields.get("at") {
        None => Some(Entrance::Public),
        Some(_) => fields.word("at", &Entrance::NAMED, mistakes),
    };
    let method = fields.text("method", mistakes).map_or(Some(Method::GET), |text| {
        let method = Method::from_bytes(text.as_bytes()).ok();
        if method.is_none() {
            mistakes.note(fields.line(), format!("request.method: {text:?} is none"));
        }
        method
    });
    let path = fields.text("path", mistakes).unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || path.parse::<Uri>().is_err() {
        let problem =
            format!("request.path: {path:?} cannot be sent; write a path that begins with /, encoded");
        mistakes.note(fields.get("path").map_or(fields.line(), |node| node.line), problem);
    }
    let cluster = fields.text("cluster", mistakes);
    let mut headers: Vec<(String, String)> = Vec::new();
    let host = fields.text("host", mistakes);
    let more = fields.pairs("headers", mistakes);
    if host.is_some() && more.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        mistakes
            .note(fields.line(), "request.host and request.headers both name the host; write one of them");
    }
    headers.extend(host.map(|host| ("host".to_owned(), host)));
    headers.extend(cluster.clone().map(|cluster| (SELECTOR.to_owned(), cluster)));
    headers.extend(more);
    for (name, value) in &headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            mistakes.note(fields.line(), format!("request: {name:?} cannot be a header with that value"));
        }
    }
    let body = fields.text("body", mistakes).unwrap_or_default();
    let ask = at.zip(method).map(|(at, method)| Ask { at, method, path, headers, body });
    (ask, cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::case::Expect;
    use crate::policy::place::Place;

    fn told(text: &str) -> Vec<String> {
        cases("cases.yaml", text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_case_needs_little() {
        let text = "cases:\n- name: a\n  request: {cluster: acme-hosted}\n  expect: allowed\n";
        let case = &cases("cases.yaml", text).unwrap()[0];
        assert_eq!((case.line, case.request.path.as_str(), case.request.at), (2, "/", Entrance::Public));
        assert!(matches!(&case.expect, Expect::Allowed(allowed) if allowed.to == Place::Hosted));
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line() {
        let text = "cases:
- name: one
  caller: {jwt: {source_type: robot, role: [admin]}}
  request: {path: tables, verb: GET}
  expect: {refused: {by: policy}}
- request: {cluster: acme-hosted, at: nowhere}
  clusters: {globex-hosted: offline, acme-onprem: gone}
  expect: {refused: {reason: x, status: 42}}
- name: three
  request: {}
  expect: allowed
";
        let told = told(text);
        let wanted = [
            (3, "jwt has no member \"role\""),
            (3, "jwt.source_type: write one of human, worker, mcp_agent"),
            (4, "request has no member \"verb\""),
            (4, "request.path"),
            (5, "expect.refused.policy goes with by: policy"),
            (6, "case.name is missing"),
            (6, "request.at: write one of public, mesh"),
            (7, "not of \"globex-hosted\""),
            (7, "case.clusters.acme-onprem: write one of online, suspended, offline"),
            (8, "write a status from 100 to 599"),
            (8, "expect.refused.by is missing"),
            (11, "names no cluster that has a Data API"),
        ];
        for (line, part) in wanted {
            let begins = format!("cases.yaml:{line}: ");
            let found = told.iter().any(|told| told.starts_with(&begins) && told.contains(part));
            assert!(found, "{line} {part:?} is not in {told:#?}");
        }
    }

    /// What is of another form, or of a name that nothing has, would be compared with nothing.
    #[test]
    fn what_would_silently_be_nothing_is_told() {
        let text = "cases:
- name: one
  clusters: [acme-hosted]
  request: {cluster: acme-hosted, host: a.example, headers: {Host: b.example}}
  expect: {allowed: {identity: human}}
- name: two
  clusters: suspended
  request: {cluster: acme-hosted}
  expect:
    allowed:
      identity: {sourc_type: null, actors: research-agent, source_type: robot, tenant: [acme]}
      headers: {X-A: b, x-c: d}
      absent: [x-a]
- name: three
  request: {}
  expect: {allowed: {to: gateway, identity: {tenant: acme}, headers: {x-a: b}, absent: [x-b]}}
- name: four
  request: {}
  expect: {refused: {by: connection, status: 403}}
- name: five
  request: {}
  expect: {refused: {by: default-deny}, allowed: {}}
";
        let told = told(text);
        let wanted = [
            (3, "case.clusters: write a mapping of clusters and their states"),
            (4, "request.host and request.headers both name the host"),
            (5, "expect.allowed.identity: write a mapping of what the Data API verified"),
            (7, "case.clusters: write a mapping"),
            (11, "identity has no member \"sourc_type\"; it may have subject, tenant, source_type"),
            (11, "identity.actors: write a list of texts"),
            (11, "identity.source_type: write one of human, worker, mcp_agent"),
            (11, "identity.tenant: write text"),
            (10, "x-a is expected and must be absent"),
            (16, "expect.allowed.identity: no Data API answers there"),
            (16, "expect.allowed.headers: no Data API answers there"),
            (16, "expect.allowed.absent: no Data API answers there"),
            (19, "expect.refused.status: a connection that is not taken has none"),
            (22, "write one of allowed"),
        ];
        for (line, part) in wanted {
            let begins = format!("cases.yaml:{line}: ");
            let found = told.iter().any(|told| told.starts_with(&begins) && told.contains(part));
            assert!(found, "{line} {part:?} is not in {told:#?}");
        }
        assert_eq!(told.len(), wanted.len(), "{told:#?}");
    }

    #[test]
    fn what_is_no_file_of_cases_is_told() {
        assert_eq!(told("cases: [\n").len(), 1);
        assert!(told("case: []\n").join("\n").contains("it may have cases"));
        let twice = "cases:\n- &a {name: a, request: {}, expect: {refused: {by: route}}}\n- *a\n";
        assert!(told(twice)[0].contains("two cases of the name \"a\""), "{:?}", told(twice));
    }
}
