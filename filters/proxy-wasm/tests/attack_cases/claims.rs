//! Claims that say too much, too little or something else than they seem to.

use serde_json::{Value, json};

use super::{Attack, token};
use crate::world::{self, NOW};

/// A token with one claim changed; `null` stands as null.
fn claim(name: &'static str, claim: &str, value: Value, reason: &'static str) -> Attack {
    token(name, world::token(|c| c[claim] = value), reason)
}

fn without(name: &'static str, claim: &str, reason: &'static str) -> Attack {
    let token = world::token(|c| {
        c.as_object_mut().expect("claims").remove(claim);
    });
    super::token(name, token, reason)
}

pub(crate) fn attacks() -> Vec<Attack> {
    [issuers(), audiences(), times(), subjects(), lists()].concat()
}

fn issuers() -> Vec<Attack> {
    let unknown = "issuer_unknown";
    vec![
        without("no iss", "iss", unknown),
        claim("iss null", "iss", json!(null), unknown),
        claim("iss a list", "iss", json!(["https://idp.test"]), unknown),
        claim("iss with a slash", "iss", json!("https://idp.test/"), unknown),
        claim("iss in capitals", "iss", json!("https://IDP.test"), unknown),
        claim("iss by http", "iss", json!("http://idp.test"), unknown),
        claim("iss with a user", "iss", json!("https://idp.test@evil.test"), unknown),
        claim("iss with a look-alike", "iss", json!("https://\u{456}dp.test"), unknown),
        claim("iss with a NUL", "iss", json!("https://idp.test\0"), unknown),
        claim("iss of the gateways", "iss", json!("https://platform.test"), unknown),
        claim("iss of the introspection", "iss", json!("https://as.test"), unknown),
        claim("iss of another issuer", "iss", json!(super::keys::RSA_ISSUER), "algorithm_not_allowed"),
    ]
}

fn audiences() -> Vec<Attack> {
    let other = "audience_mismatch";
    vec![
        without("no aud", "aud", other),
        claim("aud empty", "aud", json!(""), other),
        claim("aud an empty list", "aud", json!([]), other),
        claim("aud in capitals", "aud", json!("Portcullis"), other),
        claim("aud with a space", "aud", json!("portcullis "), other),
        claim("aud longer", "aud", json!("portcullis2"), other),
        claim("aud of several words", "aud", json!("other portcullis"), other),
        claim("aud of a cluster", "aud", json!("acme-1"), other),
        claim("aud null", "aud", json!(null), "claim_invalid"),
        claim("aud an object", "aud", json!({"portcullis": true}), "claim_invalid"),
        claim("aud a list within a list", "aud", json!([["portcullis"]]), "claim_invalid"),
        claim("aud a list with a number", "aud", json!(["portcullis", 1]), "claim_invalid"),
    ]
}

fn times() -> Vec<Attack> {
    let (expired, early, invalid) = ("token_expired", "token_not_yet_valid", "claim_invalid");
    vec![
        without("no exp", "exp", invalid),
        claim("exp as long ago as the leeway", "exp", json!(NOW - 30), expired),
        claim("exp at the beginning of time", "exp", json!(0), expired),
        claim("exp null", "exp", json!(null), invalid),
        claim("exp a text", "exp", json!((NOW + 600).to_string()), invalid),
        claim("exp true", "exp", json!(true), invalid),
        claim("exp a list", "exp", json!([NOW + 600]), invalid),
        claim("exp negative", "exp", json!(-1), invalid),
        claim("exp minus zero and a half", "exp", json!(-0.5), invalid),
        claim("exp beyond what a double counts", "exp", json!(u64::MAX), invalid),
        claim("exp of 1e300", "exp", json!(1e300), invalid),
        claim("nbf in a while", "nbf", json!(NOW + 700), early),
        claim("nbf a text", "nbf", json!("0"), invalid),
        claim("iat in a while", "iat", json!(NOW + 700), early),
        claim("iat a list", "iat", json!([]), invalid),
    ]
}

fn subjects() -> Vec<Attack> {
    let invalid = "claim_invalid";
    vec![
        without("no sub", "sub", invalid),
        claim("sub empty", "sub", json!(""), invalid),
        claim("sub null", "sub", json!(null), invalid),
        claim("sub a number", "sub", json!(1), invalid),
        claim("sub an object", "sub", json!({"sub": "ann"}), invalid),
        claim("sub with a line break", "sub", json!("ann\r\nx-portcullis-tenant: globex"), invalid),
        claim("sub with a NUL", "sub", json!("ann\0"), invalid),
        claim("sub with a space", "sub", json!("ann bob"), invalid),
        claim("sub with a letter that is not ASCII", "sub", json!("\u{e4}nn"), invalid),
        claim("sub with a right-to-left mark", "sub", json!("ann\u{202e}"), invalid),
        claim("sub too long", "sub", json!("a".repeat(256)), invalid),
        without("no tenant", "tenant", invalid),
        claim("tenant in capitals", "tenant", json!("Acme"), invalid),
        claim("tenant a list", "tenant", json!(["acme", "globex"]), invalid),
        claim("tenant with a dot", "tenant", json!("acme.globex"), invalid),
        claim("tenant a star", "tenant", json!("*"), invalid),
        claim("tenant with a look-alike", "tenant", json!("\u{430}cme"), invalid),
        claim("tenant with a line break", "tenant", json!("acme\n"), invalid),
        claim("typ of an ID token", "typ", json!("ID"), "credential_unsupported"),
        claim("token_use of an ID token", "token_use", json!("id"), "credential_unsupported"),
        claim("events of a logout token", "events", json!({"e": {}}), "credential_unsupported"),
    ]
}

fn lists() -> Vec<Attack> {
    let invalid = "claim_invalid";
    let mut chain = json!({"sub": "a"});
    for _ in 0..8 {
        chain = json!({"sub": "a", "act": chain});
    }
    vec![
        claim("act a text", "act", json!("agent"), invalid),
        claim("act without sub", "act", json!({"name": "agent"}), invalid),
        claim("act with a line break", "act", json!({"sub": "a\nb"}), invalid),
        claim("act too deep", "act", chain, invalid),
        claim("client_id with a line break", "client_id", json!("web\n"), invalid),
        claim("client_id too long", "client_id", json!("w".repeat(129)), invalid),
    ]
}
