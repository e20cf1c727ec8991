//! Names of VMs.

use std::fmt;

/// Which of the VMs of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VmId {
    /// The throwaway VM in which a configuration is tried first.
    Canary,
    /// The VM of the main thread: root contexts only, no traffic.
    Main,
    /// The VM of a worker thread.
    Worker(usize),
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canary => f.write_str("canary"),
            Self::Main => f.write_str("main"),
            Self::Worker(n) => write!(f, "worker {n}"),
        }
    }
}
