//! What should come of a request, from the words of a file.

use serde_json::Value;

use super::case::{Allowed, By, Expect, Refused};
use super::parse_caller::SOURCE_TYPES;
use super::place::Place;
use super::reader::{Fields, Mistakes};

const ALLOWED: &[&str] = &["to", "status", "identity", "headers", "absent"];
const REFUSED: &[&str] = &["by", "reason", "policy", "at", "status"];

/// What the sample Data API tells of whom it verified.
const IDENTITY: &[&str] = &["subject", "tenant", "source_type", "cluster", "credential", "actors"];

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

pub(super) fn expect(case: &Fields<'_>, cluster: Option<&str>, mistakes: &mut Mistakes) -> Option<Expect> {
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
    let identity = identity(fields, mistakes);
    let headers = fields.pairs("headers", mistakes);
    let absent = fields.texts("absent", mistakes);
    let same = |name: &&String| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    for name in absent.iter().filter(same) {
        mistakes.note(fields.line(), format!("expect.allowed: {name} is expected and must be absent"));
    }
    let to = match fields.get("to") {
        None => None,
        Some(_) => Some(fields.word("to", &Place::NAMED, mistakes)?),
    };
    let to = destination(to, cluster, fields.line(), mistakes)?;
    if !matches!(to, Place::Hosted | Place::Onprem) {
        // Compared with what no application tells, they would hold whatever happens, or never.
        for member in ["identity", "headers", "absent"].into_iter().filter(|one| fields.get(one).is_some()) {
            let problem = format!("expect.allowed.{member}: no Data API answers there, which would tell");
            mistakes.note(fields.line(), problem);
        }
    }
    Some(Allowed { to, status, identity, headers, absent })
}

/// What the Data API verified.
fn identity(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Vec<(String, Value)> {
    let members = fields.members("identity", "what the Data API verified", mistakes);
    if members.is_empty() {
        return Vec::new();
    }
    let Some(identity) = fields.fields("identity", IDENTITY, mistakes) else { return Vec::new() };
    for text in ["subject", "tenant", "cluster", "credential"] {
        identity.text(text, mistakes);
    }
    identity.word("source_type", &SOURCE_TYPES, mistakes);
    identity.texts("actors", mistakes);
    members.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect()
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
    if let (Who::Connection, Some(node)) = (who, fields.get("status")) {
        mistakes.note(node.line, "expect.refused.status: a connection that is not taken has none");
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
