//! The published schema against what is read as a whole: source rules, claims, key sets.

use portcullis_identity::ids::Role;
use portcullis_model::mapping::{NamesRule, SubjectSource, TenantSource};
use portcullis_model::policy::{ClaimCondition, Jwk, RequiredClaim, SourceConditions, SourceRule};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../control.schema.json")).unwrap()
}

/// The fields that a type has, from what its reader says about one that it has not.
fn fields_of<T: DeserializeOwned>() -> Vec<String> {
    let refused = serde_json::from_value::<T>(json!({"zzz": 1})).err().expect("unknown fields are refused");
    let text = refused.to_string();
    let (_, known) = text.split_once("expected ").expect("names what it knows");
    let mut names: Vec<String> = known.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    names.sort();
    assert!(names.len() >= 2, "{text}");
    names
}

/// The fields that the schema gives to what a JSON pointer leads to.
fn fields_at(schema: &Value, pointer: &str) -> Vec<String> {
    let place = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the schema"));
    let properties = place["properties"].as_object().unwrap_or_else(|| panic!("{pointer} has no fields"));
    let mut names: Vec<String> = properties.keys().cloned().collect();
    names.sort();
    names
}

const RULE: &str = "/properties/sourceRules/items";
const WHEN: &str = "/properties/sourceRules/items/properties/when";
const KEY: &str = "/properties/issuers/items/properties/jwks/properties/keys/items";

#[test]
fn the_schema_names_the_fields_of_what_is_read_as_a_whole() {
    let schema = schema();
    assert_eq!(fields_at(&schema, RULE), fields_of::<SourceRule>());
    assert_eq!(fields_at(&schema, WHEN), fields_of::<SourceConditions>());
    let claims = [WHEN, "/properties/claims/items"].concat();
    assert_eq!(fields_at(&schema, &claims), fields_of::<ClaimCondition>());
    assert_eq!(fields_at(&schema, "/$defs/subjectSource"), fields_of::<SubjectSource>());
    assert_eq!(fields_at(&schema, "/$defs/tenantSource"), fields_of::<TenantSource>());
    assert_eq!(fields_at(&schema, "/$defs/names"), fields_of::<NamesRule<Role>>());
    assert_eq!(fields_at(&schema, "/$defs/requiredClaims/items"), fields_of::<RequiredClaim>());
    // A key may have members that nobody knows (RFC 7517 §4), so its reader refuses none.
    let text = || Some(String::new());
    let key = Jwk {
        kty: String::new(),
        kid: text(),
        alg: text(),
        key_use: text(),
        crv: text(),
        n: text(),
        e: text(),
        x: text(),
        y: text(),
        key_ops: Some(Vec::new()),
        issuer: text(),
    };
    let mut written: Vec<String> =
        serde_json::to_value(key).unwrap().as_object().unwrap().keys().cloned().collect();
    written.sort();
    assert_eq!(fields_at(&schema, KEY), written);
}

/// A rule with every condition there is.
fn rule() -> Value {
    json!({"name": "a", "sourceType": "worker", "when": {
        "credential": ["workload"], "issuer": ["https://a"], "clientId": ["c"], "role": ["r"], "scope": ["s"],
        "spiffeId": ["spiffe://cluster.local/ns/a/sa/b"], "delegated": false,
        "claims": [{"claim": ["a", "b"], "anyOf": ["x"]}],
    }})
}

#[test]
fn a_rule_with_every_condition_fits_the_schema_and_the_parser() {
    let schema = schema();
    let rules = jsonschema::validator_for(&schema["properties"]["sourceRules"]).unwrap();
    let errors: Vec<_> = rules.iter_errors(&json!([rule()])).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let read: SourceRule = serde_json::from_value(rule()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), rule());
    let names: Vec<String> = rule()["when"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), fields_of::<SourceConditions>().len(), "every condition is tried");
    for name in names.iter().filter(|name| *name != "delegated") {
        let mut empty = rule();
        empty["when"][name] = json!([]);
        assert!(!rules.is_valid(&json!([empty])), "{name} without members");
        let mut odd = rule();
        odd["when"][name] = json!("text");
        assert!(!rules.is_valid(&json!([odd])), "{name} that is no list");
    }
    for (field, value) in [("claim", json!([])), ("anyOf", json!([])), ("oneOf", json!(["x"]))] {
        let mut odd = rule();
        odd["when"]["claims"][0][field] = value;
        assert!(!rules.is_valid(&json!([odd])), "{field}");
    }
}
