//! Why the service cannot run.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_control_store::StoreError;

use crate::location::LocationError;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is named wrongly.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// Addresses of listeners cannot be had.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Bind(Vec<Unbound>),
    /// The ready file cannot be written.
    #[error("the ready file {path} cannot be written: {source}")]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refuses something that every service needs.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// An address that cannot be had.
#[derive(Debug)]
pub struct Unbound {
    /// Which listener's.
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// What the system said.
    pub(super) source: io::Error,
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, source } = self;
        let instead = match source.kind() {
            ErrorKind::AddrInUse => "stop what uses it (`ss -ltnp` shows that), or choose another",
            ErrorKind::AddrNotAvailable => {
                "this machine has no such address: choose one that it has, or 0.0.0.0"
            }
            ErrorKind::PermissionDenied => "this user may not have that port: choose one from 1024 on",
            _ => "choose another",
        };
        write!(f, "listeners.{name} {address} cannot be bound: {source}; {instead}")
    }
}
