//! The commands on the pages for operators: each is run, or says why it is not.

mod common;
mod document_cases {
    pub(crate) mod cluster;
    pub(crate) mod pages;
    pub(crate) mod scripts;
}

use std::collections::BTreeSet;
use std::fs;

use common::portcullis;
use document_cases::cluster::Cluster;
use document_cases::pages::{Block, Class, blocks, files, named_in_prose};
use document_cases::scripts::{self, Around};
use portcullis_mesh::paths::root;
use portcullis_model::Reason;

#[tokio::test]
async fn the_commands_of_the_documents_run_as_they_are_printed() {
    let (blocks, _) = blocks();
    let run: Vec<&Block> = blocks.iter().filter(|block| block.class == Class::Run).collect();
    assert!(run.len() >= 8, "only {} blocks are run", run.len());
    let around = Around { kustomize: scripts::kustomize(), kubectl: None };
    let mut failed = Vec::new();
    for block in run {
        failed.extend(scripts::run(block, &around).await.err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Blocks and sentences. What waits for pods looks once: no controller brings any up.
#[tokio::test]
async fn the_commands_for_a_cluster_run_at_a_real_api_server() {
    let cluster = Cluster::start().await;
    let around = Around { kustomize: scripts::kustomize(), kubectl: Some(cluster.kubectl().clone()) };
    let (blocks, _) = blocks();
    let mut tried: Vec<Block> = blocks.into_iter().filter(|block| block.class == Class::Kubectl).collect();
    assert!(tried.len() >= 8, "only {} blocks", tried.len());
    let named = named_in_prose("kubectl ");
    assert!(named.len() >= 15, "only {} commands", named.len());
    let sentences = named.keys().map(|command| as_asked(command)).collect();
    tried.push(Block { place: "commands in sentences".to_owned(), class: Class::Kubectl, text: sentences });
    let mut failed = Vec::new();
    for block in &tried {
        cluster.make_pods();
        failed.extend(scripts::run(block, &around).await.err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));

    for wrong in [
        "kubectl apply -k istio-manifests/overlays/production",
        "kubectl -n portcullis rollout status deployment/control",
        "kubectl -n alfred get pods",
        "kubectl -n alfred-platform get pods -l app=gateway",
        "kubectl -n alfred-platform describe certificate server",
        "kubectl -n portcullis restart deployment/control-service",
    ] {
        let block = Block { place: String::new(), class: Class::Kubectl, text: wrong.to_owned() };
        assert!(scripts::run(&block, &around).await.is_err(), "{wrong}");
    }
}

/// A command of a sentence, as it can be asked where no pod runs: of what reads a pod or goes into one, whether what it names
/// is there; of one without an object, whether `kubectl` has it.
fn as_asked(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let (place, words) = match &words[..] {
        ["-n", namespace, rest @ ..] => (format!("-n {namespace} "), rest),
        rest => (String::new(), rest),
    };
    let object = words[1..].iter().find(|word| !word.starts_with('-') && word.contains('/'));
    match (words[0], object) {
        ("exec" | "logs", Some(object)) => format!("kubectl {place}get {object}\n"),
        ("get" | "describe", _) if words.len() > 1 => format!("{command}\n"),
        ("apply", Some(_)) => format!("{command}\n"),
        (verb, _) => format!("kubectl {verb} --help > /dev/null\n"),
    }
}

#[test]
fn every_block_of_commands_has_a_class_and_names_what_there_is() {
    let (blocks, mut wrong) = blocks();
    let mut all = Vec::new();
    files(&root(), &mut all);
    let sources: Vec<_> = all.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")).collect();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for block in &blocks {
        let missing = match &block.class {
            Class::Test(name) => {
                let head = format!("fn {name}(");
                let known = sources.iter().any(|file| fs::read_to_string(file).unwrap().contains(&head));
                if known { Vec::new() } else { vec![format!("there is no test {name}")] }
            }
            Class::Make => targets(&block.text, &makefile),
            Class::Cargo => tests(&block.text, &all),
            Class::Kubectl => folders(&block.text),
            Class::Run | Class::Elsewhere => Vec::new(),
        };
        wrong.extend(missing.into_iter().map(|problem| format!("{}: {problem}", block.place)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(blocks.len() >= 20, "only {} blocks of commands", blocks.len());
}

/// Whether the program has the command and its options is asked of the program: with `--help` it does nothing else.
#[test]
fn every_command_that_a_sentence_names_is_one() {
    let named = named_in_prose("portcullis ");
    assert!(named.len() >= 40, "only {} commands", named.len());
    let mut wrong = Vec::new();
    for (command, page) in named {
        // Not the value of an option, but whatever command there is.
        let any =
            command.strip_suffix(" …").filter(|before| !before.rsplit(' ').next().unwrap().starts_with("--"));
        let filled = any.unwrap_or(&command).replace('…', "x").replace("TIME", "2026-01-31T12:00:00Z");
        let words: Vec<&str> = filled.split_whitespace().skip(1).collect();
        // What is behind `policy` another program answers.
        if words.first() == Some(&"policy") {
            continue;
        }
        let said = portcullis().args(&words).arg("--help").output().unwrap();
        if !said.status.success() {
            let problem = String::from_utf8_lossy(&said.stderr).lines().next().unwrap_or_default().to_owned();
            wrong.push(format!("{page}: `{command}`: {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn words_after<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.windows(2).filter(|pair| pair[0] == word).map(|pair| pair[1]).collect()
}

fn targets(text: &str, makefile: &str) -> Vec<String> {
    let known = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    let named = words_after(text, "make").into_iter().filter(|target| !known(target));
    named.map(|target| format!("the Makefile has no target {target:?}")).collect()
}

/// Packages and test files that `cargo` is asked for.
fn tests(text: &str, files: &[std::path::PathBuf]) -> Vec<String> {
    let package = |name: &str| {
        let line = format!("name = \"{name}\"");
        let mut manifests = files.iter().filter(|file| file.ends_with("Cargo.toml"));
        manifests.any(|file| fs::read_to_string(file).unwrap().lines().any(|one| one == line))
    };
    let test = |name: &str| {
        let ends = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
        files.iter().any(|file| ends.iter().any(|end| file.ends_with(end)))
    };
    let packages = words_after(text, "-p").into_iter().filter(|name| !package(name));
    let tests = words_after(text, "--test").into_iter().filter(|name| !test(name));
    let packages = packages.map(|name| format!("there is no package {name}"));
    packages.chain(tests.map(|name| format!("there is no file of tests {name}"))).collect()
}

/// Folders of the manifests that are applied.
fn folders(text: &str) -> Vec<String> {
    let named = words_after(text, "-k").into_iter();
    let missing = named.filter(|folder| !root().join(folder).join("kustomization.yaml").is_file());
    missing.map(|folder| format!("there is nothing to apply in {folder}")).collect()
}

#[test]
fn every_reason_has_its_place_in_troubleshooting_once() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, section) = page.split_once("\n## By reason\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut told = Vec::new();
    for row in section.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cell = row.split('|').nth(2).unwrap();
        told.extend(cell.split('`').skip(1).step_by(2));
    }
    let once: BTreeSet<&str> = told.iter().copied().collect();
    assert_eq!(once.len(), told.len(), "a reason stands twice: {told:?}");
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(once, all);
}
