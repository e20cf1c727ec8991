//! Every field is taken over while the service runs, or it is told that it is not.

#[path = "common/variations.rs"]
mod variations;

use std::collections::BTreeSet;

use portcullis_control_config::{Config, LoadError, SCHEMA, differences};
use portcullis_control_domain::configuration::{Difference, Effect};
use serde_json::{Value, json};

use variations::{base, variations, varied, write_files};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    folder
}

fn parse(folder: &tempfile::TempDir, config: &Value) -> Result<Config, LoadError> {
    Config::parse(&folder.path().join("control.yaml"), &config.to_string())
}

/// A field as the schema names it: without the names of entries.
fn general(field: &str) -> String {
    let parts = field.split('[').enumerate().map(|(at, part)| match (at, part.rsplit_once(']')) {
        (0, _) | (_, None) => part.to_owned(),
        (_, Some((_, rest))) => ["[]", rest].concat(),
    });
    parts.collect()
}

/// The fields that have no fields of their own, as the schema names them; `[]` for the entries of a list.
fn leaves() -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut found = Vec::new();
    collect(&schema, &schema, "", &mut found);
    found
}

fn collect(root: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    let resolved = |schema: &'_ Value| -> Value {
        let pointer = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
        pointer.map_or(schema, |pointer| root.pointer(pointer).expect("leads to a definition")).clone()
    };
    let schema = resolved(schema);
    let inner = resolved(&schema["items"]);
    match (schema["properties"].as_object(), inner["properties"].is_object()) {
        (Some(properties), _) => {
            for (name, property) in properties {
                let path = if at.is_empty() { name.clone() } else { [at, ".", name].concat() };
                collect(root, property, &path, found);
            }
        }
        (None, true) => collect(root, &inner, &[at, "[]"].concat(), found),
        (None, false) => found.push(at.to_owned()),
    }
}

#[test]
fn every_field_of_the_schema_is_varied() {
    let varied: BTreeSet<String> = variations().iter().map(|(field, _)| (*field).to_owned()).collect();
    assert_eq!(varied, leaves().into_iter().collect());
}

/// What the document says of a field and what the types say agree: a live field is one of the policy, any other is told.
#[test]
fn every_field_is_part_of_the_policy_or_needs_a_restart_that_is_told() {
    let folder = folder();
    let before = parse(&folder, &base()).unwrap();
    let (mut live, mut restart) = (0, 0);
    for variation in variations() {
        let field = variation.0;
        let after = parse(&folder, &varied(&variation)).unwrap_or_else(|e| panic!("{field}: {e}"));
        let found = differences(&before.document, &after.document);
        let names: Vec<String> = found.iter().map(|d| general(&d.field)).collect();
        // What is new or has no name is told as a whole; a mapping is told by its members.
        let named = |name: &String| field.starts_with(name.as_str()) || name.starts_with(field);
        assert!(names.iter().any(named), "{field}: {names:?}");
        let pending = before.pending(&after);
        let reloaded = before.reloaded(after.clone()).unwrap_or_else(|e| panic!("{field}: {e}"));
        assert_eq!(reloaded.policy, after.policy, "{field}");
        if found.iter().all(|d| d.effect == Effect::Live) {
            live += 1;
            assert_ne!(before.policy, after.policy, "{field} is called live, and nothing becomes of it");
            assert_eq!((pending, &reloaded), (Vec::new(), &after), "{field}");
        } else {
            restart += 1;
            assert_eq!(before.policy, after.policy, "{field} is part of the policy, and not called live");
            assert_eq!(pending, found, "{field}");
            assert_eq!(reloaded, before, "{field} stays as it is");
        }
    }
    assert!(live > 60 && restart > 20, "{live} {restart}");
}

#[test]
fn what_is_said_and_was_meant_before_is_no_difference() {
    let folder = folder();
    let mut silent = base();
    let root = silent.as_object_mut().unwrap();
    for section in ["clusters", "log", "resources", "workloads"] {
        root.remove(section);
    }
    let mut said = silent.clone();
    said["clusters"] = json!({"offlineAfterSeconds": 90, "recoverEverySeconds": 30});
    said["log"] = json!({"format": "text", "level": "info"});
    said["workloads"] = json!([]);
    said["issuers"][1]["leewaySeconds"] = json!(30);
    let (silent, said) = (parse(&folder, &silent).unwrap(), parse(&folder, &said).unwrap());
    assert_eq!(differences(&silent.document, &said.document), Vec::<Difference>::new());
    assert_eq!(silent, said, "the schema's defaults are the parser's");
}

#[test]
fn another_token_in_the_same_file_is_told_and_not_shown() {
    let folder = folder();
    let before = parse(&folder, &base()).unwrap();
    std::fs::write(folder.path().join("mesh-token"), "another-token-of-the-mesh").unwrap();
    let pending = before.pending(&parse(&folder, &base()).unwrap());
    let [difference] = pending.as_slice() else { panic!("{pending:?}") };
    assert_eq!((difference.field.as_str(), difference.effect), ("mesh.tokenFile", Effect::Restart));
    assert_eq!(difference.running, Some(json!("mesh-token")));
    assert_eq!(difference.running, difference.file);
    assert!(!format!("{pending:?}").contains("another-token"));
}

#[test]
fn entries_are_told_by_name_and_the_order_of_rules_counts() {
    let folder = folder();
    let before = parse(&folder, &base()).unwrap();
    let mut after = base();
    after["issuers"].as_array_mut().unwrap().remove(0);
    after["sourceRules"].as_array_mut().unwrap().swap(0, 1);
    let found = differences(&before.document, &parse(&folder, &after).unwrap().document);
    let names: Vec<&str> = found.iter().map(|d| d.field.as_str()).collect();
    assert_eq!(names, ["issuers[https://idp.example.com]", "sourceRules"]);
    assert_eq!(found[0].file, None);
    assert_eq!(found[1].file.as_ref().unwrap()[0], "services");
}

/// An issuer that is added must not be one of the service's own names, as they are until the restart.
#[test]
fn a_policy_that_does_not_go_with_what_stays_is_refused() {
    let folder = folder();
    let before = parse(&folder, &base()).unwrap();
    let own = base()["identity"]["issuer"].clone();
    let mut after = base();
    after["identity"]["issuer"] = json!("https://portcullis.example.org/identity");
    after["issuers"][0]["issuer"] = own;
    let after = parse(&folder, &after).unwrap();
    let error = before.reloaded(after).unwrap_err();
    assert_eq!(error.fields(), ["identity.issuer"]);
    assert!(error.to_string().contains("restart the service"), "{error}");
}
