//! What an issuer's policy asks of its tokens.

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::*;
use portcullis_authn::is_revoked;
use portcullis_identity::CredentialKind;
use portcullis_model::Reason;
use serde_json::{Map, Value, json};

const LONG: [u8; 64] = [7; 64];

/// Claims with one of them changed; null removes it.
fn with(name: &str, value: Value) -> Map<String, Value> {
    let mut claims = claims();
    match value {
        Value::Null => claims.remove(name),
        value => claims.insert(name.into(), value),
    };
    claims
}

#[test]
fn p521_verifies_and_notices_a_changed_byte() {
    let signer = p521();
    let state = snapshot(&[issuer(&["ES512"], &json!([signer.jwk]))]);
    let token = signer.token(&claims());
    assert!(verify(&state, &token).is_ok());
    let mut bent = token.clone().into_bytes();
    let at = bent.len() - 50;
    bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).unwrap();
    assert_eq!(verify(&state, &bent), Err(Reason::SignatureInvalid));
    let short = token.rsplit_once('.').unwrap().0.to_owned() + ".AAAA";
    assert_eq!(verify(&state, &short), Err(Reason::SignatureInvalid));
}

#[test]
fn shared_secrets_verify_with_each_hash() {
    for alg in ["HS256", "HS384", "HS512"] {
        let state = snapshot_with(&[issuer(&[alg], &json!([]))], vec![secret(&LONG)]);
        let signer = shared(alg, &LONG);
        let principal = verify(&state, &signer.token(&claims())).unwrap().principal;
        assert_eq!((principal.subject.as_str(), principal.key_id), ("ann", None), "{alg}");
        let other = shared(alg, &[8; 64]);
        assert_eq!(verify(&state, &other.token(&claims())), Err(Reason::SignatureInvalid), "{alg}");
        let token = signer.token(&claims());
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let cut = format!("{text}.{}", b64(&signature[..signature.len() - 1]));
        assert_eq!(verify(&state, &cut), Err(Reason::SignatureInvalid), "{alg}: a cut signature");
    }
}

#[test]
fn a_secret_that_is_missing_or_too_short_verifies_nothing() {
    for (alg, shortest) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let run = |secrets: Vec<_>, key: &[u8]| {
            let state = snapshot_with(&[issuer(&[alg], &json!([]))], secrets);
            verify(&state, &shared(alg, key).token(&claims())).map(|_| ())
        };
        assert_eq!(run(vec![], b""), Err(Reason::KeyUnknown), "{alg}");
        let key = &LONG[..shortest];
        assert_eq!(run(vec![secret(key)], key), Ok(()), "{alg}");
        let key = &LONG[..shortest - 1];
        assert_eq!(run(vec![secret(key)], key), Err(Reason::KeyUnknown), "{alg}");
    }
}

#[test]
fn an_issuer_whose_keys_have_expired_is_refused_and_no_other() {
    let signer = ed25519();
    let mut old = issuer(&["EdDSA"], &json!([signer.jwk]));
    old["keysExpired"] = json!(true);
    let mut other = issuer(&["EdDSA"], &json!([signer.jwk]));
    other["issuer"] = json!("https://other.example");
    let state = snapshot(&[old, other]);
    assert_eq!(verify(&state, &signer.token(&claims())), Err(Reason::IssuerKeysExpired));
    assert!(verify(&state, &signer.token(&with("iss", json!("https://other.example")))).is_ok());
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let signer = ed25519();
    let public = signer.jwk["x"].as_str().unwrap().as_bytes().to_vec();
    let forged = shared("HS256", &public).token(&claims());
    let state = snapshot_with(&[issuer(&["EdDSA"], &json!([signer.jwk]))], vec![secret(&public)]);
    assert_eq!(verify(&state, &forged), Err(Reason::AlgorithmNotAllowed));
    // An issuer that mixes both has no keys at all.
    let mixed = issuer(&["EdDSA", "HS256"], &json!([signer.jwk]));
    let state = snapshot_with(&[mixed], vec![secret(&public)]);
    assert_eq!(verify(&state, &forged), Err(Reason::KeyUnknown));
    assert_eq!(verify(&state, &signer.token(&claims())), Err(Reason::KeyUnknown));
    // A symmetric key of the key set is none either (RFC 7517 leaves it to the reader).
    let oct = json!([{"kty": "oct", "kid": "k1", "k": b64(LONG)}]);
    let state = snapshot(&[issuer(&["HS256"], &oct)]);
    assert_eq!(verify(&state, &shared("HS256", &LONG).token(&claims())), Err(Reason::KeyUnknown));
}

#[test]
fn types_size_and_required_claims_are_policy() {
    let signer = ed25519();
    let with_policy = |name: &str, value: Value| {
        let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
        document[name] = value;
        snapshot(&[document])
    };
    let typed = |typ: Value| signer.token_with(json!({"alg": "EdDSA", "typ": typ}), &claims());
    let state = with_policy("tokenTypes", json!(["at+jwt"]));
    assert!(verify(&state, &typed(json!("at+jwt"))).is_ok());
    assert!(verify(&state, &typed(json!("application/AT+JWT"))).is_ok());
    assert_eq!(verify(&state, &typed(json!("JWT"))), Err(Reason::CredentialUnsupported));
    let untyped = signer.token_with(json!({"alg": "EdDSA"}), &claims());
    assert_eq!(verify(&state, &untyped), Err(Reason::CredentialUnsupported));
    let state = with_policy("tokenTypes", json!(["portcullis-identity+jwt"]));
    let identity = typed(json!("portcullis-identity+jwt"));
    assert_eq!(verify(&state, &identity), Err(Reason::CredentialUnsupported), "no policy allows it");

    let token = signer.token(&claims());
    let state = with_policy("maxTokenBytes", json!(token.len()));
    assert!(verify(&state, &token).is_ok());
    let state = with_policy("maxTokenBytes", json!(token.len() - 1));
    assert_eq!(verify(&state, &token), Err(Reason::CredentialTooLarge));

    let required = json!([{"claim": ["https://ns/kind"], "anyOf": ["a", "b"]}, {"claim": ["deep", "er"]}]);
    let state = with_policy("requiredClaims", required);
    let run = |kind: Value, deep: Value| {
        let mut claims = with("https://ns/kind", kind);
        claims.insert("deep".into(), deep);
        verify(&state, &signer.token(&claims)).map(|_| ())
    };
    let there = json!({"er": 1});
    assert_eq!(run(json!("b"), there.clone()), Ok(()));
    assert_eq!(run(json!(["x", "a"]), there.clone()), Ok(()));
    for (kind, deep) in [
        (json!("c"), there.clone()),
        (json!(null), there.clone()),
        (json!(["x"]), there.clone()),
        (json!("a"), json!({"er": null})),
        (json!("a"), json!({})),
        (json!("a"), json!("er")),
    ] {
        assert_eq!(run(kind.clone(), deep.clone()), Err(Reason::ClaimInvalid), "{kind} {deep}");
    }
}

#[test]
fn claims_are_found_where_the_mapping_says() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    document["claims"] = json!({"subject": ["https://ns/user"], "tenant": ["org", "name"],
        "roles": ["realm_access", "roles"], "scopes": ["scp"], "clientId": ["app", "id"]});
    let state = snapshot(&[document]);
    let mut claims = with("https://ns/user", json!("ann"));
    claims.insert("org".into(), json!({"name": "acme"}));
    claims.insert("realm_access".into(), json!({"roles": ["r1", "r2"]}));
    claims.insert("scp".into(), json!("s1 s2 s3"));
    claims.insert("app".into(), json!({"id": "portal"}));
    claims.remove("tenant");
    let principal = verify(&state, &signer.token(&claims)).unwrap().principal;
    assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("ann", "acme"));
    assert_eq!((principal.roles.len(), principal.scopes.len()), (2, 3));
    assert_eq!(principal.client_id.unwrap().as_str(), "portal");
    claims.insert("org".into(), json!(["acme"]));
    assert_eq!(verify(&state, &signer.token(&claims)), Err(Reason::ClaimInvalid));
}

#[test]
fn service_tokens_are_a_kind_of_their_own_and_nothing_else_is() {
    let signer = ed25519();
    let run = |credential: &str| {
        let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
        document["credential"] = json!(credential);
        let claims = with("act", json!({"sub": "agent", "act": {"sub": "scheduler"}}));
        verify(&snapshot(&[document]), &signer.token(&claims)).map(|v| v.principal)
    };
    let principal = run("service_token").unwrap();
    assert_eq!(principal.credential, CredentialKind::ServiceToken);
    let actors: Vec<_> = principal.actors.iter().map(|a| a.as_str()).collect();
    assert_eq!((principal.subject.as_str(), actors), ("ann", vec!["agent", "scheduler"]));
    for kind in ["api_key", "workload", "identity_token", "oauth_token"] {
        assert_eq!(run(kind), Err(Reason::CredentialUnsupported), "{kind}");
    }
}

#[test]
fn an_exchanged_token_ends_with_everything_that_led_to_it() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    let mut claims = with("derived_from", json!(["jti:t-1", "kid:k0", "client:web"]));
    claims.insert("sid".into(), json!("s-1"));
    claims.insert("act".into(), json!({"sub": "svc-b", "act": {"sub": "svc-a"}}));
    let token = signer.token(&claims);
    let revoked = |document: &Value, name: &str| {
        let state = snapshot_with(std::slice::from_ref(document), vec![revocation(name)]);
        is_revoked(&verify(&state, &token).unwrap().principal, &state)
    };
    let names = [
        "jti:t-1",
        "kid:k0",
        "client:web",
        "sid:s-1",
        "sub:svc-a",
        "client:svc-a",
        "client:svc-b",
        "client:ann",
        "service_client:acme svc-a",
        "service_client:acme svc-b",
    ];
    document["credential"] = json!("service_token");
    for name in names {
        assert!(revoked(&document, name), "{name}");
    }
    assert!(!revoked(&document, "jti:t-2") && !revoked(&document, "client:reader"));
    assert!(!revoked(&document, "service_client:globex svc-a"), "a client of another tenant");
    // What any other issuer says under that name is its own affair, and so are its subjects' names.
    document["credential"] = json!("jwt");
    let found: Vec<_> = names.into_iter().filter(|name| revoked(&document, name)).collect();
    assert_eq!(found, ["client:web", "sid:s-1", "sub:svc-a"], "its own client, session and actor");
}

#[test]
fn what_an_exchanged_token_comes_from_is_read_strictly() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    document["credential"] = json!("service_token");
    let state = snapshot(&[document]);
    let run = |value: Value| verify(&state, &signer.token(&with("derived_from", value))).map(|_| ());
    assert_eq!(run(json!(vec!["jti:a"; 32])), Ok(()));
    for bad in [json!(vec!["jti:a"; 33]), json!("jti:a"), json!([1]), json!({}), json!(["a".repeat(601)])] {
        assert_eq!(run(bad.clone()), Err(Reason::ClaimInvalid), "{bad}");
    }
}

#[test]
fn a_token_that_is_bound_to_its_holders_key_does_not_pass_for_a_bearer_token() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    for cnf in [json!({"jkt": "thumbprint"}), json!({"x5t#S256": "thumbprint"}), json!({}), json!(1)] {
        let token = signer.token(&with("cnf", cnf.clone()));
        assert_eq!(verify(&state, &token), Err(Reason::CredentialUnsupported), "{cnf}");
    }
}

#[test]
fn a_key_that_is_not_for_verifying_verifies_nothing() {
    let signer = ed25519();
    let run = |ops: Value| {
        let mut jwk = signer.jwk.clone();
        jwk["key_ops"] = ops;
        verify(&snapshot(&[issuer(&["EdDSA"], &json!([jwk]))]), &signer.token(&claims())).map(|_| ())
    };
    assert_eq!(run(json!(["verify"])), Ok(()));
    assert_eq!(run(json!(["sign", "verify"])), Ok(()));
    for ops in [json!(["sign"]), json!([]), json!(["encrypt", "wrapKey"])] {
        assert_eq!(run(ops.clone()), Err(Reason::KeyUnknown), "{ops}");
    }
}

#[test]
fn an_issuer_vouches_for_its_own_tenants_only() {
    let signer = ed25519();
    let run = |tenants: Value| {
        let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
        document["tenants"] = tenants;
        verify(&snapshot(&[document]), &signer.token(&claims())).map(|_| ())
    };
    assert_eq!(run(json!(["globex", "acme"])), Ok(()));
    assert_eq!(run(json!(["globex"])), Err(Reason::TenantNotAllowed));
    assert_eq!(run(json!(["acme-2"])), Err(Reason::TenantNotAllowed));
    assert_eq!(run(json!([])), Ok(()), "no list stands for all");
}

#[test]
fn leeway_is_bounded() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    document["leewaySeconds"] = json!(1_000_000);
    let state = snapshot(&[document]);
    let run = |exp: u64| verify(&state, &signer.token(&with("exp", json!(exp)))).map(|_| ());
    assert_eq!(run(NOW - 299), Ok(()));
    assert_eq!(run(NOW - 300), Err(Reason::TokenExpired));
}

/// The same rule for tokens and for answers of introspection, which share the code.
#[test]
fn ids_are_text_or_digits_and_what_no_revocation_can_name_is_left_out_and_counted() {
    let signer = ed25519();
    let document = issuer(&["EdDSA"], &json!([signer.jwk]));
    let state = snapshot(std::slice::from_ref(&document));
    for name in ["jti", "sid"] {
        let run = |value: &Value| {
            let mut claims = claims();
            claims.insert(name.into(), value.clone());
            let principal = verify(&state, &signer.token(&claims)).unwrap().principal;
            (principal.token_id.or(principal.session_id), principal.omitted)
        };
        let long = "a".repeat(255);
        for (value, id) in
            [(json!(long), &*long), (json!(17), "17"), (json!(-1), "-1"), (json!("x|y"), "x|y")]
        {
            assert_eq!(run(&value), (Some(id.to_owned()), 0), "{value}");
        }
        assert_eq!(run(&Value::Null), (None, 0));
        for bad in [
            json!("a".repeat(256)),
            json!(["a"]),
            json!({}),
            json!(true),
            json!(1.5),
            json!(""),
            json!("a b"),
            json!("\u{e4}"),
            json!("a\n"),
        ] {
            assert_eq!(run(&bad), (None, 1), "{bad}");
        }
    }
    // A number is revoked by its digits.
    let revoked = snapshot_with(&[document], vec![revocation("jti:17")]);
    let principal = verify(&revoked, &signer.token(&with("jti", json!(17)))).unwrap().principal;
    assert!(is_revoked(&principal, &revoked));
}

#[test]
fn a_token_that_says_that_it_is_none_for_access_is_refused_unless_the_issuer_has_the_switch() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    let said = [
        ("typ", json!("ID")),
        ("typ", json!("refresh")),
        ("token_use", json!("id")),
        ("events", json!({"e": {}})),
    ];
    for (switch, expected) in [(false, Err(Reason::CredentialUnsupported)), (true, Ok(()))] {
        document["anyTokenUse"] = json!(switch);
        let state = snapshot(std::slice::from_ref(&document));
        for (name, value) in &said {
            let result = verify(&state, &signer.token(&with(name, value.clone()))).map(|_| ());
            assert_eq!(result, expected, "{name} {value}");
        }
    }
}
