//! Lists of names in one column.

use portcullis_model::grants::Grants;
use portcullis_sql::{Row, SqlError};

/// The words of a column. None of them contains a space, so a list of them is one text.
pub(super) fn words(row: &Row<'_>, column: usize) -> Result<Vec<String>, SqlError> {
    let text: String = row.get(column)?;
    Ok(text.split_whitespace().map(str::to_owned).collect::<Grants<_>>().into())
}
