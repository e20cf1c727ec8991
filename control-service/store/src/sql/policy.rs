//! Issuers and source rules as filters get them, and the keys fetched last.

use portcullis_control_domain::issuer::StoredKeys;
use portcullis_control_snapshot::entries::{self, Entries};
use portcullis_model::policy::IssuerDocument;
use portcullis_protocol::wire::RecordKind;
use portcullis_sql::{SqlError, params};

use super::Store;
use super::leader::Term;
use super::transaction::Transaction;
use crate::StoreError;

impl Store {
    /// Makes these the issuers of the snapshot, as the leader; what did not change keeps its revision.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], or the database fails.
    pub async fn set_issuers(&self, term: Term, issuers: &[IssuerDocument]) -> Result<(), StoreError> {
        let wanted = entries::of_issuers(issuers)?;
        self.writer
            .run(move |transaction| {
                transaction.is_led_by(term)?;
                let before = transaction.issuers()?.names();
                transaction.sync(RecordKind::Issuer, &wanted)?;
                // What persons who are revoked are called at sidecars.
                if transaction.issuers()?.names() == before {
                    return Ok(());
                }
                transaction.sync_revocation_digests()
            })
            .await
    }

    /// Makes these the entries of their kinds, as the leader: a policy's, but for the issuers and their keys.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], [`StoreError::Seal`], or the database fails.
    pub async fn set_policy(&self, term: Term, entries: Entries) -> Result<(), StoreError> {
        self.try_to_read_sealing_key().await;
        self.writer
            .run(move |transaction| {
                transaction.is_led_by(term)?;
                entries.iter().try_for_each(|(kind, wanted)| transaction.sync(*kind, wanted))
            })
            .await
    }

    /// Keeps the keys of an issuer for the next start; `urgent` when they are new.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn keep_keys(&self, keys: StoredKeys, urgent: bool) -> Result<(), StoreError> {
        let jwks = String::from_utf8_lossy(&entries::json(&keys.jwks)?).into_owned();
        let job = move |transaction: &mut Transaction<'_>| {
            transaction.connection().execute(
                "INSERT INTO issuer_keys (issuer, source, jwks, fetched_at_ms)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (issuer) DO UPDATE SET source = excluded.source,
                        jwks = excluded.jwks, fetched_at_ms = excluded.fetched_at_ms",
                params![keys.issuer, keys.source, jwks, keys.fetched_at_ms],
            )?;
            Ok(())
        };
        if urgent { self.writer.run(job).await } else { self.writer.run_bulk(job).await }
    }

    /// The keys kept from earlier fetches. Those that cannot be read are left out: they are fetched anew.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn kept_keys(&self) -> Result<Vec<StoredKeys>, StoreError> {
        self.readers
            .run(|connection| {
                let mut kept = Vec::new();
                let sql = "SELECT issuer, source, jwks, fetched_at_ms FROM issuer_keys";
                connection.each(sql, params![], |row| {
                    let text: String = row.get(2)?;
                    if let Ok(jwks) = serde_json::from_str(&text) {
                        let (issuer, source, fetched_at_ms) = (row.get(0)?, row.get(1)?, row.get(3)?);
                        kept.push(StoredKeys { issuer, source, jwks, fetched_at_ms });
                    }
                    Ok::<_, SqlError>(())
                })?;
                Ok(kept)
            })
            .await
    }
}
