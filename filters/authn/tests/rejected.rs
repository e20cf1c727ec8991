//! What is known of a token that is refused: the claim, and whose it is, once its signature was verified.

mod common;

use common::*;
use portcullis_authn::Whose;
use portcullis_model::Reason;
use serde_json::json;

/// The claim, and the subject, tenant, issuer and key of whose it is.
fn told(whose: Option<&Whose>) -> [String; 4] {
    let Some(Whose { subject, tenant, issuer, key_id, .. }) = whose else { return Default::default() };
    [
        subject.as_ref().map(ToString::to_string).unwrap_or_default(),
        tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        issuer.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

#[test]
fn a_refused_token_names_the_claim_and_whose_it_is_as_far_as_that_can_be_read() {
    let signer = ed25519();
    let mut document = issuer(&["EdDSA"], &json!([signer.jwk]));
    document["tenants"] = json!(["acme"]);
    document["requiredClaims"] = json!([{"claim": ["scope"]}]);
    document["claims"] = json!({"tenant": ["tenant"], "clientId": ["app", "id"]});
    let state = snapshot(&[document]);
    let (ann, nobody) = (["ann", "acme", ISSUER, "k1"], ["", "acme", ISSUER, "k1"]);
    let homeless = ["ann", "", ISSUER, "k1"];
    for (changes, reason, claim, whose) in [
        (json!({"sub": 7}), Reason::ClaimInvalid, "sub", nobody),
        (json!({"sub": "a b"}), Reason::ClaimInvalid, "sub", nobody),
        (json!({"tenant": ["acme"]}), Reason::ClaimInvalid, "tenant", homeless),
        (json!({"tenant": null}), Reason::ClaimInvalid, "tenant", homeless),
        (json!({"app": "x"}), Reason::ClaimInvalid, "app > id", ann),
        (json!({"azp": 7}), Reason::ClaimInvalid, "azp", ann),
        (json!({"aud": 7}), Reason::ClaimInvalid, "aud", ann),
        (json!({"exp": "soon"}), Reason::ClaimInvalid, "exp", ann),
        (json!({"act": "x"}), Reason::ClaimInvalid, "act", ann),
        (json!({"scope": null}), Reason::ClaimInvalid, "scope", ann),
        (json!({"aud": "other2"}), Reason::AudienceMismatch, "", ann),
        (json!({"exp": NOW - 60}), Reason::TokenExpired, "", ann),
        (json!({"nbf": NOW + 60}), Reason::TokenNotYetValid, "", ann),
        (json!({"cnf": {}}), Reason::CredentialUnsupported, "", ann),
        // It may not vouch for the tenant, so nothing of it goes into that tenant's records.
        (json!({"tenant": "globex"}), Reason::TenantNotAllowed, "", homeless),
    ] {
        let why = rejected(&state, &signer.token(&changed(&changes))).unwrap_err();
        let named = why.claim.as_ref().map(|claim| &*claim.0).unwrap_or_default();
        assert_eq!((why.reason, named), (reason, claim), "{changes}");
        assert_eq!(told(why.whose.as_deref()), whose, "{changes}");
        // Of a token that nobody has signed nothing is told.
        let forged = ed25519_of(3).token(&changed(&changes));
        let why = rejected(&state, &forged).unwrap_err();
        assert_eq!((why.reason, why.claim, why.whose), (Reason::SignatureInvalid, None, None), "{changes}");
    }
}
