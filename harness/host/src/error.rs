//! What can go wrong before a request is served. After that, failures are part of what a test observes.

use std::path::PathBuf;

use crate::vm_id::VmId;

/// A module cannot be loaded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the module {path}: {source}. Build it first, or correct the path")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The filter cannot be built.
    #[error("cannot build a module from {manifest}: {reason}")]
    Build {
        /// The crate's manifest.
        manifest: PathBuf,
        /// What cargo says.
        reason: String,
    },
    /// The bytes are not a valid Wasm module.
    #[error("{name} is not a valid WebAssembly module: {reason}")]
    NotWasm {
        /// The module's name.
        name: String,
        /// What the decoder says.
        reason: String,
    },
    /// The module is a component, not a core module.
    #[error("{name} is a WebAssembly component; Proxy-Wasm needs a core module (target wasm32-wasip1)")]
    Component {
        /// The module's name.
        name: String,
    },
    /// The module exports no `proxy_abi_version_*`, or one that this host does not speak.
    #[error("{name} speaks no known Proxy-Wasm ABI (found: {found}); this host speaks 0.2.0 and 0.2.1")]
    Abi {
        /// The module's name.
        name: String,
        /// The marker that was found, or `none`.
        found: String,
    },
    /// An export that the host must call is missing.
    #[error("{name} does not export {export}; without it no host can run the module")]
    MissingExport {
        /// The module's name.
        name: String,
        /// The missing export.
        export: &'static str,
    },
    /// An export has a type that is not the ABI's.
    #[error("{name} exports {export} with the type {found}; the ABI has {expected}")]
    ExportType {
        /// The module's name.
        name: String,
        /// The export.
        export: &'static str,
        /// Its type in the module.
        found: String,
        /// Its type in the ABI.
        expected: String,
    },
    /// The module imports functions that this host does not have.
    #[error("{name} imports what no Proxy-Wasm host offers: {}", imports.join(", "))]
    MissingImports {
        /// The module's name.
        name: String,
        /// The imports, as `module.function`.
        imports: Vec<String>,
    },
    /// An import has a type that is not the ABI's, or is not a function.
    #[error("{name} imports {import} as {found}; the host has {expected}")]
    ImportType {
        /// The module's name.
        name: String,
        /// The import, as `module.function`.
        import: String,
        /// Its type in the module.
        found: String,
        /// Its type in the host.
        expected: String,
    },
    /// The engine cannot be set up.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
}

/// A host cannot start. Envoy would reject the configuration.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No plugin was given.
    #[error("a host needs at least one plugin: call HostBuilder::plugin")]
    NoPlugin,
    /// No worker was asked for.
    #[error("a host needs at least one worker")]
    NoWorker,
    /// More workers were asked for than a test can mean.
    #[error("{asked} workers are too many: a host has at most {most}")]
    TooManyWorkers {
        /// How many were asked for.
        asked: usize,
        /// How many there may be.
        most: usize,
    },
    /// The module asks for more memory than the limit allows.
    #[error("{vm} of {plugin}: the module does not fit its memory limit of {limit} bytes: {reason}")]
    Memory {
        /// The plugin's name.
        plugin: String,
        /// The VM.
        vm: VmId,
        /// The limit in bytes.
        limit: usize,
        /// What the engine says.
        reason: String,
    },
    /// The module cannot be instantiated.
    #[error("{vm} of {plugin}: cannot instantiate the module: {reason}")]
    Instantiate {
        /// The plugin's name.
        plugin: String,
        /// The VM.
        vm: VmId,
        /// What the engine says.
        reason: String,
    },
    /// The module trapped (or ran out of fuel) while it started or was configured.
    #[error("{vm} of {plugin}: {failure}")]
    Trapped {
        /// The plugin's name.
        plugin: String,
        /// The VM.
        vm: VmId,
        /// What happened and where.
        failure: VmFailure,
    },
    /// `proxy_on_vm_start` returned false.
    #[error("{vm} of {plugin}: proxy_on_vm_start returned false{}", last(log))]
    VmStartRefused {
        /// The plugin's name.
        plugin: String,
        /// The VM.
        vm: VmId,
        /// What the module logged.
        log: Vec<String>,
    },
    /// `proxy_on_configure` returned false.
    #[error("{vm} of {plugin}: proxy_on_configure returned false{}", last(log))]
    ConfigureRefused {
        /// The plugin's name.
        plugin: String,
        /// The VM.
        vm: VmId,
        /// What the module logged.
        log: Vec<String>,
    },
}

// Tests call `expect`, which prints `Debug`: derived, it would be one line with the compiler's messages or the
// module's backtrace escaped in it.
impl std::fmt::Debug for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Debug for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

fn last(log: &[String]) -> String {
    match log.last() {
        Some(line) => format!("; its last log line: {line}"),
        None => "; it logged nothing".to_owned(),
    }
}

/// Why a VM is dead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in {callback} (context {context}): {message}")]
pub struct VmFailure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The callback during which it happened.
    pub callback: crate::Callback,
    /// The context that the callback was for.
    pub context: u32,
    /// The engine's message with the module's backtrace.
    pub message: String,
}

/// The kinds of [`VmFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The module trapped: a panic, an out-of-bounds access, a division by zero.
    Trap,
    /// The module used up the fuel of one callback: an endless loop, or too much work.
    OutOfFuel,
    /// The module's call stack overflowed.
    StackOverflow,
    /// A fault that the test asked for.
    Injected,
    /// The module called the host when it may not.
    Restricted,
    /// The module made more hostcalls, or moved more bytes by them, than [`Limits`](crate::Limits) allow.
    HostLimit,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Trap => "trap",
            Self::OutOfFuel => "out of fuel",
            Self::StackOverflow => "stack overflow",
            Self::Injected => "injected fault",
            Self::Restricted => "restricted hostcall",
            Self::HostLimit => "limit of the host",
        })
    }
}

/// An error that a hostcall raises in place of an answer; it kills the VM.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct HostFault {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expect_prints_is_meant_to_be_read() {
        let reason = "error[E0425]\n --> src/lib.rs:3".to_owned();
        let error = LoadError::Build { manifest: "Cargo.toml".into(), reason };
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(format!("{error:?}").contains("\n --> src/lib.rs:3"));
        assert_eq!(format!("{:?}", StartError::NoPlugin), StartError::NoPlugin.to_string());
    }
}
