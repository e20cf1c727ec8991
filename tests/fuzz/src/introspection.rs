//! What a provider says of a token: good only where it says so, for us, and now; and only as the control service has
//! signed it.

use portcullis_authn::introspection::judge;
use portcullis_identity::CredentialKind;
use portcullis_model::policy::IntrospectionDocument;
use portcullis_protocol::snapshot::{public_key, sign_introspection, verify_introspection};
use portcullis_protocol::wire::IntrospectionAnswer;
use serde_json::{Map, Value, json};

use crate::input::Input;
use crate::tokens::{AUDIENCE, ISSUER, NOW, claims};

const NAMES: &[&str] =
    &["active", "token_type", "iss", "sub", "aud", "exp", "nbf", "iat", "cnf", "tenant", "jti", "act"];
const VALUES: &[&str] = &["Bearer", "bearer", "access_token", "DPoP", ISSUER, AUDIENCE, "other", "acme"];

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let provider: IntrospectionDocument = serde_json::from_value(json!({
        "name": "corporate", "issuer": ISSUER, "audiences": [AUDIENCE], "activeSeconds": 20, "inactiveSeconds": 10,
    }))
    .expect("a provider");
    let body = if input.byte() % 8 == 7 {
        String::from_utf8_lossy(input.rest()).into_owned()
    } else {
        answer(&mut input)
    };
    signed(&mut input, body.as_bytes());
    let Ok(verified) = judge(body.as_bytes(), &provider, NOW) else { return };
    let told: Map<String, Value> = serde_json::from_str(&body).expect("a good answer is JSON");
    assert_eq!(told["active"], true);
    assert!(!told.contains_key("cnf"));
    assert!(told.get("iss").is_none_or(|issuer| issuer.is_null() || issuer == ISSUER));
    let ours = |value: &Value| *value == AUDIENCE;
    assert!(ours(&told["aud"]) || told["aud"].as_array().is_some_and(|list| list.iter().any(ours)));
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    let recently = NOW as f64 - 31.0;
    assert!(told.get("exp").and_then(Value::as_f64).is_none_or(|exp| exp > recently));
    assert_eq!(verified.principal.credential, CredentialKind::OauthToken);
    assert_eq!(told["sub"], verified.principal.subject.as_str());
}

fn answer(input: &mut Input<'_>) -> String {
    let mut members = claims();
    members.insert("active".into(), true.into());
    input.change(&mut members, NAMES, VALUES);
    Value::Object(members).to_string()
}

/// A bit of the signed answer that is another one makes it nobody's.
fn signed(input: &mut Input<'_>, claims: &[u8]) {
    let (nonce, provider) = (vec![3; 16], "corporate".to_owned());
    let answer =
        IntrospectionAnswer { nonce: nonce.clone(), provider, active: true, claims: claims.to_vec() };
    let mut bytes = sign_introspection(&answer, [1; 32]);
    let key = public_key([1; 32]);
    assert_eq!(verify_introspection(&bytes, &key, &nonce, "corporate"), Ok(answer.clone()));
    let at = (usize::from(input.byte()) << 8 | usize::from(input.byte())) % bytes.len();
    bytes[at] ^= input.byte() | 1;
    let told = verify_introspection(&bytes, &key, &nonce, "corporate");
    assert!(told.is_err() || told == Ok(answer), "byte {at}");
}
