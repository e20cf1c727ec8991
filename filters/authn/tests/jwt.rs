//! Tokens of every algorithm through the whole verification, and what must be refused.

mod common;

use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::*;
use jwt_simple::prelude::*;
use portcullis_authn::{KeyRing, NativeVerify, PureRust, jwt};
use portcullis_model::Reason;
use serde_json::{Value, json};

#[test]
fn a_good_token_gives_its_principal() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    let verified = verify(&state, &signer.token(&claims())).unwrap();
    let principal = verified.principal;
    assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("ann", "acme"));
    assert_eq!(principal.client_id.unwrap().as_str(), "web");
    assert_eq!(principal.roles.len() + principal.scopes.len(), 3);
    assert_eq!(principal.expires_at, NOW + 60 + 30);
    assert_eq!(principal.key_id.unwrap().as_str(), "k1");
}

/// Tokens that jwt-simple itself makes: another implementation's idea of each algorithm.
#[test]
fn every_algorithm_verifies() {
    let made = || {
        Claims::with_custom_claims(json!({"tenant": "acme"}), Duration::from_days(365))
            .with_issuer(ISSUER)
            .with_subject("ann")
            .with_audience("portcullis")
    };
    let now = Clock::now_since_epoch().as_secs();
    let mut cases: Vec<(&str, Value, String)> = Vec::new();
    macro_rules! rsa {
        ($($alg:literal $key:ident;)*) => {$(
            let pair = $key::generate(2048).unwrap().with_key_id("k1");
            let parts = pair.public_key().to_components();
            let jwk = json!({"kty": "RSA", "kid": "k1", "n": b64(parts.n), "e": b64(parts.e)});
            cases.push(($alg, jwk, pair.sign(made()).unwrap()));
        )*};
    }
    rsa! { "RS256" RS256KeyPair; "RS384" RS384KeyPair; "RS512" RS512KeyPair;
    "PS256" PS256KeyPair; "PS384" PS384KeyPair; "PS512" PS512KeyPair; }
    let point = |bytes: &[u8], crv: &str| {
        let half = bytes.len() / 2;
        json!({"kty": "EC", "crv": crv, "kid": "k1", "x": b64(&bytes[1..=half]), "y": b64(&bytes[half + 1..])})
    };
    let es256 = ES256KeyPair::generate().with_key_id("k1");
    let public = es256.public_key().public_key().to_bytes_uncompressed();
    cases.push(("ES256", point(&public, "P-256"), es256.sign(made()).unwrap()));
    let es384 = ES384KeyPair::generate().with_key_id("k1");
    let public = es384.public_key().public_key().to_bytes_uncompressed();
    cases.push(("ES384", point(&public, "P-384"), es384.sign(made()).unwrap()));

    for (alg, jwk, token) in cases {
        let run = |allowed: &str, token: &str| {
            let state = snapshot(&[issuer(&[allowed], &json!([jwk]))]);
            jwt::verify(token.as_bytes(), &state, &KeyRing::default(), &PureRust, now)
                .map(|_| ())
                .map_err(|why| why.reason)
        };
        assert_eq!(run(alg, &token), Ok(()), "{alg}");
        let other = if alg == "RS512" { "RS256" } else { "RS512" };
        assert_eq!(run(other, &token), Err(Reason::AlgorithmNotAllowed), "{alg} where {other} is allowed");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bent = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bent[7] ^= 1;
        assert_eq!(run(alg, &format!("{signed}.{}", b64(bent))), Err(Reason::SignatureInvalid), "{alg}");
    }
}

/// Keys of an issuer that takes one out of use: several may fit, and each that fits is tried, up to a bound.
#[test]
fn every_key_that_fits_is_tried() {
    let named = |mut signer: Signer, kid: Option<&str>| {
        signer.jwk["kid"] = json!(kid);
        signer
    };
    let (old, new, third) = (ed25519_of(1), ed25519_of(2), ed25519_of(3));
    let run = |keys: &[&Signer], header: Value, signer: &Signer| {
        let jwks: Vec<Value> = keys.iter().map(|key| key.jwk.clone()).collect();
        let state = snapshot(&[issuer(&["EdDSA"], &json!(jwks))]);
        let verified = verify(&state, &signer.token_with(header, &claims()))?;
        Ok(verified.principal.key_id.map(|id| id.as_str().to_owned()))
    };
    let with_kid = json!({"alg": "EdDSA", "kid": "k1"});
    let without = json!({"alg": "EdDSA"});
    // Two keys of one name: one was replaced under it.
    for signer in [&old, &new] {
        assert_eq!(run(&[&old, &new], with_kid.clone(), signer), Ok(Some("k1".into())));
    }
    assert_eq!(run(&[&old, &new], with_kid.clone(), &third), Err(Reason::SignatureInvalid));
    // A token that names no key, and keys that have names of their own: the record has that of the key.
    let (one, two) = (named(old, Some("a")), named(new, Some("b")));
    assert_eq!(run(&[&one, &two], without.clone(), &two), Ok(Some("b".into())));
    assert_eq!(run(&[&one, &two], with_kid, &two), Err(Reason::KeyUnknown));
    // Keys without names.
    let (one, two) = (named(one, None), named(two, None));
    assert_eq!(run(&[&one, &two], without.clone(), &one), Ok(None));
    // In Rust no more than two are tried: anybody can make us try.
    assert_eq!(run(&[&one, &two, &third], without, &third), Err(Reason::SignatureInvalid));
}

#[test]
fn claims_are_judged() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.into(), value);
        }
        verify(&state, &signer.token(&claims)).map(|_| ())
    };
    for (name, value, expected) in [
        ("exp", json!(NOW - 29), Ok(())),
        ("exp", json!(NOW - 30), Err(Reason::TokenExpired)),
        ("exp", Value::Null, Err(Reason::ClaimInvalid)),
        ("exp", json!("1800000060"), Err(Reason::ClaimInvalid)),
        ("exp", json!(-1), Err(Reason::ClaimInvalid)),
        ("exp", json!(1e300), Err(Reason::ClaimInvalid)),
        ("exp", json!(1_800_000_060.5), Ok(())),
        ("nbf", json!(NOW + 30), Ok(())),
        ("nbf", json!(NOW + 31), Err(Reason::TokenNotYetValid)),
        ("iat", json!(NOW + 31), Err(Reason::TokenNotYetValid)),
        ("aud", json!(["x", "other"]), Ok(())),
        ("aud", json!("x"), Err(Reason::AudienceMismatch)),
        ("aud", json!([]), Err(Reason::AudienceMismatch)),
        ("aud", json!([1]), Err(Reason::ClaimInvalid)),
        ("jti", json!(1), Ok(())),
        ("jti", json!("t"), Ok(())),
        ("aud", Value::Null, Err(Reason::AudienceMismatch)),
        ("iss", json!("https://other"), Err(Reason::IssuerUnknown)),
        ("iss", Value::Null, Err(Reason::IssuerUnknown)),
        ("sub", Value::Null, Err(Reason::ClaimInvalid)),
        ("sub", json!("a b"), Err(Reason::ClaimInvalid)),
        ("sub", json!(7), Err(Reason::ClaimInvalid)),
        ("tenant", json!("Acme"), Err(Reason::ClaimInvalid)),
        ("tenant", json!(["acme"]), Err(Reason::ClaimInvalid)),
        ("roles", json!("a b"), Ok(())),
        ("roles", json!([1]), Ok(())),
        ("roles", json!(["a,b"]), Ok(())),
        ("act", json!({"sub": "agent"}), Ok(())),
        ("act", json!("agent"), Err(Reason::ClaimInvalid)),
        ("act", json!({}), Err(Reason::ClaimInvalid)),
    ] {
        assert_eq!(with(name, value.clone()), expected, "{name} = {value}");
    }
}

/// Providers write null for what a token has not. A client of the wrong form must not make it one without a client.
#[test]
fn null_is_absent_and_a_client_of_the_wrong_form_is_refused() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    let client = |changes: Value| {
        let mut claims = claims();
        claims.extend(changes.as_object().unwrap().clone());
        let principal = verify(&state, &signer.token(&claims))?.principal;
        assert!(
            principal.actors.is_empty() && principal.token_id.is_none() && principal.session_id.is_none()
        );
        Ok(principal.client_id.map(|id| id.as_str().to_owned()))
    };
    let nulls = json!({"nbf": null, "iat": null, "act": null, "jti": null, "sid": null});
    assert_eq!(client(nulls), Ok(Some("web".into())));
    assert_eq!(client(json!({"exp": null})), Err(Reason::ClaimInvalid), "a token has an end");
    assert_eq!(client(json!({"client_id": null, "azp": "app"})), Ok(Some("app".into())));
    assert_eq!(client(json!({"client_id": null, "azp": null})), Ok(None));
    for wrong in [json!(7), json!(["web"]), json!({}), json!(true)] {
        assert_eq!(client(json!({"client_id": wrong, "azp": "app"})), Err(Reason::ClaimInvalid), "{wrong}");
        assert_eq!(client(json!({"client_id": null, "azp": wrong})), Err(Reason::ClaimInvalid), "{wrong}");
    }
}

/// What a provider writes and is no name here grants nothing, and does not refuse the rest.
#[test]
fn roles_that_are_no_names_here_are_left_out_and_counted() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    let many: Vec<String> = (0..70).map(|n| format!("r{n}")).collect();
    for (changes, roles, omitted, incomplete) in [
        (json!({"roles": ["reader", "writer"]}), 2, 0, false),
        (json!({"roles": ["reader", "Data Editors", "CN=Admins,DC=x", 7, null, {}]}), 1, 5, true),
        (json!({"roles": ["reader", "reader"]}), 1, 0, false),
        (json!({"roles": ["reader,admin", "reader\nx-portcullis-roles: admin", ""]}), 0, 3, true),
        (json!({"roles": ["reader"], "scope": 7}), 1, 1, false),
        (json!({"roles": many}), 64, 6, true),
        (json!({"roles": {"reader": true}}), 0, 1, true),
        (json!({"roles": null}), 0, 0, false),
        (json!({"roles": [], "_claim_names": {"roles": "src1"}}), 0, 0, true),
        (json!({"roles": [], "_claim_names": {"groups": "src1"}, "hasgroups": true}), 0, 0, false),
        (json!({"roles": [], "roles_incomplete": true}), 0, 0, false),
        (json!({"roles": ["reader"], "scope": "a \"b\""}), 1, 1, false),
    ] {
        let mut claims = claims();
        claims.extend(changes.as_object().unwrap().clone());
        let principal = verify(&state, &signer.token(&claims)).unwrap().principal;
        let seen = (principal.roles.len(), principal.omitted, principal.roles_incomplete);
        assert_eq!(seen, (roles, omitted, incomplete), "{changes}");
    }
}

#[test]
fn an_old_token_is_refused_where_an_age_is_set() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    document["maxAgeSeconds"] = json!(10);
    document["leewaySeconds"] = json!(0);
    let state = snapshot(&[document]);
    let mut claims = claims();
    claims.insert("iat".into(), json!(NOW - 9));
    assert_eq!(verify(&state, &signer.token(&claims)).unwrap().principal.expires_at, NOW + 1);
    claims.insert("iat".into(), json!(NOW - 10));
    assert_eq!(verify(&state, &signer.token(&claims)), Err(Reason::TokenExpired));
    claims.remove("iat");
    assert_eq!(verify(&state, &signer.token(&claims)), Err(Reason::ClaimInvalid));
}

#[test]
fn the_token_does_not_choose_its_key_or_algorithm() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA", "RS256"], &json!([signer.jwk]))]);
    let run = |header: Value| verify(&state, &signer.token_with(header, &claims())).map(|_| ());
    assert_eq!(run(json!({"alg": "EdDSA"})), Ok(()), "one key needs no kid");
    assert_eq!(run(json!({"alg": "EdDSA", "kid": "k2"})), Err(Reason::KeyUnknown));
    assert_eq!(run(json!({"alg": "EdDSA", "kid": "k2", "jwk": signer.jwk})), Err(Reason::KeyUnknown));
    assert_eq!(run(json!({"alg": "none"})), Err(Reason::AlgorithmNotAllowed));
    assert_eq!(run(json!({"alg": "HS256", "kid": "k1"})), Err(Reason::AlgorithmNotAllowed));
    assert_eq!(run(json!({"alg": "eddsa", "kid": "k1"})), Err(Reason::AlgorithmNotAllowed));
    assert_eq!(run(json!({"alg": "RS256", "kid": "k1"})), Err(Reason::KeyUnknown), "no RSA key of that name");
}

#[test]
fn a_key_is_known_by_its_own_name_even_if_the_token_leaves_it_out() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    let token = signer.token_with(json!({"alg": "EdDSA"}), &claims());
    assert_eq!(verify(&state, &token).unwrap().principal.key_id.unwrap().as_str(), "k1");
}

#[test]
fn a_key_that_is_not_for_signatures_is_not_used() {
    let signer = ed25519();
    for (member, value) in
        [("use", "enc"), ("alg", "RS256"), ("crv", "X25519"), ("kty", "oct"), ("x", "AAAA")]
    {
        let mut jwk = signer.jwk.clone();
        jwk[member] = value.into();
        let state = snapshot(&[issuer(&["EdDSA"], &json!([jwk]))]);
        assert_eq!(verify(&state, &signer.token(&claims())), Err(Reason::KeyUnknown), "{member}={value}");
    }
}

#[test]
fn the_hosts_verdict_is_used_where_it_has_one() {
    struct Says(bool, Cell<u32>);
    impl NativeVerify for Says {
        fn verify(&self, hash: &str, key: &[u8], signature: &[u8], _text: &[u8]) -> Option<bool> {
            assert_eq!((hash, key[0], signature.len()), ("sha256", 0x30, 256));
            self.1.set(self.1.get() + 1);
            Some(self.0)
        }
    }
    let pair = RS256KeyPair::generate(2048).unwrap();
    let parts = pair.public_key().to_components();
    let jwk = json!({"kty": "RSA", "n": b64(parts.n), "e": b64(parts.e)});
    let state = snapshot(&[issuer(&["RS256"], &json!([jwk]))]);
    let header = b64(json!({"alg": "RS256"}).to_string());
    let token = format!("{header}.{}.{}", b64(Value::Object(claims()).to_string()), b64([1; 256]));
    for (verdict, expected) in [(true, Ok(())), (false, Err(Reason::SignatureInvalid))] {
        let host = Says(verdict, Cell::new(0));
        let result = jwt::verify(token.as_bytes(), &state, &KeyRing::default(), &host, NOW)
            .map(|_| ())
            .map_err(|why| why.reason);
        assert_eq!((result, host.1.get()), (expected, 1));
    }
}
