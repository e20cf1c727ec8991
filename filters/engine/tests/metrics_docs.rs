//! The reference lists every metric with its labels and their values, and Istio is told of every label.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_engine::metrics::FAMILIES;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn labels() -> BTreeMap<&'static str, &'static [&'static str]> {
    FAMILIES.iter().flat_map(|family| family.labels).map(|label| (label.name, label.values)).collect()
}

#[test]
fn every_metric_and_every_value_of_a_label_is_documented() {
    let page = read("docs/reference.md");
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let labels = labels.join(", ");
        let row = format!("| `{}` | {} | {labels} | {} |", family.name, family.kind.as_str(), family.help);
        assert!(page.lines().any(|line| line == row), "docs/reference.md lacks the row: {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `portcullis_filter_")).count();
    assert_eq!(rows, FAMILIES.len(), "docs/reference.md has rows of metrics that there are not");
    for (label, values) in labels() {
        let begin = format!("| `{label}` | ");
        // Several tables have rows that begin so; reasons have a table of their own.
        let fits = |row: &&str| values.iter().all(|value| row.contains(&format!("`{value}`")));
        let found = page.lines().filter(|line| line.starts_with(&begin)).any(|row| fits(&row));
        assert!(found || label == "reason", "docs/reference.md lacks `{label}` with {values:?}");
    }
}

#[test]
fn istio_is_told_of_every_label() {
    let mesh = read("istio-manifests/base/mesh-config.yaml");
    let line = mesh.lines().find_map(|line| line.trim().strip_prefix("extraStatTags: ["));
    let told = line.and_then(|line| line.strip_suffix(']')).expect("extraStatTags in one line");
    let mut told: Vec<&str> = told.split(", ").collect();
    told.sort_unstable();
    let labels: Vec<&str> = labels().into_keys().collect();
    assert_eq!(told, labels);
}
