use portcullis_control_snapshot::View;
use portcullis_identity::ids::{ClusterId, SpiffeId};

use super::*;

const GOOD: &str = r"
listeners: {mesh: '127.0.0.1:9700', platform: '127.0.0.1:9701', operations: '127.0.0.1:9702'}
store: {dataDir: data}
mesh:
  tokenFile: token
  gateways: [spiffe://cluster.local/ns/istio-system/sa/ingressgateway]
  sidecars: [{cluster: acme, principals: [spiffe://cluster.local/ns/acme/sa/data-api]}]
identity: {issuer: https://portcullis.example.com/identity}
issuers:
  - issuer: https://idp.example.com
    audiences: [portcullis]
    algorithms: [RS256]
    jwksUri: http://127.0.0.1:8000/jwks.json
sourceRules: [{name: people, sourceType: human, when: {credential: [jwt]}}]
";

fn parse(text: &str) -> Result<Config, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "0123456789abcdef\n").unwrap();
    Config::parse(&folder.path().join("control.yaml"), text)
}

fn fields(text: &str) -> Vec<String> {
    match parse(text) {
        Err(LoadError::Invalid { errors, .. }) => errors.into_iter().map(|e| e.field).collect(),
        other => panic!("expected errors, got {other:?}"),
    }
}

#[test]
fn a_good_file_has_defaults_and_paths_beside_it() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.data_dir, config.file.with_file_name("data"));
    assert_eq!(config.offline_after, Duration::from_secs(90));
    assert_eq!(config.identity.lifetime_s, 60);
    assert_eq!(config.service_tokens, None);
    assert_eq!(config.policy.issuers.len(), 1);
    // The newline at the end of the file is not part of the token.
    assert_eq!(config.mesh_token_digest, <[u8; 32]>::from(Sha256::digest(b"0123456789abcdef")));
}

#[test]
fn a_principal_reads_its_own_view_only() {
    let principals = parse(GOOD).unwrap().policy.principals;
    let gateway = SpiffeId::new("spiffe://cluster.local/ns/istio-system/sa/ingressgateway").unwrap();
    let sidecar = SpiffeId::new("spiffe://cluster.local/ns/acme/sa/data-api").unwrap();
    let acme = View::Public(ClusterId::new("acme").unwrap());
    let other = View::Public(ClusterId::new("globex").unwrap());
    assert!(principals.may_read(&gateway, &View::Gateway) && !principals.may_read(&gateway, &acme));
    assert!(principals.may_read(&sidecar, &acme));
    assert!(!principals.may_read(&sidecar, &View::Gateway) && !principals.may_read(&sidecar, &other));
}

#[test]
fn all_errors_come_at_once_and_name_their_fields() {
    let bad = r"
listeners: {mesh: '127.0.0.1:1', platform: '127.0.0.1:1', operations: nowhere}
store: {datadir: x}
mesh: {tokenFile: missing, gateways: [spiffe:///ns//sa/], workerForgetSeconds: 0}
identity: {issuer: https://idp.example.com, lifetimeSeconds: 61}
issuers:
  - {issuer: https://idp.example.com, audiences: [], algorithms: [HS256], jwksUri: http://example.com/k, leewaySeconds: 301}
  - {issuer: https://b.example.com, audiences: [a], algorithms: [none], jwks: {keys: []}, extra: 1}
log: {format: xml}
";
    let found = fields(bad);
    for field in [
        "listeners.platform",
        "listeners.operations",
        "store.datadir",
        "store.dataDir",
        "mesh.tokenFile",
        "mesh.gateways",
        "mesh.workerForgetSeconds",
        "identity.lifetimeSeconds",
        "identity.issuer",
        "issuers[0].audiences",
        "issuers[0].algorithms",
        "issuers[0].jwksUri",
        "issuers[0].leewaySeconds",
        "issuers[1].algorithms",
        "issuers[1].extra",
        "log.format",
    ] {
        assert!(found.iter().any(|f| f == field), "{field} not in {found:?}");
    }
}

#[test]
fn a_short_mesh_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "short").unwrap();
    assert!(Config::parse(&folder.path().join("control.yaml"), GOOD).is_err());
}

#[test]
fn only_a_change_outside_the_policy_needs_a_restart() {
    let config = parse(GOOD).unwrap();
    let mut other = config.clone();
    other.policy.issuers.clear();
    assert!(!config.needs_restart(&other));
    other.identity.lifetime_s = 5;
    assert!(config.needs_restart(&other));
}

#[test]
fn text_that_is_not_yaml_says_where() {
    let error = parse("a: [").unwrap_err().to_string();
    assert!(error.contains("control.yaml is not YAML") && error.contains("line"), "{error}");
}

/// A folder with every file that the example names.
fn example_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(["idp.example.com".to_owned()]).unwrap().cert.pem();
    for (name, text) in [
        ("mesh-token", "0123456789abcdef\n"),
        ("partner.key", "0123456789abcdef0123456789abcdef\n"),
        ("introspection-secret", "s3cret\n"),
        ("key-set-token", "t0ken\n"),
        ("corporate-ca.pem", ca.as_str()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn parse_in(folder: &tempfile::TempDir, text: &str) -> Result<Config, LoadError> {
    Config::parse(&folder.path().join("control.yaml"), text)
}

const EXAMPLE: &str = include_str!("../../control.example.yaml");
const SCHEMA: &str = include_str!("../../control.schema.json");

#[test]
fn the_example_is_a_valid_configuration() {
    let config = parse_in(&example_folder(), EXAMPLE).unwrap();
    let policy = &config.policy;
    assert_eq!((policy.issuers.len(), policy.source_rules.rules.len()), (5, 5));
    assert_eq!((policy.introspection.len(), policy.workloads.workloads.len()), (1, 1));
    assert!(config.service_tokens.is_some());
    let sources: Vec<_> = policy.issuers.iter().map(|i| i.keys.name()).collect();
    assert_eq!(sources, ["jwks_uri", "discovery", "jwks_uri", "jwks_uri", "hmac"]);
}

#[test]
fn the_example_fits_the_published_schema() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let example: serde_json::Value = serde_norway::from_str(EXAMPLE).unwrap();
    let errors: Vec<_> = validator.iter_errors(&example).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    for (field, value) in [
        ("issuers", serde_json::json!([{"issuer": "x"}])),
        ("workloads", serde_json::json!([{"spiffeId": 1, "tenant": "a"}])),
        ("jwksRefreshSeconds", serde_json::json!(0)),
        ("extra", serde_json::json!(1)),
    ] {
        let mut bad = example.clone();
        bad[field] = value;
        assert!(!validator.is_valid(&bad), "{field}");
    }
}

/// Fields of every section as the schema names them, `[]` for list items.
fn schema_fields(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    at: &str,
    found: &mut Vec<(String, Vec<String>)>,
) {
    let schema = resolved(root, schema);
    if schema["type"] == "array" {
        schema_fields(root, &schema["items"], &[at, "[]"].concat(), found);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let mut names: Vec<String> = properties.keys().cloned().collect();
    names.sort();
    found.push((at.to_owned(), names));
    for (name, inner) in properties {
        let path = if at.is_empty() { name.clone() } else { [at, ".", name].concat() };
        schema_fields(root, inner, &path, found);
    }
}

/// What a schema refers to, or itself.
fn resolved<'a>(root: &'a serde_json::Value, schema: &'a serde_json::Value) -> &'a serde_json::Value {
    let pointer = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    pointer.map_or(schema, |pointer| root.pointer(pointer).expect("leads to a definition"))
}

/// Adds an unknown field to every section that the parser reads field by field.
fn poison(root: &serde_json::Value, value: &mut serde_json::Value, schema: &serde_json::Value) {
    let schema = resolved(root, schema);
    if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(|item| poison(root, item, &schema["items"]));
    } else if let Some(members) = value.as_object_mut()
        && schema["x-section"] == true
    {
        for (name, inner) in members.iter_mut() {
            poison(root, inner, &schema["properties"][name]);
        }
        members.insert("zzz".to_owned(), serde_json::json!(1));
    }
}

/// The parser tells in its error for an unknown field which ones it knows: they must be the schema's.
#[test]
fn the_schema_names_the_fields_that_the_parser_reads() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let mut example: serde_json::Value = serde_norway::from_str(EXAMPLE).unwrap();
    poison(&schema, &mut example, &schema);
    let Err(LoadError::Invalid { errors, .. }) = parse_in(&example_folder(), &example.to_string()) else {
        panic!("the unknown fields were accepted");
    };
    let mut wanted = Vec::new();
    schema_fields(&schema, &schema, "", &mut wanted);
    let mut sections = 0;
    for error in errors {
        let path = error.field.strip_suffix("zzz").unwrap_or_else(|| panic!("{error}")).trim_end_matches('.');
        let general: String = path
            .split('[')
            .enumerate()
            .map(|(n, part)| match (n, part.split_once(']')) {
                (0, _) | (_, None) => part.to_owned(),
                (_, Some((_, rest))) => ["[]", rest].concat(),
            })
            .collect();
        let mut known: Vec<&str> = error.problem.split("known are ").nth(1).unwrap().split(", ").collect();
        known.sort_unstable();
        known.dedup();
        let (_, names) = wanted.iter().find(|(at, _)| *at == general).unwrap_or_else(|| panic!("{general}"));
        assert_eq!(known, *names, "section {general:?}");
        sections += 1;
    }
    // The root, seven sections, the items of five lists, five of them issuers, the claims of three of these and of a
    // provider, and two sections of what a cluster says.
    assert_eq!(sections, 23);
}

fn issuer_errors(issuer: &str) -> Vec<String> {
    let folder = example_folder();
    std::fs::write(folder.path().join("token"), "0123456789abcdef").unwrap();
    std::fs::write(folder.path().join("short"), "0123456789abcdef0123456789abcde\n").unwrap();
    let begin = GOOD.find("issuers:").unwrap();
    let text = [&GOOD[..begin], "issuers: [", issuer, "]\n"].concat();
    match parse_in(&folder, &text) {
        Ok(_) => Vec::new(),
        Err(LoadError::Invalid { errors, .. }) => errors.into_iter().map(|e| e.to_string()).collect(),
        Err(other) => panic!("{other}"),
    }
}

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

#[test]
fn providers_and_workloads_are_told_apart() {
    let folder = example_folder();
    std::fs::write(folder.path().join("token"), "0123456789abcdef").unwrap();
    let provider = |name: &str, prefix: &str| {
        format!(
            "{{name: {name}, issuer: i, endpoint: 'https://a/', clientId: c, clientSecretFile: introspection-secret, audiences: [b], tokenPrefix: '{prefix}'}}"
        )
    };
    let tell = |text: &str| match parse_in(&folder, &[GOOD, text].concat()) {
        Ok(_) => Vec::new(),
        Err(LoadError::Invalid { errors, .. }) => errors.into_iter().map(|e| e.field).collect(),
        Err(other) => panic!("{other}"),
    };
    let two = |a: String, b: String| format!("introspection: [{a}, {b}]\n");
    assert_eq!(tell(&two(provider("a", ""), provider("b", "x_"))), Vec::<String>::new());
    assert_eq!(tell(&two(provider("a", ""), provider("a", "x_"))), ["introspection[1].name"]);
    assert_eq!(tell(&two(provider("a", ""), provider("b", ""))), ["introspection[1].tokenPrefix"]);
    for own in ["pck_x", "pca_", "pcc_x", "pcs_"] {
        assert_eq!(tell(&two(provider("a", ""), provider("b", own))), ["introspection[1].tokenPrefix"]);
    }
    assert_eq!(tell(&two(provider("a", ""), provider("B", "x"))), ["introspection[1].name"]);
    let same = "{spiffeId: 'spiffe://d/a', tenant: t}";
    assert_eq!(tell(&format!("workloads: [{same}, {same}]\n")), ["workloads[1].spiffeId"]);
    assert_eq!(
        tell("workloads: [{spiffeId: 'spiffe:///a', tenant: t, roles: ['a,b']}]\n"),
        ["workloads[0].spiffeId", "workloads[0].roles"]
    );
}

#[test]
fn a_provider_calls_itself_nothing_that_means_somebody_else() {
    let folder = example_folder();
    let tell = |issuer: &str| {
        let text = EXAMPLE.replacen(
            "    issuer: https://opaque.example.com\n",
            &["    issuer: '", issuer, "'\n"].concat(),
            1,
        );
        assert!(text != EXAMPLE);
        parse_in(&folder, &text).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let config = parse_in(&folder, EXAMPLE).unwrap();
    for own in [config.identity.issuer.as_str(), config.service_tokens.as_ref().unwrap().issuer.as_str()] {
        let told = tell(own);
        assert!(
            told.contains("introspection: ") && told.contains("an issuer of this service"),
            "{own}: {told}"
        );
    }
    let none = tell("-");
    assert!(none.contains("introspection[0].issuer: ") && none.contains("have no issuer"), "{none}");
    for template in ["https://x/{tid}/v2.0", "https://x/{tid"] {
        let told = tell(template);
        assert!(told.contains("introspection[0].issuer: ") && told.contains("braces"), "{template}: {told}");
    }
    assert_eq!(tell("https://another.example"), "");
}

#[test]
fn no_issuer_is_called_what_stands_for_none() {
    let folder = example_folder();
    for (field, from, to) in [
        ("issuers[4].issuer", "issuer: partner", "issuer: '-'"),
        ("issuers[0].aliases", "aliases: [idp.example.com]", "aliases: ['-']"),
    ] {
        let told = parse_in(&folder, &EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(told.contains(&[field, ": '-' stands for"].concat()), "{told}");
    }
}

#[test]
fn a_providers_time_fits_into_the_gateways_and_its_name_is_one_that_issuers_know() {
    let folder = example_folder();
    let tell = |from: &str, to: &str| match parse_in(&folder, &EXAMPLE.replacen(from, to, 1)) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(
        EXAMPLE.contains("timeoutMilliseconds: 1800") && EXAMPLE.contains("    # introspection: corporate")
    );
    assert_eq!(tell("timeoutMilliseconds: 1800", "timeoutMilliseconds: 1900"), "");
    let late = tell("timeoutMilliseconds: 1800", "timeoutMilliseconds: 3000");
    assert!(
        late.contains("introspection[0].timeoutMilliseconds: must be a whole number from 100 to 1900"),
        "{late}"
    );
    assert_eq!(tell("    # introspection: corporate", "    introspection: corporate"), "");
    let unknown = tell("    # introspection: corporate", "    introspection: nobody");
    assert!(unknown.contains("names \"nobody\", and no provider has that name"), "{unknown}");
    let colon = tell(
        "clientId: portcullis\n    clientSecretFile: introspection-secret\n",
        "clientId: 'a:b'\n    clientSecretFile: introspection-secret\n",
    );
    assert_eq!(colon, "");
    let unencoded = EXAMPLE
        .replace("clientAuth: basic", "clientAuth: basic_unencoded")
        .replace("clientId: portcullis\n", "clientId: 'a:b'\n");
    assert!(
        parse_in(&folder, &unencoded)
            .unwrap_err()
            .to_string()
            .contains("cannot carry a clientId with a colon")
    );
}

#[test]
fn a_provider_with_another_configuration_has_another_digest() {
    let folder = example_folder();
    std::fs::write(folder.path().join("token"), "0123456789abcdef").unwrap();
    let read = |change: &str| {
        let provider = "name: a, issuer: i, clientSecretFile: introspection-secret, audiences: [b]";
        let text = [GOOD, "introspection: [{", provider, ", ", change, "}]\n"].concat();
        let config = parse_in(&folder, &text).unwrap();
        config.policy.introspection[0].document.config_digest.clone()
    };
    let first = read("endpoint: 'https://a/', clientId: c");
    assert_eq!((first.len(), read("endpoint: 'https://a/', clientId: c")), (64, first.clone()));
    for other in [
        "endpoint: 'https://b/', clientId: c",
        "endpoint: 'https://a/', clientId: d",
        "endpoint: 'https://a/', clientId: c, caFile: corporate-ca.pem",
        "endpoint: 'https://a/', clientId: c, activeSeconds: 1",
        "endpoint: 'https://a/', clientId: c, tenants: [acme]",
    ] {
        assert_ne!(read(other), first, "{other}");
    }
}

#[test]
fn several_issuers_without_tenants_are_warned_about() {
    let second =
        "  - {issuer: b, audiences: [a], algorithms: [RS256], jwksUri: 'https://b/', tenants: [acme]}\n";
    let begin = GOOD.find("sourceRules:").unwrap();
    let with = |more: &str| parse(&[&GOOD[..begin], more, &GOOD[begin..]].concat()).unwrap().policy;
    assert_eq!(with("").warnings(), Vec::<String>::new());
    let found = with(second).warnings();
    assert!(found.len() == 1 && found[0].starts_with("https://idp.example.com may vouch"), "{found:?}");
    assert_eq!(with(&second.replace(", tenants: [acme]", "")).warnings().len(), 2);
}

#[test]
fn rules_about_clients_of_any_issuer_are_warned_about() {
    let second =
        "  - {issuer: b, audiences: [a], algorithms: [RS256], jwksUri: 'https://b/', tenants: [acme]}\n";
    let begin = GOOD.find("sourceRules:").unwrap();
    let rules = |when: &str| {
        let rule = ["sourceRules:\n  - {name: web, sourceType: human, when: {", when, "}}\n"].concat();
        parse(&[&GOOD[..begin], second, &rule].concat()).unwrap().policy.warnings()
    };
    let warned = |when: &str| rules(when).iter().any(|w| w.starts_with("source rule web names clients"));
    assert!(warned("clientId: [w]"));
    assert!(!warned("clientId: [w], issuer: [b]") && !warned("issuer: [b]"));
}

#[test]
fn a_required_claim_that_any_value_satisfies_is_told_of() {
    let warnings = |required: &str| {
        let text = GOOD.replacen("audiences:", &format!("requiredClaims: [{required}]\n    audiences:"), 1);
        parse(&text).unwrap().policy.warnings()
    };
    let unnamed = warnings("{claim: [email_verified]}");
    assert!(unnamed[0].contains("requires email_verified with any value, also false"), "{unnamed:?}");
    assert_eq!(warnings("{claim: [email_verified], anyOf: [true, 1, 'yes']}"), Vec::<String>::new());
}

#[test]
fn a_rule_for_everybody_before_others_is_warned_about() {
    let begin = GOOD.find("sourceRules:").unwrap();
    let warnings =
        |rules: &str| parse(&[&GOOD[..begin], "sourceRules:\n", rules].concat()).unwrap().policy.warnings();
    let (all, web) =
        ("  - {name: all, sourceType: worker}\n", "  - {name: web, sourceType: human, when: {role: [r]}}\n");
    assert!(warnings(&[all, web].concat())[0].starts_with("source rule all has no conditions"));
    assert_eq!(warnings(&[web, all].concat()), Vec::<String>::new());
}

#[test]
fn all_mistakes_in_source_rules_come_at_once_and_name_rule_and_field() {
    let begin = GOOD.find("sourceRules:").unwrap();
    let tell = |rules: &str| fields(&[&GOOD[..begin], "sourceRules: ", rules, "\n"].concat());
    let bad = r"
  - {name: a, sourceType: robot}
  - {name: a, sourceType: human, when: {clientid: [web]}}
  - {name: b, sourceType: human, when: {clientId: [], role: }}
  - {sourceType: worker, when: {credential: [password], claims: [{claim: [a], anyOf: []}]}}
  - {name: c, when: [], extra: 1}";
    let wanted = [
        "sourceRules[0].sourceType",
        "sourceRules[1].name",
        "sourceRules[1].when.clientid",
        "sourceRules[2].when.clientId",
        "sourceRules[2].when.role",
        "sourceRules[3].name",
        "sourceRules[3].when.credential",
        "sourceRules[3].when.claims",
        "sourceRules[4].sourceType",
        "sourceRules[4].when",
        "sourceRules[4].extra",
    ];
    assert_eq!(tell(bad), wanted);
    for field in ["credential", "issuer", "clientId", "spiffeId", "role", "scope", "claims"] {
        for empty in ["[]", "null", ""] {
            let rule = format!("[{{name: a, sourceType: human, when: {{{field}: {empty}}}}}]");
            assert_eq!(tell(&rule), [format!("sourceRules[0].when.{field}")], "{empty:?}");
        }
    }
    // Without any condition a rule is for everybody, and says so by having none.
    for rest in ["", ", when: {}"] {
        let rule = format!("sourceRules: [{{name: a, sourceType: human{rest}}}]\n");
        let config = parse(&[&GOOD[..begin], &rule].concat()).unwrap();
        assert_eq!(config.policy.source_rules.rules[0].when, Default::default());
    }
}

#[test]
fn the_services_own_issuer_is_apart_from_all_others() {
    let tell = |text: &str| fields(&[GOOD, "serviceTokens: ", text, "\n"].concat());
    let own = |issuer: &str| format!("{{issuer: '{issuer}', audiences: [a]}}");
    assert!(parse(&[GOOD, "serviceTokens: ", &own("https://p.example.com"), "\n"].concat()).is_ok());
    assert_eq!(tell(&own("https://idp.example.com")), ["serviceTokens.issuer"]);
    for bad in ["https://p.example.com/", "https://p.example.com/x", "http://p.example.com", "p"] {
        assert_eq!(tell(&own(bad)), ["serviceTokens.issuer"], "{bad}");
    }
    let slow = "{issuer: 'https://p.example.com', audiences: [a], rotateSeconds: 60, publishSeconds: 60, keepSeconds: 1, lifetimeSeconds: 901}";
    let wanted =
        ["serviceTokens.lifetimeSeconds", "serviceTokens.keepSeconds", "serviceTokens.rotateSeconds"];
    assert_eq!(tell(slow), wanted);
}

#[test]
fn resources_are_read_by_the_parser_of_the_plugin_and_name_each_cluster_once() {
    let folder = example_folder();
    std::fs::write(folder.path().join("token"), "0123456789abcdef").unwrap();
    let read = |text: &str| match parse_in(&folder, &[GOOD, text].concat()) {
        Ok(config) => Ok(config.policy.resources),
        Err(LoadError::Invalid { errors, .. }) => {
            Err(errors.into_iter().map(|e| e.field).collect::<Vec<_>>())
        }
        Err(other) => panic!("{other}"),
    };
    let good = "resources: [{clusters: [a, b], browser: {cors: {origins: ['https://*.a.test']}}, requiredScopes: [x]}]\n";
    let document = read(good).unwrap();
    let cors = document.resources[0].browser.cors.as_ref().unwrap();
    assert!(cors.allows(b"https://app.a.test") && cors.max_age_seconds == 600);
    for none in ["{}", "{clusters: []}"] {
        assert_eq!(read(&format!("resources: [{none}]\n")).unwrap_err(), ["resources[0].clusters"]);
    }
    let bad = "resources: [{clusters: [a]}, {clusters: [a], browser: {cors: {origins: ['*'], credentials: true}, csp: 1},
        authorizationServers: ['http://a', 'https://b', 'https://b'], requiredScopes: ['a b']}]\n";
    let errors = read(bad).unwrap_err();
    for field in [
        "clusters",
        "browser.cors.origins",
        "browser.csp",
        "authorizationServers[0]",
        "authorizationServers[2]",
        "requiredScopes",
    ] {
        let field = format!("resources[1].{field}");
        assert!(errors.contains(&field), "{field} not in {errors:?}");
    }
    let entry = |at: usize, names: std::ops::Range<usize>| {
        let names: Vec<_> = names.map(|n| format!("x-header-{n:05}")).collect();
        format!(
            "  - {{clusters: [c-{at}], browser: {{cors: {{origins: ['https://a.test'], headers: [{}]}}}}}}\n",
            names.join(", ")
        )
    };
    let all = |entries: &[String]| read(&["resources:\n", &entries.concat()].concat()).err();
    // A preflight tells the names of all entries, each once.
    assert_eq!(all(&[entry(0, 0..32), entry(1, 32..64), entry(2, 0..32)]), None);
    assert_eq!(all(&[entry(0, 0..32), entry(1, 32..64), entry(2, 64..65)]).unwrap(), ["resources"]);
    let many: Vec<_> = (0..256).map(|at| entry(at, 0..14)).collect();
    assert_eq!(all(&many).unwrap(), ["resources"]);
    assert_eq!(all(&many[..200]), None);
}

/// What filters could not read would stop the snapshot behind it, revocations included.
#[test]
fn what_filters_could_not_read_is_refused_by_name_and_size() {
    let folder = example_folder();
    std::fs::write(folder.path().join("token"), "0123456789abcdef").unwrap();
    let fields = |more: &str| match parse_in(&folder, &[GOOD, more].concat()) {
        Ok(_) => Vec::new(),
        Err(LoadError::Invalid { errors, .. }) => errors.into_iter().map(|e| e.to_string()).collect(),
        Err(other) => panic!("{other}"),
    };
    let list = |count: usize| {
        let names = (0..count).map(|n| format!("cluster-with-a-long-name-{n:032}")).collect::<Vec<_>>();
        format!("resources: [{{clusters: [{}]}}]\n", names.join(", "))
    };
    assert_eq!(fields(&list(3_000)), Vec::<String>::new());
    let errors = fields(&list(6_000));
    let bound = format!("{} are the most", portcullis_protocol::snapshot::MAX_VALUE);
    assert!(errors.len() == 1 && errors[0].contains("resources") && errors[0].contains(&bound), "{errors:?}");
    let tenants = (0..4_000).map(|n| format!("tenant-{n:032}")).collect::<Vec<_>>().join(", ");
    let issuer = "{issuer: 'https://idp.example.com', audiences: [a], algorithms: [RS256], discovery: true, tenants: [";
    let errors = issuer_errors(&[issuer, &tenants, "]}"].concat());
    assert!(errors.len() == 1 && errors[0].contains("https://idp.example.com takes"), "{errors:?}");
}
