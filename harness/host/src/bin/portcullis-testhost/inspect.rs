//! `inspect`: can this module run?

use std::path::Path;

use portcullis_testhost::{Host, Module, Plugin};

use crate::scenario::ScenarioError;

/// Prints what the module is. True if it also starts without configuration.
pub(crate) fn inspect(path: &Path) -> Result<bool, ScenarioError> {
    let module = Module::from_file(path)?;
    println!("{}: Proxy-Wasm ABI {:?}, SHA-256 {}", module.name(), module.abi(), module.digest());
    println!("imports:");
    module.imports().iter().for_each(|import| println!("    {import}"));
    println!("exports:");
    module.exports().iter().for_each(|export| println!("    {export}"));
    match Host::builder().plugin(Plugin::new(&module)).allow_misuse().start() {
        Ok(host) => {
            let report = host.vms().into_iter().next();
            println!(
                "starts with an empty configuration; memory: {} KiB",
                report.map_or(0, |vm| vm.memory_bytes / 1024)
            );
        }
        Err(error) => println!("does not start with an empty configuration: {error}"),
    }
    Ok(true)
}
