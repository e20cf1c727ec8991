//! What a database may answer instead.

use std::error::Error;
use std::io;

use rusqlite::ErrorCode;
use tokio_rustls::rustls::{self, CertificateError};

/// Why a statement, or a connection, failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// SQLite said no.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL said no, or is out of reach.
    #[error("PostgreSQL: {}", told(.0))]
    Postgres(#[from] ::postgres::Error),
    /// A column holds something else than what was asked for.
    #[error("column {index} holds no {wanted}")]
    Column {
        /// Which one, from 0.
        index: usize,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A number above `i64::MAX` cannot be kept.
    #[error("the number {0} is too great for the database")]
    TooGreat(u64),
    /// A statement was run while another one's rows were looked at.
    #[error("the connection is in use by a query")]
    Busy,
    /// The system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The connection has no session of the server's to itself.
    #[error("what one session says does not reach another one")]
    NoSession,
    /// A query that must find a row found none.
    #[error("a row is missing that must be there")]
    NoRow,
}

/// What stands between this program and a server, as far as somebody can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The password is wrong, or there is none.
    Password,
    /// There is no such user.
    Role,
    /// The server's `pg_hba.conf` lets nobody in who comes like this.
    Admission,
    /// There is no such database.
    Database,
    /// The server starts up, shuts down or recovers.
    Starting,
    /// The server has as many connections as it takes.
    Crowded,
    /// The server can only be read.
    Standby,
    /// The server speaks no TLS.
    NoTls,
    /// Nobody who is trusted has signed the server's certificate.
    Authority,
    /// The server's certificate is another host's.
    Name,
    /// The server's certificate is not valid at this time.
    Expired,
    /// The server's certificate, or its TLS, is unfit in another way.
    Certificate,
    /// What stands between gives the server's sessions away.
    Pool,
    /// Nobody answers, or the connection broke off.
    Away,
}

impl Obstacle {
    /// True of what goes away without anybody changing how the server is named, how it is set up, or what it trusts. A
    /// standby is one of these: it may be about to become the primary.
    #[must_use]
    pub fn passes(self) -> bool {
        match self {
            Self::Starting | Self::Crowded | Self::Standby | Self::Away => true,
            Self::Password
            | Self::Role
            | Self::Admission
            | Self::Database
            | Self::NoTls
            | Self::Authority
            | Self::Name
            | Self::Expired
            | Self::Certificate
            | Self::Pool => false,
        }
    }
}

impl SqlError {
    /// What keeps a server from being used: another connection may be of use, when it is out of the way.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let error = match self {
            Self::Postgres(error) => error,
            Self::NoSession => return Some(Obstacle::Pool),
            _ => return None,
        };
        if let Some(told) = error.as_db_error() {
            return match (told.code().code(), told.routine()) {
                ("28P01", _) => Some(Obstacle::Password),
                ("28000", Some("InitializeSessionUserId")) => Some(Obstacle::Role),
                ("28000", _) => Some(Obstacle::Admission),
                ("3D000", _) => Some(Obstacle::Database),
                ("57P03", _) => Some(Obstacle::Starting),
                ("53300", _) => Some(Obstacle::Crowded),
                // Class 57P: the server shuts down, or was cut off by its operator.
                (code, _) if code.starts_with("57P") => Some(Obstacle::Away),
                _ => ["FATAL", "PANIC"].contains(&told.severity()).then_some(Obstacle::Away),
            };
        }
        let cause = error.source();
        if let Some(refused) = cause.and_then(certificate) {
            return Some(refused);
        }
        // The library has no other way to tell these.
        match cause.map(ToString::to_string).as_deref() {
            Some("password missing") => Some(Obstacle::Password),
            Some("server does not support TLS") => Some(Obstacle::NoTls),
            Some("database does not allow writes") => Some(Obstacle::Standby),
            _ => (error.is_closed() || cause.is_some_and(|cause| cause.is::<io::Error>()))
                .then_some(Obstacle::Away),
        }
    }

    /// True when the connection is of no further use, and another one may be.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.obstacle().is_some()
    }

    /// True when the database takes nothing just now, whatever it is given: its disk is full or fails, or it can only be
    /// read.
    #[must_use]
    pub fn is_out_of_order(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code().is_some_and(|code| {
                matches!(
                    code,
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                        | ErrorCode::PermissionDenied
                        | ErrorCode::FileLockingProtocolFailed
                        | ErrorCode::OutOfMemory
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                )
            }),
            // Classes 53, 58 and XX: resources, the system, and the server's own faults. 25006: a transaction that only reads.
            Self::Postgres(error) => error.code().is_some_and(|code| {
                let code = code.code();
                code == "25006" || ["53", "58", "XX"].iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        }
    }

    /// True when the user may not do that (`insufficient_privilege`).
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code() == "42501"))
    }
}

/// The server's words without its details, which repeat values.
fn told(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => [told.severity(), " ", told.code().code(), ": ", told.message()].concat(),
        None => {
            let cause = error.source().map(|cause| [": ", &cause.to_string()].concat());
            [error.to_string(), cause.unwrap_or_default()].concat()
        }
    }
}

/// What is wrong with a server's certificate, if that is why TLS failed.
fn certificate(cause: &(dyn Error + 'static)) -> Option<Obstacle> {
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(unfit) => Some(match unfit {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Obstacle::Authority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Obstacle::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Obstacle::Expired,
            _ => Obstacle::Certificate,
        }),
        _ => Some(Obstacle::Certificate),
    }
}
