//! A minted token verifies for its cluster and its time, and for nothing else.

use portcullis_identity::ids::{IssuerId, Role, Scope, Subject};
use portcullis_identity::{ClusterId, Identity, KeyId, Minter, SourceType, Verifier, VerifyError, testing};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://platform.example";

fn cluster(id: &str) -> ClusterId {
    ClusterId::new(id).unwrap()
}

fn minter(seed: u8, kid: &str) -> Minter {
    Minter::new([seed; 32], KeyId::new(kid).unwrap(), ISSUER, 60)
}

fn verifier(of: &Minter) -> Verifier {
    Verifier::from_jwks(&of.jwks().to_string(), ISSUER, cluster("acme")).unwrap()
}

fn agent() -> Identity {
    let mut identity = testing::identity("ann", "acme");
    identity.source_type = SourceType::McpAgent;
    identity.principal.roles = vec![Role::new("reader").unwrap()];
    identity.principal.scopes = vec![Scope::new("a").unwrap(), Scope::new("b").unwrap()];
    identity.principal.issuer = Some(IssuerId::new("https://idp.example").unwrap());
    identity.principal.actors = vec![Subject::new("agent-1").unwrap(), Subject::new("agent-0").unwrap()];
    identity
}

#[test]
fn what_was_minted_is_read_back() {
    let minter = minter(1, "k1");
    let token = minter.mint(&agent(), &cluster("acme"), NOW);
    assert_eq!(token.expires_at, NOW + 60);
    let caller = verifier(&minter).verify(&token.text, NOW + 30).unwrap();
    assert_eq!(caller.subject.as_str(), "ann");
    assert_eq!(caller.source_type, SourceType::McpAgent);
    assert_eq!(caller.credential_issuer.unwrap().as_str(), "https://idp.example");
    assert_eq!(caller.roles.len(), 1);
    assert_eq!(caller.scopes.len(), 2);
    let actors: Vec<_> = caller.actors.iter().map(Subject::as_str).collect();
    assert_eq!(actors, ["agent-1", "agent-0"]);
    // A gateway of an older version names no issuer.
    let token = minter.mint(&testing::identity("ann", "acme"), &cluster("acme"), NOW);
    assert_eq!(verifier(&minter).verify(&token.text, NOW).unwrap().credential_issuer, None);
}

#[test]
fn another_cluster_key_or_time_is_refused() {
    let one = minter(1, "k1");
    let token = one.mint(&agent(), &cluster("acme"), NOW).text;
    let other = one.mint(&agent(), &cluster("globex"), NOW).text;
    assert_eq!(verifier(&one).verify(&other, NOW), Err(VerifyError::Audience));
    assert_eq!(verifier(&minter(2, "k1")).verify(&token, NOW), Err(VerifyError::Signature));
    assert_eq!(verifier(&minter(1, "k2")).verify(&token, NOW), Err(VerifyError::UnknownKey));
    assert_eq!(verifier(&one).verify(&token, NOW + 65), Err(VerifyError::Time));
    assert_eq!(verifier(&one).verify(&token, NOW - 6), Err(VerifyError::Time));
    assert!(verifier(&one).verify(&token, NOW + 64).is_ok());
}

#[test]
fn a_token_ends_with_the_credential_behind_it() {
    let mut identity = agent();
    identity.principal.expires_at = NOW + 7;
    assert_eq!(minter(1, "k").mint(&identity, &cluster("acme"), NOW).expires_at, NOW + 7);
}

#[test]
fn every_changed_character_is_noticed() {
    let minter = minter(1, "k1");
    let token = minter.mint(&agent(), &cluster("acme"), NOW).text;
    let verifier = verifier(&minter);
    for at in 0..token.len() {
        let mut bent = token.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        let bent = String::from_utf8(bent).unwrap();
        assert!(verifier.verify(&bent, NOW).is_err(), "character {at}");
    }
    for cut in 0..token.len() {
        assert!(verifier.verify(&token[..cut], NOW).is_err(), "cut at {cut}");
    }
}

#[test]
fn an_ordinary_jwt_is_no_identity_token() {
    use base64::Engine;
    let b64 = |v: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(v);
    let verifier = verifier(&minter(1, "k1"));
    for header in [
        r#"{"alg":"none","typ":"portcullis-identity+jwt","kid":"k1"}"#,
        r#"{"alg":"EdDSA","typ":"JWT","kid":"k1"}"#,
        r#"{"alg":"EdDSA","typ":"portcullis-identity+jwt","kid":"k1","crit":["exp"]}"#,
    ] {
        let token = format!("{}.{}.{}", b64(header), b64("{}"), b64("x"));
        assert_eq!(verifier.verify(&token, NOW), Err(VerifyError::WrongType), "{header}");
    }
}

#[test]
fn a_key_set_without_a_usable_key_is_an_error() {
    for text in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB"}]}"#] {
        assert_eq!(Verifier::from_jwks(text, ISSUER, cluster("a")).unwrap_err(), VerifyError::KeySet);
    }
}
