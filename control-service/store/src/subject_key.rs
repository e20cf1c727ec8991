//! Keys of data subjects: what tells of a person in the audit log is encrypted so that deleting one key erases it.

use std::fmt;

use aes_gcm::aead::Aead;
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, KeyInit, Mac};
use portcullis_control_domain::audit::DataSubject;
use portcullis_control_domain::random::random;
use portcullis_protocol::audit::{derive_key, keyed_hash};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::seal::{decrypt, encrypt};

/// Zeros in front of what is encrypted: AES-GCM alone would open one ciphertext under two keys to two texts, and so let
/// its keeper choose later whom a record tells of.
const CHECK: [u8; 32] = [0; 32];

/// What wraps the keys of data subjects, what names are hashed with, and what hides places in the log.
pub(crate) struct AuditKeys {
    wrapping: Zeroizing<[u8; 32]>,
    naming: Zeroizing<[u8; 32]>,
    hiding: Zeroizing<[u8; 32]>,
}

impl AuditKeys {
    /// All follow from one sealed secret.
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        let key = |purpose| Zeroizing::new(derive_key(secret, purpose));
        let (wrapping, naming) = (key("audit subject keys"), key("audit subject names"));
        Self { wrapping, naming, hiding: key("audit places") }
    }

    /// The name under which a data subject's key is kept: without our key nobody can try out whose it is.
    pub(crate) fn name(&self, subject: &[u8]) -> [u8; 32] {
        keyed_hash(&*self.naming, &[b"name\0", subject].concat())
    }

    /// By what the keys of all are found who have this name at some issuer, in some tenant.
    pub(crate) fn lookup(&self, subject: &DataSubject<'_>) -> Option<[u8; 32]> {
        match subject {
            DataSubject::Known { subject, .. } => Some(self.lookup_name(subject)),
            DataSubject::Unverified { .. } => None,
        }
    }

    /// The same, of the name alone.
    pub(crate) fn lookup_name(&self, subject: &str) -> [u8; 32] {
        keyed_hash(&*self.naming, &[b"subject\0", subject.as_bytes()].concat())
    }

    /// A place in the log as somebody is told it who may not know how long the log is: another text each time, and good for
    /// whoever it was made for alone.
    pub(crate) fn hide(&self, whose: &str, place: u64) -> Option<Vec<u8>> {
        encrypt(&self.hiding, whose.as_bytes(), &place.to_be_bytes())
    }

    /// The place that [`Self::hide`] hid.
    pub(crate) fn place(&self, whose: &str, hidden: &[u8]) -> Option<u64> {
        let place = decrypt(&self.hiding, whose.as_bytes(), hidden)?;
        place.as_slice().try_into().ok().map(u64::from_be_bytes)
    }

    /// By what a request id is found. Two may have the same, so the record has to be looked at.
    pub(crate) fn request(&self, id: &str) -> Option<i64> {
        let name = keyed_hash(&*self.naming, &[b"request\0", id.as_bytes()].concat());
        name.first_chunk().filter(|_| !id.is_empty()).map(|first| i64::from_be_bytes(*first))
    }

    /// Encrypts a key for the database. It opens under this name only.
    pub(crate) fn wrap(&self, name: &[u8; 32], key: &[u8; 32]) -> Option<Vec<u8>> {
        encrypt(&self.wrapping, name, key)
    }

    /// Opens what the database holds.
    pub(crate) fn unwrap(&self, name: &[u8; 32], wrapped: &[u8]) -> Option<SubjectKey> {
        let key = decrypt(&self.wrapping, name, wrapped)?;
        SubjectKey::of(key.as_slice().try_into().ok()?)
    }
}

/// The key of one data subject. What is encrypted is encrypted with a key of its own for each record, so that one can be
/// shown to somebody without the others, and no number of records is too many.
#[derive(Clone)]
pub(crate) struct SubjectKey(Hmac<Sha256>);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey").finish_non_exhaustive()
    }
}

impl SubjectKey {
    /// A new key, and the bytes of it.
    pub(crate) fn generate() -> Option<(Self, Zeroizing<[u8; 32]>)> {
        let key = Zeroizing::new(random::<32>());
        Some((Self::of(&key)?, key))
    }

    /// HMAC takes keys of every length; were that to change, there would be none.
    fn of(key: &[u8; 32]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// The key of the record with this salt.
    pub(crate) fn of_record(&self, salt: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut mac = self.0.clone();
        mac.update(salt);
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// Encrypts what tells of the data subject in the record with this salt.
    pub(crate) fn seal(&self, salt: &[u8; 32], personal: &[u8]) -> Option<Vec<u8>> {
        seal(&self.of_record(salt), personal)
    }
}

/// The key is used for one text only, so the nonce may be always the same.
fn seal(record_key: &[u8; 32], personal: &[u8]) -> Option<Vec<u8>> {
    let text = [&CHECK[..], personal].concat();
    Aes256Gcm::new(&(*record_key).into()).encrypt(&Nonce::default(), text.as_slice()).ok()
}

/// Opens what was encrypted with a record's key; `None` of anything else.
#[must_use]
pub fn open(record_key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    let text = Aes256Gcm::new(&(*record_key).into()).decrypt(&Nonce::default(), sealed).ok()?;
    text.strip_prefix(&CHECK).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> AuditKeys {
        AuditKeys::of(&[1; 32])
    }

    #[test]
    fn what_is_sealed_opens_with_the_key_of_its_record_only() {
        let (key, _) = SubjectKey::generate().unwrap();
        let sealed = key.seal(&[1; 32], b"zoe").unwrap();
        assert_eq!(open(&key.of_record(&[1; 32]), &sealed).unwrap(), b"zoe");
        assert_eq!(open(&key.of_record(&[2; 32]), &sealed), None);
        let (other, _) = SubjectKey::generate().unwrap();
        assert_eq!(open(&other.of_record(&[1; 32]), &sealed), None);
        assert_ne!(sealed, key.seal(&[2; 32], b"zoe").unwrap(), "nothing tells that it is the same");
    }

    /// Whoever can make a ciphertext that two keys open could say later which of two people a record is about.
    #[test]
    fn what_does_not_begin_with_the_check_is_not_opened() {
        let (key, _) = SubjectKey::generate().unwrap();
        let key = key.of_record(&[1; 32]);
        let without = Aes256Gcm::new(&(*key).into()).encrypt(&Nonce::default(), &b"zoe"[..]).unwrap();
        assert_eq!(open(&key, &without), None);
    }

    #[test]
    fn a_wrapped_key_opens_under_its_own_name_only() {
        let (key, bytes) = SubjectKey::generate().unwrap();
        let wrapped = keys().wrap(&[3; 32], &bytes).unwrap();
        let again = keys().unwrap(&[3; 32], &wrapped).unwrap();
        assert_eq!(*again.of_record(&[1; 32]), *key.of_record(&[1; 32]));
        assert!(keys().unwrap(&[4; 32], &wrapped).is_none());
        assert!(AuditKeys::of(&[2; 32]).unwrap(&[3; 32], &wrapped).is_none());
        assert!(!format!("{again:?}").contains(&portcullis_protocol::audit::hex(&*bytes)));
    }

    #[test]
    fn a_hidden_place_tells_nothing_and_is_good_for_one_tenant_alone() {
        let (one, again) = (keys().hide("acme", 7).unwrap(), keys().hide("acme", 7).unwrap());
        assert_ne!(one, again, "nobody sees that two are the same");
        assert_eq!((keys().place("acme", &one), keys().place("acme", &again)), (Some(7), Some(7)));
        assert_eq!((keys().place("globex", &one), keys().place("", &one)), (None, None));
        let changed = [&one[..one.len() - 1], &[one[one.len() - 1] ^ 1]].concat();
        assert_eq!((keys().place("acme", &changed), keys().place("acme", &[])), (None, None));
    }

    #[test]
    fn names_are_told_apart_and_cannot_be_tried_out_without_the_key() {
        let known = |tenant| DataSubject::Known { tenant, issuer: "", subject: "zoe" };
        let (acme, globex) = (known("acme"), known("globex"));
        assert_ne!(keys().name(&acme.name()), keys().name(&globex.name()));
        assert_eq!(keys().lookup(&acme), keys().lookup(&globex));
        assert_eq!(keys().lookup(&acme), Some(keys().lookup_name("zoe")));
        assert_ne!(AuditKeys::of(&[2; 32]).lookup_name("zoe"), keys().lookup_name("zoe"));
        assert_eq!(keys().lookup(&DataSubject::Unverified { day: 1 }), None);
    }
}
