//! From the text of a file to its cases. Everything that is wrong is told at once.

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use portcullis_lint::node::Node;

use super::case::{Allowed, Ask, By, Case, Expect, Refused, State};
use super::parse_caller::{CALLER, caller};
use super::place::{Entrance, Place};
use super::reader::{Fields, Mistake, Mistakes, word};
use crate::sample::{HOSTED, ONPREM};
use crate::scenario::SELECTOR;

const CASE: &[&str] = &["name", "clusters", "caller", "request", "expect"];
const REQUEST: &[&str] = &["at", "method", "path", "host", "cluster", "headers", "body"];
const ALLOWED: &[&str] = &["to", "status", "identity", "headers", "absent"];
const REFUSED: &[&str] = &["by", "reason", "policy", "at", "status"];
const STATES: [(&str, State); 3] =
    [("online", State::Online), ("suspended", State::Suspended), ("offline", State::Offline)];

/// Who can refuse, without the reason.
#[derive(Clone, Copy)]
enum Who {
    Portcullis,
    Policy,
    DefaultDeny,
    RequestAuthentication,
    Custom,
    Route,
    Connection,
}

const WHO: [(&str, Who); 7] = [
    ("portcullis", Who::Portcullis),
    ("policy", Who::Policy),
    ("default-deny", Who::DefaultDeny),
    ("request-authentication", Who::RequestAuthentication),
    ("custom", Who::Custom),
    ("route", Who::Route),
    ("connection", Who::Connection),
];

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
    for entry in case.get("clusters").map(Node::members).unwrap_or_default() {
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
    headers.extend(fields.text("host", mistakes).map(|host| ("host".to_owned(), host)));
    headers.extend(cluster.clone().map(|cluster| (SELECTOR.to_owned(), cluster)));
    headers.extend(fields.pairs("headers", mistakes));
    for (name, value) in &headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            mistakes.note(fields.line(), format!("request: {name:?} cannot be a header with that value"));
        }
    }
    let body = fields.text("body", mistakes).unwrap_or_default();
    let ask = at.zip(method).map(|(at, method)| Ask { at, method, path, headers, body });
    (ask, cluster)
}

fn expect(case: &Fields<'_>, cluster: Option<&str>, mistakes: &mut Mistakes) -> Option<Expect> {
    let Some(node) = case.get("expect") else {
        mistakes.note(
            case.line(),
            "case.expect is missing; write expect: allowed, or expect: {refused: {by: …}}",
        );
        return None;
    };
    if node.text() == Some("allowed") {
        let to = destination(None, cluster, node.line, mistakes)?;
        let (identity, headers, absent) = Default::default();
        return Some(Expect::Allowed(Allowed { to, status: 200, identity, headers, absent }));
    }
    let fields = Fields::of(node, "expect", &["allowed", "refused"], mistakes)?;
    let allowed = fields.fields("allowed", ALLOWED, mistakes);
    match (allowed, fields.fields("refused", REFUSED, mistakes)) {
        (Some(allowed), None) => allowed_as(&allowed, cluster, mistakes).map(Expect::Allowed),
        (None, Some(refused)) => refused_as(&refused, mistakes).map(Expect::Refused),
        _ => {
            mistakes.note(node.line, "expect: write one of allowed, {allowed: {…}} and {refused: {by: …}}");
            None
        }
    }
}

fn allowed_as(fields: &Fields<'_>, cluster: Option<&str>, mistakes: &mut Mistakes) -> Option<Allowed> {
    let status = fields.status(mistakes).unwrap_or(200);
    let identity = fields.get("identity").map(Node::members).unwrap_or_default();
    let identity = identity.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect();
    let headers = fields.pairs("headers", mistakes);
    let absent = fields.texts("absent", mistakes);
    let to = match fields.get("to") {
        None => None,
        Some(_) => Some(fields.word("to", &Place::NAMED, mistakes)?),
    };
    let to = destination(to, cluster, fields.line(), mistakes)?;
    Some(Allowed { to, status, identity, headers, absent })
}

/// Who should answer: what is written, or the cluster that the request names.
fn destination(
    to: Option<Place>,
    cluster: Option<&str>,
    line: usize,
    mistakes: &mut Mistakes,
) -> Option<Place> {
    let to = to.or_else(|| Place::named(cluster?));
    if to.is_none() {
        let problem = "the request names no cluster that has a Data API here; write expect: {allowed: {to: …}} with who \
                       should answer";
        mistakes.note(line, problem);
    }
    to
}

fn refused_as(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<Refused> {
    let status = fields.status(mistakes);
    let at = fields.word("at", &Place::NAMED, mistakes);
    if fields.get("by").is_none() {
        mistakes.note(fields.line(), "expect.refused.by is missing: who refuses it is the point");
    }
    let who = fields.word("by", &WHO, mistakes)?;
    for (member, of) in [("reason", "portcullis"), ("policy", "policy")] {
        let belongs = matches!((member, who), ("reason", Who::Portcullis) | ("policy", Who::Policy));
        if fields.get(member).is_some() != belongs {
            let problem = format!("expect.refused.{member} goes with by: {of}, which needs it");
            mistakes.note(fields.line(), problem);
        }
    }
    let by = match who {
        Who::Portcullis => By::Portcullis(fields.text("reason", mistakes)?),
        Who::Policy => By::Policy(policy(fields, mistakes)?),
        Who::DefaultDeny => By::DefaultDeny,
        Who::RequestAuthentication => By::RequestAuthentication,
        Who::Custom => By::Custom,
        Who::Route => By::Route,
        Who::Connection => By::Connection,
    };
    Some(Refused { by, at, status })
}

fn policy(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let name = fields.text("policy", mistakes)?;
    if name.split('/').filter(|part| !part.is_empty()).count() == 2 {
        return Some(name);
    }
    let problem = "expect.refused.policy: write NAMESPACE/NAME of a DENY policy; for what no ALLOW policy lets in, \
                   by: default-deny";
    mistakes.note(fields.line(), problem);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_is_no_file_of_cases_is_told() {
        assert_eq!(told("cases: [\n").len(), 1);
        assert!(told("case: []\n").join("\n").contains("it may have cases"));
        let twice = "cases:\n- &a {name: a, request: {}, expect: {refused: {by: route}}}\n- *a\n";
        assert!(told(twice)[0].contains("two cases of the name \"a\""), "{:?}", told(twice));
    }
}
