//! `portcullis lint` as an operator runs it: what it prints, in which form, and how it ends.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use common::portcullis;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lint/fixtures").join(name)
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lint(arguments: &[&str]) -> Output {
    portcullis().arg("lint").args(arguments).output().unwrap()
}

#[test]
fn findings_are_told_with_their_place_and_the_command_fails() {
    let (base, bad) = (fixture("base.yaml"), fixture("PL502/fail.yaml"));
    let (base, bad) = (base.to_str().unwrap(), bad.to_str().unwrap());
    let told = lint(&[base, bad]);
    assert_eq!(told.status.code(), Some(1));
    let text = printed(&told);
    assert!(
        text.contains("PL502/fail.yaml:10: error PL502 ") && text.ends_with("2 findings in 7 resources\n"),
        "{text}"
    );
    let good = lint(&[base]);
    assert_eq!((good.status.code(), printed(&good).as_str()), (Some(0), "0 findings in 6 resources\n"));

    let json: Value = serde_json::from_str(&printed(&lint(&[base, bad, "--format", "json"]))).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 2);
    let sarif: Value = serde_json::from_str(&printed(&lint(&[base, bad, "--format", "sarif"]))).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let github = printed(&lint(&[base, bad, "--format", "github"]));
    assert!(github.starts_with("::error file="), "{github}");
}

#[test]
fn standard_input_is_read_and_the_page_of_rules_is_printed() {
    let mut child = portcullis();
    let child = child.args(["lint", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(fixture("PL501/fail.yaml")).unwrap()).unwrap();
    let told = child.wait_with_output().unwrap();
    assert!(printed(&told).starts_with("stdin:6: error PL501 "), "{}", printed(&told));
    let page = std::fs::read_to_string(fixture("../../docs/lint.md")).unwrap();
    assert_eq!(printed(&lint(&["--rules"])).trim_end(), page.trim_end());
}

#[test]
fn what_cannot_be_looked_at_is_told_apart_from_findings() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let path = folder.path().to_str().unwrap();
    let fails = |wanted: &str| {
        let told = lint(&[path]);
        let text = String::from_utf8(told.stderr).unwrap();
        assert!(told.status.code() == Some(2) && text.contains(wanted), "{wanted}: {text}");
    };
    fails("there is no resource in what was given");
    write("a.yaml", "kind: A\nkind: B\n");
    fails("a.yaml:2: ");
    write("kustomization.yaml", "resources: []\n");
    fails("has to be rendered first: kustomize build ");
    let missing = lint(&["/nonexistent/manifests.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(lint(&[]).status.code(), Some(2));
}
