//! Key sets as issuers publish them: which keys are used, which are left out, and why.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::*;
use portcullis_authn::jwk::{LeftOut, MAX_KEYS, read_members};
use portcullis_authn::key_set::KeySet;
use portcullis_model::policy::Algorithm;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    algorithms: Vec<Algorithm>,
    keys: Vec<Value>,
    /// The `kid`s of the used ones.
    used: Vec<Option<String>>,
    /// The others: `kid` and a part of the reason.
    left_out: Vec<(Option<String>, String)>,
}

/// All that is left out of a set.
fn read(keys: &[Value], algorithms: &[Algorithm]) -> (KeySet, Vec<LeftOut>) {
    let (jwks, mut left_out) = read_members(keys);
    let mut set = KeySet::read(&jwks, algorithms, false);
    left_out.append(&mut set.left_out);
    (set, left_out)
}

#[test]
fn every_key_of_a_set_is_used_or_left_out_with_a_reason() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/field/key-sets/key-sets.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in cases {
        let (set, left_out) = read(&case.keys, &case.algorithms);
        let used: Vec<_> = set.used.keys.iter().map(|key| key.kid.clone()).collect();
        assert_eq!(used, case.used, "{}", case.name);
        assert_eq!(left_out.len(), case.left_out.len(), "{}: {left_out:?}", case.name);
        for (seen, (kid, why)) in left_out.iter().zip(&case.left_out) {
            assert_eq!(seen.kid.as_ref().map(ToString::to_string), *kid, "{}", case.name);
            assert!(seen.why.to_string().contains(why), "{}: {seen}", case.name);
        }
        // What is published can be read again, and gives the same keys.
        let published = serde_json::to_value(&set.used).unwrap();
        let (again, left_out) = read(published["keys"].as_array().unwrap(), &case.algorithms);
        assert_eq!((again.used, left_out), (set.used, Vec::new()), "{}", case.name);
    }
}

#[test]
fn nothing_is_cut_in_silence_and_what_comes_first_stays() {
    let keys: Vec<Value> = (1..=102_u8)
        .map(|n| {
            let mut jwk = ed25519_of(n).jwk;
            jwk["kid"] = json!(format!("k{n:03}"));
            jwk
        })
        .rev()
        .collect();
    let (set, left_out) = read(&keys, &[Algorithm::EdDSA]);
    assert_eq!((set.used.keys.len(), set.keys.len()), (MAX_KEYS, MAX_KEYS));
    assert_eq!(set.used.keys[0].kid.as_deref(), Some("k102"));
    let told: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    let expected = ["k002", "k001"]
        .map(|kid| format!("the key \"{kid}\" comes after the first 100, which are all that are taken"));
    assert_eq!(told, expected);
}

/// A key is what it is, however it is spelled: its tokens verify, and it is the same one to what stands on it.
#[test]
fn a_key_verifies_in_every_spelling() {
    // One in 256 keys has such a coordinate.
    let short = loop {
        let signer = ec("ES256");
        if decoded(&signer.jwk["x"])[0] == 0 {
            break signer;
        }
    };
    let mut digests = Vec::new();
    for signer in [short, rsa("RS256"), ed25519(), p521()] {
        let members: Vec<&str> =
            ["n", "e", "x", "y"].into_iter().filter(|m| signer.jwk.get(*m).is_some()).collect();
        let is_number = signer.alg != "EdDSA";
        let respell = |spell: &dyn Fn(Vec<u8>) -> String| {
            let mut jwk = signer.jwk.clone();
            members.iter().for_each(|member| jwk[*member] = json!(spell(decoded(&signer.jwk[*member]))));
            jwk
        };
        let mut spellings = vec![signer.jwk.clone(), respell(&|bytes| STANDARD.encode(bytes))];
        if is_number {
            let shortest =
                |bytes: Vec<u8>| b64(bytes.into_iter().skip_while(|b| *b == 0).collect::<Vec<_>>());
            spellings.push(respell(&shortest));
            spellings.push(respell(&|bytes| b64([&[0], bytes.as_slice()].concat())));
        }
        for jwk in spellings {
            let state = snapshot(&[issuer(&[signer.alg], &json!([jwk]))]);
            let verified = verify(&state, &signer.token(&claims()));
            digests.push((signer.alg, verified.expect("verifies").key));
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 4, "each is one key");
}

fn decoded(member: &Value) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(member.as_str().unwrap()).unwrap()
}

/// Names that issuers give their keys.
#[test]
fn a_token_of_a_key_with_an_odd_name_verifies() {
    for kid in ["my key", "a,b", "schlüssel", &"k".repeat(255)] {
        let mut signer = ed25519();
        signer.jwk["kid"] = json!(kid);
        let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
        let token = signer.token_with(json!({"alg": "EdDSA", "kid": kid}), &claims());
        assert_eq!(verify(&state, &token).unwrap().principal.key_id.unwrap().as_str(), kid);
    }
}
