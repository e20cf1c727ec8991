//! One way to speak to SQLite and to PostgreSQL.
//!
//! The store's statements are written once, in the part of SQL that both databases have, with parameters as `?1`, `?2`.
//! A [`Connection`] runs them on either. What differs stays here: how parameters are named and typed, how a number is
//! kept, what a failure says. Everything blocks: a connection belongs on a thread where that is allowed.
//!
//! Types: a number is `INTEGER` in SQLite and `BIGINT` in PostgreSQL, a truth value `INTEGER` and `BOOLEAN`, bytes `BLOB`
//! and `BYTEA`, text `TEXT` in both.

mod connection;
mod error;
mod postgres;
mod row;
mod server;
mod sqlite;
mod value;

pub use crate::postgres::Tls;
pub use connection::{Backend, Begun, Channel, Connection};
pub use error::{Obstacle, SqlError};
pub use row::{Column, Row};
pub use server::{Server, ServerError};
pub use value::{Cell, ToValue, Value};
