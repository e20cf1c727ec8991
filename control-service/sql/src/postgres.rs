//! PostgreSQL, by rust-postgres.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Duration;

use ::postgres::binary_copy::BinaryCopyInWriter;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::private::BytesMut;
use ::postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::ClientConfig;

use crate::{Cell, Row, SqlError, ToValue, Value};

/// Begins a transaction that nobody else's stands beside: the lock is let go when it ends, however it ends.
pub(crate) const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(5762481077)";

/// Commits. A transaction in which a statement failed would be taken back without an error; any other statement fails.
pub(crate) const COMMIT: &str = "SELECT 1; COMMIT";

/// How long what one session says may take to reach another one.
const HEARING: Duration = Duration::from_secs(5);

/// How a connection is protected.
#[derive(Clone)]
pub enum Tls {
    /// Not at all: a socket of this machine.
    Off,
    /// By TLS; the configuration says whom to trust. Whether it must be used is said by `sslmode`.
    On(Box<ClientConfig>),
}

/// A name that nobody else listens to: replicas in containers have the same process id.
fn channel() -> Result<String, SqlError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(SqlError::Random)?;
    Ok(format!("portcullis_{:032x}", u128::from_ne_bytes(random)))
}

/// A connection and the statements that it has prepared.
pub(crate) struct Postgres(RefCell<Session>);

struct Session {
    client: Client,
    prepared: HashMap<Box<str>, Statement>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Postgres {
    pub(crate) fn connect(config: &Config, tls: Tls) -> Result<Self, SqlError> {
        let client = match tls {
            Tls::Off => config.connect(NoTls)?,
            Tls::On(client) => config.connect(MakeRustlsConnect::new(*client))?,
        };
        Ok(Self(RefCell::new(Session { client, prepared: HashMap::new() })))
    }

    /// Whether what is told to a session of the server's reaches this connection: another one speaks, and it listens. One
    /// behind a pool that gives the server's sessions away after each transaction hears nothing. By simple queries alone:
    /// such a pool may mix up prepared statements.
    pub(crate) fn hears(&self, other: &Self) -> Result<bool, SqlError> {
        let channel = channel()?;
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        session.client.batch_execute(&["LISTEN ", &channel].concat())?;
        other.batch(&["NOTIFY ", &channel].concat())?;
        let mut heard = false;
        {
            let mut notifications = session.client.notifications();
            let mut news = notifications.timeout_iter(HEARING);
            while !heard && let Some(news) = news.next()? {
                heard = news.channel() == channel;
            }
        }
        session.client.batch_execute(&["UNLISTEN ", &channel].concat())?;
        Ok(heard)
    }

    /// True when the server or the network ended it.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.try_borrow().is_ok_and(|session| session.client.is_closed())
    }

    pub(crate) fn execute(&self, sql: &str, parameters: &[Value<'_>]) -> Result<u64, SqlError> {
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        let statement = session.prepare(sql)?;
        let bound: Vec<_> = parameters.iter().map(Parameter).collect();
        let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|p| p as _).collect();
        Ok(session.client.execute(&statement, &bound)?)
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<(), SqlError> {
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        Ok(session.client.batch_execute(sql)?)
    }

    /// Waits for a notification; those that wait with it are one. An end of the connection shows with what follows.
    pub(crate) fn wait(&self, time: Duration) -> Result<bool, SqlError> {
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        let mut notifications = session.client.notifications();
        let called = notifications.timeout_iter(time).next()?.is_some();
        while notifications.iter().next()?.is_some() {}
        Ok(called)
    }

    /// `COPY`, which asks the server once for all rows.
    pub(crate) fn append<'v, const N: usize>(
        &self,
        table: &'static str,
        columns: &[&'static str; N],
        rows: impl IntoIterator<Item = [Value<'v>; N]>,
    ) -> Result<(), SqlError> {
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        let columns = columns.join(", ");
        let kinds = session.prepare(&format!("SELECT {columns} FROM {table}"))?;
        let kinds: Vec<_> = kinds.columns().iter().map(|column| column.type_().clone()).collect();
        let copy = session.client.copy_in(&format!("COPY {table} ({columns}) FROM STDIN BINARY"))?;
        let mut copy = BinaryCopyInWriter::new(copy, &kinds);
        for row in &mut rows.into_iter() {
            copy.write_raw(row.each_ref().map(Parameter))?;
        }
        copy.finish()?;
        Ok(())
    }

    pub(crate) fn scan<E: From<SqlError>>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        look: &mut impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        let statement = session.prepare(sql)?;
        let bound = parameters.iter().map(Parameter);
        let mut rows = session.client.query_raw(&statement, bound).map_err(SqlError::from)?;
        while let Some(row) = rows.next().map_err(SqlError::from)? {
            if look(&Row::Postgres(&row))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Postgres {
    /// By COPY, which takes numbers of identity columns as they are given.
    pub(crate) fn load<E: From<SqlError>>(
        &self,
        table: &str,
        columns: &[String],
        feed: impl FnOnce(&mut dyn FnMut(&[Cell]) -> Result<(), SqlError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut session = self.0.try_borrow_mut().map_err(|_| SqlError::Busy)?;
        let columns = columns.join(", ");
        let select = format!("SELECT {columns} FROM {table}");
        let found = session.client.prepare(&select).map_err(SqlError::from)?;
        let types: Vec<Type> = found.columns().iter().map(|column| column.type_().clone()).collect();
        let copy = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
        let writer = session.client.copy_in(&copy).map_err(SqlError::from)?;
        let mut writer = BinaryCopyInWriter::new(writer, &types);
        feed(&mut |row| {
            let values: Vec<_> = row.iter().zip(&types).map(|(cell, ty)| of_type(cell, ty)).collect();
            let bound: Vec<_> = values.iter().map(Parameter).collect();
            let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|p| p as _).collect();
            Ok(writer.write(&bound)?)
        })?;
        writer.finish().map_err(SqlError::from)?;
        Ok(())
    }
}

/// A truth value is a number in a cell.
fn of_type<'a>(cell: &'a Cell, ty: &Type) -> Value<'a> {
    match cell {
        Cell::Integer(number) if *ty == Type::BOOL => Value::Boolean(*number != 0),
        cell => cell.to_value(),
    }
}

impl Session {
    /// Statements are written once each and are few, so all of them are kept.
    fn prepare(&mut self, sql: &str) -> Result<Statement, SqlError> {
        if let Some(known) = self.prepared.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(&sql.replace('?', "$"))?;
        self.prepared.insert(sql.into(), statement.clone());
        Ok(statement)
    }
}

/// A parameter in the form that the server expects where it stands.
#[derive(Debug)]
struct Parameter<'a>(&'a Value<'a>);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let number = |number: i64, out: &mut BytesMut| match *ty {
            Type::INT4 => i32::try_from(number)?.to_sql(ty, out),
            Type::INT8 => number.to_sql(ty, out),
            _ => Err(unfit(ty)),
        };
        match *self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(value) => number(value, out),
            Value::Unsigned(value) => {
                number(i64::try_from(value).map_err(|_| SqlError::TooGreat(value))?, out)
            }
            Value::Boolean(truth) if *ty == Type::BOOL => truth.to_sql(ty, out),
            Value::Text(text) if <&str as ToSql>::accepts(ty) => text.to_sql(ty, out),
            Value::Bytes(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            _ => Err(unfit(ty)),
        }
    }

    fn accepts(_: &Type) -> bool {
        // What does not fit is told by its value, above.
        true
    }

    to_sql_checked!();
}

fn unfit(ty: &Type) -> Box<dyn Error + Sync + Send> {
    ["a parameter does not fit into a column of type ", ty.name()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_by_a_name_that_no_other_has() {
        let (one, other) = (channel().unwrap(), channel().unwrap());
        assert_ne!(one, other);
        for name in [one, other] {
            let digits = name.strip_prefix("portcullis_").unwrap();
            assert!(digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        }
    }
}
