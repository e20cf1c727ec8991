//! The built module once more through an optimiser of Wasm: the compiler's own knows native code better.
//!
//! Which one is pinned by npm's lock file in the folder `binaryen`. What it made of a module is kept, since it takes
//! about a minute.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

const PACKAGE: &str = include_str!("../binaryen/package.json");
const LOCK: &str = include_str!("../binaryen/package-lock.json");

/// For size, since proxies compile all of it before they start, with the names of functions, which `pack` reads.
const OPTIONS: [&str; 2] = ["-Os", "-g"];

/// Why a module was not optimised.
#[derive(Debug, thiserror::Error)]
pub enum OptimiseError {
    /// A file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that is needed is not there.
    #[error("`{program}` does not run ({source}): install Node 20 or newer with npm")]
    Missing {
        /// Which.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program failed.
    #[error(
        "`{program}` failed; where it could not fetch a package, check the network and npm's registry:\n{said}"
    )]
    Failed {
        /// Which.
        program: &'static str,
        /// What it said.
        said: String,
    },
}

fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OptimiseError + use<'a> {
    move |source| OptimiseError::File { action, path: path.to_owned(), source }
}

/// The optimised module of a built one. The optimiser, and what it made last, stand in the folder `binaryen` of
/// `target`.
///
/// Safe to run in parallel: one run works, the others wait for it.
///
/// # Errors
/// [`OptimiseError`] when the optimiser cannot be installed or does not take the module.
pub fn optimised(built: &Path, target: &Path) -> Result<PathBuf, OptimiseError> {
    let folder = target.join("binaryen");
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    let lock = folder.join("lock");
    let held = File::create(&lock).map_err(file("create", &lock))?;
    held.lock().map_err(file("lock", &lock))?;
    let module = fs::read(built).map_err(file("read", built))?;
    let name = built.file_stem().unwrap_or_default().to_string_lossy();
    let done = folder.join(format!("{name}-{}.wasm", fingerprint(&module)));
    if done.is_file() {
        return Ok(done);
    }
    install(&folder)?;
    forget(&folder, &format!("{name}-"))?;
    let part = folder.join("part");
    let mut optimiser = Command::new("node");
    optimiser.arg(folder.join("node_modules/binaryen/bin/wasm-opt")).args(OPTIONS);
    run("node", optimiser.arg(built).arg("-o").arg(&part))?;
    fs::rename(&part, &done).map_err(file("publish", &done))?;
    Ok(done)
}

/// What decides about the result.
fn fingerprint(module: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(LOCK);
    OPTIONS.iter().for_each(|option| hash.update(option));
    hash.update(module);
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Installs the optimiser unless it is that of this lock file.
fn install(folder: &Path) -> Result<(), OptimiseError> {
    let installed = folder.join("installed.json");
    if fs::read_to_string(&installed).is_ok_and(|lock| lock == LOCK) {
        return Ok(());
    }
    for (name, text) in [("package.json", PACKAGE), ("package-lock.json", LOCK)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
    run("npm", npm.current_dir(folder))?;
    fs::write(&installed, LOCK).map_err(file("write", &installed))
}

/// Takes away what was made of a module's earlier builds.
fn forget(folder: &Path, beginning: &str) -> Result<(), OptimiseError> {
    for entry in fs::read_dir(folder).map_err(file("list", folder))? {
        let entry = entry.map_err(file("list", folder))?;
        if entry.file_name().to_string_lossy().starts_with(beginning) {
            let path = entry.path();
            fs::remove_file(&path).map_err(file("remove", &path))?;
        }
    }
    Ok(())
}

fn run(program: &'static str, command: &mut Command) -> Result<(), OptimiseError> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|source| OptimiseError::Missing { program, source })?;
    if status.success() {
        return Ok(());
    }
    let said = [stderr, stdout].concat();
    Err(OptimiseError::Failed { program, said: String::from_utf8_lossy(&said).trim().to_owned() })
}
