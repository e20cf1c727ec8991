//! What it takes to write to the audit log: the keys of data subjects.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use portcullis_control_domain::audit::DataSubject;
use portcullis_control_domain::random::random;
use portcullis_sql::{Begun, Connection, params};
use sha2::{Digest, Sha256};

use super::super::failure::Failure;
use super::super::sealed;
use crate::seal::SealingKey;
use crate::subject_key::{AuditKeys, SubjectKey};

/// Keys that are kept at hand: some 300 bytes each.
const AT_HAND: NonZeroUsize = NonZeroUsize::new(50_000).unwrap();

/// Writes the audit log of one process.
pub(in crate::sql) struct Recorder {
    /// The stream of the service's own records.
    pub(in crate::sql) stream: [u8; 16],
    keys: Arc<AuditKeys>,
    at_hand: Mutex<AtHand>,
}

/// Keys as they were when so many had been deleted.
struct AtHand {
    erasures: u64,
    which: KeysAtHand,
    keys: LruCache<[u8; 32], Held>,
}

/// Keys at hand since they were forgotten last. What was encrypted by others may be so by keys that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeysAtHand(u64);

impl AtHand {
    fn forget(&mut self) {
        self.keys.clear();
        self.which.0 += 1;
    }
}

/// The key of a data subject, and its place in the database.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: i64,
    pub(super) key: SubjectKey,
}

impl Held {
    /// Encrypts what tells of the data subject in the record with this salt.
    pub(super) fn seal(&self, salt: &[u8; 32], personal: &[u8]) -> Result<Vec<u8>, Failure> {
        let sealed = self.key.seal(salt, personal);
        sealed.ok_or_else(|| Failure::database("an audit record cannot be encrypted"))
    }
}

/// What the secret behind all keys of data subjects is called.
pub(in crate::sql) const AUDIT_KEYS: &str = "audit_keys";

impl Recorder {
    /// With the keys of a database, which are made where they are absent.
    pub(in crate::sql) fn load_or_make(begun: Begun<'_>, key: &SealingKey) -> Result<Self, Failure> {
        Ok(Self::with(&*sealed::load_or_make(begun, key, AUDIT_KEYS)?))
    }

    pub(in crate::sql) fn with(secret: &[u8; 32]) -> Self {
        let at_hand = Mutex::new(AtHand { erasures: 0, which: KeysAtHand(0), keys: LruCache::new(AT_HAND) });
        Self { stream: random(), keys: Arc::new(AuditKeys::of(secret)), at_hand }
    }

    pub(in crate::sql) fn keys(&self) -> &Arc<AuditKeys> {
        &self.keys
    }

    /// Forgets all keys at hand: some of them may have been made in a transaction that was taken back.
    pub(in crate::sql) fn forget(&self) {
        self.lock().forget();
    }

    /// The key of a data subject, if it is at hand. Whether it is good will show in a transaction only.
    pub(super) fn at_hand(&self, subject: &DataSubject<'_>) -> Option<(Held, KeysAtHand)> {
        let short = short(&subject.name());
        let mut at_hand = self.lock();
        let held = at_hand.keys.get(&short)?.clone();
        Some((held, at_hand.which))
    }

    /// The data subjects of a database, in an open transaction. Where keys were deleted, by whichever process, those at
    /// hand are not used any more.
    pub(super) fn subjects<'r>(&'r self, connection: &'r Connection) -> Result<Subjects<'r>, Failure> {
        let sql = "SELECT erasures FROM audit_log";
        let erasures: u64 = connection.query_one(sql, params![], |row| row.get(0))?;
        let mut at_hand = self.lock();
        if at_hand.erasures != erasures {
            at_hand.forget();
            at_hand.erasures = erasures;
        }
        Ok(Subjects { connection, recorder: self, at_hand: at_hand.which })
    }

    fn lock(&self) -> MutexGuard<'_, AtHand> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The data subjects of a database.
pub(super) struct Subjects<'r> {
    connection: &'r Connection,
    recorder: &'r Recorder,
    at_hand: KeysAtHand,
}

/// By what a key is found at hand.
fn short(name: &[u8]) -> [u8; 32] {
    Sha256::digest(name).into()
}

impl Subjects<'_> {
    /// What keys are wrapped and names are hashed with.
    pub(super) fn keys(&self) -> &AuditKeys {
        self.recorder.keys()
    }

    /// The keys that are good in this transaction.
    pub(super) fn at_hand(&self) -> KeysAtHand {
        self.at_hand
    }

    /// The key of a data subject, which is made for one who has none.
    pub(super) fn key(&self, subject: &DataSubject<'_>) -> Result<Held, Failure> {
        let name = subject.name();
        let short = short(&name);
        if let Some(held) = self.recorder.lock().keys.get(&short) {
            return Ok(held.clone());
        }
        let held = self.find_or_make(subject, &name)?;
        self.recorder.lock().keys.put(short, held.clone());
        Ok(held)
    }

    fn find_or_make(&self, subject: &DataSubject<'_>, name: &[u8]) -> Result<Held, Failure> {
        let keys = self.recorder.keys();
        let name = keys.name(name);
        let find = "SELECT id, wrapped_key FROM audit_subject WHERE name = ?1";
        let found = self
            .connection
            .query_optional(find, params![name], |row| Ok((row.get(0)?, row.get::<Vec<u8>>(1)?)))?;
        if let Some((id, wrapped)) = found {
            let key = keys.unwrap(&name, &wrapped);
            let key = key.ok_or_else(|| Failure::database("the key of a data subject does not open"))?;
            return Ok(Held { id, key });
        }
        let made = SubjectKey::generate()
            .and_then(|(key, bytes)| Some((key, keys.wrap(&name, &bytes)?)))
            .ok_or_else(|| Failure::database("no key can be made for a data subject"))?;
        let (key, wrapped) = made;
        let id = i64::from_be_bytes(random()) & i64::MAX;
        self.connection.execute(
            "INSERT INTO audit_subject (id, name, lookup, wrapped_key) VALUES (?1, ?2, ?3, ?4)",
            params![id, name, keys.lookup(subject), wrapped],
        )?;
        Ok(Held { id, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::transaction::tests::database;

    const ZOE: DataSubject<'_> = DataSubject::Known { tenant: "acme", issuer: "https://idp", subject: "zoe" };

    fn id(recorder: &Recorder, connection: &Connection, subject: &DataSubject<'_>) -> i64 {
        recorder.subjects(connection).unwrap().key(subject).unwrap().id
    }

    #[test]
    fn each_data_subject_has_one_key_whoever_asks() {
        let connection = database();
        let (first, second) = (Recorder::with(&[1; 32]), Recorder::with(&[1; 32]));
        let zoe = id(&first, &connection, &ZOE);
        assert_eq!(id(&first, &connection, &ZOE), zoe);
        assert_eq!(id(&second, &connection, &ZOE), zoe);
        let other = DataSubject::Known { tenant: "globex", issuer: "https://idp", subject: "zoe" };
        assert_ne!(id(&first, &connection, &other), zoe);
    }

    /// The other one would go on to encrypt with a key that nobody has any more, and to open what is erased.
    #[test]
    fn a_key_that_another_process_deleted_is_not_used_again() {
        let connection = database();
        let (first, second) = (Recorder::with(&[1; 32]), Recorder::with(&[1; 32]));
        let zoe = id(&first, &connection, &ZOE);
        assert_eq!(id(&second, &connection, &ZOE), zoe);
        connection.execute("DELETE FROM audit_subject", params![]).unwrap();
        connection.execute("UPDATE audit_log SET erasures = erasures + 1", params![]).unwrap();
        let again = id(&second, &connection, &ZOE);
        assert_ne!(again, zoe);
        assert_eq!(id(&first, &connection, &ZOE), again);
    }

    #[test]
    fn a_key_that_was_made_in_vain_is_forgotten() {
        let connection = database();
        let recorder = Recorder::with(&[1; 32]);
        let made = connection.exclusively(|_| {
            let made = recorder.subjects(&connection)?.key(&ZOE)?.id;
            Err::<(), _>(Failure::database(made.to_string()))
        });
        recorder.forget();
        let again = id(&recorder, &connection, &ZOE);
        assert_ne!(made.unwrap_err().to_string(), Failure::database(again.to_string()).to_string());
        let there = "SELECT count(*) FROM audit_subject WHERE id = ?1";
        assert_eq!(connection.query_one(there, params![again], |row| row.get::<i64>(0)).unwrap(), 1);
    }
}
