//! What audit records that were taken out of the service tell of changes.

use std::fmt;

use portcullis_identity::ids::ClusterId;

use crate::caller::Authority;
use crate::hold::Word;

/// A change that closes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// A cluster was suspended, by this word.
    Suspended(ClusterId, Word),
    /// A cluster was retired.
    Retired(ClusterId),
    /// A join token was revoked.
    JoinTokenRevoked(String),
    /// All certificates of a cluster were revoked, or the one of a serial number.
    CertificatesRevoked(ClusterId, Option<String>),
    /// An API key was revoked, or another one took its place.
    ApiKeyEnded(String),
    /// Something was revoked by its name, by this authority.
    Revoked(String, Authority),
    /// A client of the token endpoint was revoked.
    ClientRevoked(String),
    /// A client of the token endpoint got another secret.
    ClientSecretReplaced(String),
    /// An administrator's token was revoked.
    AdministratorRevoked(String),
    /// A data subject was erased from the audit log; the name under which its key was kept.
    SubjectErased([u8; 32]),
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended(id, by) => write!(f, "cluster {id}, suspended by the {}", by.side.as_str()),
            Self::Retired(id) => write!(f, "cluster {id}, retired"),
            Self::JoinTokenRevoked(id) => write!(f, "join token {id}, revoked"),
            Self::CertificatesRevoked(id, None) => write!(f, "certificates of cluster {id}, revoked"),
            Self::CertificatesRevoked(id, Some(serial)) => {
                write!(f, "certificate {serial} of cluster {id}, revoked")
            }
            Self::ApiKeyEnded(id) => write!(f, "API key {id}, ended"),
            Self::Revoked(name, by) => write!(f, "{name}, revoked by the {}", by.as_str()),
            Self::ClientRevoked(id) => write!(f, "service client {id}, revoked"),
            Self::ClientSecretReplaced(id) => write!(f, "secret of service client {id}, ended"),
            Self::AdministratorRevoked(id) => write!(f, "token pca_{id}_…, revoked"),
            Self::SubjectErased(_) => f.write_str("a person, erased from the audit log"),
        }
    }
}

/// What a change made or opened. It is not done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What it is, by its kind and name.
    pub thing: String,
    /// Why it is not done again, and what to do.
    pub why: &'static str,
}

/// What a record tells of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// That there was none.
    Nothing,
    /// Not what was changed: the name was not recorded, or was erased.
    Unclear,
    /// What it closed, and what it made or opened.
    Done {
        /// What is done again.
        closes: Option<Closing>,
        /// What is not.
        leaves: Option<Left>,
    },
}

/// A change, and where the audit log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    /// Index in the log of the life before.
    pub index: u64,
    /// When it was, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Method and path of the call that made it.
    pub call: String,
    /// What it did.
    pub what: T,
}

/// Records are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {wanted} is missing, the next one is {found}: export all records, without a filter, from --after {after} on",
    after = wanted - 1
)]
pub struct ExportGap {
    /// The index that has to come.
    pub wanted: u64,
    /// What came.
    pub found: u64,
}

/// All records of an audit log from one index on, as far as they tell of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditExport {
    /// The last record; 0 while there is none.
    pub last_index: u64,
    /// What closed something.
    pub closings: Vec<Change<Closing>>,
    /// What opened something or made something new. It is not done again.
    pub left: Vec<Change<Left>>,
    /// Records of changes that do not tell what was changed: the name was not recorded, or was erased. While there are
    /// any, something may be missing.
    pub unclear: Vec<u64>,
}

impl AuditExport {
    /// Takes the next record. `known`: the last one that the restored store has.
    ///
    /// # Errors
    /// [`ExportGap`] when one is missing before it.
    pub fn add(&mut self, record: Change<Told>, known: u64) -> Result<(), ExportGap> {
        let Change { index, time_ms, call, what } = record;
        if index <= self.last_index.max(known) {
            return Ok(());
        }
        let wanted = self.last_index.max(known) + 1;
        if index != wanted {
            return Err(ExportGap { wanted, found: index });
        }
        self.last_index = index;
        match what {
            Told::Nothing => {}
            Told::Unclear => self.unclear.push(index),
            Told::Done { closes, leaves } => {
                let call = || call.clone();
                self.closings.extend(closes.map(|what| Change { index, time_ms, call: call(), what }));
                self.left.extend(leaves.map(|what| Change { index, time_ms, call: call(), what }));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u64, what: Told) -> Change<Told> {
        Change { index, time_ms: 1, call: "POST /".to_owned(), what }
    }

    fn all(records: &[Change<Told>], known: u64) -> Result<AuditExport, ExportGap> {
        let mut export = AuditExport::default();
        records.iter().try_for_each(|told| export.add(told.clone(), known)).map(|()| export)
    }

    #[test]
    fn what_is_known_already_is_passed_over_and_the_rest_is_sorted() {
        let ended = Closing::ApiKeyEnded("k1".to_owned());
        let left = Left { thing: "API key k2".to_owned(), why: "" };
        let done = |closes, leaves| Told::Done { closes, leaves };
        let found = all(
            &[
                record(4, Told::Unclear),
                record(5, done(Some(ended.clone()), Some(left.clone()))),
                record(6, Told::Nothing),
                record(7, Told::Unclear),
                record(7, Told::Unclear),
            ],
            4,
        )
        .unwrap();
        assert_eq!(found.closings.iter().map(|change| &change.what).collect::<Vec<_>>(), [&ended]);
        assert_eq!(found.left.iter().map(|change| &change.what).collect::<Vec<_>>(), [&left]);
        assert_eq!((found.unclear, found.last_index), (vec![7], 7));
    }

    #[test]
    fn a_record_that_is_left_out_is_noticed() {
        let gap = all(&[record(5, Told::Nothing), record(7, Told::Nothing)], 4);
        assert_eq!(gap, Err(ExportGap { wanted: 6, found: 7 }));
        assert_eq!(all(&[record(6, Told::Nothing)], 4), Err(ExportGap { wanted: 5, found: 6 }));
    }
}
