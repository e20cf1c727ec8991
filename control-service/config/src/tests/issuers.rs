//! Issuers.

use super::*;

#[test]
fn a_shared_secret_is_never_mixed_with_public_keys_and_never_short() {
    let tell = |algorithms: &str, keys: &str| {
        issuer_errors(&format!("{{issuer: a, audiences: [b], algorithms: [{algorithms}], {keys}}}"))
    };
    assert_eq!(tell("HS256", "hmacKeyFile: partner.key"), Vec::<String>::new());
    for (algorithms, keys, wanted) in [
        ("HS256, RS256", "hmacKeyFile: partner.key", "never mixed"),
        ("RS256", "hmacKeyFile: partner.key", "never mixed"),
        ("HS256", "jwksUri: 'https://a/'", "need a shared secret"),
        ("HS256", "jwks: {keys: [{kty: OKP}]}", "need a shared secret"),
        ("HS256", "hmacKeyFile: short", "less than 32 bytes"),
        ("HS384", "hmacKeyFile: partner.key", "less than 48 bytes"),
        ("HS256, HS512", "hmacKeyFile: partner.key", "less than 64 bytes"),
        ("HS256", "hmacKeyFile: missing", "cannot read"),
        ("HS256", "hmacKeyFile: partner.key, jwksUri: 'https://a/'", "exactly one of"),
        ("RS256", "jwks: {keys: [{kty: RSA, n: AA, e: AQAB, d: AA}]}", "private or secret key"),
        ("RS256", "jwks: {keys: [{kty: oct, k: AA}]}", "private or secret key"),
        ("RS256", "jwks: {keys: []}", "holds no key"),
        ("RS256", "jwks: {}", "needs `keys`"),
        (
            "RS256",
            "jwks: {keys: [{kty: RSA, n: AQ, e: AQAB, kid: old}]}",
            "the key \"old\" is an RSA key of 1 bits",
        ),
        ("RS256", "jwks: {keys: [{kid: a}]}", "the key \"a\" is no JSON object, or its member `kty`"),
        ("EdDSA", "jwks: {keys: [{kty: OKP, crv: Ed25519, x: AAAA}]}", "a key without `kid` has no `x`"),
    ] {
        let found = tell(algorithms, keys);
        assert!(found.iter().any(|e| e.contains(wanted)), "{algorithms} {keys}: {found:?}");
    }
}

#[test]
fn a_key_of_the_configuration_that_is_not_used_is_warned_of() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let keys = format!(
        "jwks: {{keys: [{{kty: OKP, crv: Ed25519, kid: good, x: {x}}}, {{kty: OKP, crv: Ed25519, kid: bad, alg: RS512, x: {x}}}]}}"
    );
    let text = GOOD
        .replace("jwksUri: http://127.0.0.1:8000/jwks.json", &keys)
        .replace("algorithms: [RS256]", "algorithms: [EdDSA]");
    let warned =
        "https://idp.example.com: the key \"bad\" is for RS512 alone, which `algorithms` does not name";
    assert_eq!(parse(&text).unwrap().policy.warnings(), [warned]);
}

#[test]
fn every_field_of_an_issuer_is_checked() {
    let tell = |rest: &str| {
        issuer_errors(&format!("{{issuer: 'https://a', audiences: [b], algorithms: [RS256], {rest}}}"))
    };
    assert_eq!(tell("discovery: true, caFile: corporate-ca.pem"), Vec::<String>::new());
    for (rest, wanted) in [
        ("discovery: true, jwksUri: 'https://a/'", "exactly one of"),
        ("discovery: false", "exactly one of"),
        ("jwksUri: 'http://example.com/k'", "must be https"),
        ("jwksUri: 'https://u:p@example.com/k'", "must not hold a user"),
        ("jwksUri: 'https://a/', caFile: mesh-token", "holds no certificate"),
        ("jwks: {keys: [{kty: OKP}]}, caFile: corporate-ca.pem", "for keys that are fetched"),
        ("jwksUri: 'https://a/', tokenTypes: ['']", "tokenTypes"),
        ("jwksUri: 'https://a/', tokenTypes: [application/Portcullis-Identity+JWT]", "never a credential"),
        ("jwksUri: 'https://a/', maxTokenBytes: 8193", "from 0 to 8192"),
        ("jwksUri: 'https://a/', requiredClaims: [{claim: []}]", "requiredClaims"),
        ("jwksUri: 'https://a/', requiredClaims: [{claim: [a], oneOf: []}]", "requiredClaims"),
        ("jwksUri: 'https://a/', claims: {tenant: []}", "issuers[0].claims.tenant: name the claim"),
        ("jwksUri: 'https://a/', claims: {tenant: {claim: [t], map: {A: acme}}}", "`tenants` must list"),
        (
            "jwksUri: 'https://a/', claims: {subject: [{claim: [a]}, {claim: [b]}]}",
            "claims.subject: every one",
        ),
        ("jwksUri: 'https://a/', claims: {roles: {claims: [[r]], dropOthers: true}}", "claims.roles: "),
        ("jwksUri: 'https://a/', claims: {clientId: ['']}", "claims.clientId: a path"),
        ("jwksUri: 'https://a/', bearerTokenFile: missing", "issuers[0].bearerTokenFile: cannot read"),
        ("jwks: {keys: [{kty: OKP}]}, bearerTokenFile: mesh-token", "for keys that are fetched"),
        ("jwksUri: 'https://a/', issuerValues: [x]", "is for an issuer that is a template"),
        ("jwksUri: 'https://a/', jwtSvid: true", "it is the trust domain"),
        ("jwksUri: 'https://a/', aliases: ['https://b/{t}']", "only the aliases of a template"),
        ("jwksUri: 'https://a/', maxStaleSeconds: 1", "from 2 to 2592000"),
        ("jwksUri: 'https://a/', maxStaleSeconds: 2592001", "from 2 to 2592000"),
        ("jwksUri: 'https://a/', maxStaleSeconds: 119", "twice jwksRefreshSeconds"),
        ("jwks: {keys: [{kty: OKP}]}, maxStaleSeconds: 200", "for keys that are fetched"),
        ("jwksUri: 'https://a/', tenants: []", "issuers[0].tenants: is empty"),
        ("jwksUri: 'https://a/', tenants: ", "issuers[0].tenants: is empty"),
        ("jwksUri: 'https://a/', tenants: [ACME]", "tenant id"),
    ] {
        let found = tell(rest);
        assert!(found.iter().any(|e| e.contains(wanted)), "{rest}: {found:?}");
    }
    let template = "{issuer: 'https://a/{tid}/x', audiences: [b], algorithms: [RS256], ";
    for (rest, wanted) in [
        (
            "discovery: true, issuerValues: [t], tenants: [acme], claims: {tenant: {fixed: acme}}}",
            "no document of its own",
        ),
        (
            "jwksUri: 'https://a/', tenants: [acme], claims: {tenant: {fixed: acme}}}",
            "issuers[0].issuerValues: must list",
        ),
        (
            "jwksUri: 'https://a/', issuerValues: [t], claims: {tenant: [tid]}}",
            "issuers[0].tenants: must list",
        ),
        (
            "jwksUri: 'https://a/', issuerValues: [t], tenants: [acme]}",
            "issuers[0].claims.tenant: with a template",
        ),
    ] {
        let found = issuer_errors(&[template, rest].concat());
        assert!(found.iter().any(|e| e.contains(wanted)), "{rest}: {found:?}");
    }
    let found =
        issuer_errors("{issuer: 'http://a.example', audiences: [b], algorithms: [RS256], discovery: true}");
    assert!(found.iter().any(|e| e.starts_with("issuers[0].discovery: must be https")), "{found:?}");
}

#[test]
fn no_iss_names_two_issuers() {
    let rest = "audiences: [b], algorithms: [RS256], jwksUri: 'https://k/', tenants: [acme], claims: {tenant: {fixed: acme}}}";
    let two = |one: &str, other: &str| issuer_errors(&format!("{{{one}, {rest}, {{{other}, {rest}"));
    let template = "issuer: 'https://a/{t}', issuerValues: [x, y]";
    assert_eq!(two("issuer: 'https://a/z'", template), Vec::<String>::new());
    for (one, other) in [
        ("issuer: a", "issuer: a"),
        ("issuer: a, aliases: [c]", "issuer: b, aliases: [c]"),
        ("issuer: a, aliases: [b]", "issuer: b"),
        ("issuer: 'https://a/x'", template),
        (template, "issuer: 'https://a/{u}', issuerValues: [y]"),
    ] {
        let found = two(one, other);
        assert!(found.iter().any(|e| e.contains("is configured twice")), "{one} {other}: {found:?}");
    }
}
