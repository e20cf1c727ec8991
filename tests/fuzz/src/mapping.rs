//! Any claims through any mapping: who comes out stands in the claims, and goes through an identity token unchanged.

use portcullis_authn::{KeyRing, PureRust, jwt};
use portcullis_identity::{ClusterId, Identity, KeyId, Minter, Principal, SourceType, verify_with};
use serde_json::{Map, Value, json};

use crate::input::Input;
use crate::tokens::{NOW, SIGNERS, claims, document, state};

const PATHS: &[&str] =
    &["sub", "tenant", "roles", "scope", "client_id", "groups", "realm_access", "org", "a b", ""];
const VALUES: &[&str] =
    &["acme", "globex", "Acme", "reader", "a,b", "a b", "admin\nx", "ann", "roles", "groups"];

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    SIGNERS.with(|all| {
        let signer = &all[0];
        let mut document = document(signer);
        let mut mapping = Map::new();
        for name in ["subject", "tenant", "roles", "scopes", "clientId"] {
            if input.flag() {
                let path: Vec<String> = (0..input.byte() % 3).map(|_| input.word(PATHS)).collect();
                mapping.insert(name.into(), json!(path));
            }
        }
        document["claims"] = Value::Object(mapping);
        if input.flag() {
            document["tenants"] = json!(["acme"]);
        }
        let Some(state) = state(&document) else { return };
        let mut claims = claims();
        input.change(&mut claims, PATHS, VALUES);
        let header = json!({"alg": signer.alg, "kid": "k1"}).to_string();
        let (text, signature) = signer.token(&header, &Value::Object(claims.clone()).to_string());
        let token = format!("{text}.{}", crate::tokens::b64(signature));
        let verified = jwt::verify(token.as_bytes(), &state, &KeyRing::default(), &PureRust, NOW);
        let Ok(verified) = verified else { return };
        stands_in(&verified.principal, &Value::Object(claims));
        assert!(document.get("tenants").is_none() || verified.principal.tenant.as_str() == "acme");
        goes_through(verified.principal);
    });
}

/// Nobody becomes who the claims do not name, and nobody gets a role out of nothing.
fn stands_in(principal: &Principal, claims: &Value) {
    let mut texts = Vec::new();
    collect(claims, &mut texts);
    let whole = |wanted: &str| texts.contains(&wanted);
    let part = |wanted: &str| texts.iter().any(|text| text.split(' ').any(|part| part == wanted));
    assert!(whole(principal.subject.as_str()) && whole(principal.tenant.as_str()));
    assert!(principal.client_id.as_ref().is_none_or(|id| whole(id.as_str())));
    for role in &principal.roles {
        assert!(part(role.as_str()) && !role.as_str().contains([',', '\n']), "{role}");
    }
    assert!(principal.scopes.iter().all(|scope| part(scope.as_str())));
}

fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(members) => members.iter().for_each(|member| collect(member, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        _ => {}
    }
}

/// A Data API gets the identity that the gateway established.
fn goes_through(principal: Principal) {
    let minter = Minter::new([5; 32], KeyId::new("g1").expect("a key id"), "https://platform.test", 60);
    let cluster = ClusterId::new("acme-1").expect("a cluster id");
    let minted = minter.mint(
        &Identity { principal: principal.clone(), source_type: SourceType::Human },
        &cluster,
        NOW,
    );
    let key = |kid: &str| (kid == "g1").then(|| minter.public_key());
    let told =
        verify_with(&minted.text, key, Some("https://platform.test"), &cluster, NOW).expect("it verifies");
    assert_eq!(told.source_type, SourceType::Human);
    let expected = Principal {
        token_id: None,
        omitted: 0,
        derived_from: Vec::new(),
        expires_at: minted.expires_at,
        ..principal
    };
    assert_eq!(Principal::from(told), expected);
}
