//! A connection to either database.

use std::ops::{ControlFlow, Deref};
use std::time::Duration;

use crate::postgres::{self, Postgres};
use crate::sqlite::Sqlite;
use crate::{Cell, Row, SqlError, Tls, Value};

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, a file of this machine.
    Sqlite,
    /// PostgreSQL, a server that others use as well.
    Postgres,
}

impl Backend {
    /// The database's own clock, as an expression: milliseconds since the Unix epoch.
    #[must_use]
    pub const fn now_ms(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Self::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// The elements of a JSON array, which is the statement's parameter `?1`, as a table with the column `value`: so a
    /// statement takes as many rows as one likes, and stays one statement.
    #[must_use]
    pub fn elements(self) -> &'static str {
        match self {
            Self::Sqlite => "json_each(?1)",
            Self::Postgres => "json_array_elements(CAST(CAST(?1 AS TEXT) AS JSON))",
        }
    }
}

/// A name that those who changed something call, and that others listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel(&'static str);

impl Channel {
    /// A channel. Its name is one word of lower-case letters and `_`, since it stands in statements as it is.
    ///
    /// # Panics
    /// When it is another text; names are written in the program, so that shows when it is built.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_lowercase() || bytes[at] == b'_', "a channel's name is one word");
            at += 1;
        }
        Self(name)
    }
}

/// A connection. It runs one statement at a time.
#[derive(Debug)]
pub struct Connection(Driver);

#[derive(Debug)]
enum Driver {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

/// A connection on which a transaction was begun: what must stand in one asks for this, and begins none of its own.
#[derive(Clone, Copy)]
pub struct Begun<'c>(&'c Connection);

impl Deref for Begun<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
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

    /// Whether what another connection tells the sessions of the server reaches this one.
    pub(crate) fn hears(&self, other: &Self) -> Result<bool, SqlError> {
        match (&self.0, &other.0) {
            (Driver::Postgres(this), Driver::Postgres(other)) => this.hears(other),
            _ => Ok(true),
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.0 {
            Driver::Sqlite(_) => Backend::Sqlite,
            Driver::Postgres(_) => Backend::Postgres,
        }
    }

    /// True when it is known to be of no further use. A file's never is.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Driver::Sqlite(_) => false,
            Driver::Postgres(driver) => driver.is_closed(),
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

    /// Adds rows to a table, as fast as the database can take them. Names of tables and columns are part of the program.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said. Some rows may have been added then: belongs into a transaction.
    pub fn append<'v, const N: usize>(
        &self,
        table: &'static str,
        columns: &[&'static str; N],
        rows: impl IntoIterator<Item = [Value<'v>; N]>,
    ) -> Result<(), SqlError> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.append(table, columns, rows),
            Driver::Postgres(driver) => driver.append(table, columns, rows),
        }
    }

    /// Looks at the rows that a query finds, one after the other, until `look` breaks off or fails. No other statement
    /// can run meanwhile.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said, or what `look` fails with.
    pub fn scan<E: From<SqlError>>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        mut look: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.scan(sql, parameters, &mut look),
            Driver::Postgres(driver) => driver.scan(sql, parameters, &mut look),
        }
    }

    /// Looks at each row that a query finds, one after the other, until `look` fails. No other statement can run
    /// meanwhile.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said, or what `look` fails with.
    pub fn each<E: From<SqlError>>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        mut look: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.scan(sql, parameters, |row| look(row).map(ControlFlow::Continue))
    }

    /// Appends rows to a table, as many as `feed` gives. What it fails with leaves rows only outside of a transaction.
    ///
    /// # Errors
    /// [`SqlError`] with what the database said, or what `feed` fails with.
    pub fn load<E: From<SqlError>>(
        &self,
        table: &str,
        columns: &[String],
        feed: impl FnOnce(&mut dyn FnMut(&[Cell]) -> Result<(), SqlError>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.load(table, columns, feed),
            Driver::Postgres(driver) => driver.load(table, columns, feed),
        }
    }

    /// Begins a transaction that writes. In the whole database there is one at a time, whoever else is connected to it:
    /// the next one begins when this one has ended, and sees all of it.
    ///
    /// # Errors
    /// [`SqlError`] when it does not come to its turn in time, or the database fails.
    pub fn begin(&self) -> Result<Begun<'_>, SqlError> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.batch("BEGIN IMMEDIATE"),
            Driver::Postgres(driver) => driver.batch(postgres::BEGIN).inspect_err(|_| {
                // A transaction that got no lock is one all the same, and would refuse everything after it. Where
                // there is none, there is nothing to take back.
                let _ = driver.batch("ROLLBACK");
            }),
        }?;
        Ok(Begun(self))
    }

    /// Runs queries that see one and the same moment of the database.
    ///
    /// # Errors
    /// [`SqlError`] when the database fails, or what the job fails with.
    pub fn at_one_moment<T, E: From<SqlError>>(&self, job: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.batch("BEGIN")?,
            Driver::Postgres(driver) => driver.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?,
        }
        let outcome = job();
        match &outcome {
            Ok(_) => self.commit()?,
            // What went wrong first is told; there is nothing to take back.
            Err(_) => drop(self.rollback()),
        }
        outcome
    }

    /// Hears from now on when a channel's name is called. A file has no others who could call it.
    ///
    /// # Errors
    /// [`SqlError`] when the database fails.
    pub fn listen(&self, channel: Channel) -> Result<(), SqlError> {
        match &self.0 {
            Driver::Sqlite(_) => Ok(()),
            Driver::Postgres(driver) => driver.batch(&["LISTEN ", channel.0].concat()),
        }
    }

    /// Waits until a channel's name is called that this connection listens to, or the time is over; true when it was.
    ///
    /// # Errors
    /// [`SqlError`] when the connection has ended.
    pub fn wait(&self, time: Duration) -> Result<bool, SqlError> {
        match &self.0 {
            Driver::Sqlite(_) => {
                std::thread::sleep(time);
                Ok(false)
            }
            Driver::Postgres(driver) => driver.wait(time),
        }
    }

    /// What the database's clock shows, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`SqlError`] when the database fails.
    pub fn now_ms(&self) -> Result<u64, SqlError> {
        self.query_one(&["SELECT ", self.backend().now_ms()].concat(), &[], |row| row.get(0))
    }

    /// Makes everything since [`Self::begin`] durable.
    ///
    /// # Errors
    /// [`SqlError`] when the database fails. Nothing was written then, unless it is disconnected: then nobody knows.
    pub fn commit(&self) -> Result<(), SqlError> {
        self.commit_after("", None)
    }

    /// As [`Self::commit`], after statements that have no parameters and find nothing, each ended by a semicolon. When it is
    /// committed, whoever listens to the channel is called, to look at the database. All of it is one way to a server and
    /// back. A file has no others who could listen.
    ///
    /// # Errors
    /// As of [`Self::commit`].
    pub fn commit_after(&self, statements: &str, call: Option<Channel>) -> Result<(), SqlError> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.batch(&[statements, "COMMIT"].concat()),
            Driver::Postgres(driver) => {
                let call = call.map_or_else(String::new, |channel| ["NOTIFY ", channel.0, ";"].concat());
                driver.batch(&[statements, &call, postgres::COMMIT].concat())
            }
        }
    }

    /// Brings what a log beside the file holds into the file, so that the file is whole by itself. Others that look at the
    /// database just now can keep a part of it from getting there.
    ///
    /// # Errors
    /// [`SqlError`] when the database fails; nothing is lost then.
    pub fn settle(&self) -> Result<(), SqlError> {
        match &self.0 {
            Driver::Sqlite(driver) => driver.batch("PRAGMA wal_checkpoint(TRUNCATE)"),
            Driver::Postgres(_) => Ok(()),
        }
    }

    /// Takes everything since [`Self::begin`] back.
    ///
    /// # Errors
    /// [`SqlError`] when there is nothing to take back any more.
    pub fn rollback(&self) -> Result<(), SqlError> {
        self.batch("ROLLBACK")
    }

    /// Runs a job in a transaction of its own. One that fails leaves nothing.
    ///
    /// # Errors
    /// [`SqlError`] as of [`Self::begin`] and [`Self::commit`], or what the job fails with.
    pub fn exclusively<T, E: From<SqlError>>(
        &self,
        job: impl FnOnce(Begun<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let outcome = job(self.begin()?);
        match &outcome {
            Ok(_) => self.commit()?,
            // What went wrong first is told; the database takes back what is not committed in any case.
            Err(_) => drop(self.rollback()),
        }
        outcome
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
