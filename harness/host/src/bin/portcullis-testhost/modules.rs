//! Which module each plugin of a scenario runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_testhost::Module;

use crate::scenario::{Scenario, ScenarioError};

impl Scenario {
    /// The modules of the plugins, in their order; each file is loaded once. What `given` names (`PATH` for the
    /// scenario's module, `PLUGIN=PATH` for a plugin's) goes before what the scenario names.
    pub(crate) fn modules(&self, path: &Path, given: &[String]) -> Result<Vec<Module>, ScenarioError> {
        let names: Vec<String> = self.plugins.iter().enumerate().map(|(at, entry)| entry.name(at)).collect();
        let of_plugin = |given: &str| -> Option<(String, PathBuf)> {
            let (name, path) = given.split_once('=')?;
            names.iter().any(|known| known == name).then(|| (name.to_owned(), path.into()))
        };
        let by_name: BTreeMap<String, PathBuf> = given.iter().filter_map(|given| of_plugin(given)).collect();
        let instead = given.iter().rfind(|given| of_plugin(given).is_none()).map(PathBuf::from);
        let beside = |module: &PathBuf| path.parent().unwrap_or(Path::new("")).join(module);
        let mut loaded: BTreeMap<PathBuf, Module> = BTreeMap::new();
        let module = |(entry, name): (&crate::scenario::PluginEntry, &String)| {
            let own = || entry.module.as_ref().map(beside);
            let common = || instead.clone().or_else(|| self.module.as_ref().map(beside));
            let file = by_name.get(name).cloned().or_else(own).or_else(common);
            let file =
                file.ok_or_else(|| ScenarioError::NoModule { path: path.to_owned(), plugin: name.clone() })?;
            if let Some(module) = loaded.get(&file) {
                return Ok(module.clone());
            }
            let module = Module::from_file(&file)?;
            loaded.insert(file, module.clone());
            Ok(module)
        };
        self.plugins.iter().zip(&names).map(module).collect()
    }
}
