//! The example and the published schema.

use super::*;

#[test]
fn the_example_is_a_valid_configuration() {
    let config = parse_in(&example_folder(), EXAMPLE).unwrap();
    let policy = &config.policy;
    assert_eq!((policy.issuers.len(), policy.source_rules.rules.len()), (5, 5));
    assert_eq!((policy.introspection.len(), policy.workloads.workloads.len()), (1, 1));
    assert!(config.service_tokens.is_some());
    let sources: Vec<_> = policy.issuers.iter().map(|i| i.keys.name()).collect();
    assert_eq!(sources, ["jwks_uri", "discovery", "jwks_uri", "jwks_uri", "hmac"]);
}

#[test]
fn the_example_fits_the_published_schema() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let example: serde_json::Value = serde_norway::from_str(EXAMPLE).unwrap();
    let errors: Vec<_> = validator.iter_errors(&example).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    for (field, value) in [
        ("issuers", serde_json::json!([{"issuer": "x"}])),
        ("workloads", serde_json::json!([{"spiffeId": 1, "tenant": "a"}])),
        ("jwksRefreshSeconds", serde_json::json!(0)),
        ("extra", serde_json::json!(1)),
    ] {
        let mut bad = example.clone();
        bad[field] = value;
        assert!(!validator.is_valid(&bad), "{field}");
    }
}

/// Fields of every section as the schema names them, `[]` for list items.
fn schema_fields(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    at: &str,
    found: &mut Vec<(String, Vec<String>)>,
) {
    let schema = resolved(root, schema);
    if schema["type"] == "array" {
        schema_fields(root, &schema["items"], &[at, "[]"].concat(), found);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let mut names: Vec<String> = properties.keys().cloned().collect();
    names.sort();
    found.push((at.to_owned(), names));
    for (name, inner) in properties {
        let path = if at.is_empty() { name.clone() } else { [at, ".", name].concat() };
        schema_fields(root, inner, &path, found);
    }
}

/// What a schema refers to, or itself.
fn resolved<'a>(root: &'a serde_json::Value, schema: &'a serde_json::Value) -> &'a serde_json::Value {
    let pointer = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    pointer.map_or(schema, |pointer| root.pointer(pointer).expect("leads to a definition"))
}

/// Adds an unknown field to every section that the parser reads field by field.
fn poison(root: &serde_json::Value, value: &mut serde_json::Value, schema: &serde_json::Value) {
    let schema = resolved(root, schema);
    if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(|item| poison(root, item, &schema["items"]));
    } else if let Some(members) = value.as_object_mut()
        && schema["x-section"] == true
    {
        for (name, inner) in members.iter_mut() {
            poison(root, inner, &schema["properties"][name]);
        }
        members.insert("zzz".to_owned(), serde_json::json!(1));
    }
}

/// The parser tells in its error for an unknown field which ones it knows: they must be the schema's.
#[test]
fn the_schema_names_the_fields_that_the_parser_reads() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let mut example: serde_json::Value = serde_norway::from_str(EXAMPLE).unwrap();
    poison(&schema, &mut example, &schema);
    let Err(LoadError::Invalid { errors, .. }) = parse_in(&example_folder(), &example.to_string()) else {
        panic!("the unknown fields were accepted");
    };
    let mut wanted = Vec::new();
    schema_fields(&schema, &schema, "", &mut wanted);
    let mut sections = 0;
    for error in errors {
        let path = error.field.strip_suffix("zzz").unwrap_or_else(|| panic!("{error}")).trim_end_matches('.');
        let general: String = path
            .split('[')
            .enumerate()
            .map(|(n, part)| match (n, part.split_once(']')) {
                (0, _) | (_, None) => part.to_owned(),
                (_, Some((_, rest))) => ["[]", rest].concat(),
            })
            .collect();
        let mut known: Vec<&str> = error.problem.split("known are ").nth(1).unwrap().split(", ").collect();
        known.sort_unstable();
        known.dedup();
        let (_, names) = wanted.iter().find(|(at, _)| *at == general).unwrap_or_else(|| panic!("{general}"));
        assert_eq!(known, *names, "section {general:?}");
        sections += 1;
    }
    // The root, nine sections and the tunnel of agents, the items of five lists, five of them issuers, the claims of three
    // of these and of a provider, two sections of what a cluster says, and two of callers with two rules each.
    assert_eq!(sections, 32);
}
