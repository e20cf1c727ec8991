//! What has not the form of a token, or has it in a way that two parsers read differently.

use serde_json::json;

use super::{Attack, b64, parts, token};
use crate::world::{self, claims, sign, sign_text};

const HEADER: &str = r#"{"alg":"EdDSA","kid":"i1"}"#;

/// A good payload, as text to be bent.
fn payload() -> String {
    claims(|_| ()).to_string()
}

fn with_header(name: &'static str, header: impl AsRef<[u8]>, reason: &'static str) -> Attack {
    token(name, sign_text(header, payload()), reason)
}

fn with_payload(name: &'static str, payload: impl AsRef<[u8]>, reason: &'static str) -> Attack {
    token(name, sign_text(HEADER, payload), reason)
}

/// The payload with more members in front.
fn and(members: &str) -> String {
    format!("{{{members},{}", &payload()[1..])
}

pub(crate) fn attacks() -> Vec<Attack> {
    [compact(), json_texts(), headers()].concat()
}

fn compact() -> Vec<Attack> {
    let good = world::token(|_| ());
    let [header, body, signature] = parts(&good);
    let malformed = "credential_malformed";
    let unsupported = "credential_unsupported";
    // The last character of 64 bytes in base64url has four bits that mean nothing.
    let mut loose = good.clone();
    let last = loose.pop().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).expect("base64url");
    loose.push(alphabet.as_bytes()[at | 1].into());
    vec![
        token("empty parts", "..", malformed),
        token("one part", header, unsupported),
        token("two parts, the signature stripped", format!("{header}.{body}"), unsupported),
        token("four parts", format!("{good}.{signature}"), unsupported),
        token("a dot at the end", format!("{good}."), unsupported),
        token("a dot in front", format!(".{good}"), unsupported),
        token(
            "the five parts of a JWE",
            format!("{header}.{body}.{signature}.{body}.{signature}"),
            unsupported,
        ),
        token("an empty header", format!(".{body}.{signature}"), malformed),
        token("an empty payload", format!("{header}..{signature}"), malformed),
        token("padding", format!("{header}=.{body}.{signature}"), malformed),
        token("padding at the end", format!("{good}=="), malformed),
        token("the other base64 alphabet", format!("{header}.{body}.{}+/", &signature[2..]), malformed),
        token("trailing bits", loose, malformed),
        token("a space within", good.replacen('.', ". ", 1), malformed),
        token("a tab within", good.replacen('.', ".\t", 1), malformed),
        token("a control character", format!("{good}\x01"), malformed),
        token("percent-encoded dots", good.replace('.', "%2e"), unsupported),
        token("a byte that is not ASCII", [good.as_bytes(), b"\xff"].concat(), malformed),
        token("a full-width dot", good.replacen('.', "\u{ff0e}", 1), malformed),
        token("a look-alike letter", good.replacen('e', "\u{435}", 1), malformed),
        token("a zero-width space", format!("\u{200b}{good}"), malformed),
        token("quotes around it", format!("\"{good}\""), malformed),
        token("the JSON serialisation", r#"{"payload":"x"}"#, unsupported),
        token("too long by a byte", "a".repeat(8_193), "credential_too_large"),
        token("much too long", "a".repeat(60_000), "credential_too_large"),
        token("thousands of dots", ".".repeat(8_000), unsupported),
    ]
}

fn json_texts() -> Vec<Attack> {
    let malformed = "credential_malformed";
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
    vec![
        with_payload("a payload that is a list", "[]", malformed),
        with_payload("a payload that is a text", "\"a\"", malformed),
        with_payload("a payload that is not JSON", "iss=a", malformed),
        with_payload("two payloads", payload() + "{}", malformed),
        with_payload("a byte-order mark", [b"\xef\xbb\xbf", payload().as_bytes()].concat(), malformed),
        with_payload("a payload that is not UTF-8", b"{\"sub\":\"\xff\"}", malformed),
        with_payload("half a surrogate", and(r#""a":"\ud800""#), malformed),
        with_payload("single quotes", payload().replace('"', "'"), malformed),
        with_payload("a comment", and("/*a*/\"b\":1"), malformed),
        with_payload(
            "a comma behind the last member",
            format!("{},}}", &payload()[..payload().len() - 1]),
            malformed,
        ),
        with_payload("nested very deep", deep, malformed),
        with_payload("a number out of range", and("\"a\":1e999"), malformed),
        with_payload("NaN", and("\"a\":NaN"), malformed),
        with_payload("sub twice", and(r#""sub":"root""#), malformed),
        with_payload("sub twice, once escaped", and(r#""\u0073ub":"root""#), malformed),
        with_payload("exp twice", and("\"exp\":9999999999"), malformed),
        with_payload("twice within a list", and(r#""a":[{"b":1,"b":2}]"#), malformed),
        with_payload("twice within act", and(r#""act":{"sub":"a","sub":"b"}"#), malformed),
    ]
}

fn headers() -> Vec<Attack> {
    let malformed = "credential_malformed";
    let unsupported = "credential_unsupported";
    let typed = |name, typ: &str| {
        let header = json!({"alg": "EdDSA", "kid": "i1", "typ": typ});
        token(name, sign(header, &claims(|_| ())), "credential_unsupported")
    };
    vec![
        with_header("a header that is a list", "[]", malformed),
        with_header("alg twice", r#"{"alg":"none","alg":"EdDSA","kid":"i1"}"#, malformed),
        with_header("alg twice, once escaped", r#"{"alg":"EdDSA","\u0061lg":"none"}"#, malformed),
        with_header("kid twice", r#"{"alg":"EdDSA","kid":"i1","kid":"i2"}"#, malformed),
        with_header("no alg", r#"{"kid":"i1"}"#, malformed),
        with_header("alg null", r#"{"alg":null}"#, malformed),
        with_header("alg a number", r#"{"alg":1}"#, malformed),
        with_header("alg a list", r#"{"alg":["EdDSA"]}"#, malformed),
        with_header("kid null", r#"{"alg":"EdDSA","kid":null}"#, malformed),
        with_header("kid a number", r#"{"alg":"EdDSA","kid":1}"#, malformed),
        with_header("kid a list", r#"{"alg":"EdDSA","kid":["i1"]}"#, malformed),
        with_header("crit empty", r#"{"alg":"EdDSA","kid":"i1","crit":[]}"#, malformed),
        with_header("crit unknown", r#"{"alg":"EdDSA","kid":"i1","crit":["x"],"x":1}"#, malformed),
        with_header("crit b64", r#"{"alg":"EdDSA","kid":"i1","crit":["b64"],"b64":false}"#, malformed),
        with_header("crit null", r#"{"alg":"EdDSA","kid":"i1","crit":null}"#, malformed),
        with_header("typ null", r#"{"alg":"EdDSA","kid":"i1","typ":null}"#, malformed),
        with_header("typ a list", r#"{"alg":"EdDSA","kid":"i1","typ":["JWT"]}"#, malformed),
        typed("a DPoP proof", "dpop+jwt"),
        typed("a logout token", "logout+jwt"),
        typed("a security event", "secevent+jwt"),
        typed("an identity token's typ by the issuer's own key", "portcullis-identity+jwt"),
        typed("the same in capitals", "PORTCULLIS-IDENTITY+JWT"),
        typed("the same with its media type", "application/portcullis-identity+jwt"),
        typed("a typ with a space", "JWT "),
        typed("an empty typ", ""),
        token("an identity token", world::identity_token("acme-1"), unsupported),
        token("an identity token of another cluster", world::identity_token("globex-1"), unsupported),
        token(
            "an unsecured JWS that names the opaque prefix",
            format!("op_.{}.", b64(payload())),
            // Its header is none, so it is an opaque token, and nobody issued it.
            "token_inactive",
        ),
    ]
}
