//! Issuers and source rules as filters get them, the keys fetched last, and the snapshot's load.

use std::collections::BTreeMap;

use portcullis_core::snapshot::policy::{IssuerDocument, Jwks, SourceRulesDocument};
use portcullis_core::wire::RecordKind;
use rusqlite::{Connection, params};

use super::secrets::Entries;
use super::transaction::{life, stored_form};
use super::{Store, StoreError};
use crate::clock::now_ms;
use crate::snapshot::{Change, Published, State};

/// The keys fetched last from an issuer.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredKeys {
    /// `iss`.
    pub issuer: String,
    /// The URL they came from.
    pub source: String,
    /// The keys.
    pub jwks: Jwks,
}

/// Loads the snapshot. `secrets` are the entries whose values are not in its table.
pub(super) fn load_state(connection: &Connection, secrets: &Entries) -> Result<State, StoreError> {
    let life = life(connection)?;
    let mut statement =
        connection.prepare("SELECT kind, key, revision, value FROM snapshot_entry ORDER BY revision")?;
    let mut rows = statement.query([])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i32 = row.get(0)?;
        let kind = RecordKind::try_from(number)
            .map_err(|_| StoreError::Database(format!("snapshot entry of unknown kind {number}")))?;
        let key: Vec<u8> = row.get(1)?;
        let stored: Option<Vec<u8>> = row.get(3)?;
        let known = secrets.iter().find(|(k, _)| *k == kind).and_then(|(_, entries)| entries.get(&key));
        let value = match known {
            Some(secret) if stored.as_ref() == Some(&stored_form(kind, secret)) => Some(secret.clone()),
            _ => stored,
        };
        changes.push(Change { kind, key: key.into(), revision: row.get(2)?, value: value.map(Into::into) });
    }
    let mut state = State::new(life.generation, life.revision, life.floor);
    state.publish(Published { changes, floor: 0 });
    Ok(state)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Database(format!("cannot be written as JSON: {e}")))
}

impl Store {
    /// Makes these the issuers of the snapshot; what did not change keeps its revision.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn set_issuers(&self, issuers: &[IssuerDocument]) -> Result<(), StoreError> {
        let wanted = issuers
            .iter()
            .map(|document| Ok((document.issuer.as_str().as_bytes().to_vec(), json(document)?)))
            .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        self.writer.run(move |transaction| transaction.sync(RecordKind::Issuer, &wanted)).await
    }

    /// Makes these the source rules of the snapshot.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn set_source_rules(&self, rules: &SourceRulesDocument) -> Result<(), StoreError> {
        let wanted = BTreeMap::from([(Vec::new(), json(rules)?)]);
        self.writer.run(move |transaction| transaction.sync(RecordKind::SourceRules, &wanted)).await
    }

    /// Keeps the keys of an issuer for the next start.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn keep_keys(&self, keys: StoredKeys) -> Result<(), StoreError> {
        let jwks = json(&keys.jwks)?;
        self.writer
            .run(move |transaction| {
                transaction
                    .connection()
                    .prepare_cached(
                        "INSERT INTO issuer_keys (issuer, source, jwks, fetched_at_ms)
                         VALUES (?1, ?2, CAST(?3 AS TEXT), ?4)
                         ON CONFLICT (issuer) DO UPDATE SET source = excluded.source,
                            jwks = excluded.jwks, fetched_at_ms = excluded.fetched_at_ms",
                    )?
                    .execute(params![keys.issuer, keys.source, jwks, now_ms()])?;
                Ok(())
            })
            .await
    }

    /// The keys kept from earlier fetches. Those that cannot be read are left out: they are fetched anew.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn kept_keys(&self) -> Result<Vec<StoredKeys>, StoreError> {
        self.readers
            .run(|connection| {
                let mut statement = connection.prepare("SELECT issuer, source, jwks FROM issuer_keys")?;
                let mut rows = statement.query([])?;
                let mut kept = Vec::new();
                while let Some(row) = rows.next()? {
                    let text: String = row.get(2)?;
                    if let Ok(jwks) = serde_json::from_str(&text) {
                        kept.push(StoredKeys { issuer: row.get(0)?, source: row.get(1)?, jwks });
                    }
                }
                Ok(kept)
            })
            .await
    }
}
