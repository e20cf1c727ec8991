//! Tokens that the control service gives out: API keys, cluster tokens, administrator tokens, secrets
//! of service clients.
//!
//! All have one form, `<prefix>_<id>_<secret>_<checksum>`: a prefix by which a scanner knows a leaked one,
//! 8 random bytes that name it in logs, 32 random bytes that prove it, and the CRC-32 (ISO 3309) of
//! everything before, so that a mistyped one is told from a wrong one without asking the database.

use std::fmt;

use portcullis_protocol::audit::hex;
use portcullis_protocol::secrets;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::random::random;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A caller's API key.
    ApiKey,
    /// An administrator's token for the platform API.
    Administrator,
    /// A data cluster's own token, for its heartbeats.
    Cluster,
    /// A secret of a client of the token endpoint.
    ServiceClient,
}

impl TokenKind {
    /// The prefix that makes it recognisable.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => secrets::API_KEY,
            Self::Administrator => secrets::ADMINISTRATOR,
            Self::Cluster => secrets::CLUSTER,
            Self::ServiceClient => secrets::SERVICE_CLIENT,
        }
    }
}

/// A token as its holder has it. Never stored, never logged.
#[derive(Clone)]
pub struct Token {
    text: Zeroizing<String>,
    id: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Token {
    /// Makes a new one.
    #[must_use]
    pub fn generate(kind: TokenKind) -> Self {
        Self::make(kind.prefix(), "")
    }

    /// Makes one that begins so, with something of its maker's between its secret and its checksum.
    pub(crate) fn make(prefix: &str, tail: &str) -> Self {
        let id = hex(&random::<8>());
        let secret = Zeroizing::new(hex(&*Zeroizing::new(random::<32>())));
        let body = Zeroizing::new([prefix, &id, "_", &secret, tail].concat());
        let text = Zeroizing::new([body.as_str(), &checksum(&body)].join("_"));
        Self { text, id }
    }

    /// Reads a presented token; `None` unless form, prefix and checksum are right.
    #[must_use]
    pub fn parse(kind: TokenKind, text: &str) -> Option<Self> {
        let (token, tail) = Self::read(kind.prefix(), text)?;
        tail.is_none().then_some(token)
    }

    /// Reads one that begins so, and what its maker put behind the secret.
    pub(crate) fn read<'t>(prefix: &str, text: &'t str) -> Option<(Self, Option<&'t str>)> {
        let (body, sum) = text.rsplit_once('_')?;
        let mut parts = body.strip_prefix(prefix)?.splitn(3, '_');
        let (id, secret, tail) = (parts.next()?, parts.next()?, parts.next());
        let sound = (id.len(), secret.len()) == (16, 64)
            && is_hexadecimal(id)
            && is_hexadecimal(secret)
            && sum == checksum(body);
        sound.then(|| (Self { text: Zeroizing::new(text.to_owned()), id: id.to_owned() }, tail))
    }

    /// What names it in logs and audit records.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole token, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the whole token: enough to store, since its secret is 256 random bits.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }
}

/// Whether this is hexadecimal as tokens have it, in lower case.
pub(crate) fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What stands behind the last `_` of a token that begins so.
fn checksum(body: &str) -> String {
    hex(&crc32fast::hash(body.as_bytes()).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrolment::{JoinSecret, RootPin};

    #[test]
    fn a_token_reads_back_and_differs_from_the_next() {
        let token = Token::generate(TokenKind::ApiKey);
        let read = Token::parse(TokenKind::ApiKey, token.reveal()).unwrap();
        assert_eq!((read.id(), read.digest()), (token.id(), token.digest()));
        assert_ne!(Token::generate(TokenKind::ApiKey).reveal(), token.reveal());
    }

    #[test]
    fn every_mistyped_character_is_noticed() {
        let token = Token::generate(TokenKind::Administrator);
        for at in 0..token.reveal().len() {
            let mut bent = token.reveal().as_bytes().to_vec();
            bent[at] = if bent[at] == b'0' { b'1' } else { b'0' };
            let bent = String::from_utf8(bent).unwrap();
            assert!(Token::parse(TokenKind::Administrator, &bent).is_none(), "{at}");
        }
    }

    #[test]
    fn one_kind_does_not_pass_for_another() {
        let token = Token::generate(TokenKind::Cluster);
        assert!(Token::parse(TokenKind::Administrator, token.reveal()).is_none());
    }

    /// What a scanner looks for, as the reference says it.
    fn documented(kind: &str) -> regex::Regex {
        let page = include_str!("../../../docs/reference.md");
        let row = page.lines().find(|line| line.starts_with(&format!("| {kind} | `\\b")));
        let row = row.unwrap_or_else(|| panic!("docs/reference.md has no expression for: {kind}"));
        regex::Regex::new(row.split('`').nth(1).unwrap()).unwrap()
    }

    #[test]
    fn the_documented_expressions_find_every_secret_and_tell_the_kinds_apart() {
        let kinds = [
            ("API key", TokenKind::ApiKey),
            ("administrator's token", TokenKind::Administrator),
            ("data cluster's token", TokenKind::Cluster),
            ("service client's secret", TokenKind::ServiceClient),
        ];
        let made = kinds.map(|(name, kind)| {
            let token = Token::generate(kind);
            assert!(Token::parse(kind, token.reveal()).is_some(), "{name}: the checksum holds");
            (name, token.reveal().to_owned())
        });
        let join = JoinSecret::generate(RootPin::of_spki(b"root"));
        let made = [&made[..], &[("join token", join.reveal().to_owned())]].concat();
        for (name, token) in &made {
            let expression = documented(name);
            let leaked = format!("curl -H 'x-api-key: {token}' https://a/, again\"");
            assert_eq!(expression.find(&leaked).map(|found| found.as_str()), Some(token.as_str()), "{name}");
            assert!(!expression.is_match(&token[..token.len() - 1]), "{name}, cut");
            for (other, token) in made.iter().filter(|(other, _)| other != name) {
                assert!(!expression.is_match(token), "{other} as {name}");
            }
        }
    }

    #[test]
    fn a_token_is_not_in_its_debug_output() {
        let token = Token::generate(TokenKind::ApiKey);
        assert!(!format!("{token:?}").contains(&token.reveal()[20..84]));
    }
}
