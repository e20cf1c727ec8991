//! Finding the one credential that a request presents.

use portcullis_core::Reason;

use crate::MAX_CREDENTIAL_LEN;
use crate::api_key::API_KEY_PREFIX;

/// A credential as found, unverified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A bearer token (RFC 6750 §2.1).
    Bearer(&'a [u8]),
    /// An API key.
    ApiKey(&'a [u8]),
}

impl<'a> Credential<'a> {
    /// The secret bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bearer(bytes) | Self::ApiKey(bytes) => bytes,
        }
    }
}

/// Collects what the headers present, header by header.
#[derive(Debug, Default)]
pub struct Presented<'a> {
    authorization: Option<&'a [u8]>,
    api_key: Option<&'a [u8]>,
    repeated: bool,
}

impl<'a> Presented<'a> {
    /// Takes note of an `Authorization` header.
    pub fn authorization(&mut self, value: &'a [u8]) {
        self.repeated |= self.authorization.replace(value).is_some();
    }

    /// Takes note of the header that carries an API key.
    pub fn api_key(&mut self, value: &'a [u8]) {
        self.repeated |= self.api_key.replace(value).is_some();
    }

    /// True when there was an `Authorization` header.
    #[must_use]
    pub fn has_authorization(&self) -> bool {
        self.authorization.is_some()
    }

    /// True when the API-key header was there.
    #[must_use]
    pub fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// The one credential.
    ///
    /// Envoy joins repeated `Authorization` headers by a comma, so a comma means two of them; neither a
    /// bearer token nor an API key can contain one.
    ///
    /// # Errors
    /// The reason why there is not exactly one readable credential.
    pub fn credential(&self) -> Result<Credential<'a>, Reason> {
        let found = match (self.authorization, self.api_key) {
            _ if self.repeated => return Err(Reason::CredentialAmbiguous),
            (Some(_), Some(_)) => return Err(Reason::CredentialAmbiguous),
            (None, None) => return Err(Reason::CredentialMissing),
            (Some(value), None) => bearer(value)?,
            (None, Some(value)) => Credential::ApiKey(value),
        };
        let bytes = found.bytes();
        if bytes.len() > MAX_CREDENTIAL_LEN {
            return Err(Reason::CredentialTooLarge);
        }
        let (comma, other) = scan(bytes);
        if comma {
            return Err(Reason::CredentialAmbiguous);
        }
        if bytes.is_empty() || other {
            return Err(Reason::CredentialMalformed);
        }
        Ok(found)
    }
}

/// Whether there is a comma, and whether there is a byte that is not visible ASCII. Every request pays for
/// this; without an early end the compiler looks at many bytes at a time.
fn scan(bytes: &[u8]) -> (bool, bool) {
    bytes.iter().fold((false, false), |(comma, other), byte| {
        (comma | (*byte == b','), other | !byte.is_ascii_graphic())
    })
}

/// Reads `Bearer <token>`; the scheme is compared without case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Result<Credential<'_>, Reason> {
    let space = value.iter().position(|b| *b == b' ').ok_or(Reason::CredentialMalformed)?;
    let (scheme, rest) = value.split_at_checked(space).ok_or(Reason::CredentialMalformed)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        let joined = value.contains(&b',');
        return Err(if joined { Reason::CredentialAmbiguous } else { Reason::CredentialUnsupported });
    }
    let token = rest.trim_ascii();
    // A key in the Authorization header is common with API clients; its prefix tells it from a token.
    if token.starts_with(API_KEY_PREFIX) {
        return Ok(Credential::ApiKey(token));
    }
    Ok(Credential::Bearer(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell<'a>(authorization: &[&'a [u8]], api_key: &[&'a [u8]]) -> Result<Credential<'a>, Reason> {
        let mut presented = Presented::default();
        authorization.iter().for_each(|v| presented.authorization(v));
        api_key.iter().for_each(|v| presented.api_key(v));
        presented.credential()
    }

    #[test]
    fn one_credential_is_found() {
        assert_eq!(tell(&[b"Bearer a.b.c"], &[]), Ok(Credential::Bearer(b"a.b.c")));
        assert_eq!(tell(&[b"bEARER  a.b.c "], &[]), Ok(Credential::Bearer(b"a.b.c")));
        assert_eq!(tell(&[], &[b"pck_x"]), Ok(Credential::ApiKey(b"pck_x")));
        assert_eq!(tell(&[b"Bearer pck_x"], &[]), Ok(Credential::ApiKey(b"pck_x")));
    }

    #[test]
    fn two_credentials_are_refused() {
        let ambiguous = Err(Reason::CredentialAmbiguous);
        assert_eq!(tell(&[b"Bearer a"], &[b"pck_x"]), ambiguous);
        assert_eq!(tell(&[b"Bearer a", b"Bearer a"], &[]), ambiguous);
        assert_eq!(tell(&[], &[b"pck_x", b"pck_x"]), ambiguous);
        assert_eq!(tell(&[b"Bearer a,Bearer b"], &[]), ambiguous);
        assert_eq!(tell(&[b"Bearer a, Basic b"], &[]), ambiguous);
        assert_eq!(tell(&[b"Basic b, Bearer a"], &[]), ambiguous);
        assert_eq!(tell(&[], &[b"pck_x,pck_y"]), ambiguous);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(tell(&[], &[]), Err(Reason::CredentialMissing));
        for bad in [&b"Bearer"[..], b"", b"Bearer ", b"Bearer a b", b"Bearer \xff", b"Bearer a\x01b"] {
            assert_eq!(tell(&[bad], &[]), Err(Reason::CredentialMalformed), "{bad:?}");
        }
        assert_eq!(tell(&[b"Basic dTpw"], &[]), Err(Reason::CredentialUnsupported));
        assert_eq!(tell(&[], &[b""]), Err(Reason::CredentialMalformed));
        let long = [b"Bearer ", vec![b'a'; MAX_CREDENTIAL_LEN + 1].as_slice()].concat();
        assert_eq!(tell(&[&long], &[]), Err(Reason::CredentialTooLarge));
    }
}
