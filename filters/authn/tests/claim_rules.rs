//! Rules about claims that somebody tried to get around: who a token speaks for, and who is revoked.

mod common;

use common::*;
use portcullis_authn::is_revoked;
use portcullis_model::Reason;
use portcullis_model::policy::IssuerDocument;
use serde_json::{Value, json};

fn document(change: impl FnOnce(&mut Value)) -> (Signer, Value, Vec<String>) {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    change(&mut document);
    let read: IssuerDocument = serde_json::from_value(document.clone()).unwrap();
    let wrong = read.check().iter().map(|e| e.to_string()).collect();
    (signer, document, wrong)
}

/// `email_verified` speaks of `email`; nothing says so of a user name in the form of an address.
#[test]
fn email_domain_of_a_claim_that_nobody_verified() {
    for (path, value) in [
        (json!(["preferred_username"]), json!("mallory@acme.example")),
        (json!(["upn"]), json!("mallory@acme.example")),
        (json!(["profile", "contact"]), json!("mallory@acme.example")),
    ] {
        let (signer, document, wrong) = document(|d| {
            d["tenants"] = json!(["acme", "globex"]);
            d["claims"] = json!({"tenant": {"claim": path, "emailDomain": true,
                "map": {"acme.example": "acme", "globex.example": "globex"}}});
        });
        let mut c = claims();
        c.remove("tenant");
        c.insert("email".into(), json!("mallory@globex.example"));
        c.insert("email_verified".into(), json!(true));
        match path.as_array().unwrap().as_slice() {
            [one] => {
                c.insert(one.as_str().unwrap().into(), value);
            }
            _ => {
                c.insert("profile".into(), json!({"contact": value}));
            }
        }
        let seen = if wrong.is_empty() {
            let state = snapshot(&[document]);
            verify(&state, &signer.token(&c)).map(|v| v.principal.tenant.to_string())
        } else {
            Ok(format!("config refused: {wrong:?}"))
        };
        assert_ne!(seen, Ok("acme".to_owned()), "mallory of globex.example is of the tenant acme");
    }
}

/// A person revoked by the name that stood in the token, or before the issuer's names changed places.
#[test]
fn a_revoked_person_whose_issuer_is_named_by_an_alias() {
    let (signer, document, wrong) = document(|d| {
        d["issuer"] = json!("https://new.example");
        d["aliases"] = json!([ISSUER]);
    });
    assert!(wrong.is_empty());
    let revoked = [revocation("user:acme https://idp.example ann")];
    let state = snapshot_with(&[document], revoked.into());
    let verified = verify(&state, &signer.token(&claims())).unwrap();
    assert!(is_revoked(&verified.principal, &state), "revoked under the very iss of the token, and let in");
}

/// Numbers above 2^53.
#[test]
fn ids_that_are_great_numbers() {
    let (signer, document, wrong) = document(|d| {
        d["requiredClaims"] = json!([{"claim": ["org_id"], "anyOf": [9_007_199_254_740_992_u64]}]);
    });
    assert!(wrong.is_empty());
    let state = snapshot(&[document]);
    let mut c = claims();
    c.insert("org_id".into(), json!(9_007_199_254_740_993_u64));
    let seen = verify(&state, &signer.token(&c)).map(|_| ());
    assert_eq!(seen, Err(Reason::ClaimInvalid), "another organization's number fits");
}

/// `keys` with a member that says no.
#[test]
fn a_tenant_by_a_member_that_says_no() {
    let (signer, document, wrong) = document(|d| {
        d["tenants"] = json!(["acme"]);
        d["claims"] = json!({"tenant": {"claim": ["organization"], "form": "keys"}});
    });
    assert!(wrong.is_empty());
    let state = snapshot(&[document]);
    for no in [json!(false), json!(null)] {
        let mut c = claims();
        c.insert("organization".into(), json!({"acme": no}));
        let seen = verify(&state, &signer.token(&c)).map(|v| v.principal.tenant.to_string());
        assert!(seen.is_err(), "{no}");
    }
}

/// A subject by an address that nobody verified.
#[test]
fn a_subject_by_an_unverified_address() {
    let (_, _, wrong) = document(|d| {
        d["issuer"] = json!("https://login.microsoftonline.com/x/v2.0");
        d["claims"] = json!({"subject": ["email"], "tenant": {"fixed": "acme"}});
    });
    assert!(!wrong.is_empty(), "no word about it");
}

#[test]
fn templates_and_trust_domains() {
    let (signer, document, wrong) = document(|d| {
        d["issuer"] = json!("https://login.example/{tid}/v2.0");
        d["aliases"] = json!(["https://sts.example/{tid}/"]);
        d["issuerValues"] = json!(["a", "b"]);
        d["tenants"] = json!(["acme", "globex"]);
        d["claims"] = json!({"tenant": {"claim": ["tid"], "map": {"a": "acme", "b": "globex"}}});
    });
    assert!(wrong.is_empty(), "{wrong:?}");
    let state = snapshot(&[document]);
    for (iss, tid) in [
        ("https://login.example/a/v2.0", json!("b")),
        ("https://sts.example/a/", json!("b")),
        ("https://login.example/A/v2.0", json!("a")),
        ("https://login.example/c/v2.0", json!("c")),
        ("https://login.example/{tid}/v2.0", json!("a")),
        ("https://login.example/a/v2.0", json!(["a"])),
        ("https://sts.example/a/v2.0", json!("a")),
        ("https://login.example/a/", json!("a")),
        ("https://login.example/a/v2.0", json!(null)),
    ] {
        let mut c = claims();
        c.insert("iss".into(), json!(iss));
        c.insert("tid".into(), tid.clone());
        assert!(verify(&state, &signer.token(&c)).is_err(), "{iss} {tid}");
    }
    let (signer, document, wrong) = document_svid();
    assert!(wrong.is_empty(), "{wrong:?}");
    let state = snapshot(&[document]);
    for (iss, sub) in [
        (None, "spiffe://example.org.evil/t/acme"),
        (None, "spiffe://Example.org/t/acme"),
        (None, "spiffe://example.org"),
        (Some("https://oidc.example"), "spiffe://other.org/t/acme"),
        (Some("https://oidc.example"), "ann"),
        (None, "spiffe://example.org/../other.org/x"),
    ] {
        let mut c = claims();
        match iss {
            Some(i) => c.insert("iss".into(), json!(i)),
            None => c.remove("iss"),
        };
        c.insert("sub".into(), json!(sub));
        assert!(verify(&state, &signer.token(&c)).is_err(), "{iss:?} {sub}");
    }
}

fn document_svid() -> (Signer, Value, Vec<String>) {
    document(|d| {
        d["issuer"] = json!("spiffe://example.org");
        d["aliases"] = json!(["https://oidc.example"]);
        d["jwtSvid"] = json!(true);
        d["claims"] = json!({"tenant": {"fixed": "acme"}});
    })
}

/// A person who is revoked, and acts for somebody else.
#[test]
fn a_revoked_person_who_acts_for_another() {
    let (signer, document, _) = document(|_| ());
    let mut c = claims();
    c.insert("sub".into(), json!("bob"));
    c.insert("act".into(), json!({"sub": "ann"}));
    let told = |name: &str| {
        let state = snapshot_with(std::slice::from_ref(&document), vec![revocation(name)]);
        is_revoked(&verify(&state, &signer.token(&c)).unwrap().principal, &state)
    };
    assert!(told("user:acme https://idp.example ann"), "ann is revoked, and goes on as who acts for bob");
}

#[test]
fn a_map_from_which_the_last_entry_was_taken_lets_nobody_in() {
    for emptied in [json!({"map": {}}), json!({"patterns": []}), json!({"map": {}, "form": "list"})] {
        let mut written = issuer(&["EdDSA"], &json!([]));
        written["claims"] = json!({"tenant": emptied});
        written["claims"]["tenant"]["claim"] = json!(["org_name"]);
        let error = serde_json::from_value::<IssuerDocument>(written).unwrap_err().to_string();
        assert!(error.contains("the value of the claim itself is the tenant"), "{error}");
    }
}

/// Whether the bearer of a token of ours is revoked by one of these names.
fn told(document: &Value, token: &str, name: &str) -> bool {
    let state = snapshot_with(std::slice::from_ref(document), vec![revocation(name)]);
    is_revoked(&verify(&state, token).unwrap().principal, &state)
}

#[test]
fn a_person_is_revoked_by_every_name_of_the_issuer_and_by_no_other() {
    let (signer, document, wrong) = document(|d| {
        d["issuer"] = json!("https://login.example/{tid}/v2.0");
        d["aliases"] = json!(["https://sts.example/{tid}/"]);
        d["issuerValues"] = json!(["a", "b"]);
        d["tenants"] = json!(["acme"]);
        d["claims"] = json!({"tenant": {"fixed": "acme"}});
    });
    assert!(wrong.is_empty(), "{wrong:?}");
    for iss in ["https://login.example/a/v2.0", "https://sts.example/a/"] {
        let mut c = claims();
        c.insert("iss".into(), json!(iss));
        c.insert("tid".into(), json!("a"));
        let token = signer.token(&c);
        for name in ["https://login.example/a/v2.0", "https://sts.example/a/"] {
            assert!(told(&document, &token, &["user:acme ", name, " ann"].concat()), "{iss} by {name}");
        }
        for other in [
            "user:acme https://login.example/b/v2.0 ann",
            "user:acme https://sts.example/b/ ann",
            "user:acme https://login.example/{tid}/v2.0 ann",
            "user:globex https://login.example/a/v2.0 ann",
            "user:acme https://login.example/a/v2.0 bob",
            "user:acme - ann",
        ] {
            assert!(!told(&document, &token, other), "{iss} by {other}");
        }
    }
}

/// The names in an exchanged token are those of the day on which it was made.
#[test]
fn an_exchanged_token_ends_with_the_person_under_every_name_of_the_issuer() {
    let signer = ed25519();
    let mut own = issuer(&["EdDSA"], &json!([signer.jwk]));
    own["credential"] = json!("service_token");
    let mut theirs = issuer(&["EdDSA"], &json!([]));
    theirs["issuer"] = json!("https://new.example");
    theirs["aliases"] = json!(["https://old.example"]);
    let mut c = claims();
    c.insert("derived_from".into(), json!(["user:acme https://old.example ann"]));
    let token = signer.token(&c);
    let told = |name: &str| {
        let state = snapshot_with(&[own.clone(), theirs.clone()], vec![revocation(name)]);
        is_revoked(&verify(&state, &token).unwrap().principal, &state)
    };
    assert!(told("user:acme https://old.example ann") && told("user:acme https://new.example ann"));
    assert!(!told("user:acme https://new.example bob") && !told("user:globex https://new.example ann"));
}

#[test]
fn an_actor_of_another_issuer_or_tenant_is_somebody_else() {
    let (signer, document, _) = document(|_| ());
    let mut c = claims();
    c.insert("sub".into(), json!("bob"));
    c.insert("act".into(), json!({"sub": "carl", "act": {"sub": "ann"}}));
    let token = signer.token(&c);
    assert!(told(&document, &token, &["user:acme ", ISSUER, " ann"].concat()));
    assert!(!told(&document, &token, &["user:globex ", ISSUER, " ann"].concat()));
    assert!(!told(&document, &token, "user:acme https://other.example ann"));
}
