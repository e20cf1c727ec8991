//! The published schema of bills of materials.

use std::fs;
use std::path::Path;

use jsonschema::Registry;
use serde_json::Value;

/// What is said of a document by the published schema of CycloneDX.
pub(crate) fn hold_against_the_schema(document: &Value) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../harness/schemas/cyclonedx"));
    let mut registry = Registry::new();
    for name in ["spdx", "jsf-0.82"] {
        let schema = schema(folder, name);
        let id = schema["$id"].as_str().unwrap().to_owned();
        registry = registry.add(id, schema).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let schema = schema(folder, "bom-1.6");
    let validator = jsonschema::options().with_registry(&registry).build(&schema).unwrap();
    let faults: Vec<_> =
        validator.iter_errors(document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn schema(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join([name, ".schema.json"].concat())).unwrap()).unwrap()
}
