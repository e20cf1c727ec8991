//! Which crate of the control service may know which, and what is kept out of each.

use std::path::Path;

/// Crates below each, from the bottom up.
const BELOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("contract", &["domain"]),
    ("routing", &[]),
    ("routing-sinks", &["routing"]),
    ("snapshot", &["domain"]),
    ("config", &["domain", "snapshot"]),
    ("store", &["domain", "snapshot"]),
    ("services", &["config", "domain", "snapshot", "store"]),
    ("api", &["config", "contract", "domain", "services", "snapshot", "store"]),
    ("portcullis", &["api", "config", "contract", "domain", "services", "snapshot", "store"]),
];
const SQL: &[&str] = &["rusqlite", "postgres", "tokio-postgres", "portcullis-sql"];
const HTTP_SERVER: &[&str] = &["axum", "hyper", "hyper-util"];
const HTTP_CLIENT: &[&str] = &["reqwest"];
/// What a pure function does without.
const OUTSIDE: &[&str] = &["tokio", "tempfile", "getrandom"];

/// What a crate is built with; what only its tests are built with does not count.
fn dependencies(name: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn each_crate_knows_those_below_it_alone() {
    for (name, below) in BELOW {
        let found = dependencies(name);
        assert!(found.len() > 3, "{name}: {found:?}");
        for known in found.iter().filter_map(|found| found.strip_prefix("portcullis-control-")) {
            assert!(below.contains(&known), "{name} must not depend on {known}");
        }
    }
}

#[test]
fn sql_and_http_are_where_they_belong() {
    for (name, _) in BELOW {
        let kept_out = match *name {
            "routing" => [SQL, HTTP_SERVER, HTTP_CLIENT, OUTSIDE].concat(),
            "routing-sinks" => [SQL, HTTP_SERVER, HTTP_CLIENT].concat(),
            "domain" | "contract" | "snapshot" | "config" => [SQL, HTTP_SERVER, HTTP_CLIENT].concat(),
            "store" => [HTTP_SERVER, HTTP_CLIENT].concat(),
            "services" => [SQL, HTTP_SERVER].concat(),
            "api" => [SQL, HTTP_CLIENT].concat(),
            _ => [SQL, HTTP_SERVER].concat(),
        };
        let found = dependencies(name);
        let wrong: Vec<_> = found.iter().filter(|found| kept_out.contains(&found.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
    assert!(dependencies("store").iter().any(|found| SQL.contains(&found.as_str())));
}
