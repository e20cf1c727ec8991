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
    #[error("{n} of {all} plugins are refused:\n{}{}", list.join("\n"), lines(warnings), n = list.len())]
    Invalid {
        /// How many were looked at.
        all: usize,
        /// Each of the others, with all that is wrong with it.
        list: Vec<String>,
        /// What should be looked at besides.
        warnings: Vec<String>,
    },
    /// There was nothing to check.
    #[error(
        "there is no WasmPlugin or TrafficExtension with the label app.kubernetes.io/part-of: portcullis; give the output of `kustomize build`{}", lines(.0)
    )]
    None(Vec<String>),
}

fn lines(warnings: &[String]) -> String {
    warnings.iter().map(|warning| ["\nwarning: ", warning].concat()).collect()
}

/// Plugins that are all good.
pub(super) struct Checked {
    /// What each of them is.
    pub(super) plugins: Vec<String>,
    /// What has no effect beside them, or should be looked at all the same.
    pub(super) warnings: Vec<String>,
}

/// Checks the plugins in these files.
///
/// # Errors
/// Everything that is wrong with any of them.
pub(super) fn check(files: &[PathBuf]) -> Result<Checked, PluginsError> {
    let (mut plugins, mut list, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for path in files {
        for document in serde_norway::Deserializer::from_str(&read(path)?) {
            let resource = Value::deserialize(document)
                .map_err(|e| PluginsError::NotYaml { path: path.clone(), problem: e.to_string() })?;
            warnings.extend(check::warnings(&resource).into_iter().chain(unlabelled(&resource)));
            if !check::is_plugin(&resource) {
                continue;
            }
            plugins.push(describe(&resource));
            let errors: String =
                check::errors(&resource).iter().map(|error| format!("\n    {error}")).collect();
            if !errors.is_empty() {
                list.push(format!("  {}{errors}", check::name(&resource)));
            }
        }
    }
    match (plugins.len(), list.is_empty()) {
        (0, _) => Err(PluginsError::None(warnings)),
        (_, true) => Ok(Checked { plugins, warnings }),
        (all, false) => Err(PluginsError::Invalid { all, list, warnings }),
    }
}

/// A plugin that the label would make one of ours: nobody looks at it.
fn unlabelled(resource: &Value) -> Option<String> {
    let skipped = check::loads_module(resource) && !check::is_plugin(resource);
    let text = "has not the label app.kubernetes.io/part-of: portcullis and was not checked; if it is one of Portcullis, give it the label";
    let kind = resource["kind"].as_str().unwrap_or_default();
    skipped.then(|| [kind, " ", &check::name(resource), " ", text].concat())
}

/// A plugin in a line.
fn describe(plugin: &Value) -> String {
    let module = check::module(plugin);
    let text = |path: &str| module.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    let config = |field: &str| text(&["/pluginConfig/", field].concat());
    let mode = module.pointer("/pluginConfig/mode").and_then(Value::as_str).unwrap_or("enforce");
    let (root, role, upstream) = (text("/pluginName"), config("role"), config("snapshot/upstream"));
    format!("checked {}: {root}, role {role}, mode {mode}, snapshot from {upstream}", check::name(plugin))
}

fn read(path: &Path) -> Result<String, PluginsError> {
    text_file::read_named(path).map_err(|source| PluginsError::Unreadable { path: path.to_owned(), source })
}
