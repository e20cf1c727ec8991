//! Loading a module: read, decode, check against the ABI, compile (or take from the cache on disk).

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use wasmparser::{BinaryReaderError, Parser, Payload};
use wasmtime::{Cache, Config, Engine, ExternType, InstancePre, Linker};

use crate::abi;
use crate::error::LoadError;
use crate::exports::EXPORTS;
use crate::state::VmState;

/// A compiled Proxy-Wasm module. Cheap to clone; any number of hosts on any number of threads may share
/// one.
///
/// Compiled code is cached on disk (in the user's cache folder, as `wasmtime` does it), so that only the
/// first test of a changed module pays for the compiler.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    digest: String,
    abi: AbiVersion,
    engine: Engine,
    pre: InstancePre<VmState>,
    profiled: bool,
}

/// The version of the ABI that a module was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbiVersion {
    /// `proxy_abi_version_0_2_0`.
    V0_2_0,
    /// `proxy_abi_version_0_2_1`.
    V0_2_1,
}

impl Module {
    /// Loads a `.wasm` (or textual `.wat`) file.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the file or the module in it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let (name, bytes) = read(path.as_ref())?;
        Self::from_bytes(&name, &bytes)
    }

    /// Loads a module from bytes (binary, or WebAssembly text); `name` is for messages.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the module.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::compile(name, bytes, disk_cache(), false)
    }

    /// Like [`from_file`](Self::from_file), for a module of which is to be told what each function uses
    /// ([`VmReport::functions`](crate::VmReport::functions)). It runs slower for it, and uses the same fuel.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn profiled(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let (name, bytes) = read(path.as_ref())?;
        Self::compile(&name, &bytes, disk_cache(), true)
    }

    /// Like [`from_bytes`](Self::from_bytes), without the cache on disk.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the module.
    pub fn from_bytes_uncached(name: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::compile(name, bytes, None, false)
    }

    fn compile(name: &str, bytes: &[u8], cache: Option<Cache>, profiled: bool) -> Result<Self, LoadError> {
        let name = if name.is_empty() { "module" } else { name }.to_owned();
        let not_wasm = |reason: String| LoadError::NotWasm { name: name.clone(), reason };
        let bytes = wat::parse_bytes(bytes).map_err(|error| not_wasm(error.to_string()))?;
        if bytes.get(4..8) == Some(&[0x0d, 0, 1, 0]) {
            return Err(LoadError::Component { name });
        }
        // Before the compiler: a big module takes it half a minute.
        let abi = abi_version(&name, &bytes)?;
        let mut config = Config::new();
        // The ABI has 32-bit pointers into one memory; others would only be ways around the memory limit.
        config.wasm_memory64(false).wasm_multi_memory(false);
        // Both would only make the compiled code bigger and slower to take from the cache: backtraces have
        // the names of functions without them.
        config.consume_fuel(true).generate_address_map(false).native_unwind_info(false).cache(cache);
        config.epoch_interruption(profiled);
        let engine = Engine::new(&config).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let module =
            wasmtime::Module::new(&engine, &bytes).map_err(|error| not_wasm(format!("{error:#}")))?;
        check_exports(&name, &module)?;
        let pre = link(&name, &engine, &module)?;
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { inner: Arc::new(Inner { name, digest, abi, engine, pre, profiled }) })
    }

    /// The name given when it was loaded (of a file: its last part).
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// SHA-256 of the module's bytes in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// What the module imports, as `module.function`.
    pub fn imports(&self) -> Vec<String> {
        let module = self.inner.pre.module();
        module.imports().map(|import| format!("{}.{}", import.module(), import.name())).collect()
    }

    /// What the module exports.
    pub fn exports(&self) -> Vec<String> {
        self.inner.pre.module().exports().map(|export| export.name().to_owned()).collect()
    }

    /// The ABI version that the module declares.
    pub fn abi(&self) -> AbiVersion {
        self.inner.abi
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn is_profiled(&self) -> bool {
        self.inner.profiled
    }

    pub(crate) fn pre(&self) -> &InstancePre<VmState> {
        &self.inner.pre
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.inner.name)
            .field("digest", &self.inner.digest)
            .field("abi", &self.inner.abi)
            .finish_non_exhaustive()
    }
}

/// A file's name and bytes.
fn read(path: &Path) -> Result<(String, Vec<u8>), LoadError> {
    let bytes = std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok((name, bytes))
}

/// The user's cache of compiled code; `None` where there is no folder for it. One handle serves the process,
/// since each has a thread that tidies up.
fn disk_cache() -> Option<Cache> {
    static CACHE: OnceLock<Option<Cache>> = OnceLock::new();
    CACHE.get_or_init(|| Cache::from_file(None).ok()).clone()
}

fn abi_version(name: &str, bytes: &[u8]) -> Result<AbiVersion, LoadError> {
    const MARKER: &str = "proxy_abi_version_";
    let names = export_names(bytes)
        .map_err(|error| LoadError::NotWasm { name: name.to_owned(), reason: error.to_string() })?;
    let mut found = None;
    for export in names {
        match export {
            "proxy_abi_version_0_2_1" => return Ok(AbiVersion::V0_2_1),
            "proxy_abi_version_0_2_0" => return Ok(AbiVersion::V0_2_0),
            other if other.starts_with(MARKER) => found = Some(other.to_owned()),
            _ => {}
        }
    }
    Err(LoadError::Abi { name: name.to_owned(), found: found.unwrap_or_else(|| "none".to_owned()) })
}

/// The names of a module's exports, read without a look at its code.
fn export_names(bytes: &[u8]) -> Result<Vec<&str>, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::ExportSection(exports) = payload? {
            return exports.into_iter().map(|export| export.map(|export| export.name)).collect();
        }
    }
    Ok(Vec::new())
}

fn check_exports(name: &str, module: &wasmtime::Module) -> Result<(), LoadError> {
    let missing = |export| LoadError::MissingExport { name: name.to_owned(), export };
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(missing("memory"));
    }
    if module.get_export("malloc").is_none() && module.get_export("proxy_on_memory_allocate").is_none() {
        return Err(missing("proxy_on_memory_allocate"));
    }
    for (export, params, results) in EXPORTS {
        let Some(found) = module.get_export(export) else { continue };
        let fits = match &found {
            ExternType::Func(ty) => {
                ty.params().len() == *params
                    && ty.params().all(|ty| ty.is_i32())
                    && ty.results().len() == *results
                    && ty.results().all(|ty| ty.is_i32())
            }
            _ => false,
        };
        if !fits {
            return Err(LoadError::ExportType {
                name: name.to_owned(),
                export,
                found: describe(&found),
                expected: format!("({params} × i32) -> ({results} × i32)"),
            });
        }
    }
    Ok(())
}

fn link(name: &str, engine: &Engine, module: &wasmtime::Module) -> Result<InstancePre<VmState>, LoadError> {
    let failed = |error: wasmtime::Error| LoadError::Engine(format!("{error:#}"));
    let mut linker = Linker::new(engine);
    let offered = abi::register(&mut linker).map_err(failed)?;
    let missing: Vec<String> = module
        .imports()
        .filter(|import| !offered.contains(&(import.module(), import.name())))
        .map(|import| format!("{}.{}", import.module(), import.name()))
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::MissingImports { name: name.to_owned(), imports: missing });
    }
    linker.instantiate_pre(module).map_err(|error| {
        let import = module.imports().find(|i| format!("{error:#}").contains(i.name()));
        LoadError::ImportType {
            name: name.to_owned(),
            import: import.as_ref().map_or_else(String::new, |i| format!("{}.{}", i.module(), i.name())),
            found: import.map_or_else(String::new, |i| describe(&i.ty())),
            expected: format!("{error:#}"),
        }
    })
}

fn describe(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => ty.to_string(),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Global(_) => "a global".to_owned(),
        ExternType::Table(_) => "a table".to_owned(),
        _ => "something else".to_owned(),
    }
}
