//! The source-type stage: human, worker or MCP agent, told by ordered rules over verified facts.
//!
//! What a client says of itself is no fact: only what its verified credential carries counts. The first
//! rule that fits decides; where none fits, the caller has no source type and is refused.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod stage;

use portcullis_identity::ids::IssuerId;
use portcullis_identity::{Principal, SourceType};
use portcullis_model::claims::{Claims, has_any};
use portcullis_model::policy::{ClaimCondition, SourceConditions, SourceRule, SourceRulesDocument};
use portcullis_model::template::IssuerTemplate;

pub use stage::{RequireSourceType, SOURCE_TYPE_HEADER};

/// Tells the source type: the first rule that fits, with the rule itself for an explanation.
#[must_use]
pub fn classify<'a>(
    rules: &'a SourceRulesDocument,
    principal: &Principal,
    claims: &Claims,
) -> Option<(SourceType, &'a SourceRule)> {
    rules.rules.iter().find(|rule| fits(&rule.when, principal, claims)).map(|rule| (rule.source_type, rule))
}

fn fits(when: &SourceConditions, principal: &Principal, claims: &Claims) -> bool {
    any_if_given(&when.credential, |kind| *kind == principal.credential)
        && any_if_given(&when.issuer, |issuer| {
            principal.issuer.as_ref().is_some_and(|of| is_named(of, issuer))
        })
        && any_if_given(&when.client_id, |id| principal.client_id.as_ref().is_some_and(|c| c.as_str() == id))
        && any_if_given(&when.spiffe_id, |id| principal.spiffe_id.as_ref() == Some(id))
        && any_if_given(&when.role, |role| principal.roles.contains(role))
        && any_if_given(&when.scope, |scope| principal.scopes.contains(scope))
        && when.delegated.is_none_or(|wanted| wanted != principal.actors.is_empty())
        && when.claims.as_ref().is_none_or(|all| !all.is_empty() && all.iter().all(|c| holds(c, claims)))
}

/// A list that is there and empty fits nobody: a rule from which the last client was taken must not become one
/// for all of them.
fn any_if_given<T>(list: &Option<Vec<T>>, test: impl FnMut(&T) -> bool) -> bool {
    list.as_ref().is_none_or(|list| list.iter().any(test))
}

/// Whether an issuer is the one that a rule names, or one of a template that it names.
fn is_named(issuer: &IssuerId, rule: &IssuerId) -> bool {
    let fits = |template: IssuerTemplate| template.value(issuer.as_str()).is_some();
    issuer == rule || IssuerTemplate::parse(rule).ok().flatten().is_some_and(fits)
}

fn holds(condition: &ClaimCondition, claims: &Claims) -> bool {
    has_any(claims, &condition.claim, &condition.any_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_identity::CredentialKind;
    use portcullis_identity::ids::{ClientId, Subject, TenantId};
    use serde_json::{Value, json};

    fn principal() -> Principal {
        Principal {
            subject: Subject::new("ann").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            roles: vec![],
            scopes: vec![],
            credential: CredentialKind::Jwt,
            key_id: None,
            issuer: Some(IssuerId::new("https://idp").unwrap()),
            client_id: Some(ClientId::new("web").unwrap()),
            spiffe_id: None,
            actors: vec![],
            expires_at: 1,
            token_id: None,
            session_id: None,
            derived_from: vec![],
            omitted: 0,
            roles_incomplete: false,
        }
    }

    fn tell(rules: Value, principal: &Principal, claims: Value) -> Option<SourceType> {
        let rules: SourceRulesDocument = serde_json::from_value(json!({ "rules": rules })).unwrap();
        classify(&rules, principal, claims.as_object().unwrap()).map(|(t, _)| t)
    }

    #[test]
    fn no_rule_no_source_type() {
        assert_eq!(tell(json!([]), &principal(), json!({})), None);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = json!([
            {"name": "other", "sourceType": "worker", "when": {"clientId": ["batch"]}},
            {"name": "web", "sourceType": "human", "when": {"clientId": ["web"], "issuer": ["https://idp"]}},
            {"name": "rest", "sourceType": "mcp_agent"},
        ]);
        assert_eq!(tell(rules.clone(), &principal(), json!({})), Some(SourceType::Human));
        let mut other = principal();
        other.client_id = None;
        assert_eq!(tell(rules, &other, json!({})), Some(SourceType::McpAgent));
    }

    #[test]
    fn a_rule_may_name_a_template_of_issuers() {
        let rules =
            json!([{"name": "r", "sourceType": "human", "when": {"issuer": ["https://idp/{tid}/v2.0"]}}]);
        let of = |issuer: &str| {
            let principal = Principal { issuer: Some(IssuerId::new(issuer).unwrap()), ..principal() };
            tell(rules.clone(), &principal, json!({}))
        };
        assert_eq!(of("https://idp/a/v2.0"), Some(SourceType::Human));
        for other in ["https://idp/a/b/v2.0", "https://idp/a/v2.0x", "https://idp.evil/a/v2.0"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn every_condition_must_hold() {
        let rules = json!([{"name": "r", "sourceType": "human", "when": {"credential": ["api_key"], "clientId": ["web"]}}]);
        assert_eq!(tell(rules, &principal(), json!({})), None);
    }

    #[test]
    fn an_empty_list_fits_nobody() {
        for field in ["credential", "issuer", "clientId", "spiffeId", "role", "scope", "claims"] {
            let rules = json!([{"name": "r", "sourceType": "human", "when": {field: []}}]);
            assert_eq!(tell(rules, &principal(), json!({})), None, "{field}");
        }
        for field in ["credential", "claims", "delegated"] {
            let rules = json!({"rules": [{"name": "r", "sourceType": "human", "when": {field: null}}]});
            assert!(serde_json::from_value::<SourceRulesDocument>(rules).is_err(), "{field}");
        }
        // What is not there is not sent either, so that it does not come back as empty.
        let rule = json!({"name": "r", "sourceType": "human", "when": {"clientId": ["web"]}});
        let read: SourceRule = serde_json::from_value(rule.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), rule);
    }

    #[test]
    fn roles_scopes_and_the_peer_are_facts() {
        let mut caller = principal();
        caller.roles = vec!["agent".parse().unwrap()];
        caller.scopes = vec!["mcp".parse().unwrap()];
        caller.spiffe_id = Some("spiffe://d/ns/a/sa/b".parse().unwrap());
        for (when, fits) in [
            (json!({"role": ["x", "agent"]}), true),
            (json!({"role": ["x"]}), false),
            (json!({"scope": ["mcp"]}), true),
            (json!({"scope": ["m"]}), false),
            (json!({"spiffeId": ["spiffe://d/ns/a/sa/b"], "issuer": ["https://idp"]}), true),
            (json!({"spiffeId": ["spiffe://d/ns/a/sa/c"]}), false),
            (json!({"role": ["agent"], "scope": ["x"]}), false),
        ] {
            let rules = json!([{"name": "r", "sourceType": "mcp_agent", "when": when}]);
            assert_eq!(tell(rules, &caller, json!({})).is_some(), fits, "{when}");
        }
    }

    #[test]
    fn a_delegated_token_can_be_told_apart() {
        let rules = json!([{"name": "r", "sourceType": "mcp_agent", "when": {"delegated": true}},
                           {"name": "h", "sourceType": "human", "when": {"delegated": false}}]);
        let mut agent = principal();
        agent.actors = vec![Subject::new("agent").unwrap()];
        assert_eq!(tell(rules.clone(), &agent, json!({})), Some(SourceType::McpAgent));
        assert_eq!(tell(rules, &principal(), json!({})), Some(SourceType::Human));
    }

    #[test]
    fn claims_are_matched_by_path_text_and_list() {
        let rule = |path: Value| {
            json!([{"name": "r", "sourceType": "worker",
            "when": {"claims": [{"claim": path, "anyOf": ["a", "b"]}]}}])
        };
        let claims = json!({"k": "a", "deep": {"er": ["x", "b"]}, "https://ns/kind": "b", "n": 1});
        for path in [json!(["k"]), json!(["deep", "er"]), json!(["https://ns/kind"])] {
            assert_eq!(tell(rule(path), &principal(), claims.clone()), Some(SourceType::Worker));
        }
        for path in [json!(["n"]), json!(["deep"]), json!(["missing"]), json!(["k", "a"]), json!([])] {
            assert_eq!(tell(rule(path), &principal(), claims.clone()), None);
        }
    }
}
