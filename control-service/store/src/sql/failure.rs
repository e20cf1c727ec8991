//! Why a job on this database is not done. Callers of the store get what it stands for, in words of the store's own.

use portcullis_control_domain::Refused;
use portcullis_control_snapshot::entries::EntryError;
use portcullis_sql::{Obstacle, SqlError};

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
        if let Some(obstacle) = error.obstacle() {
            let (what, advice) = words(obstacle);
            let told = format!("{what}: {error}; {advice}");
            return Self(if obstacle.passes() {
                StoreError::Disconnected(told)
            } else {
                StoreError::Barred(told)
            });
        }
        Self(match error {
            _ if error.is_out_of_order() => StoreError::OutOfOrder(error.to_string()),
            SqlError::Postgres(_) if error.is_forbidden() => StoreError::Unfit(format!(
                "the database server refused: {error}; the user of DATABASE_URL must own the database and its tables"
            )),
            SqlError::Postgres(_) => StoreError::Server(error.to_string()),
            _ => StoreError::Database(error.to_string()),
        })
    }
}

/// What stands in the way, and what to do about it.
fn words(obstacle: Obstacle) -> (&'static str, &'static str) {
    match obstacle {
        Obstacle::Password => (
            "the database server refuses the password of DATABASE_URL",
            "correct it there, or on the server (ALTER ROLE … PASSWORD)",
        ),
        Obstacle::Role => (
            "the database server knows nobody of the user's name in DATABASE_URL",
            "correct the name, or make the user (CREATE ROLE … LOGIN)",
        ),
        Obstacle::Admission => (
            "the database server does not admit this connection",
            "its pg_hba.conf needs a line for the user, the database, the address and the protection (sslmode) of \
             DATABASE_URL",
        ),
        Obstacle::Database => (
            "the database server has no database of the name in DATABASE_URL",
            "correct the name, or make the database (CREATE DATABASE … OWNER …)",
        ),
        Obstacle::Starting => {
            ("the database server is starting or stopping", "wait for it; its log says how far it is")
        }
        Obstacle::Crowded => (
            "the database server has no connection left",
            "raise its max_connections, or end connections of others",
        ),
        Obstacle::Standby => (
            "the server of DATABASE_URL can only be read",
            "name the primary, and a database without default_transaction_read_only",
        ),
        Obstacle::NoTls => (
            "the database server speaks no TLS",
            "switch it on there (ssl = on), or write sslmode=disable if nobody else is in that network",
        ),
        Obstacle::Authority => (
            "nobody whom sslrootcert trusts has signed the database server's certificate",
            "let sslrootcert name the certificate of its authority",
        ),
        Obstacle::Name => (
            "the database server's certificate is for another name",
            "write a host into DATABASE_URL that the certificate names",
        ),
        Obstacle::Expired => (
            "the database server's certificate is not valid now",
            "renew it, and see that the clocks of both machines are right",
        ),
        Obstacle::Certificate => (
            "the database server's TLS cannot be trusted",
            "see its certificate (openssl s_client -starttls postgres -connect HOST:PORT)",
        ),
        Obstacle::Pool => (
            "between this program and the server of DATABASE_URL stands a pool that gives the server's sessions away after \
             each transaction or statement",
            "name the server itself, or set pool_mode=session (PgBouncer): settings, locks and messages of a session are \
             lost otherwise",
        ),
        Obstacle::Away => {
            ("the database server cannot be reached", "check that it runs and that DATABASE_URL names it")
        }
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
