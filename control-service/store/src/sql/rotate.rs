//! Changing the sealing key, also while the database is served.

use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};

use super::transaction::Transaction;
use super::{Database, sealed};
use crate::StoreError;

impl Database {
    /// Has every secret sealed by a new sealing key, which is put into the first line of its file; where somebody has put
    /// one there already, or a command prints one, by that one. The old keys stay in the file, for old backups, unless they
    /// are to be forgotten. Returns how many secrets were sealed anew. Cut off at any point, it leaves a store that opens,
    /// and goes on when it is run again.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written, a command prints no new key, a secret does not open, or the database
    /// fails.
    pub fn rotate_sealing_key(&mut self, forget_old: bool) -> Result<usize, StoreError> {
        if forget_old {
            self.sealing.forgettable()?;
        }
        // A command takes its time, and everybody would wait for the transaction.
        self.sealing.refresh()?;
        // While a transaction writes, nobody else does: neither to the database nor, by this, to the file.
        let transaction = Transaction::begin(&self.connection, &self.sealing, &self.recorder)?;
        self.sealing.refresh_file()?;
        let mut resealed = sealed::rewrap_all(&self.connection, &self.sealing)?;
        if resealed == 0 {
            // The new key is in the file before anything is sealed by it, and the old one still is.
            self.sealing.put_new_first()?;
            resealed = sealed::rewrap_all(&self.connection, &self.sealing)?;
        }
        self.commit(transaction, "/sealing-key/rotate")?;
        if forget_old {
            resealed += self.forget_old_keys()?;
        }
        Ok(resealed)
    }

    /// Removes all keys but the first from the file, once everything is sealed by that one.
    fn forget_old_keys(&self) -> Result<usize, StoreError> {
        let mut resealed = 0;
        loop {
            let transaction = Transaction::begin(&self.connection, &self.sealing, &self.recorder)?;
            self.sealing.refresh_file()?;
            let late = sealed::rewrap_all(&self.connection, &self.sealing)?;
            if late == 0 {
                // Everything is sealed by the first key, durably, and nobody seals anything meanwhile.
                self.sealing.forget_old()?;
                self.commit(transaction, "/sealing-key/forget-old")?;
                return Ok(resealed);
            }
            self.commit(transaction, "/sealing-key/rotate")?;
            resealed += late;
        }
    }

    fn commit(&self, mut transaction: Transaction<'_>, path: &str) -> Result<(), StoreError> {
        let event = AuditEvent::on_the_machine(RecordedCaller::local_operator(), path);
        transaction.record(event.record(200, ""))?;
        transaction.commit()?;
        Ok(())
    }
}
