//! A store that was restored: what it lacks, and how it gets that back.

use std::time::Duration;

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::RecordedCaller;
use portcullis_control_domain::caller::{Authority, Reach};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::cluster::Administer;
use portcullis_control_domain::hold::Word;
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_domain::recovery::{AuditExport, Closing, Recovery, Verdict, event};

use super::audit;
use super::connect::Purpose;
use super::failure::Failure;
use super::location::Location;
use super::restoration::{end, under_way, write};
use super::transaction::Transaction;
use super::{
    BackupError, Database, Store, admins, clients, clusters, enrolled, join_tokens, keys, revocations, schema,
};
use crate::StoreError;

/// How often a store that recovers looks whether it has all.
const LOOK: Duration = Duration::from_secs(1);

/// The version of the tables that first knew of restores.
const SINCE: usize = 9;

/// Does again what closed something; false when it is not there, and so cannot be used either.
fn close(transaction: &mut Transaction<'_>, closing: &Closing) -> Result<bool, Failure> {
    let outcome = match closing {
        Closing::Suspended(id, word) => clusters::suspend(transaction, id, word.clone()),
        Closing::Retired(id) => {
            let word = Word { side: Authority::Platform, by: None, at_ms: now_ms() };
            clusters::administer(transaction, (id, &Reach::Platform), (Administer::Retire, word)).map(drop)
        }
        Closing::JoinTokenRevoked(id) => join_tokens::revoke(transaction.connection(), id).map(drop),
        Closing::CertificatesRevoked(id, serial) => {
            enrolled::revoke_certificates(transaction.connection(), id, serial.as_deref()).map(drop)
        }
        Closing::ApiKeyEnded(id) => keys::revoke(transaction, id).map(drop),
        Closing::Revoked(name, by) => revocations::keep(transaction, name, *by).map(drop),
        Closing::ClientRevoked(id) => clients::revoke(transaction, id).map(drop),
        Closing::ClientSecretReplaced(id) => clients::end_secrets(transaction, id),
        Closing::SubjectErased(name) => audit::erase(transaction.connection(), name).map(drop),
        Closing::AdministratorRevoked(id) => admins::end_token(transaction, id),
    };
    match outcome {
        Err(Failure(StoreError::Refused(
            Refused::ClusterUnknown
            | Refused::ApiKeyUnknown
            | Refused::JoinTokenUnknown
            | Refused::ServiceClientUnknown
            | Refused::AdministratorUnknown
            | Refused::SubjectUnknown,
        ))) => Ok(false),
        // It is closed for good already.
        Err(Failure(StoreError::Refused(_))) => Ok(true),
        outcome => outcome.map(|()| true),
    }
}

/// What a restored store of a location waits for; `None` when it waits for nothing. Nothing is made where there is none.
///
/// # Errors
/// [`BackupError`] when there is no store, or the database fails.
pub fn recovery(location: &Location) -> Result<Option<Recovery>, BackupError> {
    let connection = location.connect_if_there(Purpose::Save)?.ok_or(BackupError::NoStore)?;
    match schema::known_version(&connection)? {
        0 => Err(BackupError::NoStore),
        version if version < SINCE => Ok(None),
        _ => Ok(under_way(&connection)?),
    }
}

impl Database {
    /// Does again what audit records tell that closed something, and takes note of how far they reach: up to a revision
    /// and a time, where they are all there were. Returns the indexes of those whose thing is not there, too.
    ///
    /// # Errors
    /// [`StoreError::NotRecovering`], or the database fails; nothing is changed then.
    pub fn recover(
        &mut self,
        export: &AuditExport,
        reaches: Option<(u64, u64)>,
    ) -> Result<(Recovery, Vec<u64>), StoreError> {
        let done = self.write(|transaction| {
            let mut recovery = under_way(transaction.connection())?.ok_or(StoreError::NotRecovering)?;
            let mut not_there = Vec::new();
            for change in &export.closings {
                if !close(transaction, &change.what)? {
                    not_there.push(change.index);
                }
                transaction.record(
                    event(RecordedCaller::local_operator(), &["recover: ", &change.call].concat())
                        .record(200, ""),
                )?;
            }
            recovery.take(export, reaches);
            write(transaction.connection(), &recovery)?;
            Ok((recovery, not_there))
        })?;
        Ok(done)
    }

    /// Ends a recovery although it is not known what is missing since some time.
    ///
    /// # Errors
    /// [`StoreError::NotRecovering`]; [`StoreError::LossIsGreater`] when changes before that time may be missing, too; or
    /// the database fails.
    pub fn accept_loss(&mut self, since_ms: u64) -> Result<(), StoreError> {
        self.write(|transaction| {
            let recovery = under_way(transaction.connection())?.ok_or(StoreError::NotRecovering)?;
            let latest_ms = recovery.covered_until_ms;
            let earliest_ms =
                audit::oldest_ms(transaction.connection())?.map_or(0, |oldest| oldest.min(latest_ms));
            // People write whole seconds.
            if !(earliest_ms / 1000..=latest_ms / 1000).contains(&(since_ms / 1000)) {
                return Err(StoreError::LossOutOfRange { earliest_ms, latest_ms }.into());
            }
            end(transaction.connection(), Some(since_ms))?;
            transaction.record(event(RecordedCaller::local_operator(), "accept-loss").record(200, ""))
        })?;
        Ok(())
    }
}

impl Store {
    /// What a restored store waits for; nobody is let through while it does. `None` when it waits for nothing.
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        self.recovery.borrow().clone()
    }

    /// Takes note of what a gateway holds of the life before.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn note_held(&self, generation: &[u8], revision: u64) -> Result<(), StoreError> {
        let Some(mut known) = self.recovery() else { return Ok(()) };
        if !known.holds(generation, revision, now_ms()) {
            return Ok(());
        }
        let generation = generation.to_vec();
        let written = self
            .writer
            .run(move |transaction| {
                let Some(mut recovery) = under_way(transaction.connection())? else { return Ok(None) };
                if recovery.holds(&generation, revision, now_ms()) {
                    write(transaction.connection(), &recovery)?;
                }
                Ok(Some(recovery))
            })
            .await?;
        if let Some(recovery) = written {
            self.recovery.send_replace(Some(recovery));
        }
        Ok(())
    }

    /// Waits until a restored store has what it lacks, or somebody accepted the loss; at once where none was restored.
    pub async fn recovered(&self) {
        let mut outage = OutageLog::new(
            "it cannot be told whether the restored store has recovered",
            "it can be told again whether the restored store has recovered",
        );
        while self.recovery().is_some() {
            let looked = self.look_at_recovery().await;
            outage.note(looked.as_ref().err());
            match looked {
                Ok(None) => {
                    tracing::warn!("the restored store has recovered: requests are let through again");
                    self.recovery.send_replace(None);
                }
                Ok(Some(recovery)) => {
                    if self.recovery().as_ref() != Some(&recovery) {
                        tracing::warn!(reason = %recovery.reason(now_ms()), "nobody is let through yet");
                    }
                    self.recovery.send_replace(Some(recovery));
                    tokio::time::sleep(LOOK).await;
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// What is still missing. The snapshot has everything that was done again when this says that nothing is.
    async fn look_at_recovery(&self) -> Result<Option<Recovery>, StoreError> {
        self.writer
            .run(|transaction| {
                let found = under_way(transaction.connection())?;
                match found {
                    Some(recovery) if recovery.verdict(now_ms()) == Verdict::Complete => {
                        end(transaction.connection(), None)?;
                        transaction.record(event(RecordedCaller::Service, "recovered").record(200, ""))?;
                        Ok(None)
                    }
                    found => Ok(found),
                }
            })
            .await
    }
}
