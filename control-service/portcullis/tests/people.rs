//! People who call the platform API with tokens of identity providers.

mod common;

use common::{Server, text, until};
use jwt_simple::prelude::*;
use portcullis_mesh::idp::{now_s, sign};
use reqwest::Method;
use serde_json::{Value, json};

const STAFF: &str = "https://staff.example.com";
const ACME: &str = "https://idp.acme.example";

/// An identity provider: what signs, and its entry in the configuration.
#[derive(Clone)]
struct Idp {
    key: Ed25519KeyPair,
    issuer: &'static str,
}

impl Idp {
    fn new(issuer: &'static str) -> Self {
        Self { key: Ed25519KeyPair::generate().with_key_id("k1"), issuer }
    }

    fn jwks(&self) -> Value {
        use base64::Engine;
        let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.key.public_key().to_bytes());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]})
    }

    fn entry(&self, more: Value) -> Value {
        let mut entry = json!({"issuer": self.issuer, "audiences": ["data"], "algorithms": ["EdDSA"], "jwks": self.jwks()});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    }

    /// A token for the platform API, with other claims in place of the usual ones; null takes one out.
    fn token(&self, claims: &Value) -> String {
        self.token_of_type(Some("at+jwt"), claims)
    }

    /// The same, with another `typ` in its header; without one it is `JWT`.
    fn token_of_type(&self, kind: Option<&str>, claims: &Value) -> String {
        let mut all = json!({"iss": self.issuer, "aud": "platform", "sub": "ann", "iat": now_s(), "exp": now_s() + 100});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = HeaderOptions { signature_type: kind.map(str::to_owned), ..HeaderOptions::default() };
        sign(|claims| self.key.sign_with_options(claims, &header), &all).unwrap()
    }
}

struct World {
    server: Server,
    staff: Idp,
    acme: Idp,
}

fn has(group: &str) -> Value {
    json!([{"claim": ["groups"], "anyOf": [group]}])
}

fn configure(config: &mut Value, staff: &Idp, acme: &Idp) {
    config["issuers"] = json!([staff.entry(json!({})), acme.entry(json!({"tenants": ["acme", "acme-2"]}))]);
    config["platformCallers"] = json!([
        {"issuer": STAFF, "audiences": ["platform"], "tenant": "ops", "roles": [
            {"role": "administrator", "when": has("root")},
            {"role": "auditor", "when": has("audit")},
        ]},
        {"issuer": ACME, "audiences": ["platform"], "roles": [
            {"role": "tenant-admin", "when": has("admin")},
            {"role": "cluster-owner", "clusterClaim": ["cluster"], "when": has("owner")},
        ]},
    ]);
}

impl World {
    async fn start() -> Self {
        Self::of(Idp::new(STAFF), Idp::new(ACME)).await
    }

    async fn of(staff: Idp, acme: Idp) -> Self {
        let server = Server::start_with(|config| configure(config, &staff, &acme)).await;
        Self { server, staff, acme }
    }

    async fn call(&self, token: &str, method: Method, path: &str) -> (u16, Value) {
        let call = self.server.http.request(method, self.server.url("platform", path)).bearer_auth(token);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The same, once the pause after earlier refusals is over.
    async fn patiently(&self, token: &str, path: &str) -> (u16, Value) {
        let mut last = (429, Value::Null);
        until("it is looked at", async || {
            last = self.call(token, Method::GET, path).await;
            last.0 != 429
        })
        .await;
        last
    }
}

#[tokio::test]
async fn a_token_of_an_identity_provider_has_the_role_that_the_rules_give() {
    let world = World::start().await;
    let whoami = async |token: &str| world.call(token, Method::GET, "/v1/whoami").await;
    let (status, root) = whoami(&world.staff.token(&json!({"groups": ["x", "root"]}))).await;
    assert_eq!(
        (status, text(&root["role"]), text(&root["issuer"])),
        (200, "administrator".into(), STAFF.into())
    );
    assert_eq!((text(&root["subject"]), text(&root["key_id"])), ("ann".into(), "k1".into()));
    assert!(root["expires_at_s"].as_u64().unwrap() >= now_s());
    let (_, admin) = whoami(&world.acme.token(&json!({"groups": "admin", "tenant": "acme"}))).await;
    assert_eq!((&admin["role"], &admin["tenant"]), (&json!("tenant-admin"), &json!("acme")));
    let owner = json!({"groups": ["owner"], "tenant": "acme", "cluster": "acme-1"});
    let (_, owner) = whoami(&world.acme.token(&owner)).await;
    assert_eq!((&owner["tenant"], &owner["cluster"]), (&json!("acme"), &json!("acme-1")));
    // What they do is bound as a token of the service is, and audited as theirs.
    world.server.register("acme-1").await;
    let token = world.acme.token(&json!({"groups": ["owner"], "tenant": "acme", "cluster": "acme-1"}));
    assert_eq!(world.call(&token, Method::POST, "/v1/clusters/acme-1/suspend").await.0, 200);
    assert_eq!(world.call(&token, Method::DELETE, "/v1/clusters/acme-1").await.0, 403);
    let other = world.acme.token(&json!({"groups": ["admin"], "tenant": "acme-2"}));
    assert_eq!(world.call(&other, Method::GET, "/v1/clusters/acme-1").await.0, 404);
    let records =
        world.server.expect(200, Method::GET, "/v1/audit/records?subject=ann&limit=1000", None).await;
    let told: Vec<_> = records["records"].as_array().unwrap().iter().collect();
    let fits = |method: &str, status: u16| {
        told.iter().any(|r| {
            (&r["method"], &r["status"], &r["issuer"], &r["credential"], &r["key_id"], &r["role"])
                == (
                    &json!(method),
                    &json!(status),
                    &json!(ACME),
                    &json!("jwt"),
                    &json!("k1"),
                    &json!("cluster-owner"),
                )
        })
    };
    assert!(fits("POST", 200) && fits("DELETE", 403), "{told:?}");
    // Erased as one person, whatever tenant a record is about.
    let erasure = Some(json!({"issuer": ACME, "subject": "ann"}));
    world.server.expect(200, Method::POST, "/v1/audit/erasures", erasure).await;
    let left = world.server.expect(200, Method::GET, "/v1/audit/records?subject=ann&limit=1000", None).await;
    assert_eq!(left["records"], json!([]));
}

#[tokio::test]
async fn what_a_gateway_would_refuse_is_refused_and_so_is_who_has_no_role() {
    let world = World::start().await;
    let root = json!({"groups": ["root"]});
    let with = |more: Value| {
        let mut claims = root.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let stranger = Idp::new(STAFF);
    let good = world.staff.token(&root);
    let (head, rest) = good.split_once('.').unwrap();
    let none = {
        use base64::Engine;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        [header.as_str(), ".", rest.split_once('.').unwrap().0, "."].concat()
    };
    let refused = [
        ("of data APIs", world.staff.token(&with(json!({"aud": "data"})))),
        ("ended", world.staff.token(&with(json!({"exp": now_s() - 1000})))),
        ("without end", world.staff.token(&with(json!({"exp": null})))),
        ("of a stranger", stranger.token(&root)),
        ("of nobody", Idp::new("https://nobody.example.com").token(&root)),
        ("unsigned", none),
        ("cut", [head, ".", &rest[..rest.len() - 4]].concat()),
        ("an ID token of the same audience", world.staff.token_of_type(None, &root)),
        ("an ID token that says so", world.staff.token(&with(json!({"typ": "ID"})))),
        ("of another tenant", world.acme.token(&json!({"groups": ["admin"], "tenant": "globex"}))),
        ("of no tenant", world.acme.token(&json!({"groups": ["admin"]}))),
    ];
    // Who fails often must wait, so few of them try at one service.
    for some in refused.chunks(4) {
        let world = World::of(world.staff.clone(), world.acme.clone()).await;
        for (what, token) in some {
            let (status, answer) = world.call(token, Method::GET, "/v1/whoami").await;
            assert_eq!((status, text(&answer["reason"])), (401, "token_invalid".into()), "{what}: {answer}");
        }
    }
    let nobody = [
        world.staff.token(&json!({"groups": ["other"]})),
        world.staff.token(&json!({"sub": "bob"})),
        // The platform's roles are not for other issuers' people, whatever they are in.
        world.acme.token(&json!({"groups": ["root"], "tenant": "acme"})),
        world.acme.token(&json!({"groups": ["owner"], "tenant": "acme"})),
        // Who acts for a person is not that person.
        world.staff.token(&with(json!({"act": {"sub": "agent"}}))),
    ];
    for token in &nobody {
        let (status, answer) = world.call(token, Method::GET, "/v1/whoami").await;
        assert_eq!((status, text(&answer["reason"])), (403, "permission_denied".into()), "{answer}");
    }
    // A good one is never slowed down, and refusals that say whose they are are recorded so.
    assert_eq!(world.call(&good, Method::GET, "/v1/whoami").await.0, 200);
    let records =
        world.server.expect(200, Method::GET, "/v1/audit/records?subject=bob&limit=1000", None).await;
    let record = &records["records"][0];
    assert_eq!(
        (&record["status"], &record["issuer"], &record["role"]),
        (&json!(403), &json!(STAFF), &json!(""))
    );
}

#[tokio::test]
async fn many_without_a_good_token_at_once_keep_nobody_out_who_has_one() {
    let world = World::start().await;
    let forged = Idp::new(STAFF).token(&json!({"groups": ["root"]}));
    let at_once = async |token: &str| {
        let calls = (0..300).map(|_| {
            let url = world.server.url("platform", "/v1/whoami");
            let call = world.server.http.get(url).bearer_auth(token);
            tokio::spawn(async move {
                let answer = call.send().await.unwrap();
                let waits = answer.headers().contains_key("retry-after");
                (answer.status().as_u16(), waits, text(&answer.json::<Value>().await.unwrap()["reason"]))
            })
        });
        let mut answers = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            answers.push(call.await.unwrap());
        }
        answers
    };
    let answers = at_once(&forged).await;
    let busy = (503, true, "callers_busy".to_owned());
    let refused = |answer: &(u16, bool, String)| [401, 429].contains(&answer.0);
    assert!(answers.iter().all(|answer| refused(answer) || *answer == busy), "{answers:?}");
    // What is no token is not judged, and takes no place.
    let answers = at_once("no-token").await;
    assert!(answers.iter().all(refused), "{answers:?}");
    // The address must wait, and a good token does not.
    let good = world.staff.token(&json!({"groups": ["root"]}));
    assert_eq!(world.call(&good, Method::GET, "/v1/whoami").await.0, 200);
}

/// Each of another person, with another key and session, of an issuer whose people may call.
#[tokio::test]
async fn many_different_bad_tokens_leave_next_to_nothing() {
    let world = World::start().await;
    let stranger = Idp::new(STAFF);
    let flood = async |from: u32, to: u32| {
        for at_once in (from..to).collect::<Vec<_>>().chunks(8) {
            let calls = at_once.iter().map(|n| {
                let subject = format!("p-{n}");
                let (idp, claims) = if n.is_multiple_of(2) {
                    (&stranger, json!({"groups": ["root"], "sub": subject, "sid": format!("s-{n}")}))
                } else {
                    (&world.staff, json!({"sub": subject, "aud": "data"}))
                };
                let kind = (!n.is_multiple_of(3)).then_some("at+jwt");
                let token = idp.token_of_type(kind, &claims);
                let url = world.server.url("platform", "/v1/whoami");
                tokio::spawn(world.server.http.get(url).bearer_auth(token).send())
            });
            for call in calls.collect::<Vec<_>>() {
                let status = call.await.unwrap().unwrap().status().as_u16();
                assert!([401, 429, 503].contains(&status), "{status}");
            }
        }
    };
    flood(0, 400).await;
    let rows = |table: &str| {
        let file = world.server.folder.path().join("data/portcullis.db");
        let database = rusqlite::Connection::open(file).unwrap();
        let sql = format!("SELECT count(*) FROM {table}");
        database.query_row(&sql, [], |row| row.get::<_, u64>(0)).unwrap()
    };
    let (memory, tables) = (world.server.memory_kib(), ["pause", "audit_record", "audit_subject"].map(rows));
    flood(400, 4_000).await;
    let (later, after) = (world.server.memory_kib(), ["pause", "audit_record", "audit_subject"].map(rows));
    println!("memory {memory} KiB, then {later} KiB; rows {tables:?}, then {after:?}");
    assert!(later < memory + 16 * 1024, "{memory} KiB, then {later} KiB");
    assert!(
        after[0] <= 2 && after.iter().zip(tables).all(|(after, before)| *after < before + 30),
        "{after:?}"
    );
}

#[tokio::test]
async fn a_revocation_ends_people_with_the_next_call() {
    let world = World::start().await;
    let token = world.staff.token(&json!({"groups": ["root"], "jti": "t-1", "sid": "s-1"}));
    let admin = world.acme.token(&json!({"groups": ["admin"], "tenant": "acme"}));
    for name in ["sub:ann", "jti:t-1", "sid:s-1", "kid:k1", "user:ops https://staff.example.com ann"] {
        assert_eq!(world.patiently(&token, "/v1/whoami").await.0, 200, "{name}");
        let body = Some(json!({"name": name}));
        world.server.expect(201, Method::POST, "/v1/revocations", body).await;
        let (status, answer) = world.patiently(&token, "/v1/whoami").await;
        assert_eq!(status, 401, "{name}: {answer}");
        assert!(text(&answer["detail"]).contains("credential_revoked"), "{answer}");
        let path = ["/v1/revocations?name=", &name.replace(' ', "%20")].concat();
        world.server.expect(200, Method::DELETE, &path, None).await;
    }
    // A tenant's revocation of a person is of that tenant's person, and ends nobody of the platform's.
    for name in ["user:acme https://staff.example.com ann", "user:acme-2 https://idp.acme.example ann"] {
        world.server.expect(201, Method::POST, "/v1/revocations", Some(json!({"name": name}))).await;
    }
    assert_eq!(world.patiently(&token, "/v1/whoami").await.0, 200);
    assert_eq!(world.patiently(&admin, "/v1/whoami").await.0, 200);
}

#[tokio::test]
async fn a_tenants_deleted_client_ends_no_person_whose_client_is_called_the_same() {
    let (staff, acme) = (Idp::new(STAFF), Idp::new(ACME));
    let server = Server::start_with(|config| {
        configure(config, &staff, &acme);
        config["serviceTokens"] = json!({"issuer": "https://p.example.com", "audiences": ["portcullis"]});
    })
    .await;
    let world = World { server, staff, acme };
    let admin = world.acme.token(&json!({"groups": ["admin"], "tenant": "acme"}));
    let person = world.staff.token(&json!({"groups": ["root"], "client_id": "svc-portal"}));
    let url = world.server.url("platform", "/v1/administrators");
    let made = world.server.http.post(url).bearer_auth(&person).json(&json!({"role": "operator"}));
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let token = text(&made["token"]);
    let body = json!({"id": "svc-portal", "tenant": "acme", "audiences": ["portcullis"]});
    let url = world.server.url("platform", "/v1/service-clients");
    let created = world.server.http.post(url).bearer_auth(&admin).json(&body).send().await.unwrap();
    assert_eq!(created.status(), 201);
    assert_eq!(world.call(&admin, Method::DELETE, "/v1/service-clients/svc-portal").await.0, 200);
    for token in [&person, &token] {
        assert_eq!(world.patiently(token, "/v1/whoami").await.0, 200);
    }
    // The platform may mean every client of that name, and says so by hand.
    let body = Some(json!({"name": "client:svc-portal"}));
    world.server.expect(201, Method::POST, "/v1/revocations", body).await;
    for token in [&person, &token] {
        assert_eq!(world.patiently(token, "/v1/whoami").await.0, 401);
    }
}

/// The same keys sign ID tokens, whose audience is whichever application asked.
#[tokio::test]
async fn access_tokens_are_told_from_id_tokens_by_what_the_configuration_says() {
    let world = World::start().await;
    let plain = |more: Value| {
        let mut claims = json!({"groups": ["root"], "aud": "platform"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.staff.token_of_type(None, &claims)
    };
    let (unmarked, bearer) = (plain(json!({})), plain(json!({"typ": "Bearer"})));
    let at_jwt = world.staff.token(&json!({"groups": ["root"]}));
    let id = plain(json!({"typ": "ID"}));
    let told = json!({"claim": ["typ"], "anyOf": ["Bearer"]});
    for (field, value, good, bad) in [
        ("dedicatedAudience", json!(false), vec![&at_jwt], vec![&unmarked, &bearer, &id]),
        ("accessTokenClaim", told, vec![&bearer], vec![&unmarked, &at_jwt, &id]),
        ("dedicatedAudience", json!(true), vec![&unmarked, &bearer, &at_jwt], vec![&id]),
    ] {
        let server = Server::start_with(|config| {
            configure(config, &world.staff, &world.acme);
            config["platformCallers"][0][field] = value.clone();
        })
        .await;
        let whoami = async |token: &str| {
            let call = server.http.get(server.url("platform", "/v1/whoami")).bearer_auth(token);
            call.send().await.unwrap().status().as_u16()
        };
        for token in good {
            assert_eq!(whoami(token).await, 200, "{field}: {value}");
        }
        for token in bad {
            assert_eq!(whoami(token).await, 401, "{field}: {value}");
        }
    }
}

#[tokio::test]
async fn a_token_that_a_person_made_ends_with_them_and_with_the_rule_that_let_them() {
    let world = World::start().await;
    let root = world.staff.token(&json!({"groups": ["root", "contractors"], "sid": "s-1"}));
    let make = async |by: &str, body: Value| {
        let url = world.server.url("platform", "/v1/administrators");
        let answer = world.server.http.post(url).bearer_auth(by).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, made) = make(&root, json!({"role": "administrator"})).await;
    assert_eq!(status, 201, "{made}");
    let token = text(&made["token"]);
    let person = json!({"tenant": "ops", "issuer": STAFF, "subject": "ann"});
    assert_eq!(
        (&made["administrator"]["person"], &made["administrator"]["made_by"]),
        (&person, &Value::Null)
    );
    // It ends by itself, and so does what it makes.
    let end = made["administrator"]["expires_at_s"].as_u64().unwrap();
    assert!(end.abs_diff(now_s() + 90 * 24 * 3600) < 60, "{made}");
    assert_eq!(make(&root, json!({"expires_in_s": 91 * 24 * 3600})).await.0, 400);
    assert_eq!(make(&token, json!({"expires_in_s": 91 * 24 * 3600})).await.0, 400);
    let (_, second) = make(&token, json!({"role": "operator"})).await;
    let of_second = &second["administrator"];
    assert_eq!((&of_second["person"], &of_second["made_by"]), (&person, &made["administrator"]["id"]));
    assert_eq!(of_second["expires_at_s"], end);
    let second = text(&second["token"]);

    let by_these_rules = async |config: &Value, role: &str, wanted: u16| {
        common::write_config(world.server.folder.path(), config);
        world.server.signal("HUP");
        until("the rules are read", async || {
            world.call(&root, Method::GET, "/v1/whoami").await.1["role"] == role
        })
        .await;
        for token in [&token, &second] {
            assert_eq!(world.patiently(token, "/v1/whoami").await.0, wanted, "{role}");
        }
    };

    // The rule goes, and comes back.
    let mut config = common::configuration();
    configure(&mut config, &world.staff, &world.acme);
    for (role, wanted) in [("auditor", 401), ("administrator", 200)] {
        config["platformCallers"][0]["roles"][0]["role"] = json!(role);
        by_these_rules(&config, role, wanted).await;
    }

    // A rule that is put first and makes somebody less of them reaches what they made as administrator.
    config["platformCallers"][0]["roles"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"role": "auditor", "tenant": "acme", "when": has("contractors")}));
    for (group, role, wanted) in [("contractors", "auditor", 401), ("strangers", "administrator", 200)] {
        config["platformCallers"][0]["roles"][0]["when"] = has(group);
        by_these_rules(&config, role, wanted).await;
    }

    // The person is revoked, for as long as their own token would have lived.
    let body = Some(json!({"name": "sid:s-1", "expires_in_s": 60}));
    world.server.expect(201, Method::POST, "/v1/revocations", body).await;
    for token in [&token, &second] {
        assert_eq!(world.patiently(token, "/v1/whoami").await.0, 401);
    }
    world.server.expect(200, Method::DELETE, "/v1/revocations?name=sid:s-1", None).await;
    assert_eq!(world.patiently(&root, "/v1/whoami").await.0, 200);
    for token in [&token, &second] {
        assert_eq!(world.patiently(token, "/v1/whoami").await.0, 401, "they stay ended");
    }
}

/// An identity provider calls people what it likes.
#[tokio::test]
async fn a_person_who_is_called_like_a_token_is_told_apart_from_it() {
    let world = World::start().await;
    let name = format!("admin:{}", world.server.admin.split('_').nth(1).unwrap());
    let person = world.staff.token(&json!({"groups": ["root"], "sub": name}));
    let (_, who) = world.call(&person, Method::GET, "/v1/whoami").await;
    let called = format!("person:{name}");
    assert_eq!((&who["subject"], &who["issuer"]), (&json!(called), &json!(STAFF)));
    let nowhere = "/v1/clusters/none";
    assert_eq!(world.call(&person, Method::DELETE, nowhere).await.0, 404);
    world.server.expect(404, Method::DELETE, nowhere, None).await;
    let callers = async |subject: &str| {
        let path = format!("/v1/audit/records?reason=cluster_unknown&limit=1000&subject={subject}");
        let found = world.server.expect(200, Method::GET, &path, None).await;
        let records = found["records"].as_array().unwrap();
        records.iter().map(|record| record["caller"].clone()).collect::<Vec<_>>()
    };
    let token = json!({"kind": "token", "id": name.strip_prefix("admin:").unwrap()});
    let of_idp = json!({"kind": "person", "issuer": STAFF, "subject": name, "key_id": "k1"});
    assert_eq!((callers(&name).await, callers(&called).await), (vec![token.clone()], vec![of_idp]));
    // Each is erased, and revoked, for itself.
    let erasure = Some(json!({"issuer": STAFF, "subject": called}));
    world.server.expect(200, Method::POST, "/v1/audit/erasures", erasure).await;
    assert_eq!((callers(&name).await, callers(&called).await), (vec![token], vec![]));
    let body = Some(json!({"name": format!("user:ops {STAFF} {name}")}));
    world.server.expect(201, Method::POST, "/v1/revocations", body).await;
    assert_eq!(world.patiently(&person, "/v1/whoami").await.0, 401);
    world.server.expect(200, Method::GET, "/v1/whoami", None).await;
}

#[tokio::test]
async fn rules_are_reloaded_and_without_any_no_token_of_others_counts() {
    let world = World::start().await;
    let token = world.staff.token(&json!({"groups": ["audit"]}));
    assert_eq!(world.call(&token, Method::GET, "/v1/whoami").await.1["role"], "auditor");
    let mut config = common::configuration();
    configure(&mut config, &world.staff, &world.acme);
    config["platformCallers"][0]["roles"][1]["role"] = json!("operator");
    common::write_config(world.server.folder.path(), &config);
    world.server.signal("HUP");
    until("the new rule counts", async || {
        world.call(&token, Method::GET, "/v1/whoami").await.1["role"] == "operator"
    })
    .await;
    config.as_object_mut().unwrap().remove("platformCallers");
    common::write_config(world.server.folder.path(), &config);
    world.server.signal("HUP");
    until("nobody is let in", async || world.call(&token, Method::GET, "/v1/whoami").await.0 == 401).await;
}
