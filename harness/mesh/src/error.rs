//! What can go wrong while a mesh is built, started or changed. Every message says what happened, where,
//! and what to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A failure of the local mesh.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A program that the harness needs is not installed.
    #[error("`{tool}` was not found: it is needed to {purpose}. {install}")]
    ToolMissing {
        /// Name of the program, as typed.
        tool: &'static str,
        /// What it is needed for.
        purpose: &'static str,
        /// What to install.
        install: &'static str,
    },
    /// A command ran and failed.
    #[error("`{command}` failed ({status}).\n{output}\n{hint}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
        /// What to do.
        hint: String,
    },
    /// What was downloaded is not what is pinned.
    #[error("{what} has {digest} {found}, but {pins} pins {expected}: it is not used. {hint}")]
    Checksum {
        /// What was downloaded.
        what: String,
        /// By which digest it is pinned.
        digest: &'static str,
        /// The digest of what was downloaded.
        found: String,
        /// The file of pins.
        pins: &'static str,
        /// The pinned digest.
        expected: String,
        /// Where to look.
        hint: &'static str,
    },
    /// A program has no pinned build for this version or machine.
    #[error("no version {version} for {arch} is pinned in {file}; pinned are {known}")]
    NotPinned {
        /// The version asked for.
        version: String,
        /// The machine's architecture.
        arch: &'static str,
        /// The file of pins.
        file: &'static str,
        /// The versions that are pinned.
        known: String,
    },
    /// An address that the mesh needs is taken.
    #[error(
        "{address} is needed for {component} but in use{owner}. Stop that process, or choose another \
         loopback block with --block N (PORTCULLIS_BLOCK)"
    )]
    Busy {
        /// The address.
        address: SocketAddr,
        /// What needs it.
        component: String,
        /// ` by NAME (pid N)` where it can be told, otherwise empty.
        owner: String,
    },
    /// No loopback block is free.
    #[error("no loopback block 127.N.0.0/16 is free: stop meshes that are still running")]
    NoBlock,
    /// A child ended although nobody asked it to.
    #[error("{name} ended unexpectedly ({status}). Its log {log} ends with:\n{tail}")]
    Died {
        /// The child.
        name: String,
        /// Its exit status or signal.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something did not become ready in time.
    #[error("{what} was not ready after {waited:?}: {last}. See {log}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// The last thing seen.
        last: String,
        /// Where to look.
        log: PathBuf,
    },
    /// Something was let in that must be refused.
    #[error("{what} was ACCEPTED. See {log}")]
    Accepted {
        /// What it is.
        what: String,
        /// Where to look.
        log: PathBuf,
    },
    /// A manifest was refused. Nothing was applied; the configuration before it stays.
    #[error("{path}: {message}\nNothing was applied; the configuration before this edit stays in force")]
    Manifest {
        /// The file or overlay.
        path: PathBuf,
        /// What the tool that refused it said.
        message: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {subject}: {source}")]
    Certificate {
        /// For whom.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// A key or token could not be made.
    #[error("cannot make {what}: {reason}")]
    Token {
        /// The key or token.
        what: String,
        /// Why.
        reason: String,
    },
    /// An HTTP exchange with a component failed.
    #[error("{method} http://{address}{path}: {reason}")]
    Http {
        /// The request's method.
        method: String,
        /// Where it went.
        address: SocketAddr,
        /// The request's path.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The control service answered something that the harness cannot go on with.
    #[error("the control service answered {status} to {what}: {body}")]
    Control {
        /// What was asked.
        what: String,
        /// The status code.
        status: u16,
        /// The answer.
        body: String,
    },
}

impl MeshError {
    /// Wraps an I/O error with what was tried and on what.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, MeshError>;
