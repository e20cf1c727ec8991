//! Administrators of the platform API. Only the digests of their tokens are kept.

use rusqlite::{Connection, OptionalExtension, params};
use subtle::ConstantTimeEq;

use super::transaction::Action;
use super::{Database, Store, StoreError};
use crate::clock::now_ms;
use crate::tokens::{Token, TokenKind};

impl Database {
    /// Makes the first administrator. `None` when there is one already, unless `break_glass` is set; the
    /// making is audited either way.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub fn bootstrap_administrator(&mut self, break_glass: bool) -> Result<Option<Token>, StoreError> {
        let token = Token::generate(TokenKind::Administrator);
        let (id, digest) = (token.id().to_owned(), token.digest());
        let made = self.write(move |transaction| {
            let exists: bool = transaction.connection().query_row(
                "SELECT EXISTS (SELECT 1 FROM administrator)",
                [],
                |row| row.get(0),
            )?;
            if exists && !break_glass {
                return Ok(false);
            }
            transaction.connection().execute(
                "INSERT INTO administrator (id, token_digest, break_glass, created_at_ms)
                 VALUES (?1, ?2, ?3, ?4)",
                params![id, digest, exists, now_ms()],
            )?;
            let action = Action {
                subject: "local-operator".to_owned(),
                key_id: id,
                method: "CLI".to_owned(),
                path: if exists { "/bootstrap-admin/break-glass" } else { "/bootstrap-admin" }.to_owned(),
                ..Action::default()
            };
            transaction.record(action.record(201, ""))?;
            Ok(true)
        })?;
        Ok(made.then_some(token))
    }
}

impl Store {
    /// Whether this is an administrator's token.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn is_administrator(&self, token: &Token) -> Result<bool, StoreError> {
        let (id, digest) = (token.id().to_owned(), token.digest());
        self.readers
            .run(move |connection| {
                let found = stored_digest(connection, &id)?;
                Ok(found.is_some_and(|stored| bool::from(stored.ct_eq(&digest))))
            })
            .await
    }
}

fn stored_digest(connection: &Connection, id: &str) -> Result<Option<[u8; 32]>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT token_digest FROM administrator WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?)
}
