//! A connection to either database.

use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::{Row, SqlError, Tls, Value};

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, a file of this machine.
    Sqlite,
    /// PostgreSQL, a server that others use as well.
    Postgres,
}

/// A connection. It runs one statement at a time.
#[derive(Debug)]
pub struct Connection(Driver);

#[derive(Debug)]
enum Driver {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Connection {
    /// Speaks through a connection of SQLite's, which was opened and set up by the caller.
    #[must_use]
    pub fn sqlite(connection: rusqlite::Connection) -> Self {
        Self(Driver::Sqlite(Sqlite(connection)))
    }

    /// Connects to a PostgreSQL server.
    ///
    /// # Errors
    /// [`SqlError::Postgres`] when it cannot be reached, or refuses.
    pub fn postgres(config: &::postgres::Config, tls: Tls) -> Result<Self, SqlError> {
        Ok(Self(Driver::Postgres(Box::new(Postgres::connect(config, tls)?))))
    }

    /// Which database it is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.0 {
            Driver::Sqlite(_) => Backend::Sqlite,
            Driver::Postgres(_) => Backend::Postgres,
        }
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said.
    pub fn execute(&self, sql: &str, parameters: &[Value<'_>]) -> Result<u64, SqlError> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.execute(sql, parameters),
            Driver::Postgres(driver) => driver.execute(sql, parameters),
        }
    }

    /// Runs statements that have no parameters and find nothing.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said.
    pub fn batch(&self, sql: &str) -> Result<(), SqlError> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.batch(sql),
            Driver::Postgres(driver) => driver.batch(sql),
        }
    }

    /// Looks at each row that a query finds, one after the other, until `look` fails.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said, or what `look` fails with.
    pub fn each<E: From<SqlError>>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        mut look: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.each(sql, parameters, &mut look),
            Driver::Postgres(driver) => driver.each(sql, parameters, &mut look),
        }
    }

    /// All rows that a query finds.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said, or what `read` fails with.
    pub fn query<T>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut found = Vec::new();
        self.each(sql, parameters, |row| {
            found.push(read(row)?);
            Ok::<_, SqlError>(())
        })?;
        Ok(found)
    }

    /// The first row that a query finds, if any. The statement runs to its end, so that one that changes rows changes
    /// all of them.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said, or what `read` fails with.
    pub fn query_optional<T>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        let mut found = None;
        self.each(sql, parameters, |row| {
            if found.is_none() {
                found = Some(read(row)?);
            }
            Ok::<_, SqlError>(())
        })?;
        Ok(found)
    }

    /// The first row of a query that always finds one.
    ///
    /// # Errors
    /// [`SqlError::NoRow`] when it does not, or what [`Self::query_optional`] fails with.
    pub fn query_one<T>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.query_optional(sql, parameters, read)?.ok_or(SqlError::NoRow)
    }
}
