//! The files themselves: each resource says what it is for, and stands once.

use std::collections::BTreeMap;

use crate::rendered::{documents, files, kind_and_name, manifests};

/// What this lies below is a resource of the harness, not of a cluster.
const LOCAL: &str = "overlays/local";

#[test]
fn every_resource_says_which_requirement_it_serves() {
    let mut silent = Vec::new();
    for file in files().into_iter().filter(|file| !file.contains(LOCAL)) {
        let text = std::fs::read_to_string(manifests().join(&file)).unwrap();
        for document in text.split("\n---\n").filter(|document| document.contains("\nkind: ")) {
            let comments = document.lines().take_while(|line| line.starts_with('#') || line.trim() == "---");
            let comment: String = comments.collect();
            let names_one = comment.split(|c: char| !c.is_ascii_alphanumeric()).any(is_requirement);
            let patch = document.contains("name: any\n") || document.contains("kind: Component");
            if !names_one
                && !patch
                && !document.contains("kind: Kustomization")
                && !document.contains("local-config")
            {
                silent.push(file.clone());
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

fn is_requirement(word: &str) -> bool {
    let number = word.strip_prefix(['A', 'B']).and_then(|digits| digits.parse::<u8>().ok());
    number.is_some_and(|number| (1..=34).contains(&number))
}

/// What two environments have in common stands below both.
#[test]
fn no_resource_stands_in_two_overlays() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for file in
        files().into_iter().filter(|file| file.starts_with("overlays/") && !file.ends_with("settings.yaml"))
    {
        for resource in documents(&std::fs::read_to_string(manifests().join(&file)).unwrap()) {
            if resource["kind"] != "Kustomization" {
                let other = seen.insert(kind_and_name(&resource), file.clone());
                assert!(other.is_none(), "{} in {file} and {other:?}", kind_and_name(&resource));
            }
        }
    }
}
