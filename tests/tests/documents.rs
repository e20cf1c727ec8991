//! Documents: links lead somewhere, and the tests that pages name are there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_mesh::paths::root;

/// The files below a folder whose names end like this, without what was built or installed.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
            found.extend(files(&path, ending));
        } else if kind.is_file() && name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let mut code = false;
    let mut kept = String::new();
    for line in page.lines() {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        if !code && !fence {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> HashSet<String> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor = kept.collect::<String>().replace(' ', "-");
            let count = seen.entry(anchor.clone()).or_default();
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        })
        .collect()
}

/// Where a page's links go, but for those into the web.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    local.map(str::to_owned).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut followed = 0;
    let mut broken = Vec::new();
    for page in files(&root(), ".md") {
        let text = prose(&fs::read_to_string(&page).unwrap());
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let known = match anchor {
                None => target.exists(),
                Some(anchor) => {
                    fs::read_to_string(&target).is_ok_and(|there| anchors(&prose(&there)).contains(anchor))
                }
            };
            if !known {
                broken.push(format!("{}: {link}", page.display()));
            }
            followed += 1;
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(followed > 150, "only {followed} links were followed");
}

/// The names of all tests in these files.
fn tests(sources: &[PathBuf]) -> HashSet<String> {
    let mut names = HashSet::new();
    for source in sources {
        let mut marked = false;
        let text = fs::read_to_string(source).unwrap();
        // A list of functions that are tests on both targets.
        let both = text.split_once("\non_both! {").and_then(|(_, rest)| rest.split_once('}'));
        let both = both.map(|(list, _)| list).unwrap_or_default();
        names.extend(both.split(',').map(|name| name.trim().to_owned()));
        for line in text.lines().map(str::trim) {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let (true, Some(name)) = (marked, name) {
                names.extend(name.split('(').next().map(str::to_owned));
                marked = false;
            }
            marked |= line.starts_with("#[") && line.contains("test");
        }
    }
    names
}

/// Pages that name tests by their function alone, in the last column of tables whose last column has this title.
const NAMING: [(&str, &str); 3] = [
    ("docs/THREAT-MODEL.md", "shown by"),
    ("CONTRIBUTING.md", "held by"),
    ("docs/compliance.md", "evidence"),
];

#[test]
fn every_test_that_documents_name_exists() {
    let tests = tests(&files(&root(), ".rs"));
    let mut named = 0;
    let mut missing = Vec::new();
    for (file, title) in NAMING {
        let page = fs::read_to_string(root().join(file)).unwrap();
        let mut within = false;
        for line in page.lines() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            within = line.starts_with('|') && (within || cells.last() == Some(&title));
            let last = cells.last().filter(|_| within).copied().unwrap_or_default();
            for name in last.split('`').skip(1).step_by(2) {
                missing.extend((!tests.contains(name)).then(|| format!("{file}: {name}")));
                named += 1;
            }
        }
    }
    assert!(missing.is_empty(), "there are no such tests: {missing:?}");
    assert!(named >= 100, "only {named} tests are named");
}

#[test]
fn every_requirement_that_compliance_names_is_one() {
    let read = |page: &str| fs::read_to_string(root().join(page)).unwrap();
    let (page, list) = (read("docs/compliance.md"), read("docs/requirements.md"));
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut named = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, _, _, requirements, _] = cells[..] else { panic!("not six cells: {row}") };
        for requirement in requirements.split(", ") {
            assert!(list.contains(&format!("\n| {requirement} | ")), "there is no {requirement}: {row}");
            named += 1;
        }
    }
    assert!(named >= 20, "only {named} requirements are named");
}
