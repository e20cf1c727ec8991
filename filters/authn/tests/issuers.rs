//! Which issuer a token is of: by name, alias, template or trust domain, and by no word of its own.

mod common;

use common::*;
use portcullis_authn::jwt;
use portcullis_model::Reason;
use serde_json::{Value, json};

/// The result of a token whose claims were changed, by the document of its issuer.
fn tell(document: &Value, changes: Value) -> Result<(String, String), Reason> {
    let token = ed25519().token(&changed(&changes));
    let principal = verify(&snapshot(std::slice::from_ref(document)), &token)?.principal;
    Ok((principal.issuer.unwrap().as_str().to_owned(), principal.tenant.as_str().to_owned()))
}

fn named(name: &str, tenant: &str) -> Result<(String, String), Reason> {
    Ok((name.to_owned(), tenant.to_owned()))
}

fn document(changes: Value) -> Value {
    let mut document = issuer(&["EdDSA"], &json!([ed25519().jwk]));
    document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    document
}

/// Entra ID's way: one key set, and a directory in the issuer's name that the claim `tid` repeats.
fn template() -> Value {
    document(json!({
        "issuer": "https://login.example/{tid}/v2.0",
        "aliases": ["https://sts.example/{tid}/"],
        "issuerValues": ["dir-a", "dir-b"],
        "tenants": ["acme", "globex"],
        "claims": {"tenant": {"claim": ["tid"], "map": {"dir-a": "acme", "dir-b": "globex", "dir-c": "acme"}}},
    }))
}

#[test]
fn an_alias_is_the_same_issuer_under_one_name() {
    let document = document(json!({"aliases": ["idp.example", "https://old.example"]}));
    for iss in [ISSUER, "idp.example", "https://old.example"] {
        assert_eq!(tell(&document, json!({"iss": iss})), named(ISSUER, "acme"), "{iss}");
    }
    for other in ["https://idp.example/", "IDP.example", "old.example", ""] {
        assert_eq!(tell(&document, json!({"iss": other})), Err(Reason::IssuerUnknown), "{other}");
    }
}

#[test]
fn a_template_binds_its_segment_to_the_verified_claim() {
    let tell = |iss: &str, tid: Value| tell(&template(), json!({"iss": iss, "tid": tid}));
    let (a, b) = ("https://login.example/dir-a/v2.0", "https://login.example/dir-b/v2.0");
    assert_eq!(tell(a, json!("dir-a")), named(a, "acme"));
    assert_eq!(tell(b, json!("dir-b")), named(b, "globex"));
    assert_eq!(tell("https://sts.example/dir-b/", json!("dir-b")), named(b, "globex"), "under one name");
    for (iss, tid) in [(a, json!("dir-b")), (a, json!("DIR-A")), (a, json!(["dir-a"])), (a, Value::Null)] {
        assert_eq!(tell(iss, tid.clone()), Err(Reason::ClaimInvalid), "{iss} {tid}");
    }
    for iss in [
        "https://login.example/dir-c/v2.0",
        "https://login.example/{tid}/v2.0",
        "https://login.example/dir-a/x/v2.0",
        "https://login.example/dir-a/v2.0/",
        "https://login.example//v2.0",
        "https://login.example.evil/dir-a/v2.0",
    ] {
        let result = tell(iss, json!("dir-a"));
        assert_eq!(result, Err(Reason::IssuerUnknown), "{iss}: the allow list alone");
    }
}

#[test]
fn a_template_leads_to_listed_tenants_by_its_own_claim_alone() {
    let readable = |changes: Value| {
        let mut document = template();
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let page: portcullis_model::policy::IssuerDocument = serde_json::from_value(document).unwrap();
        page.check().into_iter().map(|e| e.to_string()).collect::<Vec<_>>().join("; ")
    };
    // One entry is of a directory that is not allowed: harmless, for its tokens have no issuer here.
    assert_eq!(readable(json!({})), "");
    assert_eq!(readable(json!({"claims": {"tenant": {"fixed": "acme"}}})), "");
    for (changes, wanted) in [
        (json!({"issuerValues": []}), "must list the values"),
        (json!({"issuerValues": ["a/b"]}), "must list the values"),
        (json!({"tenants": []}), "must list the tenants"),
        // Who runs one directory chooses what its other claims say.
        (json!({"claims": {"tenant": ["tenant"]}}), "the tenant is fixed, or said by the claim in braces"),
        (json!({"claims": {"tenant": ["tid", "x"]}}), "the tenant is fixed, or said by the claim in braces"),
        (json!({"aliases": ["https://sts.example/{other}/"]}), "the same claim in braces"),
        (json!({"aliases": ["https://sts.example/x/"]}), "the same claim in braces"),
        (json!({"issuer": "https://{tid}.example/"}), "one whole path segment"),
        (json!({"issuer": "https://login.example/{a}/{b}"}), "one whole path segment"),
        (json!({"issuer": "https://login.example/x", "aliases": []}), "is for an issuer that is a template"),
        (json!({"issuer": "https://login.example/x", "issuerValues": []}), "only the aliases of a template"),
        (json!({"jwtSvid": true}), "it is the trust domain"),
    ] {
        let found = readable(changes.clone());
        assert!(found.contains(wanted), "{changes}: {found}");
    }
}

#[test]
fn a_document_with_a_mistake_is_taken_by_no_filter() {
    let mut document = template();
    document["tenants"] = json!([]);
    let page = serde_json::from_value::<portcullis_model::policy::IssuerDocument>(document.clone()).unwrap();
    assert!(!page.check().is_empty());
    let result = std::panic::catch_unwind(|| snapshot(&[document]));
    assert!(result.is_err(), "the entry is unreadable");
}

#[test]
fn a_key_that_names_its_issuer_signs_for_that_one_alone() {
    let mut document = template();
    let tell = |document: &Value, dir: &str| {
        let iss = format!("https://login.example/{dir}/v2.0");
        tell(document, json!({"iss": iss, "tid": dir})).map(|(_, tenant)| tenant)
    };
    let of = |document: &mut Value, issuer: &str| document["jwks"]["keys"][0]["issuer"] = json!(issuer);
    of(&mut document, "https://login.example/{tenantid}/v2.0");
    assert_eq!(
        (tell(&document, "dir-a"), tell(&document, "dir-b")),
        (Ok("acme".into()), Ok("globex".into()))
    );
    of(&mut document, "https://login.example/dir-b/v2.0");
    assert_eq!(
        (tell(&document, "dir-a"), tell(&document, "dir-b")),
        (Err(Reason::KeyUnknown), Ok("globex".into()))
    );
    of(&mut document, "https://other.example/{tenantid}/v2.0");
    assert_eq!(tell(&document, "dir-a"), Err(Reason::KeyUnknown));
    // Two keys of one name: the one of another issuer is not tried.
    let mut keys = vec![ed25519().jwk, ed25519_of(7).jwk];
    keys[0]["issuer"] = json!("https://login.example/dir-b/v2.0");
    document["jwks"]["keys"] = json!(keys);
    assert_eq!(tell(&document, "dir-a"), Err(Reason::SignatureInvalid));
}

#[test]
fn what_is_fetched_for_an_unknown_key_is_named_by_the_operator_and_never_by_the_token() {
    let state = snapshot(&[template()]);
    let token = |iss: &str| {
        let claims = changed(&json!({"iss": iss, "tid": "dir-a"}));
        ed25519().token_with(json!({"alg": "EdDSA", "kid": "other"}), &claims)
    };
    let (document, _) =
        jwt::unknown_key(token("https://login.example/dir-a/v2.0").as_bytes(), &state).unwrap();
    assert_eq!(document.issuer.as_str(), "https://login.example/{tid}/v2.0");
    assert!(jwt::unknown_key(token("https://login.example/dir-x/v2.0").as_bytes(), &state).is_none());
    assert!(jwt::unknown_key(token("https://evil.example/dir-a/v2.0").as_bytes(), &state).is_none());
}

#[test]
fn two_templates_that_fit_are_no_issuer() {
    let mut other = template();
    other["issuer"] = json!("https://login.example/{oid}/v2.0");
    other["aliases"] = json!([]);
    other["claims"]["tenant"]["claim"] = json!(["oid"]);
    let token = ed25519()
        .token(&changed(&json!({"iss": "https://login.example/dir-a/v2.0", "tid": "dir-a", "oid": "dir-b"})));
    assert!(verify(&snapshot(&[template()]), &token).is_ok());
    assert_eq!(verify(&snapshot(&[template(), other]), &token), Err(Reason::IssuerUnknown));
}

/// SPIFFE: the trust domain of the subject is the issuer; keys are for JWT-SVIDs.
#[test]
fn a_jwt_svid_is_of_the_trust_domain_of_its_subject() {
    let domain = |name: &str, seed: u8| {
        let mut jwk = ed25519_of(seed).jwk;
        jwk["use"] = json!("jwt-svid");
        document(json!({
            "issuer": format!("spiffe://{name}"), "jwtSvid": true, "jwks": {"keys": [jwk]}, "tenants": ["acme"],
            "claims": {"tenant": {"fixed": "acme"}},
        }))
    };
    let state = snapshot(&[domain("example.org", 9), domain("other.org", 8), issuer(&["EdDSA"], &json!([]))]);
    let run = |typ: Option<&str>, changes: Value| {
        let header = match typ {
            Some(typ) => json!({"alg": "EdDSA", "kid": "k1", "typ": typ}),
            None => json!({"alg": "EdDSA", "kid": "k1"}),
        };
        let token = ed25519().token_with(header, &changed(&changes));
        let principal = verify(&state, &token)?.principal;
        Ok((principal.subject.as_str().to_owned(), principal.issuer.unwrap().as_str().to_owned()))
    };
    let svid = |sub: &str| json!({"iss": null, "sub": sub, "azp": null});
    let good = Ok(("spiffe://example.org/ns/a".to_owned(), "spiffe://example.org".to_owned()));
    for typ in [None, Some("JWT"), Some("JOSE")] {
        assert_eq!(run(typ, svid("spiffe://example.org/ns/a")), good, "{typ:?}");
    }
    assert_eq!(
        run(None, svid("spiffe://other.org/ns/a")),
        Err(Reason::SignatureInvalid),
        "keys of another domain"
    );
    for sub in [
        "ann",
        "spiffe://example.org",
        "spiffe://example.org.evil/a",
        "spiffe://EXAMPLE.org/a",
        "https://example.org/a",
    ] {
        assert_eq!(run(None, svid(sub)), Err(Reason::IssuerUnknown), "{sub}");
    }
    // With an `iss`, the subject must be of its domain all the same.
    let said = |iss: &str, sub: &str| run(None, json!({"iss": iss, "sub": sub, "azp": null}));
    assert_eq!(said("spiffe://example.org", "spiffe://example.org/ns/a"), good);
    assert_eq!(said("spiffe://example.org", "spiffe://other.org/ns/a"), Err(Reason::ClaimInvalid));
    assert_eq!(said("spiffe://example.org", "ann"), Err(Reason::ClaimInvalid));
    assert_eq!(said("https://spire.example", "spiffe://example.org/ns/a"), Err(Reason::IssuerUnknown));
    let null = run(None, json!({"sub": "spiffe://example.org/ns/a"}));
    assert_eq!(null, Err(Reason::KeyUnknown), "another issuer's token stays that");
    // No other issuer's keys are for JWT-SVIDs, and no x509-svid key is for tokens.
    for (svid, key_use, expected) in [
        (false, "jwt-svid", Err(Reason::KeyUnknown)),
        (false, "sig", Ok(())),
        (true, "x509-svid", Err(Reason::KeyUnknown)),
        (true, "sig", Ok(())),
    ] {
        let mut one = domain("example.org", 9);
        one["jwtSvid"] = json!(svid);
        one["jwks"]["keys"][0]["use"] = json!(key_use);
        let claims = changed(&json!({"iss": "spiffe://example.org", "sub": "spiffe://example.org/a"}));
        let result = verify(&snapshot(&[one]), &ed25519().token(&claims)).map(|_| ());
        assert_eq!(result, expected, "{svid} {key_use}");
    }
}

#[test]
fn what_stands_for_the_audience_counts_only_where_there_is_none() {
    let document = document(json!({"claims": {"audience": ["client_id"]}}));
    let tell = |changes: Value| tell(&document, changes).map(|_| ());
    assert_eq!(tell(json!({"aud": null, "client_id": "portcullis"})), Ok(()));
    assert_eq!(tell(json!({"aud": null, "client_id": "app"})), Err(Reason::AudienceMismatch));
    assert_eq!(tell(json!({"aud": "app", "client_id": "portcullis"})), Err(Reason::AudienceMismatch));
    assert_eq!(tell(json!({"aud": [], "client_id": "portcullis"})), Err(Reason::AudienceMismatch));
    assert_eq!(tell(json!({"aud": "", "client_id": "portcullis"})), Err(Reason::AudienceMismatch));
    assert_eq!(tell(json!({"aud": null})), Err(Reason::AudienceMismatch));
    let mut null = claims();
    null.extend([("aud".to_owned(), Value::Null), ("client_id".to_owned(), json!("portcullis"))]);
    let state = snapshot(std::slice::from_ref(&document));
    assert_eq!(verify(&state, &ed25519().token(&null)), Err(Reason::ClaimInvalid), "a null is not nothing");
}
