//! What the leader publishes as such, and how the others learn of it.

use portcullis_sql::{Row, SqlError, params};
use tokio::sync::watch;

use super::Store;
use super::leader::Term;
use super::secrets::Secrets;
use crate::StoreError;

/// What the database says of who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// Which replica leads, or did last; empty before the first.
    pub leader: String,
    /// A name of the configuration that it has published; empty before the first.
    pub configuration: String,
}

impl Store {
    /// This replica's term, while it leads.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.leader.term()
    }

    /// The same, and when it changes.
    #[must_use]
    pub fn terms(&self) -> watch::Receiver<Option<Term>> {
        self.leader.terms()
    }

    /// Brings the entries that follow from secrets and settings up to date, as the leader.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], [`StoreError::Seal`], or the database fails.
    pub async fn publish_settings(&self, term: Term) -> Result<(), StoreError> {
        self.try_to_read_sealing_key().await;
        let (sealing, settings) = (self.sealing.clone(), self.settings.clone());
        self.writer
            .run(move |transaction| {
                transaction.is_led_by(term)?;
                let secrets = Secrets::load(transaction.connection(), &sealing)?;
                transaction.sync_settings(&secrets.entries(&settings))
            })
            .await
    }

    /// Says which configuration the leader has published.
    ///
    /// # Errors
    /// [`StoreError::Superseded`], or the database fails.
    pub async fn publish_configuration(&self, term: Term, configuration: String) -> Result<(), StoreError> {
        self.writer
            .run(move |transaction| {
                transaction.is_led_by(term)?;
                let sql = "UPDATE leadership SET configuration = ?1 WHERE configuration <> ?1";
                transaction.connection().execute(sql, params![configuration])?;
                Ok(())
            })
            .await
    }

    /// Who leads, and by which configuration.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn leadership(&self) -> Result<Leadership, StoreError> {
        let sql = "SELECT leader, configuration FROM leadership";
        let read =
            |row: &Row<'_>| Ok::<_, SqlError>(Leadership { leader: row.get(0)?, configuration: row.get(1)? });
        self.readers.run(move |connection| Ok(connection.query_one(sql, params![], read)?)).await
    }
}
