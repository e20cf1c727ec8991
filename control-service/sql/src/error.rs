//! What a database may answer instead.

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
    /// A query that must find a row found none.
    #[error("a row is missing that must be there")]
    NoRow,
}

impl SqlError {
    /// True when the connection is of no further use, and another one may be.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        match self {
            Self::Postgres(error) => {
                // Class 57P: the server shuts down, starts up, or was cut off by its operator.
                let ended = error.code().is_some_and(|code| code.code().starts_with("57P"));
                let fatal =
                    error.as_db_error().is_some_and(|told| ["FATAL", "PANIC"].contains(&told.severity()));
                let cause = std::error::Error::source(error);
                ended || fatal || error.is_closed() || cause.is_some_and(|cause| cause.is::<std::io::Error>())
            }
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
            let cause = std::error::Error::source(error).map(|cause| [": ", &cause.to_string()].concat());
            [error.to_string(), cause.unwrap_or_default()].concat()
        }
    }
}
