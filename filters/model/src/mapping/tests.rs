use serde_json::{Map, json};

use super::*;

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn issuer(text: &str) -> IssuerId {
    IssuerId::new(text).unwrap()
}

fn tenants(names: &[&str]) -> Vec<TenantId> {
    names.iter().map(|name| TenantId::new(name).unwrap()).collect()
}

/// What is wrong with a mapping that has this tenant rule.
fn wrong(rule: Value, allowed: &[&str]) -> String {
    wrong_at("https://idp.example", json!({"tenant": rule}), allowed)
}

fn wrong_at(at: &str, mapping: Value, allowed: &[&str]) -> String {
    match serde_json::from_value::<ClaimMapping>(mapping) {
        Err(error) => error.to_string(),
        Ok(mapping) => {
            let errors = mapping.check([&issuer(at)], &tenants(allowed));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The tenant that a rule, which must be sound, tells of claims; `unmapped` or the claim at fault.
fn tenant(rule: Value, of: Value) -> String {
    assert_eq!(wrong(rule.clone(), &["acme", "globex"]), "");
    match serde_json::from_value::<TenantRule>(rule).unwrap().read(&claims(of)) {
        Ok(tenant) => tenant.to_string(),
        Err(NoTenant::Unmapped) => "unmapped".to_owned(),
        Err(NoTenant::Claim(ClaimFault(claim))) => ["fault: ", &claim].concat(),
    }
}

#[test]
fn a_rule_that_is_a_path_stays_one_for_older_filters() {
    let plain = json!({"subject": ["sub"], "tenant": ["org", "name"], "roles": ["a", "b"], "scopes": [],
        "clientId": []});
    let read: ClaimMapping = serde_json::from_value(plain.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), plain);
    let default = serde_json::to_value(ClaimMapping::default()).unwrap();
    assert_eq!(
        default,
        json!({"subject": ["sub"], "tenant": ["tenant"], "roles": ["roles"], "scopes": ["scope"],
            "clientId": ["client_id"]})
    );
    // Written in full where it says the same, it is as short.
    let full = json!({"subject": {"claim": ["sub"]}, "tenant": [{"claim": ["tenant"]}],
        "roles": {"claims": [["roles"]]}});
    let read: ClaimMapping = serde_json::from_value(full).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), default);
}

#[test]
fn a_mapping_survives_its_way_to_a_filter() {
    let full = json!({
        "subject": [{"claim": ["oid"], "prefix": "user:"}, {"claim": ["appid"], "prefix": "app:"}],
        "tenant": [{"claim": ["org"], "form": "keys", "map": {"Acme Inc": "acme"}},
            {"claim": ["group"], "patterns": [{"match": "org-*", "tenant": "*"}]},
            {"claim": ["email"], "emailDomain": true, "map": {"acme.example": "acme"}}],
        "roles": {"claims": [["a"], ["b", "c"]], "separator": ",", "keys": true, "map": {"X Y": "x"},
            "prefix": "", "dropOthers": true},
        "scopes": ["scp"], "clientId": ["appid"], "audience": ["azp"]});
    let read: ClaimMapping = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), full);
    let fixed = json!({"fixed": "acme"});
    assert_eq!(
        serde_json::to_value(serde_json::from_value::<TenantRule>(fixed.clone()).unwrap()).unwrap(),
        fixed
    );
}

#[test]
fn a_tenant_is_fixed_or_said_by_a_claim() {
    assert_eq!(tenant(json!({"fixed": "acme"}), json!({"tenant": "globex"})), "acme");
    assert_eq!(tenant(json!(["org", "name"]), json!({"org": {"name": "acme"}})), "acme");
    assert_eq!(tenant(json!(["tenant"]), json!({})), "fault: tenant");
    for bad in [json!("Acme"), json!("acme\n"), json!(["acme"]), json!({"acme": {}}), json!(7), json!("")] {
        assert_eq!(tenant(json!(["tenant"]), json!({"tenant": bad})), "fault: tenant", "{bad}");
    }
}

#[test]
fn a_list_or_an_object_says_a_tenant_only_when_it_has_one_member() {
    let rule = |form: &str| json!({"claim": ["org"], "form": form});
    let tell = |form: &str, value: Value| tenant(rule(form), json!({"org": value}));
    for (form, value) in [
        ("list", json!(["acme"])),
        ("list", json!("acme")),
        ("keys", json!({"acme": {"id": 1}})),
        ("keys", json!(["acme"])),
    ] {
        assert_eq!(tell(form, value.clone()), "acme", "{form} {value}");
    }
    for (form, value) in [
        ("list", json!(["acme", "globex"])),
        ("list", json!([])),
        ("list", json!([["acme"]])),
        ("list", json!({"acme": {}})),
        ("keys", json!({"acme": {}, "globex": {}})),
        ("keys", json!({})),
        ("keys", json!("acme")),
        ("keys", json!(["acme", "acme"])),
        ("text", json!(["acme"])),
    ] {
        assert_eq!(tell(form, value.clone()), "fault: org", "{form} {value}");
    }
}

#[test]
fn a_map_and_patterns_match_whole_values_and_nothing_else() {
    let map = json!({"claim": ["t"], "map": {"Acme Inc.": "acme", "A": "acme"}});
    let tell = |rule: &Value, value: &str| tenant(rule.clone(), json!({"t": value}));
    assert_eq!((tell(&map, "Acme Inc."), tell(&map, "A")), ("acme".into(), "acme".into()));
    for other in ["acme", "globex", "a", "Acme Inc", "Acme Inc. ", "xA", "A\0", "", "Acme Inc.Acme Inc."] {
        assert_eq!(tell(&map, other), "unmapped", "{other:?}");
    }
    let pattern = json!({"claim": ["t"], "patterns": [{"match": "org:*:prod", "tenant": "*"}]});
    assert_eq!(tell(&pattern, "org:acme:prod"), "acme");
    for other in [
        "acme",
        "org:acme",
        "xorg:acme:prod",
        "org:acme:prod:",
        "org::prod",
        "org:prod",
        "ORG:acme:prod",
        "org:acme:prod\n",
        "org:Acme:prod",
        "org:a/b:prod",
        "org:acme:x:prod",
    ] {
        assert_eq!(tell(&pattern, other), "unmapped", "{other:?}");
    }
    for bad in [
        json!({"match": "acme", "tenant": "acme"}),
        json!({"match": "*-*", "tenant": "*"}),
        json!({"match": "*", "tenant": "acme"}),
        json!({"match": "x*", "tenant": "**"}),
    ] {
        let found = wrong(json!({"claim": ["t"], "patterns": [bad]}), &["acme"]);
        assert!(found.contains("exactly one *"), "{bad}: {found}");
    }
}

#[test]
fn two_values_reach_one_tenant_only_where_both_are_written_down() {
    let two = "write every one of them in `map`";
    let both = &["acme", "globex"][..];
    for rule in [
        // Two patterns, or a pattern and a map.
        json!({"claim": ["t"], "patterns": [{"match": "a-*", "tenant": "*"}, {"match": "b-*", "tenant": "*"}]}),
        json!({"claim": ["t"], "map": {"Acme": "acme"}, "patterns": [{"match": "*", "tenant": "*"}]}),
        // The same value of two claims.
        json!([{"claim": ["org"]}, {"claim": ["tid"]}]),
        json!([{"claim": ["org"]}, {"claim": ["tid"], "map": {"7": "acme"}}]),
        json!([{"claim": ["org"], "patterns": [{"match": "o-*", "tenant": "*"}]}, {"claim": ["tid"]}]),
    ] {
        assert!(wrong(rule.clone(), both).contains(two), "{rule}: {}", wrong(rule.clone(), both));
    }
    for rule in [
        json!({"claim": ["t"], "map": {"Acme": "acme", "ACME Inc": "acme", "g": "globex"}}),
        json!({"claim": ["t"], "map": {"Acme": "acme", "acme": "acme"}, "patterns": [{"match": "*", "tenant": "*"}]}),
        json!([{"claim": ["org"], "map": {"A": "acme"}}, {"claim": ["tid"], "map": {"7": "acme"}}]),
        json!({"claim": ["t"], "patterns": [{"match": "a-*", "tenant": "ac*"}, {"match": "b-*", "tenant": "glo*"}]}),
        // What is written down for another tenant leads nowhere else.
        json!({"claim": ["t"], "map": {"acme": "globex", "globex": "acme"}, "patterns": [{"match": "*", "tenant": "*"}]}),
    ] {
        assert_eq!(wrong(rule.clone(), both), "", "{rule}");
    }
}

#[test]
fn a_rule_that_maps_leads_to_listed_tenants_alone() {
    for rule in [
        json!({"claim": ["t"], "map": {"A": "acme"}}),
        json!({"claim": ["t"], "patterns": [{"match": "o-*", "tenant": "*"}]}),
        json!([{"claim": ["a"], "map": {"A": "acme"}}, {"claim": ["b"], "map": {"B": "acme"}}]),
        json!({"claim": ["email"], "emailDomain": true, "map": {"a.example": "acme"}}),
    ] {
        assert!(wrong(rule.clone(), &[]).contains("`tenants` must list"), "{rule}");
        assert_eq!(wrong(rule.clone(), &["acme"]), "", "{rule}");
    }
    assert_eq!(wrong(json!(["tenant"]), &[]), "");
    assert_eq!(wrong(json!({"fixed": "acme"}), &[]), "");
    assert!(wrong(json!({"fixed": "acme"}), &["globex"]).contains("not among"));
    assert!(wrong(json!({"claim": ["t"], "map": {"A": "acme"}}), &["globex"]).contains("not among"));
}

#[test]
fn case_is_folded_only_into_what_is_written_down_and_never_into_two() {
    let rule = json!({"claim": ["t"], "foldCase": true, "map": {"Acme-Corp": "acme", "G": "globex"}});
    for value in ["Acme-Corp", "acme-corp", "ACME-CORP"] {
        assert_eq!(tenant(rule.clone(), json!({"t": value})), "acme");
    }
    // Letters outside ASCII are compared as they are: no Kelvin sign is a k.
    let kelvin = json!({"claim": ["t"], "foldCase": true, "map": {"k": "acme"}});
    assert_eq!(tenant(kelvin, json!({"t": "\u{212a}"})), "unmapped");
    let twice = json!({"claim": ["t"], "foldCase": true, "map": {"Acme": "acme", "ACME": "globex"}});
    assert!(wrong(twice, &["acme", "globex"]).contains("twice"));
    assert!(wrong(json!({"claim": ["t"], "foldCase": true}), &["acme"]).contains("needs `map`"));
    let pattern = json!({"claim": ["t"], "foldCase": true, "map": {"A": "acme"}, "patterns": [{"match": "x*", "tenant": "*"}]});
    assert!(wrong(pattern, &["acme"]).contains("as they are written"));
}

#[test]
fn a_fallback_is_used_when_the_first_claim_is_absent_and_never_when_it_is_malformed() {
    let rule =
        json!([{"claim": ["org", "id"], "map": {"o1": "acme"}}, {"claim": ["tid"], "map": {"t1": "globex"}}]);
    let tell = |of: Value| tenant(rule.clone(), of);
    assert_eq!(tell(json!({"org": {"id": "o1"}, "tid": "t1"})), "acme");
    for absent in
        [json!({"tid": "t1"}), json!({"org": null, "tid": "t1"}), json!({"org": {"id": null}, "tid": "t1"})]
    {
        assert_eq!(tell(absent), "globex");
    }
    for malformed in [json!("o1"), json!({"id": 1}), json!({"id": ["o1"]}), json!([]), json!({"id": {}})] {
        assert_eq!(tell(json!({"org": malformed, "tid": "t1"})), "fault: org > id", "{malformed}");
    }
    for other in [json!({"id": ""}), json!({"id": "o2"})] {
        assert_eq!(tell(json!({"org": other, "tid": "t1"})), "unmapped", "{other}");
    }
    let rule: SubjectRule = serde_json::from_value(
        json!([{"claim": ["cn"], "prefix": "svc:"}, {"claim": ["sub"], "prefix": "user:"}]),
    )
    .unwrap();
    let subject = |of: Value| rule.read(&claims(of)).map(|s| s.to_string()).map_err(|f| f.0.to_string());
    assert_eq!(subject(json!({"cn": "x", "sub": ""})), Ok("svc:x".into()));
    assert_eq!(subject(json!({"sub": "x"})), Ok("user:x".into()));
    for malformed in [json!(7), json!(["x"]), json!("a b"), json!(true)] {
        assert_eq!(subject(json!({"cn": malformed, "sub": "x"})), Err("cn".into()), "{malformed}");
    }
    assert_eq!(subject(json!({})), Err("cn".into()));
}

#[test]
fn subjects_of_different_claims_never_meet() {
    let check = |rule: Value| wrong_at("https://idp.example", json!({"subject": rule}), &[]);
    for bad in [
        json!([{"claim": ["a"]}, {"claim": ["b"]}]),
        json!([{"claim": ["a"], "prefix": "x:"}, {"claim": ["b"]}]),
        json!([{"claim": ["a"], "prefix": "x:"}, {"claim": ["b"], "prefix": "x:"}]),
        json!([{"claim": ["a"], "prefix": "u"}, {"claim": ["b"], "prefix": "user:"}]),
    ] {
        assert!(check(bad.clone()).contains("`prefix` of its own"), "{bad}");
    }
    assert!(check(json!({"claim": ["a"], "prefix": "a b"})).contains("visible ASCII"));
    assert_eq!(check(json!([{"claim": ["a"], "prefix": "u:"}, {"claim": ["b"], "prefix": "s:"}])), "");
}

#[test]
fn an_email_domain_needs_a_verified_address_a_map_and_another_issuer_than_entra() {
    let rule = json!({"claim": ["email"], "emailDomain": true, "map": {"Acme.example": "acme"}});
    let tell = |email: &str, verified: Value| {
        tenant(rule.clone(), json!({"email": email, "email_verified": verified}))
    };
    assert_eq!(tell("ann@acme.example", json!(true)), "acme");
    assert_eq!(tell("ann@ACME.example", json!(true)), "acme");
    for unverified in [json!(false), json!(null), json!("true"), json!(1)] {
        assert_eq!(tell("ann@acme.example", unverified.clone()), "fault: email_verified", "{unverified}");
    }
    for address in [
        "acme.example",
        "@acme.example",
        "ann@",
        "a@b@acme.example",
        "\"a@globex.example\"@acme.example",
        "ann@acme.example ",
        "ann@acme.example\0",
        "ann@\u{430}cme.example",
    ] {
        assert_eq!(tell(address, json!(true)), "fault: email", "{address}");
    }
    for other in ["ann@evil.acme.example", "ann@acme.example.evil", "ann@acme.example."] {
        assert_eq!(tell(other, json!(true)), "unmapped", "{other}");
    }
    assert!(wrong(json!({"claim": ["email"], "emailDomain": true}), &["acme"]).contains("needs `map`"));
    for unverified in [json!(["upn"]), json!(["preferred_username"]), json!(["profile", "email"])] {
        let rule = json!({"claim": unverified, "emailDomain": true, "map": {"acme.example": "acme"}});
        assert!(wrong(rule, &["acme"]).contains("is for `claim: [email]`"), "{unverified}");
    }
    for entra in [
        "https://login.microsoftonline.com/x/v2.0",
        "https://sts.windows.net/x/",
        "https://LOGIN.microsoftonline.us/x",
        "https://acme.ciamlogin.com/x/v2.0",
        "https://login.microsoftonline.com:443/x",
    ] {
        assert!(wrong_at(entra, json!({"tenant": rule}), &["acme"]).contains("Entra ID"), "{entra}");
        let whole = json!({"claim": ["email"], "map": {"ann@acme.example": "acme"}});
        assert!(wrong_at(entra, json!({"tenant": whole}), &["acme"]).contains("Entra ID"), "{entra}");
        for subject in [
            json!(["email"]),
            json!([{"claim": ["oid"], "prefix": "o:"}, {"claim": ["email"], "prefix": "e:"}]),
        ] {
            let found = wrong_at(entra, json!({"subject": subject, "tenant": {"fixed": "acme"}}), &["acme"]);
            assert!(found.contains("use [oid]"), "{entra}: {found}");
        }
    }
}

#[test]
fn names_come_from_every_claim_and_are_called_what_the_map_says() {
    let names = |rule: Value, of: Value| {
        let read = serde_json::from_value::<NamesRule<Role>>(rule).unwrap().read(&claims(of));
        (read.taken.iter().map(|r| r.as_str().to_owned()).collect::<Vec<_>>().join(" "), read.omitted)
    };
    let realm = json!({"claims": [["realm", "roles"], ["client", "roles"]]});
    let both = json!({"realm": {"roles": ["a", "b"]}, "client": {"roles": ["b", "c"]}});
    assert_eq!(names(realm.clone(), both), ("a b c".into(), 0), "each once");
    assert_eq!(names(realm, json!({"realm": "a", "client": null})), (String::new(), 1));
    let mapped =
        json!({"claims": [["groups"]], "map": {"Data Editors": "editor", "CN=Admins,DC=x": "admin"}});
    let groups = json!({"groups": ["Data Editors", "CN=Admins,DC=x", "reader", "Other Group"]});
    assert_eq!(names(mapped.clone(), groups.clone()), ("editor admin reader".into(), 1));
    let mut dropping = mapped.clone();
    dropping["dropOthers"] = json!(true);
    assert_eq!(names(dropping, groups.clone()), ("editor admin".into(), 0), "dropped on purpose");
    let mut prefixed = mapped;
    prefixed["prefix"] = json!("idp:");
    assert_eq!(names(prefixed, groups), ("editor admin idp:reader".into(), 1));
    let comma = json!({"claims": [["g"]], "separator": ","});
    assert_eq!(names(comma, json!({"g": "a, b,,c d"})), ("a b".into(), 1));
    let whole = json!({"claims": [["g"]], "separator": "", "map": {"Data admin": "reader"}});
    assert_eq!(names(whole, json!({"g": "Data admin"})), ("reader".into(), 0), "not the role admin");
    let keys = json!({"claims": [["g"]], "keys": true});
    let zitadel = json!({"g": {"a": {"1": "x"}, "b": true, "c": false, "d": null}});
    assert_eq!(names(keys, zitadel.clone()), ("a b".into(), 0));
    assert_eq!(names(json!(["g"]), zitadel), (String::new(), 1));
}

#[test]
fn every_mistake_in_rules_is_told_at_once() {
    let found = wrong_at(
        "https://idp.example",
        json!({"subject": [{"claim": ["a"]}, {"claim": ["b"]}], "tenant": {"claim": ["t"], "foldCase": true, "patterns": [{"match": "*", "tenant": "*"}]},
            "roles": {"claims": [["r"]], "separator": "::", "dropOthers": true}, "scopes": {"claims": [["s"]], "prefix": "a b"}}),
        &[],
    );
    for part in [
        "subject: ",
        "tenant: t: `foldCase`",
        "`tenants` must list",
        "roles: `separator`",
        "roles: `dropOthers`",
        "scopes: `prefix`",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    for (mapping, hint) in [
        (json!({"tenant": "tenant"}), "path of a claim"),
        (json!({"tenant": []}), "fixed: TENANT"),
        (json!({"tenant": {"fixed": "acme", "claim": ["x"]}}), "unknown field"),
        (json!({"tenant": {"fixed": "Acme"}}), "tenant id"),
        (json!({"tenant": {"clam": ["x"]}}), "clam"),
        (json!({"subject": []}), "[sub]"),
        (json!({"roles": {"claims": []}}), "names no claim"),
        (json!({"roles": [{"claims": [["a"]]}]}), "is one mapping"),
        (json!({"roles": {"claims": [["a"]], "map": {"x": "a b"}}}), "role"),
        (json!({"tenant": {"claim": ["x"], "form": "map"}}), "`keys`"),
        (json!({"clientId": [""]}), "a path is a list"),
    ] {
        let found = wrong_at("https://idp.example", mapping.clone(), &[]);
        assert!(found.contains(hint), "{mapping}: {found}");
    }
    let big: serde_json::Map<String, Value> =
        (0..1000).map(|n| (format!("{n}{}", "x".repeat(100)), json!("acme"))).collect();
    let rule = json!({"tenant": {"claim": ["t"], "map": big}});
    let mapping: ClaimMapping = serde_json::from_value(rule).unwrap();
    assert!(mapping.fits_record().unwrap_err().contains("more than 65536 bytes"));
    assert_eq!(ClaimMapping::default().fits_record(), Ok(()));
}
