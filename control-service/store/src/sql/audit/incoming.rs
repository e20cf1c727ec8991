//! Records on their way to the writer, with as much done as can be done before their turn: there is one writer, and
//! whoever takes records in has other processors.

use std::borrow::Cow;

use portcullis_control_domain::audit::{DataSubject, LogBody, Parsed, Sender, commitment};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::random;

use super::super::failure::Failure;
use super::recorder::{Held, KeysAtHand, Recorder, Subjects};
use crate::subject_key::AuditKeys;

/// A record that waits for its turn.
pub(in crate::sql) struct Incoming {
    pub(super) parsed: Parsed,
    early: Option<Early>,
}

/// What was made early of a record.
struct Early {
    committed: Committed,
    /// Where its key was found, if it needs one: the key may have been deleted since.
    keys: Option<KeysAtHand>,
    at_ms: u64,
}

/// What the entry of a record commits to: salt and body, a part of which is encrypted for a data subject. And by what the
/// record is found.
#[derive(Clone)]
pub(super) struct Committed {
    pub(super) request: Option<i64>,
    pub(super) subject_id: Option<i64>,
    pub(super) salt: [u8; 32],
    pub(super) body: Vec<u8>,
    pub(super) commitment: [u8; 32],
}

impl Incoming {
    /// Records of a sender, as they come.
    pub(super) fn all(recorder: &Recorder, sender: &Sender, records: Vec<Parsed>) -> Vec<Self> {
        let mut salts = vec![[0; 32]; records.len()];
        random::fill(salts.as_flattened_mut());
        let at_ms = now_ms();
        let incoming = |(parsed, salt): (Parsed, _)| {
            let early = Early::of(recorder, sender, &parsed, salt, at_ms);
            Self { parsed, early }
        };
        records.into_iter().zip(salts).map(incoming).collect()
    }

    /// A single record, of which nothing is made early.
    pub(in crate::sql) fn one(parsed: Parsed) -> Self {
        Self { parsed, early: None }
    }

    /// What is committed to, in the record's turn, by which it is received at a time.
    pub(super) fn committed(
        &self,
        sender: &Sender,
        subjects: &Subjects<'_>,
        received_ms: u64,
    ) -> Result<Cow<'_, Committed>, Failure> {
        let about = DataSubject::of(self.parsed.record(), received_ms);
        let still_so = |early: &&Early| {
            early.keys.is_none_or(|keys| keys == subjects.at_hand())
                && about == DataSubject::of(self.parsed.record(), early.at_ms)
        };
        if let Some(early) = self.early.as_ref().filter(still_so) {
            return Ok(Cow::Borrowed(&early.committed));
        }
        let needs_key = !self.parsed.parts().personal.is_empty();
        let held = needs_key.then(|| subjects.key(&about)).transpose()?;
        let keys = subjects.keys();
        Ok(Cow::Owned(Committed::of(keys, sender, &self.parsed, random::random(), held.as_ref())?))
    }
}

impl Early {
    /// `None` of a record whose key is not at hand: it is encrypted in its turn.
    fn of(recorder: &Recorder, sender: &Sender, parsed: &Parsed, salt: [u8; 32], at_ms: u64) -> Option<Self> {
        if parsed.parts().personal.is_empty() {
            let committed = Committed::of(recorder.keys(), sender, parsed, salt, None).ok()?;
            return Some(Self { committed, keys: None, at_ms });
        }
        let (held, keys) = recorder.at_hand(&DataSubject::of(parsed.record(), at_ms))?;
        let committed = Committed::of(recorder.keys(), sender, parsed, salt, Some(&held)).ok()?;
        Some(Self { committed, keys: Some(keys), at_ms })
    }
}

impl Committed {
    /// `held` is there where something tells of a person.
    fn of(
        keys: &AuditKeys,
        sender: &Sender,
        parsed: &Parsed,
        salt: [u8; 32],
        held: Option<&Held>,
    ) -> Result<Self, Failure> {
        let parts = parsed.parts();
        let sealed = held.map(|held| held.seal(&salt, &parts.personal)).transpose()?.unwrap_or_default();
        let body = LogBody { principal: sender.principal(), open: &parts.open, sealed: &sealed };
        let body = body.encode().ok_or_else(|| Failure::database("an audit record is too long"))?;
        let commitment = commitment(&salt, &body);
        let request = keys.request(&parsed.record().request_id);
        Ok(Self { request, subject_id: held.map(|held| held.id), salt, body, commitment })
    }
}

#[cfg(test)]
mod tests {
    use portcullis_protocol::wire::AuditRecord;
    use portcullis_sql::params;
    use prost::Message;

    use super::*;
    use crate::sql::transaction::tests::database;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn incoming(recorder: &Recorder, subject: &str) -> Incoming {
        let record = AuditRecord {
            stream: vec![1; 16],
            sequence: 1,
            subject: subject.to_owned(),
            path: "/people".to_owned(),
            ..AuditRecord::default()
        };
        let parsed = Parsed::new(record.encode_to_vec()).unwrap();
        Incoming::all(recorder, &Sender::control(), vec![parsed]).remove(0)
    }

    /// Whether it counted what was made early, and whose key it is.
    fn committed(record: &Incoming, subjects: &Subjects<'_>, received_ms: u64) -> (bool, i64) {
        let committed = record.committed(&Sender::control(), subjects, received_ms).unwrap();
        (matches!(committed, Cow::Borrowed(_)), committed.subject_id.unwrap())
    }

    #[test]
    fn what_was_made_early_counts_while_its_key_does() {
        let (connection, recorder) = (database(), Recorder::with(&[1; 32]));
        let subjects = recorder.subjects(&connection).unwrap();
        let (early, zoe) = committed(&incoming(&recorder, "zoe"), &subjects, now_ms());
        assert!(!early, "her key was not at hand");
        let next = incoming(&recorder, "zoe");
        assert_eq!(committed(&next, &subjects, now_ms()), (true, zoe));
        connection.execute("DELETE FROM audit_subject", params![]).unwrap();
        connection.execute("UPDATE audit_log SET erasures = erasures + 1", params![]).unwrap();
        let subjects = recorder.subjects(&connection).unwrap();
        let (early, again) = committed(&next, &subjects, now_ms());
        assert!(!early && again != zoe, "she was erased while it waited");
    }

    #[test]
    fn who_did_not_say_who_they_are_is_of_the_day_that_the_log_says() {
        let (connection, recorder) = (database(), Recorder::with(&[1; 32]));
        let subjects = recorder.subjects(&connection).unwrap();
        let (_, today) = committed(&incoming(&recorder, ""), &subjects, now_ms());
        let waits = incoming(&recorder, "");
        assert_eq!(committed(&waits, &subjects, now_ms()), (true, today));
        let (early, tomorrow) = committed(&waits, &subjects, now_ms() + DAY_MS);
        assert!(!early && tomorrow != today);
    }
}
