//! `portcullis config check --plugin`: the plugins among manifests, by the filter's own parser.

use std::path::{Path, PathBuf};

use portcullis_control_domain::text_file;
use portcullis_plugin_check as check;
use serde::Deserialize;
use serde_json::Value;

/// Why plugins are not good.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not YAML.
    #[error("{path} is not YAML: {problem}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        problem: String,
    },
    /// Plugins say something that cannot be.
    #[error("{n} of {all} plugins are refused:\n{}", list.join("\n"), n = list.len())]
    Invalid {
        /// How many were looked at.
        all: usize,
        /// Each of the others, with all that is wrong with it.
        list: Vec<String>,
    },
    /// There was nothing to check.
    #[error(
        "there is no WasmPlugin with the label app.kubernetes.io/part-of: portcullis; give the output of `kustomize build`"
    )]
    None,
}

/// Plugins that are all good.
pub(super) struct Checked {
    /// How many.
    pub(super) plugins: usize,
    /// What has no effect beside them, or should be looked at all the same.
    pub(super) warnings: Vec<String>,
}

/// Checks the plugins in these files.
///
/// # Errors
/// Everything that is wrong with any of them.
pub(super) fn check(files: &[PathBuf]) -> Result<Checked, PluginsError> {
    let (mut all, mut list, mut warnings) = (0, Vec::new(), Vec::new());
    for path in files {
        for document in serde_norway::Deserializer::from_str(&read(path)?) {
            let resource = Value::deserialize(document)
                .map_err(|e| PluginsError::NotYaml { path: path.clone(), problem: e.to_string() })?;
            warnings.extend(check::warnings(&resource));
            if !check::is_plugin(&resource) {
                continue;
            }
            all += 1;
            let errors: String =
                check::errors(&resource).iter().map(|error| format!("\n    {error}")).collect();
            if !errors.is_empty() {
                list.push(format!("  {}{errors}", check::name(&resource)));
            }
        }
    }
    match (all, list.is_empty()) {
        (0, _) => Err(PluginsError::None),
        (_, true) => Ok(Checked { plugins: all, warnings }),
        (_, false) => Err(PluginsError::Invalid { all, list }),
    }
}

fn read(path: &Path) -> Result<String, PluginsError> {
    let text = if path == Path::new("-") {
        text_file::read_from(std::io::stdin(), u64::MAX)
    } else {
        text_file::read(path)
    };
    text.map_err(|source| PluginsError::Unreadable { path: path.to_owned(), source })
}
