//! Warnings, and source rules.

use super::*;

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
        "sourceRules[3].when.credential[0]",
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
fn whoever_no_rule_can_fit_is_warned_about() {
    let told = |rule: &str| {
        let extra = "
workloads: [{spiffeId: 'spiffe://cluster.local/ns/a/sa/b', tenant: acme}]
serviceTokens: {issuer: 'https://portcullis.example.com', audiences: [portcullis]}
";
        let begin = GOOD.find("sourceRules:").unwrap();
        let rules = ["sourceRules: [{name: a, sourceType: human, when: {", rule, "}}]\n"].concat();
        let warnings = parse(&[&GOOD[..begin], &rules, extra].concat()).unwrap().warnings();
        let unfit = warnings.into_iter().filter(|w| w.contains("no source rule can fit"));
        unfit.filter_map(|w| w.split_once(": ").map(|(of, _)| of.to_owned())).collect::<Vec<_>>()
    };
    let (idp, own) = ("https://idp.example.com", "https://portcullis.example.com");
    assert_eq!(told("credential: [jwt, workload, service_token]"), Vec::<String>::new());
    assert_eq!(told("role: [reader]"), Vec::<String>::new());
    assert_eq!(told("credential: [jwt]"), ["`workloads`", own]);
    assert_eq!(told("credential: [service_token, workload]"), [idp]);
    assert_eq!(told("issuer: ['https://other.example.com']"), [idp, "`workloads`", own]);
    assert_eq!(told(&format!("issuer: ['{idp}']")), ["`workloads`", own]);
}
