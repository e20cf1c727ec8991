//! What is in the database and not in the snapshot yet: what other replicas wrote, or a commit whose answer was lost.

use std::sync::Arc;

use portcullis_control_snapshot::Hub;
use portcullis_sql::Connection;

use super::failure::Failure;
use super::life::Life;
use super::snapshot;
use crate::StoreError;
use crate::seal::SealingKey;

/// A snapshot, and what it takes to read entries of it from the database.
#[derive(Clone)]
pub(super) struct Followed {
    pub(super) hub: Arc<Hub>,
    pub(super) sealing: Arc<SealingKey>,
}

impl Followed {
    /// Brings the snapshot up to what a connection sees, which is one moment: of a transaction, to which `life` belongs.
    /// `known` is the snapshot's revision before that moment.
    pub(super) fn catch_up(&self, connection: &Connection, life: Life, known: u64) -> Result<(), Failure> {
        if life.generation != self.hub.generation() || life.revision < known {
            let told = "the database server came back without what it had acknowledged; see that it is the right one, \
                        and start `portcullis serve` again";
            return Err(StoreError::Unfit(told.to_owned()).into());
        }
        if life.revision == known {
            return Ok(());
        }
        if life.floor > known {
            // What was removed meanwhile is not remembered any more.
            self.hub.replace(snapshot::load_state(connection, &self.sealing)?);
        } else {
            self.hub.publish(snapshot::load_news(connection, life, known, &self.sealing)?);
        }
        Ok(())
    }
}
