//! A token with any header and claims, signed well or badly: one verdict on every way, and a good one only for what a
//! reader of its own finds in it, too.

use std::cell::RefCell;

use portcullis_authn::{KeyRing, PureRust, jwt};
use portcullis_model::state::SnapshotState;
use serde_json::{Map, Value, json};

use crate::input::Input;
use crate::tokens::{
    AUDIENCE, ISSUER, NOW, Native, SIGNERS, SIGNERS_LEN, Signer, b64, claims, document, state,
};

const HEADER: &[&str] =
    &["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "jku", "x5c", "x5t", "x5u", "nonce", "zip", "salt"];
const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "tenant",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "act",
    "roles",
    "scope",
    "azp",
    "client_id",
    "cnf",
    "nonce",
    "_claim_names",
    "hasgroups",
    "derived_from",
    "roles_incomplete",
];
const VALUES: &[&str] = &[
    "none",
    "EdDSA",
    "ES256",
    "HS256",
    "RS256",
    "PS256",
    "k1",
    "JWT",
    "at+jwt",
    "portcullis-identity+jwt",
    ISSUER,
    AUDIENCE,
    "ann",
    "acme",
    "sub",
    "act",
    "x",
];

thread_local! {
    static STATES: RefCell<Vec<SnapshotState>> =
        RefCell::new(SIGNERS.with(|all| all.iter().map(|s| state(&document(s)).expect("it can be read")).collect()));
}

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let which = usize::from(input.byte() % SIGNERS_LEN);
    SIGNERS.with(|all| STATES.with_borrow(|states| judge(&mut input, &all[which], &states[which])));
}

fn judge(input: &mut Input<'_>, signer: &Signer, state: &SnapshotState) {
    let bend = input.byte().is_multiple_of(4).then(|| (input.byte(), input.byte() | 1));
    let (header, all) = texts(input, signer);
    let (text, mut signature) = signer.token(&header, &all);
    if let Some((at, by)) = bend {
        let at = usize::from(at) % signature.len();
        signature[at] ^= by;
    }
    let token = format!("{text}.{}", b64(signature));
    let keys = KeyRing::default();
    let in_rust = jwt::verify(token.as_bytes(), state, &keys, &PureRust, NOW);
    let natively = jwt::verify(token.as_bytes(), state, &keys, &Native, NOW);
    assert_eq!(in_rust, natively, "one verdict");
    let Ok(verified) = in_rust else { return };
    assert!(bend.is_none(), "nobody signed that");
    // A reader of its own, which takes the last of two members.
    let header: Map<String, Value> = serde_json::from_str(&header).expect("a good token's header is JSON");
    let all: Map<String, Value> = serde_json::from_str(&all).expect("a good token's claims are JSON");
    assert_eq!(header["alg"], signer.alg);
    assert!(header.get("kid").is_none_or(|kid| kid == "k1"));
    assert!(!header.contains_key("crit") && !header.contains_key("b64") && !all.contains_key("cnf"));
    assert_eq!(
        (&all["iss"], &all["sub"], &all["tenant"]),
        (
            &json!(ISSUER),
            &json!(verified.principal.subject.as_str()),
            &json!(verified.principal.tenant.as_str())
        )
    );
    let of_ours = |value: &Value| *value == AUDIENCE || *value == "other";
    assert!(of_ours(&all["aud"]) || all["aud"].as_array().is_some_and(|list| list.iter().any(of_ours)));
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    let now = NOW as f64;
    assert!(all["exp"].as_f64().is_some_and(|exp| exp > now - 31.0));
    assert!(all.get("nbf").and_then(Value::as_f64).is_none_or(|nbf| nbf < now + 32.0));
    assert_eq!(Value::Object(verified.claims.clone()), Value::Object(all));
    // Judged again by its signed part and its key, as for an open stream, it says the same.
    let key = verified.key.expect("a token has a key");
    assert_eq!(jwt::judge_again((text.as_bytes(), key), state, &keys, NOW), Ok(verified));
}

/// Header and claims: those of a good token with changes, or any text at all.
fn texts(input: &mut Input<'_>, signer: &Signer) -> (String, String) {
    let good = json!({"alg": signer.alg, "kid": "k1", "typ": "JWT"});
    if input.byte() % 8 == 7 {
        let raw = String::from_utf8_lossy(input.rest()).into_owned();
        return if raw.len().is_multiple_of(2) {
            (good.to_string(), raw)
        } else {
            (raw, Value::Object(claims()).to_string())
        };
    }
    let (mut header, mut all) = (good.as_object().cloned().unwrap_or_default(), claims());
    input.change(&mut header, HEADER, VALUES);
    input.change(&mut all, CLAIMS, VALUES);
    (Value::Object(header).to_string(), Value::Object(all).to_string())
}
