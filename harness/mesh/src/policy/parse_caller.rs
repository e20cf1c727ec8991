//! What a caller presents, from the words of a file.

use portcullis_lint::node::{Node, Value as Written};
use serde_json::{Map, Value, json};

use super::case::{ApiKey, Caller, Claims, ServiceClient};
use super::reader::{Fields, Mistakes};
use crate::sample::{CLIENT_AGENTS, CLIENT_PEOPLE, CLIENT_WORKERS, TENANT};

pub(super) const CALLER: &[&str] = &["jwt", "oauth_token", "api_key", "service_token", "workload"];
const CLAIMS: &[&str] = &["source_type", "subject", "tenant", "roles", "scopes", "actor", "claims"];
const API_KEY: &[&str] = &["source_type", "subject", "tenant", "roles", "scopes"];
const SERVICE_TOKEN: &[&str] = &["client", "tenant", "roles", "scopes"];

/// How somebody is known who says no more than what kind of caller it is.
#[derive(Clone, Copy)]
pub(super) struct Usual {
    source_type: &'static str,
    client: &'static str,
    subject: &'static str,
    actor: Option<&'static str>,
}

const HUMAN: Usual =
    Usual { source_type: "human", client: CLIENT_PEOPLE, subject: "ann@acme.example", actor: None };
const WORKER: Usual =
    Usual { source_type: "worker", client: CLIENT_WORKERS, subject: "pipeline-7", actor: None };
const AGENT: Usual = Usual {
    source_type: "mcp_agent",
    client: CLIENT_AGENTS,
    subject: "ann@acme.example",
    actor: Some("research-agent"),
};
pub(super) const SOURCE_TYPES: [(&str, Usual); 3] =
    [("human", HUMAN), ("worker", WORKER), ("mcp_agent", AGENT)];

pub(super) fn caller(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Caller {
    let claims = |key: &str, mistakes: &mut Mistakes| {
        let fields = fields.fields(key, CLAIMS, mistakes)?;
        Some(claims(&fields, mistakes))
    };
    let workload = fields.text("workload", mistakes);
    if workload.as_deref().is_some_and(|id| !id.starts_with("spiffe://")) {
        mistakes.note(fields.line(), "caller.workload: write a SPIFFE id, spiffe://cluster.local/ns/…/sa/…");
    }
    Caller {
        jwt: claims("jwt", mistakes),
        oauth_token: claims("oauth_token", mistakes),
        api_key: fields.fields("api_key", API_KEY, mistakes).map(|fields| api_key(&fields, mistakes)),
        service_token: fields
            .fields("service_token", SERVICE_TOKEN, mistakes)
            .and_then(|fields| service_client(&fields, mistakes)),
        workload,
    }
}

fn usual(fields: &Fields<'_>, otherwise: Usual, mistakes: &mut Mistakes) -> Usual {
    fields.word("source_type", &SOURCE_TYPES, mistakes).unwrap_or(otherwise)
}

fn tenant(fields: &Fields<'_>, mistakes: &mut Mistakes) -> String {
    fields.text("tenant", mistakes).unwrap_or_else(|| TENANT.to_owned())
}

fn claims(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Claims {
    let usual = usual(fields, HUMAN, mistakes);
    let mut others = Map::from_iter([("client_id".to_owned(), usual.client.into())]);
    let roles = fields.texts("roles", mistakes);
    let scopes = fields.texts("scopes", mistakes);
    if !roles.is_empty() {
        others.insert("roles".to_owned(), roles.into());
    }
    if !scopes.is_empty() {
        others.insert("scope".to_owned(), scopes.join(" ").into());
    }
    let actor = fields.text("actor", mistakes).or_else(|| usual.actor.map(str::to_owned));
    if let Some(actor) = actor {
        others.insert("act".to_owned(), json!({"sub": actor}));
    }
    others.extend(members(fields.get("claims"), &fields.name_of("claims"), mistakes));
    Claims {
        subject: fields.text("subject", mistakes).unwrap_or_else(|| usual.subject.to_owned()),
        tenant: tenant(fields, mistakes),
        others: Value::Object(others),
    }
}

/// Any claims, as they are.
fn members(node: Option<&Node>, name: &str, mistakes: &mut Mistakes) -> Map<String, Value> {
    let Some(node) = node else { return Map::new() };
    if !matches!(node.value, Written::Map(_)) {
        mistakes.note(node.line, format!("{name}: write a mapping of claims"));
    }
    node.members().iter().map(|entry| (entry.key.clone(), entry.node.json())).collect()
}

fn api_key(fields: &Fields<'_>, mistakes: &mut Mistakes) -> ApiKey {
    let usual = usual(fields, WORKER, mistakes);
    ApiKey(json!({
        "tenant": tenant(fields, mistakes),
        "subject": fields.text("subject", mistakes).unwrap_or_else(|| usual.subject.to_owned()),
        "source_type": usual.source_type,
        "roles": fields.texts("roles", mistakes),
        "scopes": fields.texts("scopes", mistakes),
    }))
}

fn service_client(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<ServiceClient> {
    let id = fields.needed_text("client", mistakes);
    let scopes = fields.texts("scopes", mistakes);
    let of = json!({
        "tenant": tenant(fields, mistakes),
        "roles": fields.texts("roles", mistakes),
        "scopes": scopes,
    });
    Some(ServiceClient { id: id?, of, scopes })
}
