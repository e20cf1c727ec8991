//! SQLite, by rusqlite.

use std::ops::ControlFlow;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ParamsFromIter, ToSql, params_from_iter};

use crate::{Cell, Row, SqlError, ToValue, Value};

#[derive(Debug)]
pub(crate) struct Sqlite(pub(crate) Connection);

/// A parameter that SQLite can keep.
struct Parameter<'a>(ValueRef<'a>);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

impl<'a> TryFrom<&Value<'a>> for Parameter<'a> {
    type Error = SqlError;

    fn try_from(value: &Value<'a>) -> Result<Self, SqlError> {
        Ok(Self(match *value {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(number),
            Value::Unsigned(number) => {
                ValueRef::Integer(i64::try_from(number).map_err(|_| SqlError::TooGreat(number))?)
            }
            Value::Boolean(truth) => ValueRef::Integer(truth.into()),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn bound<'a>(parameters: &[Value<'a>]) -> Result<ParamsFromIter<Vec<Parameter<'a>>>, SqlError> {
    Ok(params_from_iter(parameters.iter().map(Parameter::try_from).collect::<Result<Vec<_>, _>>()?))
}

impl Sqlite {
    pub(crate) fn execute(&self, sql: &str, parameters: &[Value<'_>]) -> Result<u64, SqlError> {
        let changed = self.0.prepare_cached(sql)?.execute(bound(parameters)?)?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    /// One statement, prepared once, for each row.
    pub(crate) fn append<'v, const N: usize>(
        &self,
        table: &'static str,
        columns: &[&'static str; N],
        rows: impl IntoIterator<Item = [Value<'v>; N]>,
    ) -> Result<(), SqlError> {
        let places: Vec<_> = (1..=N).map(|number| format!("?{number}")).collect();
        let sql = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let mut statement = self.0.prepare_cached(&sql)?;
        for row in rows {
            for (number, value) in (1..).zip(&row) {
                statement.raw_bind_parameter(number, Parameter::try_from(value)?)?;
            }
            statement.raw_execute()?;
        }
        Ok(())
    }

    pub(crate) fn scan<E: From<SqlError>>(
        &self,
        sql: &str,
        parameters: &[Value<'_>],
        look: &mut impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut statement = self.0.prepare_cached(sql).map_err(SqlError::from)?;
        let mut rows = statement.query(bound(parameters)?).map_err(SqlError::from)?;
        while let Some(row) = rows.next().map_err(SqlError::from)? {
            if look(&Row::Sqlite(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn load<E: From<SqlError>>(
        &self,
        table: &str,
        columns: &[String],
        feed: impl FnOnce(&mut dyn FnMut(&[Cell]) -> Result<(), SqlError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let places: Vec<_> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
        let sql = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let mut statement = self.0.prepare_cached(&sql).map_err(SqlError::from)?;
        feed(&mut |row| {
            let values: Vec<_> = row.iter().map(ToValue::to_value).collect();
            statement.execute(bound(&values)?)?;
            Ok(())
        })
    }
}
