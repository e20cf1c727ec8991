//! Each rule finds what its failing fixture marks with `# found`, and nothing else; and nothing in the passing one. Both
//! stand beside `base.yaml`, unless they begin with `# alone`.

use std::path::{Path, PathBuf};

use portcullis_lint::report::{document, github, json, sarif, text};
use portcullis_lint::resource::Resource;
use portcullis_lint::rules::RULES;
use portcullis_lint::{Findings, lint};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn read(path: &Path) -> (String, Vec<Resource>) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let resources = Resource::read(&path.display().to_string(), &text)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (text, resources)
}

fn look(path: &Path) -> (String, Findings) {
    let (text, own) = read(path);
    let base = if text.starts_with("# alone") { Vec::new() } else { read(&fixtures().join("base.yaml")).1 };
    (text, lint(base.into_iter().chain(own).collect()))
}

#[test]
fn every_rule_finds_exactly_what_its_fixture_marks() {
    for rule in RULES {
        let (text, found) = look(&fixtures().join(rule.code).join("fail.yaml"));
        let marked: Vec<usize> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.ends_with("# found"))
            .map(|(i, _)| i + 1)
            .collect();
        assert!(!marked.is_empty(), "{} marks nothing", rule.code);
        let told: Vec<(&str, usize)> = found.list().iter().map(|f| (f.rule.code, f.place.line)).collect();
        let wanted: Vec<(&str, usize)> = marked.iter().map(|line| (rule.code, *line)).collect();
        assert_eq!(told, wanted, "{}:\n{}", rule.code, crate::text(&found.list()));
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for rule in RULES {
        let (_, found) = look(&fixtures().join(rule.code).join("pass.yaml"));
        assert!(found.list().is_empty(), "{}:\n{}", rule.code, text(&found.list()));
    }
}

#[test]
fn every_fixture_belongs_to_a_rule_and_codes_are_given_once() {
    let mut codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
    codes.sort_unstable();
    let folders = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut found: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, codes);
}

#[test]
fn the_page_is_that_of_the_rules() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lint.md");
    let written = std::fs::read_to_string(&page).unwrap();
    assert!(
        written == document(),
        "docs/lint.md is out of date; write it by `portcullis lint --rules > docs/lint.md`"
    );
}

#[test]
fn every_form_tells_code_file_line_reason_and_what_to_write() {
    let (_, found) = look(&fixtures().join("PL502").join("fail.yaml"));
    let list = found.list();
    let text = text(&list);
    assert!(text.contains("fail.yaml:10: error PL502 [destination-rule-without-mutual-tls]"), "{text}");
    assert!(
        text.contains("\n    why: A `DestinationRule`") && text.contains("\n    fix: Leave `tls` out"),
        "{text}"
    );
    let json = json(&list);
    assert_eq!(json["findings"][0]["line"], 10);
    let sarif = sarif(&list);
    let result = &sarif["runs"][0]["results"][1];
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 15);
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), RULES.len());
    let github = github(&list);
    assert!(github.starts_with("::error file=") && github.contains(",line=10,title=PL502 "), "{github}");
    assert_eq!(github.lines().count(), 2);
}
