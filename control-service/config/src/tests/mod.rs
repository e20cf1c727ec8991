mod documents;
mod fingerprint;
mod issuers;
mod platform_callers;
mod providers;
mod published;
mod resources;
mod rules;

use portcullis_control_domain::sealing::{KeyCommand, SealingKeySource};
use portcullis_control_snapshot::View;
use portcullis_identity::ids::{ClusterId, SpiffeId};
use sha2::{Digest, Sha256};

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
    assert_eq!(config.clusters.offline_after, Duration::from_secs(90));
    assert_eq!(config.identity.lifetime_s, 60);
    assert_eq!(config.service_tokens, None);
    assert_eq!(config.policy.issuers.len(), 1);
    // The newline at the end of the file is not part of the token.
    assert_eq!(config.mesh_token_digest, <[u8; 32]>::from(Sha256::digest(b"0123456789abcdef")));
}

#[test]
fn a_word_that_is_no_level_is_refused_and_the_key_may_lie_elsewhere() {
    for level in ["inof", "info,portcullis", "portcullis=what?"] {
        assert_eq!(fields(&format!("{GOOD}log: {{level: '{level}'}}")), ["log.level"], "{level}");
    }
    let config = parse(&format!("{GOOD}log: {{level: 'warn,portcullis_control=debug'}}")).unwrap();
    assert_eq!(config.sealing_key, SealingKeySource::File(config.data_dir.join("sealing.key")));
    let elsewhere = GOOD.replace("dataDir: data", "dataDir: data, sealingKeyFile: /run/key");
    assert_eq!(parse(&elsewhere).unwrap().sealing_key, SealingKeySource::File("/run/key".into()));
}

#[test]
fn the_sealing_key_comes_from_a_file_or_from_a_command() {
    let with = |more: &str| GOOD.replace("dataDir: data", &["dataDir: data, ", more].concat());
    let config = parse(&with("sealingKeyCommand: [bin/keys, --region, '']")).unwrap();
    let program = config.file.with_file_name("bin/keys");
    let arguments = vec!["--region".to_owned(), String::new()];
    assert_eq!(config.sealing_key, SealingKeySource::Command(KeyCommand { program, arguments }));
    let SealingKeySource::Command(command) = parse(&with("sealingKeyCommand: [keys]")).unwrap().sealing_key
    else {
        panic!("a command")
    };
    assert_eq!(command.program, Path::new("keys"), "it is looked up in PATH");
    for (bad, field) in [
        ("[]", "store.sealingKeyCommand"),
        ("['']", "store.sealingKeyCommand"),
        ("keys", "store.sealingKeyCommand"),
        ("[keys, 1]", "store.sealingKeyCommand[1]"),
        (r#"[keys, "\0"]"#, "store.sealingKeyCommand"),
        (r#"["\0"]"#, "store.sealingKeyCommand"),
        ("[keys], sealingKeyFile: key", "store.sealingKeyCommand"),
    ] {
        assert_eq!(fields(&with(&["sealingKeyCommand: ", bad].concat())), [field], "{bad}");
    }
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
        "mesh.gateways[0]",
        "mesh.workerForgetSeconds",
        "identity.lifetimeSeconds",
        "identity.issuer",
        "issuers[0].audiences",
        "issuers[0].algorithms",
        "issuers[0].jwksUri",
        "issuers[0].leewaySeconds",
        "issuers[1].algorithms[0]",
        "issuers[1].extra",
        "log.format",
    ] {
        assert!(found.iter().any(|f| f == field), "{field} not in {found:?}");
    }
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

const EXAMPLE: &str = include_str!("../../../control.example.yaml");
const SCHEMA: &str = include_str!("../../../control.schema.json");

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

fn told(text: &str) -> Vec<String> {
    match parse(text) {
        Err(LoadError::Invalid { errors, .. }) => errors.into_iter().map(|e| e.to_string()).collect(),
        other => panic!("expected errors, got {other:?}"),
    }
}

#[test]
fn every_item_of_a_list_that_is_wrong_is_told_and_says_what_to_write() {
    let bad = GOOD
        .replace(
            "[spiffe://cluster.local/ns/istio-system/sa/ingressgateway]",
            "[spiffe:/a, spiffe://t/ok, 7, 'x y']",
        )
        .replace("algorithms: [RS256]", "algorithms: [RS256, none, HS1]\n    maxStaleSeconds: soon")
        .replace("audiences: [portcullis]", "audiences: [portcullis, {}]");
    let found = told(&bad);
    let fields: Vec<&str> = found.iter().map(|told| told.split_once(": ").unwrap().0).collect();
    let wanted = [
        "mesh.gateways[0]",
        "mesh.gateways[2]",
        "mesh.gateways[3]",
        "issuers[0].audiences[1]",
        "issuers[0].algorithms[1]",
        "issuers[0].algorithms[2]",
        "issuers[0].maxStaleSeconds",
    ];
    assert_eq!(fields, wanted, "{found:?}");
    for (at, wanted) in
        [(3, "write a text"), (4, "write RS256, "), (6, "write a whole number from 2 to 2592000")]
    {
        assert!(found[at].contains(wanted), "{}", found[at]);
    }
}

#[test]
fn a_mesh_token_that_is_short_or_a_placeholder_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let parse = |token: &str| {
        std::fs::write(&file, token).unwrap();
        parse_in(&folder, GOOD)
    };
    for token in [
        "short",
        "CHANGE-ME-CHANGE-ME",
        "please_change_me_now_0123456789",
        "<the-mesh-token-here>",
        "aaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let told = parse(token).unwrap_err().to_string();
        assert!(told.contains("mesh.tokenFile: ") && told.contains("openssl rand -hex 24"), "{told}");
    }
    assert!(parse("5f0c9d0e8c7b6a594837261504f3e2d1c0b9a8978675645f\n").is_ok());
}

#[test]
fn what_works_not_at_all_without_gateways_and_issuers_is_warned_about() {
    assert_eq!(parse(GOOD).unwrap().warnings(), Vec::<String>::new());
    let lacking =
        GOOD.replace("  gateways: [spiffe://cluster.local/ns/istio-system/sa/ingressgateway]\n", "");
    let issuers = lacking.find("issuers:").unwrap();
    let warnings = parse(&lacking[..issuers]).unwrap().warnings();
    assert!(warnings[0].starts_with("`mesh.gateways` is empty"), "{warnings:?}");
    assert!(warnings[1].starts_with("there are neither `issuers` nor `introspection`"), "{warnings:?}");
}
