//! What is in the database and not in the snapshot yet: what other replicas wrote, or a commit whose answer was lost.

use std::sync::Arc;

use portcullis_control_snapshot::entries::is_secret;
use portcullis_control_snapshot::{Hub, Published};
use portcullis_sql::Connection;

use super::failure::Failure;
use super::life::{Life, life};
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
        self.goes_on(life, known)?;
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

    /// Brings the snapshot up to what a connection sees outside of a transaction. Most looks find nothing, and most news
    /// is one entry: one way to the server and back has all of that.
    pub(super) fn look(&self, connection: &Connection) -> Result<(), Failure> {
        let known = self.hub.revision();
        let (seen, changes) = snapshot::life_and_news(connection, known)?;
        self.goes_on(seen, known)?;
        if seen.revision == known {
            return Ok(());
        }
        if seen.floor > known || changes.iter().any(|change| is_secret(change.kind)) {
            // What goes with it has to be of the same moment.
            return connection.at_one_moment(|| self.catch_up(connection, life(connection)?, known));
        }
        self.hub.publish(Published { changes, floor: seen.floor });
        Ok(())
    }

    /// Whether the database is still the one that the snapshot is of.
    fn goes_on(&self, life: Life, known: u64) -> Result<(), Failure> {
        if life.generation == self.hub.generation() && life.revision >= known {
            return Ok(());
        }
        let told = "the database server came back without what it had acknowledged; see that it is the right one, \
                    and start `portcullis serve` again";
        Err(StoreError::Unfit(told.to_owned()).into())
    }
}
