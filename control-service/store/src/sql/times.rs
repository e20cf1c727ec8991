//! Times of many things, written by one statement: they are many and small, and each statement has its price.

use portcullis_sql::Connection;
use serde_json::Value;

/// Times that are written in one go, so that other writes get their turn.
pub(super) const AT_ONCE: usize = 500;

/// Names, each once, and a time of each in milliseconds: the parameter `?1` of [`update`].
pub(super) fn list<'a>(times: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let pair = |(name, at_ms): (&str, u64)| Value::Array(vec![name.into(), at_ms.into()]);
    Value::Array(times.into_iter().map(pair).collect()).to_string()
}

/// A statement that says what is written and where; it knows a list as the rows `noted` with `name` and `at_ms`.
pub(super) fn update(connection: &Connection, [what, wanted]: [&str; 2]) -> String {
    let rows = " FROM (SELECT value ->> 0 AS name, CAST(value ->> 1 AS BIGINT) AS at_ms FROM ";
    [what, rows, connection.backend().elements(), ") AS noted ", wanted].concat()
}
