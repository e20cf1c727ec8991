//! The blocks of commands on the pages for operators, and of which class each is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_mesh::paths::root;

/// What becomes of a block of commands. A page says it behind the language, where no reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Run as it is printed: ```` ```sh run ````.
    Run,
    /// Another test runs it: ```` ```sh test:NAME ````.
    Test(String),
    /// Targets of the Makefile.
    Make,
    /// Tests and programs of this repository.
    Cargo,
    /// Asks for a cluster: run at a real API server.
    Kubectl,
    /// Asks for what is somebody else's, another service or a program that nothing here needs, and says so:
    /// ```` ```sh elsewhere: REASON ````.
    Elsewhere,
}

/// A block of commands on a page.
#[derive(Debug)]
pub(crate) struct Block {
    /// Page and line.
    pub(crate) place: String,
    pub(crate) class: Class,
    pub(crate) text: String,
}

/// Whatever begins like this is a command, whether its block says so or not.
const COMMANDS: [&str; 10] = [
    "portcullis ",
    "kubectl ",
    "kustomize ",
    "make ",
    "cargo ",
    "curl ",
    "openssl ",
    "helm ",
    "istioctl ",
    "systemctl ",
];

fn pages() -> Vec<PathBuf> {
    let mut pages = ["README.md", "CONTRIBUTING.md", "control-service/README.md"].map(PathBuf::from).to_vec();
    let docs = fs::read_dir(root().join("docs")).unwrap().flatten();
    pages.extend(docs.map(|entry| Path::new("docs").join(entry.file_name())));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// All blocks of commands, and what is wrong with the marks of others.
pub(crate) fn blocks() -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut wrong) = (Vec::new(), Vec::new());
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let Some(info) = line.trim_start().strip_prefix("```") else { continue };
            let indent = line.len() - line.trim_start().len();
            let within = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            let text: String =
                within.flat_map(|line| [line.get(indent..).unwrap_or_default(), "\n"]).collect();
            let place = format!("{}:{}", page.display(), at + 1);
            match class(info, &text) {
                Ok(Some(class)) => blocks.push(Block { place, class, text }),
                Ok(None) => {}
                Err(problem) => wrong.push(format!("{place}: {problem}")),
            }
        }
    }
    (blocks, wrong)
}

fn class(info: &str, text: &str) -> Result<Option<Class>, String> {
    let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
    if language != "sh" {
        let bare = ["", "bash", "shell", "console"].contains(&language);
        let command = text.lines().find(|line| COMMANDS.iter().any(|command| line.starts_with(command)));
        return match command.filter(|_| bare) {
            Some(command) => {
                Err(format!("{command:?} is a command: its block begins with ```sh and a class"))
            }
            None => Ok(None),
        };
    }
    match mark {
        "run" => Ok(Some(Class::Run)),
        "make" => Ok(Some(Class::Make)),
        "cargo" => Ok(Some(Class::Cargo)),
        "kubectl" => Ok(Some(Class::Kubectl)),
        _ => match mark.split_once(':') {
            Some(("test", test)) => Ok(Some(Class::Test(test.to_owned()))),
            Some(("elsewhere", reason)) if !reason.trim().is_empty() => Ok(Some(Class::Elsewhere)),
            _ => Err(format!(
                "{mark:?} is no class of a block of commands: write run, test:NAME, make, cargo, kubectl or elsewhere: REASON"
            )),
        },
    }
}

/// Files below a folder, without what was built.
pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            if !["target", "node_modules", ".git"].contains(&name.as_str()) {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// The commands of a program that sentences and tables name, each with its page: what stands before a pipe or a file.
pub(crate) fn named_in_prose(program: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            let spans =
                line.split('`').skip(1).step_by(2).filter(|span| !fenced && span.starts_with(program));
            let commands = spans
                .map(|span| span.split(['|', '<', '>', '\\']).next().unwrap_or_default().trim().to_owned());
            found.extend(commands.map(|command| (command, page.display().to_string())));
        }
    }
    found
}
