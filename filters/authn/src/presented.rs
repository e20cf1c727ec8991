//! Finding the one credential that a request presents.

use std::borrow::Cow;

use portcullis_engine::head::headers::Headers;
use portcullis_engine::head::{Head, Single};
use portcullis_model::Reason;
use portcullis_model::edge::TokenLocations;
use portcullis_protocol::scan;

use crate::api_key::{API_KEY_PREFIX, is_secret_of_the_service};
use crate::credential::MAX_CREDENTIAL_LEN;
use crate::locations;

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

/// Where a token was found besides `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLocation<'a> {
    /// In a header of this name.
    Header(&'a [u8]),
    /// In a cookie of a `Cookie` header with this value.
    Cookie(&'a [u8]),
    /// In the query.
    Query,
}

/// Collects what the headers present, header by header.
#[derive(Debug, Default)]
pub struct Presented<'a> {
    authorization: Option<&'a [u8]>,
    api_key: Option<&'a [u8]>,
    elsewhere: Option<(TokenLocation<'a>, &'a [u8])>,
    repeated: bool,
}

impl<'a> Presented<'a> {
    /// What a request presents. `in_query`: the tokens in its query, decoded ([`locations::in_query`]).
    #[must_use]
    pub fn of(
        head: &Head<'a>,
        headers: &'a Headers,
        in_query: &'a [Cow<'a, [u8]>],
        token_locations: &TokenLocations,
    ) -> Self {
        let mut presented = Self::default();
        let twice = |presented: &mut Self| presented.repeated = true;
        match head.authorization {
            Single::Absent => {}
            Single::Once(value) => presented.authorization(value),
            Single::Repeated => twice(&mut presented),
        }
        match head.api_key {
            Single::Absent => {}
            Single::Once(value) => presented.api_key(value),
            Single::Repeated => twice(&mut presented),
        }
        if !token_locations.is_usual() {
            presented.everywhere(headers, in_query, token_locations);
        }
        presented
    }

    /// Takes note of every token in the places of the configuration; `in_query` are those in the query.
    fn everywhere(
        &mut self,
        headers: &'a Headers,
        in_query: &'a [Cow<'a, [u8]>],
        token_locations: &TokenLocations,
    ) {
        let mut cookies = 0_u32;
        for (name, value) in headers {
            if let Some(header) = token_locations.headers.iter().find(|header| header.name.as_bytes() == name)
            {
                self.elsewhere(TokenLocation::Header(name), locations::without_prefix(value, header));
            }
            if let (b"cookie", Some(cookie)) = (name, &token_locations.cookie) {
                cookies = cookies.saturating_add(1);
                locations::cookie_values(value, cookie)
                    .for_each(|token| self.elsewhere(TokenLocation::Cookie(value), token));
            }
        }
        // Envoy's codecs join cookies. Should there be two headers all the same, taking a cookie out of one
        // would lose the other.
        if let (2.., Some(place @ TokenLocation::Cookie(_))) = (cookies, self.place()) {
            self.elsewhere(place, b"");
        }
        in_query.iter().for_each(|token| self.elsewhere(TokenLocation::Query, token));
    }

    /// Takes note of an `Authorization` header.
    pub fn authorization(&mut self, value: &'a [u8]) {
        self.repeated |= self.authorization.replace(value).is_some();
    }

    /// Takes note of the header that carries an API key.
    pub fn api_key(&mut self, value: &'a [u8]) {
        self.repeated |= self.api_key.replace(value).is_some();
    }

    /// Takes note of a token in another place. An empty one is malformed, and not none.
    pub fn elsewhere(&mut self, place: TokenLocation<'a>, token: &'a [u8]) {
        self.repeated |= self.elsewhere.replace((place, token)).is_some();
    }

    /// Where a token was found besides `Authorization`.
    #[must_use]
    pub fn place(&self) -> Option<TokenLocation<'a>> {
        self.elsewhere.map(|(place, _)| place)
    }

    /// The one credential, looked at.
    ///
    /// # Errors
    /// The reason why there is not exactly one readable credential.
    pub fn credential(&self) -> Result<Credential<'a>, Reason> {
        self.found()?.look()
    }

    /// The one credential, whatever is in it.
    ///
    /// # Errors
    /// The reason why there is not exactly one credential of a length that is taken.
    pub fn found(&self) -> Result<Found<'a>, Reason> {
        let found = match (self.authorization, self.api_key, self.elsewhere) {
            _ if self.repeated => return Err(Reason::CredentialAmbiguous),
            (None, None, None) => return Err(Reason::CredentialMissing),
            (Some(value), None, None) => bearer(value)?,
            (None, Some(value), None) => Credential::ApiKey(value),
            (None, None, Some((place, token))) => in_place(place, token)?,
            _ => return Err(Reason::CredentialAmbiguous),
        };
        if found.bytes().len() > MAX_CREDENTIAL_LEN {
            return Err(Reason::CredentialTooLarge);
        }
        Ok(Found(found))
    }
}

/// A credential in which nobody has looked yet. Most requests come with one that was looked at, judged and kept before,
/// and is known by its digest: for them that is all there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a>(Credential<'a>);

impl<'a> Found<'a> {
    /// The credential, for its digest and for what was kept under that: whoever keeps a credential has looked at it,
    /// and another one has another digest.
    #[must_use]
    pub fn as_kept(self) -> Credential<'a> {
        self.0
    }

    /// The credential, to be judged.
    ///
    /// Envoy joins repeated `Authorization` headers by a comma, so a comma means two of them; neither a
    /// bearer token nor an API key can contain one.
    ///
    /// # Errors
    /// The reason why it cannot be one.
    pub fn look(self) -> Result<Credential<'a>, Reason> {
        let bytes = self.0.bytes();
        if scan::any(bytes, |b| b.is(b',') | b.below(b'!') | b.above(b'~')) || bytes.is_empty() {
            let comma = bytes.contains(&b',');
            return Err(if comma { Reason::CredentialAmbiguous } else { Reason::CredentialMalformed });
        }
        // Nobody else is to see it, a provider of introspection least of all.
        if matches!(self.0, Credential::Bearer(token) if is_secret_of_the_service(token)) {
            return Err(Reason::CredentialUnsupported);
        }
        Ok(self.0)
    }
}

/// Reads `Bearer <token>`; the scheme is compared without case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Result<Credential<'_>, Reason> {
    // Nearly always written like this.
    let usual = value.split_first_chunk().filter(|(scheme, _)| **scheme == *b"Bearer ");
    let rest = usual.map_or_else(|| after_scheme(value), |(_, rest)| Ok(rest))?;
    let token = rest.trim_ascii();
    // A key in the Authorization header is common with API clients; its prefix tells it from a token.
    if token.starts_with(API_KEY_PREFIX) {
        return Ok(Credential::ApiKey(token));
    }
    Ok(Credential::Bearer(token))
}

/// What stands behind the scheme `Bearer`, in any case.
fn after_scheme(value: &[u8]) -> Result<&[u8], Reason> {
    let space = value.iter().position(|b| *b == b' ').ok_or(Reason::CredentialMalformed)?;
    let (scheme, rest) = value.split_at_checked(space).ok_or(Reason::CredentialMalformed)?;
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(rest);
    }
    let joined = value.contains(&b',');
    Err(if joined { Reason::CredentialAmbiguous } else { Reason::CredentialUnsupported })
}

/// Tells a token from an API key in another place. A long-lived key has no business in a URL or a cookie.
fn in_place<'a>(place: TokenLocation<'a>, token: &'a [u8]) -> Result<Credential<'a>, Reason> {
    match (token.starts_with(API_KEY_PREFIX), place) {
        (false, _) => Ok(Credential::Bearer(token)),
        (true, TokenLocation::Header(_)) => Ok(Credential::ApiKey(token)),
        (true, TokenLocation::Cookie(_) | TokenLocation::Query) => Err(Reason::CredentialUnsupported),
    }
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
    fn a_token_elsewhere_is_the_one_credential_or_one_too_many() {
        let tell = |places: &[(TokenLocation<'static>, &'static [u8])],
                    authorization: Option<&'static [u8]>| {
            let mut presented = Presented::default();
            authorization.into_iter().for_each(|v| presented.authorization(v));
            places.iter().for_each(|(place, token)| presented.elsewhere(*place, token));
            presented.credential()
        };
        let (header, cookie) = (TokenLocation::Header(b"x-t"), TokenLocation::Cookie(b"t=a"));
        for place in [header, cookie, TokenLocation::Query] {
            assert_eq!(tell(&[(place, b"a.b.c")], None), Ok(Credential::Bearer(b"a.b.c")));
            assert_eq!(tell(&[(place, b"")], None), Err(Reason::CredentialMalformed));
            assert_eq!(tell(&[(place, b"a")], Some(b"Bearer a")), Err(Reason::CredentialAmbiguous));
            assert_eq!(tell(&[(place, b"a"), (cookie, b"a")], None), Err(Reason::CredentialAmbiguous));
        }
        assert_eq!(tell(&[(header, b"pck_x")], None), Ok(Credential::ApiKey(b"pck_x")));
        assert_eq!(tell(&[(cookie, b"pck_x")], None), Err(Reason::CredentialUnsupported));
        assert_eq!(tell(&[(TokenLocation::Query, b"pck_x")], None), Err(Reason::CredentialUnsupported));
    }

    #[test]
    fn a_secret_of_the_control_service_is_no_credential_here() {
        for prefix in ["pca_", "pcc_", "pcs_", "pcj_"] {
            let secret = [prefix, "0011223344556677_00"].concat();
            let bearer = ["Bearer ", &secret].concat();
            assert_eq!(tell(&[bearer.as_bytes()], &[]), Err(Reason::CredentialUnsupported), "{prefix}");
            for place in [TokenLocation::Header(b"x-t"), TokenLocation::Cookie(b"t=a"), TokenLocation::Query]
            {
                let mut presented = Presented::default();
                presented.elsewhere(place, secret.as_bytes());
                assert_eq!(presented.credential(), Err(Reason::CredentialUnsupported), "{prefix} {place:?}");
            }
        }
        assert!(tell(&[b"Bearer pcx_0"], &[]).is_ok() && tell(&[b"Bearer xpca_0"], &[]).is_ok());
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
