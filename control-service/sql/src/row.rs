//! What a query finds.

use std::str::FromStr;

use ::postgres::types::Type;
use rusqlite::types::ValueRef;

use crate::{Cell, SqlError};

/// A row, as long as its query looks at it.
#[derive(Debug)]
pub enum Row<'r> {
    /// Of SQLite.
    Sqlite(&'r rusqlite::Row<'r>),
    /// Of PostgreSQL.
    Postgres(&'r ::postgres::Row),
}

/// What a column can be read as.
pub trait Column: Sized {
    /// Reads column `index`, from 0.
    ///
    /// # Errors
    /// [`SqlError::Column`] when it holds something else.
    fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError>;
}

impl Row<'_> {
    /// Reads column `index`, from 0.
    ///
    /// # Errors
    /// [`SqlError::Column`] when it holds something else.
    pub fn get<T: Column>(&self, index: usize) -> Result<T, SqlError> {
        T::read(self, index)
    }

    /// Reads a text that stands for something else.
    ///
    /// # Errors
    /// [`SqlError::Column`] when it is no text, or stands for nothing of the kind.
    pub fn parse<T: FromStr>(&self, index: usize) -> Result<T, SqlError> {
        let text: String = self.get(index)?;
        text.parse().map_err(|_| SqlError::Column { index, wanted: std::any::type_name::<T>() })
    }
}

impl Column for Cell {
    fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError> {
        match row {
            Row::Sqlite(row) => match row.get_ref(index).map_err(|_| wrong(index, "column"))? {
                ValueRef::Null => Ok(Self::Null),
                ValueRef::Integer(number) => Ok(Self::Integer(number)),
                ValueRef::Text(text) => String::from_utf8(text.to_vec())
                    .map(Self::Text)
                    .map_err(|_| wrong(index, "text in UTF-8")),
                ValueRef::Blob(bytes) => Ok(Self::Bytes(bytes.to_vec())),
                ValueRef::Real(_) => Err(wrong(index, "number, text or bytes")),
            },
            Row::Postgres(found) => {
                let column = found.columns().get(index).ok_or_else(|| wrong(index, "column"))?;
                let cell = match *column.type_() {
                    Type::INT8 => row.get::<Option<i64>>(index)?.map(Self::Integer),
                    Type::BOOL => row.get::<Option<bool>>(index)?.map(|truth| Self::Integer(truth.into())),
                    Type::TEXT => row.get::<Option<String>>(index)?.map(Self::Text),
                    Type::BYTEA => row.get::<Option<Vec<u8>>>(index)?.map(Self::Bytes),
                    _ => return Err(wrong(index, "number, text or bytes")),
                };
                Ok(cell.unwrap_or(Self::Null))
            }
        }
    }
}

fn wrong(index: usize, wanted: &'static str) -> SqlError {
    SqlError::Column { index, wanted }
}

macro_rules! column {
    ($($type:ty, $wanted:literal;)*) => {
        $(
            impl Column for $type {
                fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError> {
                    Option::<$type>::read(row, index)?.ok_or_else(|| wrong(index, $wanted))
                }
            }

            impl Column for Option<$type> {
                fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError> {
                    match row {
                        Row::Sqlite(row) => row.get(index).map_err(|_| wrong(index, $wanted)),
                        Row::Postgres(row) => row.try_get(index).map_err(|_| wrong(index, $wanted)),
                    }
                }
            }
        )*
    };
}

column! {
    i64, "number";
    bool, "truth value";
    String, "text";
    Vec<u8>, "bytes";
}

macro_rules! narrower {
    ($($type:ty)*) => {
        $(
            impl Column for $type {
                fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError> {
                    row.get::<i64>(index)?.try_into().map_err(|_| wrong(index, stringify!($type)))
                }
            }

            impl Column for Option<$type> {
                fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError> {
                    let found = row.get::<Option<i64>>(index)?.map(<$type>::try_from).transpose();
                    found.map_err(|_| wrong(index, stringify!($type)))
                }
            }
        )*
    };
}

narrower! { i32 u32 u64 usize }

impl<const N: usize> Column for [u8; N] {
    fn read(row: &Row<'_>, index: usize) -> Result<Self, SqlError> {
        row.get::<Vec<u8>>(index)?.try_into().map_err(|_| wrong(index, "bytes of that length"))
    }
}
