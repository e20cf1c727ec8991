//! Whose people may call the platform API.

use super::*;

const ISSUERS: &str = "issuers:
  - {issuer: 'https://staff', audiences: [data], algorithms: [RS256], jwksUri: 'http://127.0.0.1:1/a'}
  - {issuer: 'https://acme', audiences: [data], algorithms: [RS256], jwksUri: 'http://127.0.0.1:1/b', tenants: [acme]}
  - {issuer: 'https://fixed', audiences: [data], algorithms: [RS256], jwksUri: 'http://127.0.0.1:1/c',
     claims: {tenant: {fixed: globex}}}
";

fn told(callers: &str) -> Vec<String> {
    let start = GOOD.split("issuers:").next().unwrap();
    let rules = "sourceRules: [{name: people, sourceType: human, when: {credential: [jwt]}}]\n";
    let text = [start, ISSUERS, rules, "platformCallers: [", callers, "]\n"].concat();
    match parse(&text) {
        Ok(config) => {
            assert!(!config.policy.platform_callers.is_empty());
            Vec::new()
        }
        Err(LoadError::Invalid { errors, .. }) => errors.into_iter().map(|e| e.field).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn entry(issuer: &str, more: &str, rule: &str) -> Vec<String> {
    told(&format!("{{issuer: 'https://{issuer}', audiences: [platform]{more}, roles: [{rule}]}}"))
}

const WHEN: &str = "when: [{claim: [groups], anyOf: [a]}]";

#[test]
fn an_issuer_that_is_bound_to_tenants_never_yields_a_role_of_the_platform() {
    let role = |name: &str, more: &str| format!("{{role: {name}, {WHEN}{more}}}");
    for issuer in ["acme", "fixed"] {
        for name in ["administrator", "operator"] {
            assert_eq!(entry(issuer, "", &role(name, "")), ["platformCallers[0].roles[0].role"], "{issuer}");
        }
        assert_eq!(entry(issuer, ", tenant: ops", &role("auditor", "")), ["platformCallers[0].tenant"]);
        assert!(entry(issuer, "", &role("auditor", "")).is_empty(), "it is bound to the token's tenant");
        assert!(entry(issuer, "", &role("tenant-admin", "")).is_empty());
        assert!(entry(issuer, "", &role("cluster-owner", ", clusterClaim: [c]")).is_empty());
        let elsewhere = entry(issuer, "", &role("tenant-admin", ", tenant: globex"));
        assert_eq!(elsewhere, ["platformCallers[0].roles[0].tenant"]);
    }
}

#[test]
fn an_issuer_that_is_bound_to_nothing_says_that_it_is_the_platforms_own() {
    let role = |name: &str, more: &str| format!("{{role: {name}, {WHEN}{more}}}");
    assert_eq!(
        entry("staff", "", &role("tenant-admin", "")),
        ["platformCallers[0].tenant"],
        "`tenants` is a must"
    );
    for name in ["administrator", "operator", "auditor"] {
        assert!(entry("staff", ", tenant: ops", &role(name, "")).is_empty(), "{name}");
    }
    assert!(entry("staff", ", tenant: ops", &role("auditor", ", tenant: acme")).is_empty());
    for (name, more) in
        [("administrator", ", tenant: acme"), ("tenant-admin", ""), ("cluster-owner", ", clusterClaim: [c]")]
    {
        let found = entry("staff", ", tenant: ops", &role(name, more));
        assert_eq!(found, ["platformCallers[0].roles[0].tenant"], "{name}");
    }
}

#[test]
fn what_would_let_in_more_than_is_meant_is_an_error() {
    let good = format!("{{role: tenant-admin, {WHEN}}}");
    let callers = "platformCallers[0]";
    let bad = |field: &str| vec![[callers, ".", field].concat()];
    let everybody = ["", "when: [], ", "when: [{claim: [a]}], ", "when: [{claim: [], anyOf: [a]}], "];
    for when in everybody {
        let found = entry("acme", "", &format!("{{{when}role: tenant-admin}}"));
        assert_eq!(found, ["platformCallers[0].roles[0].when"], "{when}");
    }
    assert_eq!(entry("nobody", "", &good), bad("issuer"));
    assert_eq!(
        told("{issuer: 'https://acme', audiences: [data], roles: []}"),
        [bad("audiences"), bad("roles")].concat()
    );
    assert_eq!(entry("acme", "", &format!("{{role: king, {WHEN}}}")), bad("roles[0].role"));
    assert_eq!(entry("acme", "", &format!("{{role: cluster-owner, {WHEN}}}")), bad("roles[0].clusterClaim"));
    let stray = format!("{{role: tenant-admin, {WHEN}, clusterClaim: [c]}}");
    assert_eq!(entry("acme", "", &stray), bad("roles[0].clusterClaim"));
    assert_eq!(entry("acme", ", more: 1", &good), bad("more"));
    let once = format!("{{issuer: 'https://acme', audiences: [platform], roles: [{good}]}}");
    assert_eq!(told(&[once.as_str(), ", ", &once].concat()), ["platformCallers[1].issuer"]);
}

#[test]
fn what_tells_access_tokens_is_said_once_and_plainly() {
    let rule = format!("{{role: tenant-admin, {WHEN}}}");
    for good in [
        "",
        ", dedicatedAudience: false",
        ", dedicatedAudience: true",
        ", accessTokenClaim: {claim: [typ], anyOf: [Bearer]}",
    ] {
        assert!(entry("acme", good, &rule).is_empty(), "{good}");
    }
    let claim = "platformCallers[0].accessTokenClaim";
    for (bad, field) in [
        (", accessTokenClaim: {claim: [typ]}", claim),
        (", accessTokenClaim: {claim: [], anyOf: [Bearer]}", claim),
        (", accessTokenClaim: null", claim),
        (
            ", dedicatedAudience: true, accessTokenClaim: {claim: [typ], anyOf: [Bearer]}",
            "platformCallers[0].dedicatedAudience",
        ),
    ] {
        assert_eq!(entry("acme", bad, &rule), [field], "{bad}");
    }
}
