//! What the whole configuration must say, and what single clusters say.

use super::*;

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
        "requiredScopes[0]",
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
