//! Taking in records: those of filters by the batch, and those of the service's own.

use std::sync::Arc;

use portcullis_control_domain::audit::{AuditEvent, Ingested, Parsed, RejectReason, Sender, Settled};
use portcullis_protocol::wire::{AuditBatch, AuditRecord};

use super::super::Store;
use super::super::transaction::Transaction;
use super::append::append;
use super::incoming::Incoming;
use super::streams::{count_rejected, settle};
use crate::StoreError;

/// Records written in one go: a suspension waits for one such go at most.
const CHUNK: usize = 500;

impl Store {
    /// Stores of a batch what its sender may write; returns when that is durable.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails. A part of the batch may be stored then; sent again, it counts
    /// as duplicates.
    pub async fn ingest(&self, sender: Sender, batch: AuditBatch) -> Result<Ingested, StoreError> {
        let settled = Settled::of(&batch);
        let total = batch.records.len();
        let parsed: Vec<_> = batch.records.into_iter().filter_map(Parsed::new).collect();
        let unreadable = u64::try_from(total - parsed.len()).unwrap_or(u64::MAX);
        let mut outcome = Ingested::default();
        outcome.reject(RejectReason::Unreadable, unreadable);
        if unreadable > 0 {
            let sender = sender.clone();
            self.writer
                .run_bulk(move |transaction| count_rejected(transaction.connection(), &sender, unreadable))
                .await?;
        }
        if sender.is_gateway() {
            parsed.iter().for_each(|p| self.usage.note(p.record()));
        }
        let mut parsed = parsed.into_iter();
        let mut parts = Vec::new();
        while parsed.len() > 0 {
            let chunk = self.incoming(&sender, parsed.by_ref().take(CHUNK).collect()).await?;
            let (sender, settled) = (sender.clone(), settled.filter(|_| parsed.len() == 0));
            let job = move |transaction: &mut Transaction<'_>| {
                let mut part = append(transaction.connection(), transaction.recorder(), &sender, &chunk)?;
                if let Some(settled) = settled
                    && let Some(unfit) = settle(transaction.connection(), &sender, settled)?
                {
                    part.refuse(unfit);
                }
                Ok(part)
            };
            // They share a commit where they can.
            parts.push(self.writer.begin_bulk(job).await?);
        }
        for part in parts {
            outcome.add(part.done().await?);
        }
        self.notices.tell(&sender, &outcome.refusals);
        Ok(outcome)
    }

    /// Records with what can be made of them early. They are encrypted, which takes a while: not where requests wait.
    async fn incoming(&self, sender: &Sender, records: Vec<Parsed>) -> Result<Vec<Incoming>, StoreError> {
        let (recorder, sender) = (Arc::clone(&self.recorder), sender.clone());
        let made = tokio::task::spawn_blocking(move || Incoming::all(&recorder, &sender, records)).await;
        made.map_err(|error| StoreError::Database(format!("audit records could not be made: {error}")))
    }

    /// Adds a record of something that an administrator did or tried.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn record(&self, action: AuditEvent, status: u16, reason: &str) -> Result<(), StoreError> {
        self.append(action.record(status, reason)).await
    }

    /// Adds a record of the service's own.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn append(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.writer.run(move |transaction| transaction.record(record)).await
    }
}
