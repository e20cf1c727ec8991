//! Everything durable: clusters, keys, revocations, the snapshot's history and the audit log.
//!
//! Callers see [`Store`]: asynchronous operations with names of the domain, none of SQL, and errors of their own. What
//! is allowed, and what comes of it, the domain says; the store writes it down, together with its audit record and with
//! what filters get of it, and publishes that to the [`Hub`](portcullis_control_snapshot::Hub) only after the commit.
//!
//! Behind it stands SQLite or PostgreSQL ([`Location`]) with one writer thread that commits what is waiting as one group,
//! so that a durable write costs a share of one `fsync`. All SQL is in `sql`.

mod error;
mod folder;
mod notices;
mod seal;
mod sql;
mod subject_key;
mod usage;

pub use error::StoreError;
pub use folder::FolderLock;
pub use portcullis_sql::{Server, ServerError};
pub use seal::SealError;
pub use sql::{
    Backup, BackupError, Checked, Copied, Database, KeyWish, LEASE, Leadership, Location, Migrated, Replica,
    ReplicaId, ReplicaWorkers, Secrets, Store, Term, WishState, create_backup, recovery,
};
pub use subject_key::open as open_personal;
