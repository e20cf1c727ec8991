//! The compact form of a JSON Web Signature (RFC 7515 §3.1), read strictly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::Reason;
use serde_json::{Map, Value};

use portcullis_model::strict_json;

/// `typ` of the identity tokens that gateways mint. No policy can make them a credential.
const IDENTITY_TYPE: &str = "portcullis-identity+jwt";

/// `typ` values of access tokens (RFC 7519 §5.1, RFC 9068 §2.1): what an issuer without a list of its own
/// may use.
const USUAL_TYPES: [&str; 2] = ["jwt", "at+jwt"];

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
    /// `typ`.
    pub token_type: Option<String>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Reason::CredentialUnsupported`] for something that has not the form of a JWS or is an identity
    /// token, [`Reason::CredentialMalformed`] for one that breaks a rule: padding, characters outside
    /// base64url, members twice, `crit`, a missing `alg`.
    pub fn parse(token: &'a [u8]) -> Result<Self, Reason> {
        let malformed = Reason::CredentialMalformed;
        let text = std::str::from_utf8(token).map_err(|_| malformed)?;
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::CredentialUnsupported);
        };
        let signed = text.get(..text.len().saturating_sub(signature.len().saturating_add(1)));
        let signed = signed.ok_or(malformed)?;
        let header =
            URL_SAFE_NO_PAD.decode(header).ok().and_then(|h| strict_json::object(&h)).ok_or(malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(malformed)?.to_owned();
        // No extension is understood, so a critical one cannot be (RFC 7515 §4.1.11). `b64` has to be a
        // critical one (RFC 7797 §6), and would change what is signed.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(malformed);
        }
        let member = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or(malformed),
        };
        let (token_type, key_id) = (member("typ")?, member("kid")?);
        if token_type.as_deref().is_some_and(|typ| same_type(typ, IDENTITY_TYPE)) {
            return Err(Reason::CredentialUnsupported);
        }
        let claims =
            URL_SAFE_NO_PAD.decode(payload).ok().and_then(|p| strict_json::object(&p)).ok_or(malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
        Ok(Self { text, signed: signed.as_bytes(), algorithm, key_id, token_type, claims, signature })
    }

    /// Whether the `typ` is one of these. No list stands for the usual types of access tokens, and for
    /// none at all; a JWT-SVID may be a `JOSE` besides (JWT-SVID §2.3).
    #[must_use]
    pub fn is_of_type(&self, accepted: &[String], svid: bool) -> bool {
        match &self.token_type {
            None => accepted.is_empty(),
            Some(typ) if accepted.is_empty() => {
                USUAL_TYPES.iter().any(|known| same_type(typ, known)) || (svid && same_type(typ, "jose"))
            }
            Some(typ) => accepted.iter().any(|known| same_type(typ, known)),
        }
    }
}

/// Media types are compared without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn same_type(one: &str, other: &str) -> bool {
    let short = |text: &str| {
        let lower = text.to_ascii_lowercase();
        lower.strip_prefix("application/").map_or(lower.clone(), str::to_owned)
    };
    short(one) == short(other)
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
        for typ in ["portcullis-identity+jwt", "Application/Portcullis-Identity+JWT"] {
            let text = token(&format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#), "{}");
            assert_eq!(reason(&text), Reason::CredentialUnsupported, "{typ}");
        }
    }

    #[test]
    fn a_type_is_one_that_the_policy_names() {
        let fits = |typ: Option<&str>, accepted: &[&str]| {
            let typ = typ.map(|t| format!(r#","typ":"{t}""#)).unwrap_or_default();
            let text = token(&format!(r#"{{"alg":"RS256"{typ}}}"#), "{}");
            let accepted: Vec<String> = accepted.iter().map(|a| (*a).to_owned()).collect();
            Jws::parse(text.as_bytes()).unwrap().is_of_type(&accepted, false)
        };
        for typ in [None, Some("JWT"), Some("at+jwt"), Some("application/AT+jwt")] {
            assert!(fits(typ, &[]), "{typ:?}");
        }
        for typ in ["", "dpop+jwt", "logout+jwt", "jwt ", "application/application/jwt"] {
            assert!(!fits(Some(typ), &[]), "{typ:?}");
        }
        assert!(fits(Some("AT+JWT"), &["application/at+jwt"]));
        assert!(!fits(Some("JWT"), &["at+jwt"]) && !fits(None, &["at+jwt", "jwt"]));
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
            token(r#"{"alg":"RS256","b64":false}"#, "{}"),
            token(r#"{"alg":"RS256","b64":true}"#, "{}"),
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
