//! The page of requirements names tests that are there.

use portcullis_mesh::paths;

/// Whether a file makes tests for both targets of a function: `on_both!` has a list of them.
fn runs_on_both(text: &str, function: &str) -> bool {
    let list = text.split_once("on_both! {").and_then(|(_, rest)| rest.split_once('}'));
    list.is_some_and(|(list, _)| list.split(',').any(|name| name.trim() == function))
}

#[test]
fn every_test_that_the_page_names_exists() {
    let root = paths::root();
    let page = std::fs::read_to_string(root.join("docs/requirements.md")).unwrap();
    let mut named = 0;
    for (file, function) in page.split('`').filter_map(|part| part.split_once(".rs::")) {
        let file = format!("{file}.rs");
        let text = std::fs::read_to_string(root.join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let at = text.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("no {function} in {file}"));
        let before = text.get(..at).unwrap_or_default().trim_end();
        let attribute =
            before.trim_end_matches("async").trim_end().rsplit('\n').next().unwrap_or_default().trim();
        assert!(
            attribute.starts_with("#[") && attribute.contains("test") || runs_on_both(&text, function),
            "{file}::{function} is no test: {attribute}"
        );
        named += 1;
    }
    assert!(named >= 40, "only {named} tests are named");
    for row in page.lines().filter(|line| line.contains("| done |")) {
        assert!(row.contains("::") || row.contains("scenario"), "done, but proved by nothing: {row}");
    }
}
