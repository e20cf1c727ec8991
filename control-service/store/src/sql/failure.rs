//! Why a job on this database is not done. Callers of the store get what it stands for, in words of the store's own.

use portcullis_control_domain::Refused;
use portcullis_control_snapshot::entries::EntryError;
use portcullis_sql::SqlError;

use crate::StoreError;
use crate::seal::SealError;

/// What the store will say; made of what the database says.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub(super) struct Failure(pub(super) StoreError);

impl Failure {
    /// The database holds what it cannot hold.
    pub(super) fn database(problem: impl Into<String>) -> Self {
        Self(StoreError::Database(problem.into()))
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self(match error {
            SqlError::Postgres(_) if error.is_disconnected() => StoreError::Disconnected(error.to_string()),
            SqlError::Postgres(_) if error.is_forbidden() => StoreError::Unfit(format!(
                "the database server refused: {error}; the user of DATABASE_URL must own the database and its tables"
            )),
            SqlError::Postgres(_) => StoreError::Server(error.to_string()),
            _ => StoreError::Database(error.to_string()),
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self(refused.into())
    }
}

impl From<EntryError> for Failure {
    fn from(error: EntryError) -> Self {
        Self(error.into())
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}
