//! What of a record tells of a person, and of whom.

use portcullis_protocol::tags::audit_record as field;
use portcullis_protocol::wire::AuditRecord;
use prost::encoding::{DecodeContext, decode_key, skip_field};

/// The fields that tell nothing of a person. All others do, also those that only a newer filter knows: and so may the ids
/// of request and trace, which are whatever a client sent.
const OPEN: [u32; 24] = [
    field::STREAM,
    field::SEQUENCE,
    field::TIME_MS,
    field::PROXY,
    field::DECISION,
    field::STAGE,
    field::REASON,
    field::STATUS,
    field::RESPONSE_FLAGS,
    field::DURATION_US,
    field::TENANT,
    field::SOURCE_TYPE,
    field::CREDENTIAL,
    field::CLUSTER,
    field::METHOD,
    field::REQUEST_BYTES,
    field::RESPONSE_BYTES,
    field::MODE,
    field::HOP,
    field::ISSUER,
    field::OMITTED,
    field::CLAIM,
    field::MCP_METHOD,
    field::ROLE,
];

/// A record in two parts. One behind the other they are the record again, whatever the order of its fields was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Fields that tell nothing of a person, as they came.
    pub open: Vec<u8>,
    /// All other fields, as they came.
    pub personal: Vec<u8>,
}

impl Parts {
    /// Takes an encoded record apart; `None` where that is none.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        let mut parts = Self { open: Vec::with_capacity(record.len()), personal: Vec::new() };
        each_field(record, |number, field| {
            if OPEN.contains(&number) { &mut parts.open } else { &mut parts.personal }
                .extend_from_slice(field);
        })?;
        Some(parts)
    }
}

/// Looks at the fields of an encoded record, each with its number, as they came; `None` where that is none.
fn each_field<'a>(record: &'a [u8], mut look: impl FnMut(u32, &'a [u8])) -> Option<()> {
    let mut rest = record;
    while !rest.is_empty() {
        let before = rest;
        let (number, kind) = decode_key(&mut rest).ok()?;
        skip_field(kind, number, &mut rest, DecodeContext::default()).ok()?;
        look(number, before.get(..before.len().checked_sub(rest.len())?)?);
    }
    Some(())
}

/// Whether two encoded records say the same, whatever was taken for personal when each was taken apart: only fields of
/// different numbers may have changed places.
#[must_use]
pub fn say_the_same(one: &[u8], other: &[u8]) -> bool {
    fn sorted(record: &[u8]) -> Option<Vec<(u32, &[u8])>> {
        let mut fields = Vec::new();
        each_field(record, |number, field| fields.push((number, field)))?;
        fields.sort_by_key(|(number, _)| *number);
        Some(fields)
    }
    let (one, other) = (sorted(one), sorted(other));
    one.is_some() && one == other
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Whom a record is about (GDPR Art. 4(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSubject<'a> {
    /// Somebody whom an issuer names.
    Known {
        /// The tenant; empty for callers of the platform API, who are the same persons whoever's things they touch.
        tenant: &'a str,
        /// The issuer; empty for API keys and administrators.
        issuer: &'a str,
        /// The name there.
        subject: &'a str,
    },
    /// Everybody who did not say who they are, on one day.
    Unverified {
        /// Days since the Unix epoch, UTC.
        day: u64,
    },
}

impl<'a> DataSubject<'a> {
    /// Whom a record is about that was received at a time.
    #[must_use]
    pub fn of(record: &'a AuditRecord, received_ms: u64) -> Self {
        let AuditRecord { tenant, issuer, subject, role, .. } = record;
        let tenant = if role.is_empty() { tenant.as_str() } else { "" };
        if subject.is_empty() {
            Self::Unverified { day: received_ms / DAY_MS }
        } else {
            Self::Known { tenant, issuer, subject }
        }
    }

    /// A name that no other has.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        match self {
            Self::Known { tenant, issuer, subject } => {
                let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
                let (tenants, issuers) = (length(tenant), length(issuer));
                let texts = [tenant.as_bytes(), issuer.as_bytes(), subject.as_bytes()];
                [&[1][..], &tenants, &issuers, &texts.concat()].concat()
            }
            Self::Unverified { day } => [&[2][..], &day.to_be_bytes()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            stream: vec![1; 16],
            sequence: 5,
            subject: "zoë".into(),
            tenant: "acme".into(),
            actors: vec!["helper".into(), "agent".into()],
            path: "/people/zoë".into(),
            client_address: "192.0.2.1".into(),
            key_id: "k1".into(),
            mcp_name: "people/zoë".into(),
            cluster: "orders".into(),
            ..AuditRecord::default()
        }
    }

    #[test]
    fn what_tells_of_a_person_is_apart_and_nothing_is_lost() {
        let bytes = record().encode_to_vec();
        let parts = Parts::of(&bytes).unwrap();
        let open = AuditRecord::decode(parts.open.as_slice()).unwrap();
        let wanted = AuditRecord {
            stream: vec![1; 16],
            sequence: 5,
            tenant: "acme".into(),
            cluster: "orders".into(),
            ..AuditRecord::default()
        };
        assert_eq!(open, wanted);
        let whole = [parts.open, parts.personal].concat();
        assert_eq!(AuditRecord::decode(whole.as_slice()).unwrap(), record());
    }

    /// A field that a newer filter writes may be a name.
    #[test]
    fn a_field_that_is_not_known_is_taken_for_personal() {
        let unknown = [0xfa, 0x3f, 3, b'z', b'o', b'e'];
        let bytes = [record().encode_to_vec(), unknown.to_vec()].concat();
        let parts = Parts::of(&bytes).unwrap();
        assert!(parts.personal.ends_with(&unknown));
        assert_eq!(Parts::of(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn fields_that_changed_places_say_the_same_and_nothing_else_does() {
        let ids = AuditRecord { request_id: "r".into(), trace_id: "t".into(), ..record() };
        let bytes = ids.encode_to_vec();
        let Parts { open, personal } = Parts::of(&bytes).unwrap();
        assert!(say_the_same(&bytes, &[personal, open].concat()));
        let other = AuditRecord { request_id: "s".into(), ..ids.clone() };
        assert!(!say_the_same(&bytes, &other.encode_to_vec()));
        let turned = AuditRecord { actors: vec!["agent".into(), "helper".into()], ..ids };
        assert!(!say_the_same(&bytes, &turned.encode_to_vec()), "the order of actors counts");
        assert!(!say_the_same(&[0xff], &[0xff]));
    }

    #[test]
    fn no_two_subjects_have_one_name() {
        let known = |tenant, issuer, subject| DataSubject::Known { tenant, issuer, subject }.name();
        let names = [
            known("a", "b", "c"),
            known("ab", "", "c"),
            known("", "ab", "c"),
            known("a", "", "bc"),
            DataSubject::Unverified { day: 1 }.name(),
            DataSubject::Unverified { day: 2 }.name(),
        ];
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        let calls = |tenant: &str| AuditRecord { tenant: tenant.into(), role: "operator".into(), ..record() };
        let [acme, globex] = [calls("acme"), calls("globex")];
        assert_eq!(DataSubject::of(&acme, 1), DataSubject::of(&globex, 1), "one caller of the platform API");
        let nobody = AuditRecord::default();
        assert_eq!(DataSubject::of(&nobody, 2 * DAY_MS - 1), DataSubject::Unverified { day: 1 });
    }
}
