//! `portcullis lint`: what manifests let in although Istio takes them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use portcullis_control_domain::text_file;
use portcullis_lint::node::NotYaml;
use portcullis_lint::resource::Resource;
use portcullis_lint::{lint, report};

/// What is looked at, and how the findings are written.
#[derive(Debug, Args)]
pub(super) struct Lint {
    /// Rendered manifests that are applied together: files, folders of `*.yaml`, or `-` for standard input:
    /// `kustomize build DIR | portcullis lint -`.
    #[arg(value_name = "PATH", required_unless_present = "rules")]
    paths: Vec<PathBuf>,
    /// The form of what is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the page that describes every rule.
    #[arg(long)]
    rules: bool,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people, with reason and remedy.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Annotations of GitHub's workflows.
    Github,
}

/// Why manifests could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum LintError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not YAML.
    #[error("{path}:{source}; where kubectl takes it all the same, give what kustomize renders of it")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// The line and what stands there.
        source: NotYaml,
    },
    /// A folder holds what has still to be rendered.
    #[error("{0} has to be rendered first: kustomize build {0} | portcullis lint -")]
    Kustomization(PathBuf),
    /// There was nothing to look at.
    #[error("there is no resource in what was given; give the output of `kustomize build DIR`")]
    Nothing,
}

/// What is printed, and whether something was found.
pub(super) struct Linted {
    /// All of it.
    pub(super) output: String,
    /// How many findings there are.
    pub(super) found: usize,
}

impl Lint {
    /// Looks at the manifests.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn run(&self) -> Result<Linted, LintError> {
        if self.rules {
            return Ok(Linted { output: report::document(), found: 0 });
        }
        let mut resources = Vec::new();
        for path in &self.paths {
            for file in files(path)? {
                let name =
                    if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
                let read = Resource::read(&name, &read(&file)?);
                resources.extend(read.map_err(|source| LintError::NotYaml { path: name.into(), source })?);
            }
        }
        if resources.is_empty() {
            return Err(LintError::Nothing);
        }
        let looked_at = resources.len();
        let findings = lint(resources);
        let list = findings.list();
        let output = match self.format {
            Format::Text => {
                let sum = format!("{} findings in {looked_at} resources\n", list.len());
                report::text(&list) + &sum
            }
            Format::Json => format!("{:#}\n", report::json(&list)),
            Format::Sarif => format!("{:#}\n", report::sarif(&list)),
            Format::Github => report::github(&list),
        };
        Ok(Linted { output, found: list.len() })
    }
}

/// The files of a path: itself, or all YAML in a folder and the folders in it, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, LintError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |source| LintError::Unreadable { path: path.to_owned(), source };
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(unreadable)?.collect();
    let mut entries: Vec<PathBuf> =
        entries.map_err(unreadable)?.iter().map(std::fs::DirEntry::path).collect();
    entries.sort();
    let is_named = |entry: &&PathBuf| entry.file_stem().is_some_and(|name| name == "kustomization");
    if entries.iter().find(is_named).is_some() {
        return Err(LintError::Kustomization(path.to_owned()));
    }
    let is_yaml = |entry: &PathBuf| entry.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if is_yaml(&entry) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, LintError> {
    text_file::read_named(path).map_err(|source| LintError::Unreadable { path: path.to_owned(), source })
}
