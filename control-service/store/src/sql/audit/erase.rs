//! Erasing a person from the audit log.

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{AuditEvent, DataSubject};
use portcullis_protocol::audit::hex;
use portcullis_sql::{Connection, params};

use super::super::Store;
use super::super::failure::Failure;
use crate::StoreError;

/// Deletes the key that is kept under a name.
pub(in crate::sql) fn erase(connection: &Connection, name: &[u8; 32]) -> Result<(), Failure> {
    if connection.execute("DELETE FROM audit_subject WHERE name = ?1", params![name])? == 0 {
        return Err(Refused::SubjectUnknown.into());
    }
    // Keys at hand, here and in other processes, are not used any more.
    connection.execute("UPDATE audit_log SET erasures = erasures + 1", params![])?;
    Ok(())
}

impl Store {
    /// Deletes the key of a data subject: what records tell of it cannot be read any more, wherever they are. Returns the
    /// name under which it was kept, which the record of this action has instead of the subject's own.
    ///
    /// # Errors
    /// [`Refused::SubjectUnknown`], or the database fails.
    pub async fn erase_subject(
        &self,
        subject: &DataSubject<'_>,
        action: AuditEvent,
    ) -> Result<String, StoreError> {
        let name = self.recorder.keys().name(&subject.name());
        self.writer
            .run(move |transaction| {
                erase(transaction.connection(), &name)?;
                transaction.record(action.record_of(200, &hex(&name)))?;
                Ok(hex(&name))
            })
            .await
    }
}
