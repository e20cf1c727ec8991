use super::*;

fn name(text: &str) -> Fingerprint {
    parse(text).unwrap().fingerprint(&[1; 32]).unwrap()
}

#[test]
fn a_part_that_differs_is_named_and_what_is_a_replicas_own_is_not() {
    let own = name(GOOD);
    for (from, to, part) in [
        ("sa/ingressgateway", "sa/other", "mesh.gateways"),
        ("cluster: acme", "cluster: globex", "mesh.sidecars"),
        ("audiences: [portcullis]", "audiences: [other]", "issuers"),
        ("name: people", "name: everybody", "sourceRules"),
        ("issuer: https://portcullis.example.com/identity", "issuer: https://other.example.com", "identity"),
        ("identity:", "jwksRefreshSeconds: 61\nidentity:", "jwksRefreshSeconds"),
        ("identity:", "clusters: {offlineAfterSeconds: 91}\nidentity:", "clusters"),
        ("tokenFile: token", "tokenFile: token\n  workerForgetSeconds: 16", "mesh.workerForgetSeconds"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let other = name(&GOOD.replacen(from, to, 1));
        assert_eq!(
            (own.differing(&other), other.differing(&own)),
            (vec![part.to_owned()], vec![part.to_owned()])
        );
    }
    for (from, to) in [
        ("127.0.0.1:9700", "127.0.0.1:9800"),
        ("dataDir: data", "dataDir: elsewhere"),
        ("identity:", "log: {level: warn}\nidentity:"),
        // What is meant where nothing is said.
        ("identity:", "jwksRefreshSeconds: 60\nidentity:"),
    ] {
        assert_eq!(own.differing(&name(&GOOD.replacen(from, to, 1))), Vec::<String>::new(), "{to}");
    }
}

#[test]
fn a_secret_that_differs_is_noticed_and_not_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let with = |file: &str, secret: &str| {
        let path = folder.path().join(file);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let keys = format!("hmacKeyFile: {}", path.display());
        name(
            &GOOD
                .replacen("jwksUri: http://127.0.0.1:8000/jwks.json", &keys, 1)
                .replacen("RS256", "HS256", 1),
        )
    };
    let one = with("one", "0123456789abcdef0123456789abcdef");
    assert_eq!(one, with("other", "0123456789abcdef0123456789abcdef"));
    assert_eq!(one.differing(&with("one", "fedcba9876543210fedcba9876543210")), ["issuers"]);
}

#[test]
fn names_can_be_compared_and_tell_nothing_to_who_has_not_the_key() {
    let config = parse(GOOD).unwrap();
    let own = config.fingerprint(&[1; 32]).unwrap();
    assert_eq!(Fingerprint::read(&own.to_text()), Some(own.clone()));
    assert_eq!(Fingerprint::read("5f3a5f3a5f3a5f3a"), None, "as services of before wrote it");
    let other = config.fingerprint(&[2; 32]).unwrap();
    let all = own.differing(&Fingerprint::default());
    assert!(
        all.contains(&"tenantLimits".to_owned()) && all.contains(&"the mesh token".to_owned()),
        "{all:?}"
    );
    assert_eq!(own.differing(&other), all);
}
