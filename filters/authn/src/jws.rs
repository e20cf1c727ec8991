//! The compact form of a JSON Web Signature (RFC 7515 §3.1), read strictly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Reason;
use serde_json::{Map, Value};

use crate::strict_json;

/// `typ` values of access tokens (RFC 7519 §5.1, RFC 9068 §2.1), compared without case.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// A token taken apart. Nothing in it is verified.
#[derive(Debug)]
pub struct Jws<'a> {
    /// The token.
    pub text: &'a str,
    /// Header and payload with the dot between them: what is signed.
    pub signed: &'a [u8],
    /// `alg`.
    pub algorithm: String,
    /// `kid`.
    pub key_id: Option<String>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Reason::CredentialUnsupported`] for something that has not the form of a JWS or is of a `typ`
    /// that is no access token, [`Reason::CredentialMalformed`] for one that breaks a rule: padding,
    /// characters outside base64url, members twice, `crit`, a missing `alg`.
    pub fn parse(token: &'a [u8]) -> Result<Self, Reason> {
        let malformed = Reason::CredentialMalformed;
        let text = std::str::from_utf8(token).map_err(|_| malformed)?;
        if text.bytes().filter(|b| *b == b'.').count() != 2 {
            return Err(Reason::CredentialUnsupported);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(malformed)?;
        let header =
            URL_SAFE_NO_PAD.decode(header).ok().and_then(|h| strict_json::object(&h)).ok_or(malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(malformed)?.to_owned();
        // No extension is understood, so a critical one cannot be (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(malformed);
        }
        if let Some(typ) = header.get("typ") {
            let typ = typ.as_str().ok_or(malformed)?;
            if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
                return Err(Reason::CredentialUnsupported);
            }
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(malformed)?.to_owned()),
        };
        let claims =
            URL_SAFE_NO_PAD.decode(payload).ok().and_then(|p| strict_json::object(&p)).ok_or(malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
        Ok(Self { text, signed: signed.as_bytes(), algorithm, key_id, claims, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn reason(token: &str) -> Reason {
        Jws::parse(token.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"alg":"RS256","kid":"k","typ":"at+JWT"}"#, r#"{"a":1}"#);
        let jws = Jws::parse(text.as_bytes()).unwrap();
        assert_eq!((jws.algorithm.as_str(), jws.key_id.as_deref()), ("RS256", Some("k")));
        assert_eq!(jws.signature, b"sig");
        assert_eq!([jws.signed, b".c2ln"].concat(), text.as_bytes());
    }

    #[test]
    fn other_forms_are_not_supported() {
        for text in ["opaque", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert_eq!(reason(text), Reason::CredentialUnsupported, "{text}");
        }
        assert_eq!(
            reason(&token(r#"{"alg":"EdDSA","typ":"portcullis-identity+jwt"}"#, "{}")),
            Reason::CredentialUnsupported
        );
        assert_eq!(
            reason(&token(r#"{"alg":"RS256","typ":"dpop+jwt"}"#, "{}")),
            Reason::CredentialUnsupported
        );
    }

    #[test]
    fn rules_are_not_bent() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        for bad in [
            format!("{good}="),
            format!("{good}+"),
            good.replace('.', " ."),
            token(r#"{"alg":"RS256","alg":"none"}"#, "{}"),
            token(r#"{"alg":"RS256"}"#, r#"{"sub":"a","sub":"b"}"#),
            token(r#"{"alg":"RS256","crit":[]}"#, "{}"),
            token(r#"{"alg":"RS256","kid":1}"#, "{}"),
            token(r#"{"alg":"RS256","typ":null}"#, "{}"),
            token(r#"{"alg":null}"#, "{}"),
            token("{}", "{}"),
            token("[]", "{}"),
            token(r#"{"alg":"RS256"}"#, "[]"),
            "..".to_owned(),
        ] {
            assert_eq!(reason(&bad), Reason::CredentialMalformed, "{bad}");
        }
    }
}
