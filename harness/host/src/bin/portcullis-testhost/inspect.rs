//! `inspect`: can this module run?

use std::path::Path;

use portcullis_testhost::{Host, Module, Plugin};

use crate::out::say;
use crate::scenario::ScenarioError;

/// Prints what the module is. True if it also starts without configuration.
pub(crate) fn inspect(path: &Path) -> Result<bool, ScenarioError> {
    let module = Module::from_file(path)?;
    say!("{}: Proxy-Wasm ABI {:?}, SHA-256 {}", module.name(), module.abi(), module.digest());
    say!("imports:");
    module.imports().iter().for_each(|import| say!("    {import}"));
    say!("exports:");
    module.exports().iter().for_each(|export| say!("    {export}"));
    match Host::builder().plugin(Plugin::new(&module)).allow_misuse().start() {
        Ok(host) => {
            let report = host.vms().into_iter().next();
            say!(
                "starts with an empty configuration; memory: {} KiB",
                report.map_or(0, |vm| vm.memory_bytes / 1024)
            );
        }
        Err(error) => say!("does not start with an empty configuration: {error}"),
    }
    Ok(true)
}
