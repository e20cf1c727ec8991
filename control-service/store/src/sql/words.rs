//! Lists of names in one column.

use std::str::FromStr;

use portcullis_model::grants::Grants;
use portcullis_sql::{Row, SqlError};

/// The words of a column. None of them contains a space, so a list of them is one text.
pub(super) fn words(row: &Row<'_>, column: usize) -> Result<Vec<String>, SqlError> {
    let text: String = row.get(column)?;
    Ok(text.split_whitespace().map(str::to_owned).collect::<Grants<_>>().into())
}

/// The words of a column, each of which stands for something else.
pub(super) fn parsed<T: FromStr>(row: &Row<'_>, column: usize) -> Result<Vec<T>, SqlError> {
    let text: String = row.get(column)?;
    let wrong = || SqlError::Column { index: column, wanted: std::any::type_name::<T>() };
    text.split_whitespace().map(|word| word.parse().map_err(|_| wrong())).collect()
}
