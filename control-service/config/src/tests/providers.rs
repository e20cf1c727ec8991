//! Providers of opaque tokens, and workloads.

use super::*;

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
        ["workloads[0].spiffeId", "workloads[0].roles[0]"]
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
