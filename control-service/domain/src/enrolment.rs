//! How a data cluster gets certificates of its own: by a join token first, and by the certificate that it has from then
//! on.

use std::fmt;

use portcullis_identity::ids::{ClusterId, TenantId};
use portcullis_protocol::audit::{hex, unhex};
use portcullis_protocol::secrets;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::schema;
use crate::text_enum::text_enum;
use crate::tokens::{Token, is_hexadecimal};

/// Seconds for which a join token is good unless somebody says otherwise.
pub const JOIN_TOKEN_S: u64 = 3600;
/// Seconds for which a join token is good at most.
pub const MAX_JOIN_TOKEN_S: u64 = 7 * 86_400;
/// Join tokens of one cluster that may wait for their use at a time.
pub const MAX_JOIN_TOKENS: usize = 8;
/// For how long after its use a join token answers once more to the key that used it, in milliseconds: the answer may have
/// been lost.
pub const SAME_ANSWER_MS: u64 = 10 * 60 * 1000;
/// Join tokens of one cluster that are remembered at most, those that have ended included.
pub const MAX_JOIN_TOKENS_KEPT: usize = 64;
/// For how long what has ended is remembered, in milliseconds: after it no certificate and no join token comes to life.
pub const KEPT_MS: u64 = 24 * 3600 * 1000;
/// Certificates of one cluster that are remembered at most: a renewal beyond it is refused.
pub const MAX_CERTIFICATES_KEPT: usize = 256;
/// Bytes of a request for a certificate at most.
pub const MAX_REQUEST_BYTES: usize = 8192;

/// Which root authority a server is proved by: SHA-256 of its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootPin([u8; 32]);

impl RootPin {
    /// The pin of a root of this SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// The digest.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A join token as whoever joins has it: `pcj_<id>_<secret>_<pin>_<checksum>`, in lower-case hexadecimal. Never stored,
/// never logged. By the pin it proves the service to the cluster, before the service has proved anything else.
#[derive(Debug, Clone)]
pub struct JoinSecret {
    token: Token,
    pin: RootPin,
}

impl JoinSecret {
    /// Makes a new one for a service that is proved by this root.
    #[must_use]
    pub fn generate(pin: RootPin) -> Self {
        Self { token: Token::make(secrets::JOIN, &format!("_{pin}")), pin }
    }

    /// Reads a presented one; `None` unless form, prefix and checksum are right.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (token, pin) = Token::read(secrets::JOIN, text)?;
        let pin = pin.filter(|pin| pin.len() == 64 && is_hexadecimal(pin))?;
        Some(Self { token, pin: RootPin(unhex(pin)?.try_into().ok()?) })
    }

    /// What names it in logs and audit records.
    #[must_use]
    pub fn id(&self) -> &str {
        self.token.id()
    }

    /// The root by which the service is proved.
    #[must_use]
    pub fn pin(&self) -> RootPin {
        self.pin
    }

    /// The whole token, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.token.reveal()
    }

    /// SHA-256 of the whole token: enough to store, since its secret is 256 random bits.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.token.digest()
    }
}

/// A join token as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    /// Its public id.
    pub id: String,
    /// The cluster that joins by it.
    #[schemars(with = "schema::ClusterId")]
    pub cluster: ClusterId,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Until when it is good, milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// When a certificate was issued by it, milliseconds since the Unix epoch: it is good for no other.
    pub used_at_ms: Option<u64>,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
}

text_enum!(
    /// What a certificate was issued for.
    IssuedFor {
        /// A join token.
        JoinToken = "join_token",
        /// A certificate that was there before.
        Renewal = "renewal",
    }
);

/// By what a certificate is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedBy {
    /// A join token: its id and its digest.
    JoinToken {
        /// Its public id.
        id: String,
        /// SHA-256 of the whole token.
        digest: [u8; 32],
    },
    /// The certificate that the new one takes the place of.
    Certificate {
        /// Its serial number.
        serial: String,
    },
}

impl AskedBy {
    /// What that is called.
    #[must_use]
    pub fn kind(&self) -> IssuedFor {
        match self {
            Self::JoinToken { .. } => IssuedFor::JoinToken,
            Self::Certificate { .. } => IssuedFor::Renewal,
        }
    }

    /// The id of the join token, or the serial number.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::JoinToken { id, .. } => id,
            Self::Certificate { serial } => serial,
        }
    }
}

/// A certificate that was signed and that nobody has yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCertificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_digest: [u8; 32],
    /// Until when it is good, milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// From when on it is to be replaced, milliseconds since the Unix epoch.
    pub renew_after_ms: u64,
    /// The certificate, and those between it and a root, in PEM.
    pub chain: String,
}

/// A certificate that was written down, and so may be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// What is known of it.
    pub certificate: IssuedCertificate,
    /// From when on it is to be replaced, milliseconds since the Unix epoch.
    pub renew_after_ms: u64,
    /// The certificate, and those between it and a root, in PEM.
    pub chain: String,
}

/// Whether a certificate can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It may be issued, to this cluster of this tenant.
    May(ClusterId, TenantId),
    /// It was issued a moment ago, to the same key: the answer was lost.
    Again(Box<Issue>),
}

/// A certificate that was revoked and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: u64,
}

/// The authority of data clusters' certificates as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAuthority {
    /// What names it.
    pub id: String,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// Its private key, as PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

impl fmt::Debug for StoredAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAuthority").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A certificate that was issued to a data cluster, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuedCertificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// The cluster that it names.
    #[schemars(with = "schema::ClusterId")]
    pub cluster: ClusterId,
    /// Whose that is.
    #[schemars(with = "schema::TenantId")]
    pub tenant: TenantId,
    /// SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub key_digest: String,
    /// What it was issued for.
    pub issued_for: IssuedFor,
    /// The id of the join token, or the serial number of the certificate before.
    pub issued_by: String,
    /// When it was issued, milliseconds since the Unix epoch.
    pub issued_at_ms: u64,
    /// Until when it is good, milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> JoinSecret {
        JoinSecret::generate(RootPin::of_spki(b"root"))
    }

    #[test]
    fn a_join_token_reads_back_with_its_pin_and_differs_from_the_next() {
        let token = secret();
        let read = JoinSecret::parse(token.reveal()).unwrap();
        assert_eq!(
            (read.id(), read.digest(), read.pin()),
            (token.id(), token.digest(), RootPin::of_spki(b"root"))
        );
        assert_ne!(secret().reveal(), token.reveal());
    }

    #[test]
    fn every_mistyped_character_of_a_join_token_is_noticed() {
        let token = secret();
        for at in 0..token.reveal().len() {
            let mut bent = token.reveal().as_bytes().to_vec();
            bent[at] = if bent[at] == b'0' { b'1' } else { b'0' };
            assert!(JoinSecret::parse(&String::from_utf8(bent).unwrap()).is_none(), "{at}");
        }
    }

    #[test]
    fn a_join_token_is_not_in_its_debug_output() {
        let token = secret();
        assert!(!format!("{token:?}").contains(&token.reveal()[20..84]));
    }
}
