//! One token has one verdict, whatever its algorithm and whoever verifies: only its signed bytes are verified, and
//! its header and claims are read in one place.

mod common;

use common::*;
use portcullis_authn::{KeyRing, NativeVerify, PureRust, jwt};
use portcullis_model::state::SnapshotState;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    token_types: Vec<String>,
    verdict: String,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/field/tokens/headers-and-claims.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Each public-key algorithm, the costly ones last.
fn signers() -> Vec<Signer> {
    let mut all = vec![ed25519(), p521(), ec("ES256"), ec("ES384")];
    all.extend(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(rsa));
    all
}

fn state_of(signer: &Signer, token_types: &[String]) -> SnapshotState {
    let mut document = issuer(&[signer.alg], &json!([signer.jwk]));
    document["tokenTypes"] = json!(token_types);
    snapshot(&[document])
}

/// What becomes of a token; `ok` or the reason.
fn verdict(state: &SnapshotState, token: &str, native: &dyn NativeVerify) -> &'static str {
    let verified = jwt::verify(token.as_bytes(), state, &KeyRing::default(), native, NOW);
    verified.map_or_else(|why| why.reason.code(), |_| "ok")
}

/// The verdicts of both ways of verification.
fn verdicts(state: &SnapshotState, token: &str) -> [&'static str; 2] {
    [verdict(state, token, &PureRust), verdict(state, token, &Native)]
}

fn header(signer: &Signer, changes: &Map<String, Value>) -> Value {
    let mut header = json!({"alg": signer.alg, "kid": "k1", "typ": "JWT"}).as_object().unwrap().clone();
    for (name, value) in changes {
        match value {
            Value::Null => header.remove(name),
            value => header.insert(name.clone(), value.clone()),
        };
    }
    Value::Object(header)
}

#[test]
fn the_verdict_on_what_providers_write_is_the_same_for_every_algorithm() {
    let mut wrong = Vec::new();
    for signer in signers() {
        for case in cases() {
            let state = state_of(&signer, &case.token_types);
            let mut all = claims();
            all.extend(case.claims.clone());
            let token = signer.token_with(header(&signer, &case.header), &all);
            let seen = verdicts(&state, &token);
            if seen != [case.verdict.as_str(); 2] {
                wrong.push(format!("{} {}: {seen:?} instead of {}", signer.alg, case.name, case.verdict));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

thread_local! {
    /// Signers with the state that knows them; RSA once for each way of padding.
    static SOME: Vec<(Signer, SnapshotState)> = {
        let some = [ed25519(), p521(), ec("ES256"), ec("ES384"), rsa("RS256"), rsa("PS256")];
        some.into_iter().map(|signer| { let state = state_of(&signer, &[]); (signer, state) }).collect()
    };
}

const HEADER: &str =
    "(kid|typ|cty|jwk|jku|x5c|x5t|x5t#S256|x5u|salt|nonce|zip|enc|crit|b64|iss|sub|aud|ver|x)";
const CLAIM: &str = "(sub|tenant|aud|exp|nbf|iat|jti|sid|act|roles|scope|azp|nonce|kid|cnf|x|realm_access)";

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_in_a_token_its_verdict_is_the_same_for_every_algorithm(
        members in prop::collection::hash_map(HEADER, any_json(), 0..3),
        changes in prop::collection::hash_map(CLAIM, any_json(), 0..3),
        bent in any::<bool>(),
    ) {
        SOME.with(|some| {
            let mut seen = Vec::new();
            for (signer, state) in some {
                let mut all = claims();
                all.extend(changes.clone());
                let members: Map<String, Value> = members.clone().into_iter().collect();
                let mut token = signer.token_with(header(signer, &members), &all).into_bytes();
                if bent {
                    // A character of the signature that all of its bits count in.
                    let at = token.len() - 20;
                    token[at] = if token[at] == b'A' { b'B' } else { b'A' };
                }
                let token = String::from_utf8(token).unwrap();
                seen.extend(verdicts(state, &token).map(|verdict| (signer.alg, verdict)));
            }
            let first = seen[0].1;
            prop_assert!(seen.iter().all(|(_, verdict)| *verdict == first), "{:?}", seen);
            prop_assert!(!bent || first != "ok");
            Ok(())
        })?;
    }
}
