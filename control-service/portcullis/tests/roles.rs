//! Callers with roles: what each may do, what is there for whom, and that all of it is audited.

mod common;
mod role_cases;

use common::{Server, text};
use reqwest::Method;
use role_cases::{GLOBEX, Who, name_of, roles};
use serde_json::{Value, json};

/// A service that gives out service tokens, and at which clusters can join.
async fn start() -> Server {
    Server::start_with(|config| {
        config["serviceTokens"] =
            json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"]});
        config["listeners"]["agents"] = json!("127.0.0.1:0");
        config["agents"] = json!({"serverNames": ["agents.portcullis.test"]});
    })
    .await
}

#[tokio::test]
async fn every_call_with_every_role_ends_as_the_table_says() {
    let server = start().await;
    for (at, role) in roles().iter().enumerate() {
        let who = Who::new(&server, at, role).await;
        for case in role_cases::CASES {
            let (method, path) = case.call.split_once(' ').unwrap();
            let (path, body) = (who.fill(path), case.body.map(|body| who.fill(body)));
            let path = [path.as_str(), case.query].concat();
            let (status, answer) = who.call(&server, method, &who.fill(&path), body.as_deref()).await;
            let wanted = case.wanted[at];
            // Whoever sends wrong tokens of clusters has to wait after some of them.
            let status = if status == 429 && case.call.ends_with("/heartbeat") { 401 } else { status };
            assert_eq!(status, wanted, "{} as {}: {answer}", case.call, name_of(role));
            let reason = answer["reason"].as_str().unwrap_or_default();
            if status == 403 && case.denied(role) {
                assert_eq!(reason, "permission_denied", "{answer}");
                let detail = text(&answer["detail"]);
                assert!(detail.contains(case.permission()), "{detail} does not name {}", case.permission());
            }
        }
    }
}

#[test]
fn the_cases_are_those_of_the_table_of_calls() {
    use portcullis_control_contract::calls::Call;
    let calls: Vec<_> = Call::ALL.iter().map(|call| [call.method(), " ", call.path()].concat()).collect();
    let cases: Vec<_> = role_cases::CASES.iter().map(|case| case.call.to_owned()).collect();
    let missing: Vec<_> = calls.iter().filter(|call| !cases.contains(call)).collect();
    let unknown: Vec<_> = cases.iter().filter(|case| !calls.contains(case)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
}

#[tokio::test]
async fn what_is_beyond_a_callers_reach_is_not_there() {
    let server = start().await;
    let admin = &roles()[0];
    let acme = Who::new(&server, 0, admin).await;
    for role in
        [json!({"role": "tenant-admin", "tenant": "globex"}), json!({"role": "auditor", "tenant": "globex"})]
    {
        let other = Who::of(&server, &role, &acme).await;
        for (list, member) in role_cases::LISTS {
            let (status, answer) = other.call(&server, "GET", list, None).await;
            if *member == "records" && role["role"] == "tenant-admin" {
                assert_eq!(status, 403);
                continue;
            }
            let seen = answer[*member].as_array().unwrap();
            assert!(seen.iter().all(|one| one["tenant"] == GLOBEX), "{list} as {role}: {answer}");
            // Asking for the other tenant by its name shows no more.
            if !["revocations", "administrators"].contains(member) {
                let (_, asked) = other.call(&server, "GET", &[list, "?tenant=acme"].concat(), None).await;
                assert_eq!((&asked[*member], &asked["next"]), (&json!([]), &Value::Null), "{list} as {role}");
            }
        }
    }
    // The answer is the very one for what is not there, but for the name that was asked for.
    let other = Who::of(&server, &json!({"role": "tenant-admin", "tenant": "globex"}), &acme).await;
    for (method, path, body) in role_cases::NAMED {
        let there = other.call(&server, method, &acme.fill(path), *body).await;
        let nowhere = other.call(&server, method, &role_cases::nowhere(path), *body).await;
        assert_eq!(there, nowhere, "{method} {path}");
        assert_eq!(there.0, 404, "{method} {path}");
    }
    // An owner sees one cluster, and no other of the same tenant.
    server.register("acme-other").await;
    let owner = json!({"role": "cluster-owner", "tenant": "acme", "cluster": acme.cluster});
    let owner = Who::of(&server, &owner, &acme).await;
    let (_, seen) = owner.call(&server, "GET", "/v1/clusters", None).await;
    let ids: Vec<_> = seen["clusters"].as_array().unwrap().iter().map(|c| text(&c["id"])).collect();
    assert_eq!(ids, std::slice::from_ref(&acme.cluster));
    assert_eq!(owner.call(&server, "GET", "/v1/clusters/acme-other", None).await.0, 404);
    assert_eq!(owner.call(&server, "POST", "/v1/clusters/acme-other/suspend", None).await.0, 404);
    // Somebody whose cluster is another tenant's owns nothing: versions of before gave out such tokens.
    let database = rusqlite::Connection::open(server.folder.path().join("data/portcullis.db")).unwrap();
    let id = owner.token.split('_').nth(1).unwrap();
    database.execute("UPDATE administrator SET tenant = 'globex' WHERE id = ?1", [id]).unwrap();
    assert_eq!(owner.call(&server, "GET", &acme.fill("/v1/clusters/{cluster}"), None).await.0, 404);
}

#[tokio::test]
async fn who_waits_for_a_change_is_told_the_names_of_their_own_clusters_workers_alone() {
    const GLOBEX_SIDECAR: &str = "spiffe://cluster.local/ns/globex/sa/sidecar";
    let server = Server::start_with(|config| {
        let globex = json!({"cluster": "globex-1", "principals": [GLOBEX_SIDECAR]});
        config["mesh"]["sidecars"].as_array_mut().unwrap().push(globex);
    })
    .await;
    server.register("acme").await;
    let globex = json!({"id": "globex-1", "tenant": GLOBEX, "placement": "on_premises"});
    server.expect(201, Method::POST, "/v1/clusters", Some(globex)).await;
    for (view, principal, worker) in [
        ("gateway", common::GATEWAY, "01"),
        ("public:acme", common::SIDECAR, "02"),
        ("public:globex-1", GLOBEX_SIDECAR, "03"),
    ] {
        server.reader(view, principal, worker).sync(&server).await;
    }
    for (n, (role, named)) in [
        (json!({"role": "administrator"}), vec!["01", "02", "03"]),
        (json!({"role": "tenant-admin", "tenant": "acme"}), vec!["02"]),
        (json!({"role": "tenant-admin", "tenant": "initech"}), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let made = server.expect(201, Method::POST, "/v1/administrators", Some(role.clone())).await;
        let tenant = role["tenant"].as_str().unwrap_or("acme");
        let body = json!({"name": format!("user:{tenant} https://idp.example.com u{n}")});
        let answer = call(&server, &made, "/v1/revocations", &body).await;
        let pending: Vec<_> =
            answer["pending"].as_array().unwrap().iter().map(|w| text(&w["worker"])).collect();
        assert_eq!((&answer["workers"], &answer["acknowledged"]), (&json!(3), &json!(0)), "{answer}");
        assert_eq!(pending.len(), named.len(), "as {role}: {answer}");
        assert!(named.iter().all(|name| pending.iter().any(|p| p == name)), "as {role}: {answer}");
    }
    let owner = json!({"role": "cluster-owner", "tenant": "acme", "cluster": "acme"});
    let owner = server.expect(201, Method::POST, "/v1/administrators", Some(owner)).await;
    let answer = call(&server, &owner, "/v1/clusters/acme/suspend", &json!({})).await;
    assert_eq!(answer["workers"], 2, "{answer}");
    let pending: Vec<_> = answer["pending"].as_array().unwrap().iter().map(|w| text(&w["view"])).collect();
    assert_eq!(pending, ["public:acme"], "{answer}");
}

/// A call of somebody who was just made; its answer.
async fn call(server: &Server, made: &Value, path: &str, body: &Value) -> Value {
    let call = server.http.post(server.url("platform", path)).bearer_auth(text(&made["token"]));
    let answer = call.json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_revocation_of_the_platform_ends_that_of_a_tenant_no_earlier() {
    let server = start().await;
    let made = json!({"role": "tenant-admin", "tenant": "acme"});
    let made = server.expect(201, Method::POST, "/v1/administrators", Some(made)).await;
    for (n, (tenants, platforms, counts)) in [
        (Value::Null, json!(60), None),
        (json!(3600), json!(60), Some(3600)),
        (json!(60), json!(3600), Some(3600)),
        (json!(60), Value::Null, None),
    ]
    .into_iter()
    .enumerate()
    {
        let body = |end: &Value| {
            let name = format!("user:acme https://idp.example.com u{n}");
            let mut body = json!({"name": name, "note": "x", "expires_in_s": end});
            body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            body
        };
        call(&server, &made, "/v1/revocations", &body(&tenants)).await;
        let answer = server.expect(201, Method::POST, "/v1/revocations", Some(body(&platforms))).await;
        let revocation = &answer["revocation"];
        assert_eq!(revocation["made_by"], "platform", "{answer}");
        let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let left = revocation["expires_at_s"].as_u64().map(|end| end - now_s);
        let near = left.zip(counts).is_some_and(|(left, counts)| left.abs_diff(counts) < 30);
        assert!(near || (left.is_none() && counts.is_none()), "{tenants}, {platforms}: {answer}");
    }
}

#[tokio::test]
async fn a_backslash_before_u0000_is_a_text_and_the_escape_is_refused() {
    let server = start().await;
    for (note, status) in [(r"x\\u0000y", 201), (r"x\u0000y", 400), (r"x\\\u0000y", 400), (r"\\", 201)] {
        let body =
            format!(r#"{{"name": "user:acme https://idp.example.com u{}", "note": "{note}"}}"#, note.len());
        let call = server.api(Method::POST, "/v1/revocations").header("content-type", "application/json");
        let answer = call.body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{note}");
    }
}

#[tokio::test]
async fn nothing_is_made_in_another_tenant_and_the_answer_tells_nothing_of_it() {
    let server = start().await;
    let acme = Who::new(&server, 0, &roles()[0]).await;
    let other = Who::of(&server, &json!({"role": "tenant-admin", "tenant": GLOBEX}), &acme).await;
    for (path, body) in role_cases::MADE {
        let of = |tenant: &str| body.replace("{tenant}", tenant).replace("{cluster}", &acme.cluster);
        let there = other.call(&server, "POST", path, Some(&of("acme"))).await;
        let nowhere = other.call(&server, "POST", path, Some(&of("nowhere"))).await;
        assert_eq!(there, nowhere, "{path}");
        assert_eq!((there.0, text(&there.1["reason"])), (403, "permission_denied".into()), "{path}");
    }
    let list = server.expect(200, Method::GET, "/v1/clusters?tenant=nowhere", None).await;
    assert_eq!(list["clusters"], json!([]));
}

#[tokio::test]
async fn nobody_grants_what_they_lack() {
    let server = start().await;
    let acme = Who::new(&server, 1, &roles()[1]).await;
    let tenant = Who::of(&server, &json!({"role": "tenant-admin", "tenant": "acme"}), &acme).await;
    let grant =
        async |role: Value| tenant.call(&server, "POST", "/v1/administrators", Some(&role.to_string())).await;
    for beyond in [
        json!({}),
        json!({"role": "administrator"}),
        json!({"role": "operator"}),
        json!({"role": "auditor"}),
        json!({"role": "auditor", "tenant": "acme"}),
        json!({"role": "tenant-admin", "tenant": "globex"}),
        json!({"role": "cluster-owner", "tenant": "globex", "cluster": acme.cluster}),
    ] {
        let (status, answer) = grant(beyond.clone()).await;
        assert_eq!(
            (status, text(&answer["reason"])),
            (403, "permission_denied".into()),
            "{beyond}: {answer}"
        );
    }
    for own in [
        json!({"role": "tenant-admin", "tenant": "acme"}),
        json!({"role": "cluster-owner", "tenant": "acme", "cluster": acme.cluster, "expires_in_s": 60}),
    ] {
        let (status, answer) = grant(own.clone()).await;
        assert_eq!((status, &answer["administrator"]["role"]), (201, &own["role"]), "{answer}");
    }
    for wrong in [
        json!({"role": "tenant-admin"}),
        json!({"role": "operator", "tenant": "acme"}),
        json!({"role": "king"}),
    ] {
        assert_eq!(grant(wrong.clone()).await.0, 400, "{wrong}");
    }
    // Whom the platform set beside them is seen, and stays.
    let auditor = Some(json!({"role": "auditor", "tenant": "acme"}));
    let auditor = server.expect(201, Method::POST, "/v1/administrators", auditor).await;
    let path = ["/v1/administrators/", &text(&auditor["administrator"]["id"])].concat();
    assert_eq!(tenant.call(&server, "DELETE", &path, None).await.0, 403);
    let (_, seen) = tenant.call(&server, "GET", "/v1/administrators", None).await;
    let seen = seen["administrators"].as_array().unwrap();
    assert!(seen.iter().all(|a| a["tenant"] == "acme") && seen.iter().any(|a| a["role"] == "auditor"));
    // A lesser token's end is no matter of the last administrator.
    server.expect(200, Method::DELETE, &path, None).await;
    let last = ["/v1/administrators/", server.admin.split('_').nth(1).unwrap()].concat();
    let refused = server.expect(409, Method::DELETE, &last, None).await;
    assert_eq!(refused["reason"], "administrator_last", "tokens of other roles do not count");
}

#[tokio::test]
async fn an_owner_is_of_a_cluster_of_the_tenant_and_the_answer_tells_nothing_of_others() {
    let server = start().await;
    let acme = Who::new(&server, 1, &roles()[1]).await;
    let other = json!({"id": "globex-1", "tenant": GLOBEX, "placement": "on_premises"});
    server.expect(201, Method::POST, "/v1/clusters", Some(other)).await;
    let tenant = Who::of(&server, &json!({"role": "tenant-admin", "tenant": "acme"}), &acme).await;
    let make = async |cluster: &str| {
        let body = json!({"role": "cluster-owner", "tenant": "acme", "cluster": cluster}).to_string();
        tenant.call(&server, "POST", "/v1/administrators", Some(&body)).await
    };
    let (elsewhere, nowhere) = (make("globex-1").await, make("nowhere").await);
    assert_eq!(elsewhere, nowhere);
    assert_eq!((nowhere.0, text(&nowhere.1["reason"])), (404, "cluster_unknown".into()));
    assert_eq!(make(&acme.cluster).await.0, 201);
}

#[tokio::test]
async fn a_tenants_administrator_makes_so_much_and_is_told_which_bound_it_is() {
    let server = Server::start_with(|config| config["tenantLimits"] = json!({"clusters": 1})).await;
    let token = server.expect(
        201,
        Method::POST,
        "/v1/administrators",
        Some(json!({"role": "tenant-admin", "tenant": "acme"})),
    );
    let token = text(&token.await["token"]);
    let register = async |id: &str| {
        let body = json!({"id": id, "tenant": "acme", "placement": "on_premises"});
        let call = server.http.post(server.url("platform", "/v1/clusters")).bearer_auth(&token).json(&body);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(register("a").await.0, 201);
    let (status, answer) = register("b").await;
    assert_eq!((status, text(&answer["reason"])), (409, "limit_reached".into()));
    assert!(text(&answer["detail"]).contains("tenantLimits.clusters"), "{answer}");
    // The platform is not bound, and a new bound counts without a restart.
    server.register("c").await;
    let mut config = common::configuration();
    config["tenantLimits"] = json!({"clusters": 3});
    common::write_config(server.folder.path(), &config);
    server.signal("HUP");
    common::until("there is room for one more", async || register("d").await.0 == 201).await;
    assert_eq!(register("e").await.0, 409);
}

#[tokio::test]
async fn only_administrators_make_keys_that_pass_for_people() {
    let server = start().await;
    let acme = Who::new(&server, 0, &roles()[0]).await;
    let human = json!({"tenant": "acme", "subject": "ann", "source_type": "human"});
    let key = server.expect(201, Method::POST, "/v1/api-keys", Some(human.clone())).await;
    let path = ["/v1/api-keys/", &text(&key["api_key"]["id"])].concat();
    for role in [json!({"role": "operator"}), json!({"role": "tenant-admin", "tenant": "acme"})] {
        let who = Who::of(&server, &role, &acme).await;
        let made = who.call(&server, "POST", "/v1/api-keys", Some(&human.to_string())).await;
        let rotated = who.call(&server, "POST", &[&path, "/rotate"].concat(), None).await;
        for (status, answer) in [made, rotated] {
            assert_eq!((status, text(&answer["reason"])), (403, "permission_denied".into()), "{role}");
            assert!(text(&answer["detail"]).contains("api-keys:human"), "{answer}");
        }
        assert_eq!(who.call(&server, "DELETE", &path, None).await.0, 200, "ending one is no grant");
    }
}

#[tokio::test]
async fn each_side_lets_go_of_what_it_holds_and_of_nothing_else() {
    let server = start().await;
    let acme = Who::new(&server, 0, &roles()[0]).await;
    let of = async |role: Value| Who::of(&server, &role, &acme).await;
    let owner = of(json!({"role": "cluster-owner", "tenant": "acme", "cluster": acme.cluster})).await;
    let tenant = of(json!({"role": "tenant-admin", "tenant": "acme"})).await;
    let platform = of(json!({"role": "operator"})).await;
    let another = of(json!({"role": "administrator"})).await;
    let call = async |who: &Who, what: &str, body: Option<&str>| {
        let path = ["/v1/clusters/", &acme.cluster, "/", what].concat();
        let (status, answer) = who.call(&server, "POST", &path, body).await;
        let cluster = if status == 200 { answer["cluster"].clone() } else { answer["reason"].clone() };
        (status, cluster)
    };
    let held = json!({"reason": "a breach at our place"}).to_string();
    assert_eq!(call(&owner, "suspend", Some(&held)).await.1["suspended_by"], json!(["owner"]));
    assert_eq!(call(&platform, "suspend", None).await.1["suspended_by"], json!(["owner", "platform"]));
    let (_, twice) = call(&another, "suspend", Some(r#"{"reason": "later"}"#)).await;
    let holds = twice["holds"].as_array().unwrap();
    assert_eq!(holds.len(), 2, "one of each side: {twice}");
    assert_eq!((&holds[0]["side"], &holds[0]["reason"]), (&json!("owner"), &json!("a breach at our place")));
    assert_eq!(holds[0]["by"], json!({"kind": "token", "id": owner.id}));
    assert_eq!((&holds[1]["by"]["id"], &holds[1]["reason"]), (&json!(platform.id), &json!(null)));
    assert!(holds.iter().all(|hold| hold["since_ms"].as_u64().unwrap() > 1_700_000_000_000), "{twice}");
    let path = ["/v1/clusters/", &acme.cluster].concat();
    for (who, named) in [(&owner, [true, false]), (&tenant, [true, false]), (&another, [true, true])] {
        let (_, seen) = who.call(&server, "GET", &path, None).await;
        let names = [0, 1].map(|at| !seen["holds"][at]["by"].is_null());
        assert_eq!(names, named, "the platform's people are not named below: {seen}");
        let (_, list) = who.call(&server, "GET", "/v1/clusters", None).await;
        let listed = list["clusters"].as_array().unwrap().iter().find(|c| c["id"] == acme.cluster.as_str());
        assert_eq!(listed.unwrap()["holds"], seen["holds"]);
    }
    for wrong in [String::new(), "x".repeat(201), "a\nb".to_owned()] {
        let body = json!({"reason": wrong}).to_string();
        assert_eq!(call(&tenant, "suspend", Some(&body)).await, (400, json!("body_invalid")));
    }

    assert_eq!(call(&tenant, "resume", None).await, (403, json!("held_above")));
    let (_, left) = call(&owner, "resume", None).await;
    assert_eq!((&left["state"], &left["suspended_by"]), (&json!("suspended"), &json!(["platform"])));
    for lower in [&owner, &tenant] {
        assert_eq!(call(lower, "resume", None).await, (403, json!("held_above")));
    }
    call(&owner, "suspend", None).await;
    let (_, left) = call(&another, "resume", None).await;
    assert_eq!((&left["state"], &left["suspended_by"]), (&json!("suspended"), &json!(["owner"])));
    for other in [&platform, &tenant] {
        assert_eq!(call(other, "resume", None).await, (403, json!("held_below")));
    }
    let (_, open) = call(&owner, "resume", None).await;
    assert_eq!((&open["administrative"], &open["holds"]), (&json!("active"), &json!([])));
}

#[tokio::test]
async fn a_revocation_of_a_higher_authority_is_not_taken_back_from_below() {
    let server = start().await;
    let acme = Who::new(&server, 0, &roles()[0]).await;
    let tenant = Who::of(&server, &json!({"role": "tenant-admin", "tenant": "acme"}), &acme).await;
    let platform = Who::of(&server, &json!({"role": "operator"}), &acme).await;
    let body = json!({"name": "user:acme - ann"}).to_string();
    let remove = "/v1/revocations?name=user:acme%20-%20ann";
    assert_eq!(tenant.call(&server, "POST", "/v1/revocations", Some(&body)).await.0, 201);
    assert_eq!(tenant.call(&server, "POST", "/v1/revocations", Some(&body)).await.0, 409);
    assert_eq!(tenant.call(&server, "DELETE", remove, None).await.0, 200);
    assert_eq!(tenant.call(&server, "POST", "/v1/revocations", Some(&body)).await.0, 201);
    let (status, taken) = platform.call(&server, "POST", "/v1/revocations", Some(&body)).await;
    assert_eq!(
        (status, &taken["revocation"]["made_by"]),
        (201, &json!("platform")),
        "it is the platform's now"
    );
    let (status, answer) = tenant.call(&server, "DELETE", remove, None).await;
    assert_eq!((status, text(&answer["reason"])), (403, "held_above".into()));
    let (_, list) = tenant.call(&server, "GET", "/v1/revocations", None).await;
    assert_eq!(list["revocations"][0]["name"], "user:acme - ann", "it still stands");
    assert_eq!(platform.call(&server, "DELETE", remove, None).await.0, 200);
    for beyond in ["sub:ann", "sid:1", "jti:1", "kid:1", "client:svc-a", "user:globex - ann"] {
        let body = json!({"name": beyond}).to_string();
        assert_eq!(tenant.call(&server, "POST", "/v1/revocations", Some(&body)).await.0, 403, "{beyond}");
    }
}

#[tokio::test]
async fn every_change_and_every_refusal_says_by_which_role() {
    let server = start().await;
    let acme = Who::new(&server, 0, &roles()[0]).await;
    let owner = json!({"role": "cluster-owner", "tenant": "acme", "cluster": acme.cluster});
    let owner = Who::of(&server, &owner, &acme).await;
    let suspend = ["/v1/clusters/", &acme.cluster, "/suspend"].concat();
    owner.call(&server, "POST", &suspend, None).await;
    owner.call(&server, "GET", "/v1/audit/records", None).await;
    owner.call(&server, "DELETE", "/v1/clusters/nowhere", None).await;
    owner.call(&server, "POST", "/v1/clusters/nowhere/resume", None).await;
    let found = server.expect(200, Method::GET, "/v1/audit/records?limit=1000&hop=control", None).await;
    let found = found["records"].as_array().unwrap().clone();
    let has = |method: &str, path: &str, status: u16, reason: &str| {
        let fits = |r: &&Value| r["role"] == "cluster-owner" && r["method"] == method && r["path"] == path;
        let fits = |r: &&Value| fits(r) && r["status"] == status && r["reason"] == reason;
        let fits = |r: &&Value| fits(r) && r["subject"].as_str().is_some_and(|s| s.starts_with("admin:"));
        assert_eq!(found.iter().filter(fits).count(), 1, "{method} {path} {status} {reason}");
    };
    has("POST", &suspend, 200, "");
    has("GET", "/v1/audit/records", 403, "permission_denied");
    has("DELETE", "/v1/clusters/nowhere", 403, "permission_denied");
    has("POST", "/v1/clusters/nowhere/resume", 404, "cluster_unknown");
    // A tenant's auditor sees what concerns the tenant, whoever did it.
    let auditor = Who::of(&server, &json!({"role": "auditor", "tenant": "acme"}), &acme).await;
    let (_, seen) = auditor.call(&server, "GET", "/v1/audit/records?limit=1000", None).await;
    let seen = seen["records"].as_array().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|record| record["tenant"] == "acme"), "{seen:?}");
    let own = seen.iter().find(|record| record["path"] == suspend.as_str()).unwrap();
    // So with the entries of the log.
    let entry = async |index: &str| {
        let (status, answer) =
            auditor.call(&server, "GET", &format!("/v1/audit/entries/{index}"), None).await;
        (status, answer["reason"].clone(), answer["detail"].clone())
    };
    assert_eq!(entry(own["reference"].as_str().unwrap()).await.0, 200);
    let platforms = entry("1").await;
    assert_eq!((platforms.0, &platforms), (404, &entry("1000000").await));
}

#[tokio::test]
async fn a_tenants_auditor_is_not_told_how_many_records_others_have() {
    let server = start().await;
    let acme = Who::new(&server, 0, &roles()[0]).await;
    let of = async |tenant: &str| {
        let auditor = json!({"role": "auditor", "tenant": tenant});
        Who::of(&server, &auditor, &acme).await
    };
    let (auditor, other) = (of("acme").await, of(GLOBEX).await);
    for n in 0..3 {
        for tenant in ["acme", GLOBEX, GLOBEX] {
            let key = json!({"tenant": tenant, "subject": format!("s-{n}"), "source_type": "worker"});
            server.expect(201, Method::POST, "/v1/api-keys", Some(key)).await;
        }
    }
    let ask = async |who: &Who, query: &str| {
        who.call(&server, "GET", &["/v1/audit/records?limit=1", query].concat(), None).await
    };
    for order in ["oldest", "newest"] {
        let (mut query, mut seen, mut last) = (format!("&order={order}"), Vec::new(), String::new());
        loop {
            let (status, page) = ask(&auditor, &query).await;
            assert_eq!(status, 200, "{page}");
            assert_eq!(
                (&page["next"], &page["newest_index"], &page["revision"]),
                (&Value::Null, &Value::Null, &json!(0))
            );
            for record in page["records"].as_array().unwrap() {
                assert_eq!(record["tenant"], "acme");
                for told in ["index", "sequence", "stream", "entry"] {
                    assert_eq!(record[told], Value::Null, "{told}: {record}");
                }
                seen.push(text(&record["path"]));
            }
            let Some(cursor) = page["cursor"].as_str() else { break };
            last = format!("&order={order}&cursor={cursor}");
            query.clone_from(&last);
        }
        let keys = seen.iter().filter(|path| path.starts_with("/v1/api-keys/")).count();
        assert_eq!(keys, 4, "{seen:?}");
        // It is good for whoever got it, as it is.
        let own = ask(&auditor, &last).await;
        assert_eq!((own.0, ask(&other, &last).await.0), (200, 400));
        assert_eq!(ask(&auditor, &[&last[..last.len() - 1], "x"].concat()).await.0, 400);
    }
    for place in ["&after=1", "&before=9", "&cursor=7", "&cursor="] {
        assert_eq!(ask(&auditor, place).await.0, 400, "{place}");
    }
    // A record is verified by its reference, by nobody else's, and not by an index that is tried out.
    let (_, page) = ask(&auditor, "").await;
    let reference = text(&page["records"][0]["reference"]);
    let path = ["/v1/audit/entries/", &reference].concat();
    assert_eq!(other.call(&server, "GET", &path, None).await.0, 404);
    for index in 1..30 {
        let path = format!("/v1/audit/entries/{index}");
        assert_eq!(auditor.call(&server, "GET", &path, None).await.0, 404);
    }
    let mut verify = common::portcullis();
    verify.env("PORTCULLIS_TOKEN", &auditor.token).env("PORTCULLIS_SERVER", server.url("platform", ""));
    let shown = common::stdout(&verify.args(["audit", "verify", &reference]).output().unwrap());
    assert!(shown.contains("entry: commitment"), "{shown}");
    // The platform sees everything, and may go on by either.
    let all = server.expect(200, Method::GET, "/v1/audit/records?limit=1", None).await;
    assert_eq!((&all["next"], &all["records"][0]["index"]), (&json!(1), &json!(1)));
    for place in [format!("after={}", all["next"]), format!("cursor={}", text(&all["cursor"]))] {
        let page = server.expect(200, Method::GET, &format!("/v1/audit/records?limit=1&{place}"), None).await;
        assert_eq!(page["records"][0]["index"], 2, "{place}");
    }
}

#[tokio::test]
async fn the_command_line_makes_tokens_of_a_role_and_says_why_one_is_refused() {
    let server = start().await;
    let command = |token: &str, arguments: &[&str]| {
        let mut command = common::portcullis();
        command.env("PORTCULLIS_TOKEN", token).env("PORTCULLIS_SERVER", server.url("platform", ""));
        command.args(arguments).output().unwrap()
    };
    let made = ["admins", "--output", "json", "create", "--role", "auditor", "--tenant", "acme"];
    let made: Value = serde_json::from_str(&common::stdout(&command(&server.admin, &made))).unwrap();
    let token = text(&made["token"]);
    let shown = common::stdout(&command(&token, &["whoami"]));
    for line in ["role: auditor", "tenant: acme", "audit:read"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("platform:read") && !shown.contains(&token[20..]), "{shown}");
    let failed = |arguments: &[&str]| {
        let output = command(&token, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let denied = failed(&["clusters", "suspend", "acme"]);
    for part in ["permission_denied", "clusters:suspend", "role auditor"] {
        assert!(denied.contains(part), "{denied}");
    }
    // What to look at is said once, also where it is the thing itself that is out of reach.
    let bound = json!({"role": "tenant-admin", "tenant": "acme"});
    let bound = text(&server.expect(201, Method::POST, "/v1/administrators", Some(bound)).await["token"]);
    let beyond = command(
        &bound,
        &["clusters", "register", "globex-1", "--tenant", "globex", "--placement", "on_premises"],
    );
    let beyond = String::from_utf8(beyond.stderr).unwrap();
    assert!(beyond.contains("permission_denied"), "{beyond}");
    for told in [&denied, &beyond] {
        assert_eq!(told.matches("portcullis whoami").count(), 1, "{told}");
    }
    let wrong = command(&server.admin, &["admins", "create", "--role", "tenant-admin"]);
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("tenant: a tenant-admin needs one"));
    let gone = command(&server.admin, &["clusters", "suspend", "nowhere"]);
    let gone = String::from_utf8(gone.stderr).unwrap();
    assert!(gone.contains("cluster_unknown") && gone.contains("this token may not see it"), "{gone}");
}

/// The table of calls as `control-service/README.md` has it.
fn table() -> String {
    use portcullis_control_contract::calls::{Access, Call};
    use portcullis_control_domain::caller::RoleName;
    let mut out = String::from("| call | needs |");
    RoleName::ALL.iter().for_each(|role| out.push_str(&format!(" {} |", role.as_str())));
    out.push_str(&format!("\n|{}\n", "---|".repeat(2 + RoleName::ALL.len())));
    for call in Call::ALL {
        let (needs, marks): (_, Vec<_>) = match call.access() {
            Access::Needs(permission) => {
                let mark = |role: &RoleName| if role.may(permission) { "x" } else { "" };
                (format!("`{}`", permission.as_str()), RoleName::ALL.iter().map(mark).collect())
            }
            other => {
                let needs = match other {
                    Access::Cluster => "the cluster's own token",
                    Access::ServiceClient => "a client's secret",
                    _ => "nothing",
                };
                (needs.to_owned(), vec![""; RoleName::ALL.len()])
            }
        };
        let (method, path, marks) = (call.method(), call.path(), marks.join(" | "));
        out.push_str(&format!("| `{method} {path}` | {needs} | {marks} |\n"));
    }
    out
}

#[test]
fn the_documents_have_the_table_of_calls() {
    let page = include_str!("../../README.md");
    assert!(page.contains(&table()), "control-service/README.md, section Roles, must have:\n{}", table());
}
