//! What replicas want of the one that leads, and what it tells them. As in `replicas`, it passes the writer by.

use portcullis_control_domain::random::random;
use portcullis_protocol::audit::hex;
use portcullis_sql::params;

use super::replicas::text;
use super::{Store, Term};
use crate::StoreError;

/// Wishes that are looked at together.
const MOST: usize = 64;
/// Wishes that nobody waits for any more are removed after so long, milliseconds.
const ABANDONED_MS: u64 = 60_000;

/// The wish of a replica that an issuer's keys be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWish {
    /// Which.
    pub id: String,
    /// `iss`.
    pub issuer: String,
    /// The key that a filter has met; empty where none fitted.
    pub key_id: String,
}

/// How far a wish is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WishState {
    /// Nobody has carried it out yet.
    Open,
    /// What became of it, and the revision that has what it brought.
    Done(String, u64),
    /// It is not there any more.
    Gone,
}

impl Store {
    /// Writes a wish down for the leader; returns its id.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn wish(&self, issuer: String, key_id: String) -> Result<String, StoreError> {
        let id = hex(&random::<16>());
        let wish = id.clone();
        self.beside
            .run(move |connection| {
                connection.execute(
                    "INSERT INTO key_wish (id, issuer, key_id, asked_at_ms) VALUES (?1, ?2, ?3, ?4)",
                    params![wish, text(&issuer), text(&key_id), connection.now_ms()?],
                )?;
                Ok(())
            })
            .await?;
        Ok(id)
    }

    /// How far a wish is. One that is done is removed.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn wish_state(&self, id: String) -> Result<WishState, StoreError> {
        let sql = "SELECT outcome, revision FROM key_wish WHERE id = ?1";
        let asked = id.clone();
        let found = self.readers.run(move |connection| {
            Ok(connection.query_optional(sql, params![asked], |row| {
                Ok((row.get::<Option<String>>(0)?, row.get::<Option<u64>>(1)?))
            })?)
        });
        let (outcome, revision) = match found.await? {
            None => return Ok(WishState::Gone),
            Some((Some(outcome), Some(revision))) => (outcome, revision),
            Some(_) => return Ok(WishState::Open),
        };
        let remove = "DELETE FROM key_wish WHERE id = ?1";
        self.beside.run(move |connection| Ok(connection.execute(remove, params![id])?)).await?;
        Ok(WishState::Done(outcome, revision))
    }

    /// The wishes that nobody has carried out, for whoever leads. Those that are too old are removed.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn open_wishes(&self) -> Result<Vec<KeyWish>, StoreError> {
        self.beside
            .run(|connection| {
                let open = connection.query(
                    "SELECT id, issuer, key_id FROM key_wish WHERE outcome IS NULL ORDER BY asked_at_ms LIMIT ?1",
                    params![MOST],
                    |row| Ok(KeyWish { id: row.get(0)?, issuer: row.get(1)?, key_id: row.get(2)? }),
                )?;
                if !open.is_empty() {
                    let abandoned = connection.now_ms()?.saturating_sub(ABANDONED_MS);
                    connection
                        .execute("DELETE FROM key_wish WHERE asked_at_ms < ?1", params![abandoned])?;
                }
                Ok(open)
            })
            .await
    }

    /// Says what became of a wish.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn grant_wish(
        &self,
        id: String,
        outcome: &'static str,
        revision: u64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE key_wish SET outcome = ?2, revision = ?3 WHERE id = ?1";
        self.beside
            .run(move |connection| Ok(connection.execute(sql, params![id, outcome, revision])?))
            .await?;
        Ok(())
    }

    /// Tells the others something as the leader; what a later one has told stays.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn tell_others(&self, term: Term, word: String) -> Result<(), StoreError> {
        let sql = "INSERT INTO leader_word (id, epoch, value) VALUES (1, ?1, ?2)
            ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, value = excluded.value
                WHERE leader_word.epoch <= excluded.epoch";
        let word = text(&word);
        self.beside.run(move |connection| Ok(connection.execute(sql, params![term.epoch(), word])?)).await?;
        Ok(())
    }

    /// What the leader has told last, if anything.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn leaders_word(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM leader_word";
        self.readers
            .run(move |connection| Ok(connection.query_optional(sql, params![], |row| row.get(0))?))
            .await
    }
}
