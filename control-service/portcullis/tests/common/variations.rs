//! One change of every field of the published schema.

use std::path::Path;

use serde_json::{Value, json};

const EXAMPLE: &str = include_str!("../../../control.example.yaml");

/// A configuration in which every field can be changed: the example, with an issuer whose keys stand in it.
pub(crate) fn base() -> Value {
    let mut base: Value = serde_norway::from_str(EXAMPLE).unwrap();
    for listener in ["mesh", "platform", "operations", "agents"] {
        base["listeners"][listener] = json!("127.0.0.1:0");
    }
    base["store"]["dataDir"] = json!("data");
    base["issuers"].as_array_mut().unwrap().push(json!({
        "issuer": "https://inline.example.com",
        "audiences": ["portcullis"],
        "algorithms": ["EdDSA", "ES256", "RS256"],
        "tenants": ["acme"],
        "jwks": {"keys": [public_key("k1")]},
    }));
    base
}

/// Every file that the base and its variations name.
pub(crate) fn write_files(folder: &Path) {
    let ca = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem();
    for (name, text) in [
        ("mesh-token", "0123456789abcdef\n".to_owned()),
        ("mesh-token-2", "fedcba9876543210\n".to_owned()),
        ("partner.key", "0123456789abcdef0123456789abcdef\n".to_owned()),
        ("partner-2.key", "fedcba9876543210fedcba9876543210\n".to_owned()),
        ("introspection-secret", "s3cret\n".to_owned()),
        ("introspection-secret-2", "s3cret-2\n".to_owned()),
        ("key-set-token", "t0ken\n".to_owned()),
        ("key-set-token-2", "t0ken-2\n".to_owned()),
        ("corporate-ca.pem", ca("idp.example.com")),
        ("other-ca.pem", ca("other.example.com")),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// RFC 8037, appendix A.
fn public_key(kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

/// The keys of RFC 7517, appendix A.1.
fn ec_key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
}

fn rsa_key() -> Value {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jFmN_mj0BUG_2q2a3tx4aB4sdRkOIw";
    json!({"kty": "RSA", "kid": "k1", "n": n, "e": "AQAB"})
}

/// A field as the schema names it, and what is written where in its place; null takes a member out.
pub(crate) type Variation = (&'static str, Vec<(&'static str, Value)>);

/// One change of every field.
pub(crate) fn variations() -> Vec<Variation> {
    [settings(), issuers(), platform_callers(), keys(), claims(), introspection(), rules(), resources()]
        .concat()
}

/// The base with a change made.
pub(crate) fn varied(variation: &Variation) -> Value {
    let mut config = base();
    for (pointer, value) in &variation.1 {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}")) {
            Value::Object(members) => {
                if value.is_null() {
                    members.remove(name);
                } else {
                    members.insert(name.to_owned(), value.clone());
                }
            }
            list => list[name.parse::<usize>().unwrap()] = value.clone(),
        }
    }
    config
}

/// Changes of one place each.
fn changes<const N: usize>(list: [(&'static str, &'static str, Value); N]) -> Vec<Variation> {
    list.into_iter().map(|(field, pointer, value)| (field, vec![(pointer, value)])).collect()
}

fn settings() -> Vec<Variation> {
    let mut all = changes([
        ("listeners.mesh", "/listeners/mesh", json!("127.0.0.1:1")),
        ("listeners.platform", "/listeners/platform", json!("127.0.0.1:1")),
        ("listeners.operations", "/listeners/operations", json!("127.0.0.1:1")),
        ("listeners.agents", "/listeners/agents", json!("127.0.0.1:1")),
        ("listeners.maxConnections", "/listeners/maxConnections", json!(9_999)),
        ("listeners.headerSeconds", "/listeners/headerSeconds", json!(29)),
        ("store.dataDir", "/store/dataDir", json!("elsewhere")),
        ("store.sealingKeyFile", "/store/sealingKeyFile", json!("elsewhere.key")),
        ("store.sealingKeyCommand", "/store/sealingKeyCommand", json!(["keys"])),
        ("store.backend", "/store/backend", json!("sqlite")),
        ("mesh.tokenFile", "/mesh/tokenFile", json!("mesh-token-2")),
        ("mesh.gateways", "/mesh/gateways", json!(["spiffe://cluster.local/ns/a/sa/b"])),
        ("mesh.sidecars[].cluster", "/mesh/sidecars/0/cluster", json!("other")),
        (
            "mesh.sidecars[].principals",
            "/mesh/sidecars/0/principals",
            json!(["spiffe://cluster.local/ns/a/sa/c"]),
        ),
        ("mesh.tunnelGateways", "/mesh/tunnelGateways", json!(["spiffe://cluster.local/ns/a/sa/d"])),
        ("mesh.workerForgetSeconds", "/mesh/workerForgetSeconds", json!(16)),
        ("identity.issuer", "/identity/issuer", json!("https://portcullis.example.org/identity")),
        ("identity.lifetimeSeconds", "/identity/lifetimeSeconds", json!(59)),
        ("identity.rotateSeconds", "/identity/rotateSeconds", json!(604_801)),
        ("identity.publishSeconds", "/identity/publishSeconds", json!(301)),
        ("identity.keepSeconds", "/identity/keepSeconds", json!(601)),
        ("serviceTokens.issuer", "/serviceTokens/issuer", json!("https://portcullis.example.org")),
        ("serviceTokens.audiences", "/serviceTokens/audiences", json!(["portcullis", "more"])),
        ("serviceTokens.lifetimeSeconds", "/serviceTokens/lifetimeSeconds", json!(601)),
        ("serviceTokens.rotateSeconds", "/serviceTokens/rotateSeconds", json!(86_401)),
        ("serviceTokens.publishSeconds", "/serviceTokens/publishSeconds", json!(61)),
        ("serviceTokens.keepSeconds", "/serviceTokens/keepSeconds", json!(1_001)),
        ("clusters.offlineAfterSeconds", "/clusters/offlineAfterSeconds", json!(91)),
        ("clusters.recoverEverySeconds", "/clusters/recoverEverySeconds", json!(29)),
        ("agents.serverNames", "/agents/serverNames", json!(["agents.example.org"])),
        ("agents.certificateSeconds", "/agents/certificateSeconds", json!(86_401)),
        ("agents.caFile", "/agents/caFile", json!("other-ca.pem")),
        ("agents.tunnel.address", "/agents/tunnel/address", json!("tunnels.example.org:443")),
        ("agents.tunnel.serverName", "/agents/tunnel/serverName", json!("tunnels.example.org")),
        ("agents.tunnel.connections", "/agents/tunnel/connections", json!(3)),
        ("jwksRefreshSeconds", "/jwksRefreshSeconds", json!(61)),
        ("log.format", "/log/format", json!("text")),
        ("log.level", "/log/level", json!("info,hyper=warn")),
    ]);
    // A variable that Cargo gives to every test.
    let variable = json!("CARGO_PKG_NAME");
    all.push(("mesh.tokenEnv", vec![("/mesh/tokenFile", Value::Null), ("/mesh/tokenEnv", variable)]));
    all
}

fn issuers() -> Vec<Variation> {
    let mut all = changes([
        ("issuers[].issuer", "/issuers/4/issuer", json!("partner-2")),
        ("issuers[].aliases", "/issuers/0/aliases", json!(["idp-2.example.com"])),
        (
            "issuers[].issuerValues",
            "/issuers/2/issuerValues",
            json!(["9122040d-6c67-4c5b-b112-36a304b66dad", "11111111-6c67-4c5b-b112-36a304b66dad"]),
        ),
        ("issuers[].audiences", "/issuers/0/audiences", json!(["other"])),
        ("issuers[].algorithms", "/issuers/0/algorithms", json!(["RS256"])),
        ("issuers[].jwksUri", "/issuers/0/jwksUri", json!("https://idp.example.com/keys")),
        ("issuers[].hmacKeyFile", "/issuers/4/hmacKeyFile", json!("partner-2.key")),
        ("issuers[].bearerTokenFile", "/issuers/3/bearerTokenFile", json!("key-set-token-2")),
        ("issuers[].caFile", "/issuers/0/caFile", json!("other-ca.pem")),
        ("issuers[].introspection", "/issuers/0/introspection", json!("corporate")),
        ("issuers[].maxStaleSeconds", "/issuers/0/maxStaleSeconds", json!(86_401)),
        ("issuers[].tokenTypes", "/issuers/0/tokenTypes", json!(["jwt"])),
        ("issuers[].anyTokenUse", "/issuers/0/anyTokenUse", json!(true)),
        ("issuers[].maxTokenBytes", "/issuers/0/maxTokenBytes", json!(4_097)),
        ("issuers[].requiredClaims[].claim", "/issuers/0/requiredClaims/0/claim", json!(["other"])),
        ("issuers[].requiredClaims[].anyOf", "/issuers/0/requiredClaims/0/anyOf", json!(["other"])),
        ("issuers[].tenants", "/issuers/5/tenants", json!(["globex"])),
        ("issuers[].leewaySeconds", "/issuers/0/leewaySeconds", json!(31)),
        ("issuers[].maxAgeSeconds", "/issuers/0/maxAgeSeconds", json!(1)),
    ]);
    let keys = json!("https://login.example.com/keys");
    all.push((
        "issuers[].discovery",
        vec![("/issuers/1/discovery", Value::Null), ("/issuers/1/jwksUri", keys)],
    ));
    all.push((
        "issuers[].jwtSvid",
        vec![("/issuers/3/jwtSvid", json!(false)), ("/issuers/3/issuer", json!("https://spire.example.org"))],
    ));
    all
}

fn platform_callers() -> Vec<Variation> {
    changes([
        ("tenantLimits.clusters", "/tenantLimits/clusters", json!(1)),
        ("tenantLimits.apiKeys", "/tenantLimits/apiKeys", json!(1)),
        ("tenantLimits.serviceClients", "/tenantLimits/serviceClients", json!(1)),
        ("tenantLimits.administrators", "/tenantLimits/administrators", json!(1)),
        ("tenantLimits.revocations", "/tenantLimits/revocations", json!(1)),
        ("platformCallers[].issuer", "/platformCallers/1/issuer", json!("https://inline.example.com")),
        ("platformCallers[].audiences", "/platformCallers/0/audiences", json!(["platform-2"])),
        ("platformCallers[].dedicatedAudience", "/platformCallers/0/dedicatedAudience", json!(true)),
        (
            "platformCallers[].accessTokenClaim.claim",
            "/platformCallers/1/accessTokenClaim/claim",
            json!(["token_use"]),
        ),
        (
            "platformCallers[].accessTokenClaim.anyOf",
            "/platformCallers/1/accessTokenClaim/anyOf",
            json!(["Data.Manage"]),
        ),
        ("platformCallers[].tenant", "/platformCallers/0/tenant", json!("ops-2")),
        ("platformCallers[].roles[].role", "/platformCallers/0/roles/0/role", json!("operator")),
        ("platformCallers[].roles[].tenant", "/platformCallers/0/roles/1/tenant", json!("globex")),
        (
            "platformCallers[].roles[].clusterClaim",
            "/platformCallers/1/roles/1/clusterClaim",
            json!(["cluster_id"]),
        ),
        (
            "platformCallers[].roles[].when[].claim",
            "/platformCallers/0/roles/0/when/0/claim",
            json!(["roles"]),
        ),
        (
            "platformCallers[].roles[].when[].anyOf",
            "/platformCallers/0/roles/0/when/0/anyOf",
            json!(["root"]),
        ),
    ])
}

fn keys() -> Vec<Variation> {
    const KEY: &str = "/issuers/5/jwks/keys/0";
    changes([
        ("issuers[].jwks.keys[].kty", KEY, ec_key()),
        ("issuers[].jwks.keys[].crv", KEY, ec_key()),
        ("issuers[].jwks.keys[].y", KEY, ec_key()),
        ("issuers[].jwks.keys[].n", KEY, rsa_key()),
        ("issuers[].jwks.keys[].e", KEY, rsa_key()),
        (
            "issuers[].jwks.keys[].x",
            "/issuers/5/jwks/keys/0/x",
            json!("PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"),
        ),
        ("issuers[].jwks.keys[].kid", KEY, public_key("k2")),
        ("issuers[].jwks.keys[].alg", "/issuers/5/jwks/keys/0/alg", json!("EdDSA")),
        ("issuers[].jwks.keys[].use", "/issuers/5/jwks/keys/0/use", json!("sig")),
        ("issuers[].jwks.keys[].key_ops", "/issuers/5/jwks/keys/0/key_ops", json!(["verify"])),
        (
            "issuers[].jwks.keys[].issuer",
            "/issuers/5/jwks/keys/0/issuer",
            json!("https://inline.example.com"),
        ),
    ])
}

fn claims() -> Vec<Variation> {
    changes([
        ("issuers[].claims.subject", "/issuers/0/claims/subject", json!(["uid"])),
        (
            "issuers[].claims.tenant",
            "/issuers/0/claims/tenant",
            json!({"claim": ["org", "id"], "map": {"o-7c1f": "globex"}}),
        ),
        ("issuers[].claims.roles", "/issuers/0/claims/roles", json!(["groups"])),
        ("issuers[].claims.scopes", "/issuers/0/claims/scopes", json!(["scp"])),
        ("issuers[].claims.clientId", "/issuers/0/claims/clientId", json!(["azp"])),
        ("issuers[].claims.audience", "/issuers/0/claims/audience", json!(["azp"])),
        ("introspection[].claims.subject", "/introspection/0/claims/subject", json!(["username"])),
        ("introspection[].claims.tenant", "/introspection/0/claims/tenant", json!(["org"])),
        ("introspection[].claims.roles", "/introspection/0/claims/roles", json!(["groups"])),
        ("introspection[].claims.scopes", "/introspection/0/claims/scopes", json!(["scp"])),
        ("introspection[].claims.clientId", "/introspection/0/claims/clientId", json!(["azp"])),
        ("introspection[].claims.audience", "/introspection/0/claims/audience", json!(["azp"])),
    ])
}

fn introspection() -> Vec<Variation> {
    let required = |claim: &str, value: &str| json!([{"claim": [claim], "anyOf": [value]}]);
    changes([
        ("introspection[].name", "/introspection/0/name", json!("other")),
        ("introspection[].issuer", "/introspection/0/issuer", json!("https://opaque-2.example.com")),
        ("introspection[].endpoint", "/introspection/0/endpoint", json!("https://opaque.example.com/other")),
        ("introspection[].caFile", "/introspection/0/caFile", json!("other-ca.pem")),
        ("introspection[].clientId", "/introspection/0/clientId", json!("portcullis-2")),
        (
            "introspection[].clientSecretFile",
            "/introspection/0/clientSecretFile",
            json!("introspection-secret-2"),
        ),
        ("introspection[].tokenPrefix", "/introspection/0/tokenPrefix", json!("bt_")),
        ("introspection[].audiences", "/introspection/0/audiences", json!(["other"])),
        ("introspection[].leewaySeconds", "/introspection/0/leewaySeconds", json!(31)),
        ("introspection[].requiredClaims[].claim", "/introspection/0/requiredClaims", required("kind", "a")),
        ("introspection[].requiredClaims[].anyOf", "/introspection/0/requiredClaims", required("kind", "b")),
        ("introspection[].tenants", "/introspection/0/tenants", json!(["globex"])),
        ("introspection[].activeSeconds", "/introspection/0/activeSeconds", json!(31)),
        ("introspection[].inactiveSeconds", "/introspection/0/inactiveSeconds", json!(11)),
        ("introspection[].clientAuth", "/introspection/0/clientAuth", json!("post")),
        ("introspection[].timeoutMilliseconds", "/introspection/0/timeoutMilliseconds", json!(1_799)),
        ("introspection[].maxInFlight", "/introspection/0/maxInFlight", json!(63)),
    ])
}

fn rules() -> Vec<Variation> {
    let workload = json!("spiffe://cluster.local/ns/workflows/sa/other");
    changes([
        ("workloads[].spiffeId", "/workloads/0/spiffeId", workload.clone()),
        ("workloads[].tenant", "/workloads/0/tenant", json!("globex")),
        ("workloads[].roles", "/workloads/0/roles", json!(["writer"])),
        ("workloads[].scopes", "/workloads/0/scopes", json!(["data.read"])),
        ("sourceRules[].name", "/sourceRules/0/name", json!("renamed")),
        ("sourceRules[].sourceType", "/sourceRules/4/sourceType", json!("worker")),
        ("sourceRules[].when.credential", "/sourceRules/1/when/credential", json!(["workload"])),
        ("sourceRules[].when.issuer", "/sourceRules/4/when/issuer", json!(["https://idp.example.com"])),
        ("sourceRules[].when.clientId", "/sourceRules/3/when/clientId", json!(["other"])),
        ("sourceRules[].when.spiffeId", "/sourceRules/1/when/spiffeId", json!([workload])),
        ("sourceRules[].when.role", "/sourceRules/4/when/role", json!(["reader"])),
        ("sourceRules[].when.scope", "/sourceRules/4/when/scope", json!(["data.read"])),
        ("sourceRules[].when.claims[].claim", "/sourceRules/2/when/claims/0/claim", json!(["sort"])),
        ("sourceRules[].when.claims[].anyOf", "/sourceRules/2/when/claims/0/anyOf", json!(["bot"])),
        ("sourceRules[].when.delegated", "/sourceRules/4/when/delegated", json!(true)),
    ])
}

fn resources() -> Vec<Variation> {
    changes([
        ("resources[].clusters", "/resources/0/clusters", json!(["acme-hosted", "acme-other"])),
        (
            "resources[].browser.cors.origins",
            "/resources/0/browser/cors/origins",
            json!(["https://a.example"]),
        ),
        ("resources[].browser.cors.methods", "/resources/0/browser/cors/methods", json!(["GET"])),
        ("resources[].browser.cors.headers", "/resources/0/browser/cors/headers", json!(["accept"])),
        (
            "resources[].browser.cors.exposedHeaders",
            "/resources/0/browser/cors/exposedHeaders",
            json!(["etag"]),
        ),
        ("resources[].browser.cors.credentials", "/resources/0/browser/cors/credentials", json!(true)),
        ("resources[].browser.cors.maxAgeSeconds", "/resources/0/browser/cors/maxAgeSeconds", json!(601)),
        (
            "resources[].authorizationServers",
            "/resources/0/authorizationServers",
            json!(["https://other.acme.example"]),
        ),
        ("resources[].requiredScopes", "/resources/0/requiredScopes", json!(["data.write"])),
    ])
}
