//! The description of the platform API against what its handlers take and give.

mod common;
#[path = "openapi_cases/described.rs"]
mod described;

use portcullis_control_contract::calls::{Access, Call};
use reqwest::Method;
use serde_json::{Value, json};

use common::{Server, stdout, text};
use described::{Described, start};

#[tokio::test]
async fn the_description_has_every_call_and_nothing_else_and_the_command_prints_it() {
    let server = Server::start().await;
    let answer = server.http.get(server.url("platform", "/openapi.json")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| [&method.to_uppercase(), " ", path].concat())
    });
    let mut calls: Vec<String> = calls.collect();
    let mut wanted: Vec<String> =
        Call::ALL.iter().map(|call| [call.method(), " ", call.path()].concat()).collect();
    calls.sort();
    wanted.sort();
    assert_eq!(calls, wanted);
    for call in Call::ALL {
        let security = &document["paths"][call.path()][call.method().to_lowercase()]["security"];
        if let Access::Needs(permission) = call.access() {
            assert_eq!(*security, json!([{"callerToken": [permission.as_str()]}]), "{call:?}");
        }
    }
    let printed = common::portcullis().arg("openapi").output().unwrap();
    let printed: Value = serde_json::from_str(&stdout(&printed)).unwrap();
    assert_eq!(printed, document);
}

#[tokio::test]
async fn every_schema_is_one_and_every_reference_leads_to_one() {
    let document = portcullis_control_api::openapi();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 40, "{:?}", schemas.keys());
    for (name, schema) in schemas {
        assert!(jsonschema::meta::is_valid(schema), "{name}: {schema}");
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

/// The page for people names what the description has, by word: calls, parameters, members of bodies, reasons.
#[test]
fn the_page_names_every_call_parameter_member_and_reason() {
    let page = include_str!("../../README.md");
    let (_, page) = page.split_once("## Platform API").unwrap();
    let (page, _) = page.split_once("## Administrators").unwrap();
    let has = |word: &str| {
        let edge = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        page.match_indices(word)
            .any(|(at, _)| page[..at].ends_with(edge) && page[at + word.len()..].starts_with(edge))
    };
    let document = portcullis_control_api::openapi();
    let mut missing = Vec::new();
    for call in Call::ALL {
        let operation = &document["paths"][call.path()][call.method().to_lowercase()];
        let named = [call.method(), " ", call.path()].concat();
        let parameters = operation["parameters"].as_array().unwrap().iter().map(|p| text(&p["name"]));
        let json = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
        let members = json.as_object().into_iter().flat_map(|members| members.keys().cloned());
        let responses = operation["responses"].as_object().unwrap().values();
        let reasons = responses.flat_map(|response| {
            let schema = &response["content"]["application/problem+json"]["schema"];
            schema["allOf"][1]["properties"]["reason"]["enum"].as_array().cloned().unwrap_or_default()
        });
        let words = parameters.chain(members).chain(reasons.map(|reason| text(&reason)));
        missing.extend(words.filter(|word| !has(word)).map(|word| [&named, ": ", &word].concat()));
        if !page.contains(&["`", &named, "`"].concat()) {
            missing.push(named);
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "control-service/README.md");
}

/// The patterns and bounds of requests are those of the types that read them.
#[tokio::test]
async fn what_the_description_calls_wrong_is_refused_and_what_it_calls_right_is_taken() {
    let described = start().await;
    let long = |n: usize| "a".repeat(n);
    let names = ["a", "a-b", "-a", "a-", "A", "a_b", "", &long(63), &long(64), "a b", "é"];
    for name in names {
        let body = json!({"id": name, "tenant": "acme", "placement": "on_premises"});
        described.agrees(Call::RegisterCluster, body).await;
        described
            .agrees(Call::CreateApiKey, json!({"tenant": name, "subject": "s", "source_type": "worker"}))
            .await;
        described
            .agrees(Call::CreateServiceClient, json!({"id": (["svc-", name].concat()), "tenant": "acme"}))
            .await;
    }
    let key = |member: &str, value: Value| {
        let mut body = json!({"tenant": "acme", "subject": "s", "source_type": "worker"});
        body[member] = value;
        body
    };
    for text in [
        "a",
        "a,b",
        "a b",
        "\"",
        "\\",
        "-",
        "+",
        "!",
        "~",
        "\u{7f}",
        "",
        &long(64),
        &long(65),
        &long(128),
        &long(129),
        &long(255),
        &long(256),
    ] {
        described.agrees(Call::CreateApiKey, key("subject", json!(text))).await;
        described.agrees(Call::CreateApiKey, key("roles", json!([text]))).await;
        described.agrees(Call::CreateApiKey, key("scopes", json!([text]))).await;
        let client = json!({"id": (["svc-c", &text.len().to_string()].concat()), "tenant": "acme", "audiences": [text]});
        described.agrees(Call::CreateServiceClient, client).await;
        described.agrees(Call::AddRevocation, json!({"name": (["jti:", text].concat())})).await;
        described.agrees(Call::AddRevocation, json!({"name": (["user:acme - ", text].concat())})).await;
    }
    for number in [
        json!(0),
        json!(1),
        json!(-1),
        json!(3660 * 86_400),
        json!(3660 * 86_400 + 1),
        json!("1"),
        json!(1.5),
    ] {
        described.agrees(Call::CreateApiKey, key("expires_in_s", number.clone())).await;
        described.agrees(Call::CreateAdministrator, json!({"expires_in_s": number})).await;
    }
    for role in ["administrator", "root"] {
        described.agrees(Call::CreateAdministrator, json!({"role": role})).await;
    }
    for note in [long(1024), long(1025)] {
        described
            .agrees(
                Call::AddRevocation,
                json!({"name": (["sid:n", &note.len().to_string()].concat()), "note": note}),
            )
            .await;
    }
}

#[tokio::test]
async fn nothing_is_taken_that_is_not_described() {
    let described = start().await;
    for call in Call::ALL {
        let Access::Needs(_) = call.access() else { continue };
        let path = described.path(*call, "nothing");
        let (status, answer) = described.send(*call, &[&path, "?zzz=1"].concat(), None).await;
        assert_eq!((status, &answer["reason"]), (400, &json!("parameter_invalid")), "{call:?}: {answer}");
        let (status, answer) = described.send(*call, &path.replace("nothing", "%00"), None).await;
        assert!(!path.contains("nothing") || status == 400, "{call:?}: {status} {answer}");
        if call.method() != "GET" {
            let (status, answer) = described.send(*call, &path, Some(json!({"zzz": 1}))).await;
            assert_eq!((status, &answer["reason"]), (400, &json!("body_invalid")), "{call:?}: {answer}");
            // Members by their places would be taken for any body without required ones.
            let (status, answer) = described.send(*call, &path, Some(json!([null, null]))).await;
            assert_eq!((status, &answer["reason"]), (400, &json!("body_invalid")), "{call:?}: {answer}");
            let (status, answer) = described.send(*call, &path, Some(json!({"note": "a\u{0}"}))).await;
            assert_eq!((status, &answer["reason"]), (400, &json!("body_invalid")), "{call:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_is_refused_with_those_that_can() {
    let described = start().await;
    for (call, rest, wanted) in [
        (
            Call::ListAuditRecords,
            "?decision=foo",
            "decision: write allow, refuse, exempt, platform, none, open or end",
        ),
        (Call::ListAuditRecords, "?reason=Key%20unknown", "reason: write a code such as key_unknown"),
        (Call::ListAuditRecords, "?limit=many", "limit: write a whole number from 1 to 1000"),
        (Call::ListClusters, "?state=asleep", "state: write pending, online,"),
        (Call::RotateSigningKey, "everything", "the path: write identity or service"),
    ] {
        let (status, answer) = described.send(call, &described.path(call, rest), None).await;
        let told = text(&answer["detail"]);
        assert!(status == 400 && told.starts_with(wanted), "{call:?} {rest}: {status} {told}");
    }
    let body = json!({"tenant": "acme", "subject": "s", "source_type": "robot"});
    let (_, answer) = described.send(Call::CreateApiKey, "/v1/api-keys", Some(body)).await;
    assert_eq!(answer["detail"], "source_type: write human, worker or mcp_agent");
}

/// What a call needs, tried in an order in which each thing is still there when its turn comes. Every answer is held
/// against the description.
#[tokio::test]
async fn every_call_answers_as_described_with_every_problem_that_it_can_have_of_its_own() {
    let described = start().await;
    clusters(&described).await;
    enrolment(&described).await;
    keys_and_clients(&described).await;
    rest(&described).await;
    limits(&described).await;
    open(&described).await;
    described.nothing_is_left_untried();
}

async fn clusters(described: &Described) {
    let body = json!({"id": "acme-1", "tenant": "acme", "placement": "on_premises", "region": "eu"});
    let token = text(&described.ok(Call::RegisterCluster, "", Some(body.clone())).await["token"]);
    described.refused(Call::RegisterCluster, "", Some(body.clone()), "cluster_exists").await;
    described.ok(Call::ListClusters, "?limit=1", None).await;
    described.ok(Call::GetCluster, "acme-1", None).await;
    described.refused(Call::GetCluster, "nobody", None, "cluster_unknown").await;
    described.heartbeat("acme-1", &token, Some(json!({"status": "degraded", "version": "1.2"})), "").await;
    described.heartbeat("acme-1", &token, Some(json!({"zzz": 1})), "body_invalid").await;
    described.heartbeat("acme-1", "pcc_x", None, "token_invalid").await;
    described.heartbeat("ACME", &token, None, "parameter_invalid").await;
    // One that has never heard of any change, and one that has.
    described.server.reader("gateway", common::GATEWAY, "01").sync(&described.server).await;
    described.ok(Call::SuspendCluster, "acme-1", Some(json!({"reason": "an incident"}))).await;
    let owner =
        described.caller(json!({"role": "cluster-owner", "tenant": "acme", "cluster": "acme-1"})).await;
    let watch = described.server.by(&owner);
    let mut watches = Vec::new();
    for _ in 0..8 {
        watches.push(watch.api(Method::GET, "/v1/clusters/watch").send().await.unwrap());
    }
    described.refused_as(&owner, Call::WatchClusters, "", None, "share_taken").await;
    described.ok(Call::WatchClusters, "", None).await;
    drop(watches);
    described.refused_as(&owner, Call::ResumeCluster, "acme-1", None, "held_above").await;
    described.refused_as(&owner, Call::RetireCluster, "acme-1", None, "permission_denied").await;
    described.ok(Call::ResumeCluster, "acme-1", None).await;
    described.ok_as(&owner, Call::SuspendCluster, "acme-1", None).await;
    described.ok(Call::GetCluster, "acme-1", None).await;
    described.refused(Call::ResumeCluster, "acme-1", None, "held_below").await;
    for call in [Call::SuspendCluster, Call::ResumeCluster, Call::RetireCluster] {
        described.refused(call, "nobody", None, "cluster_unknown").await;
    }
    described.ok(Call::RetireCluster, "acme-1?wait=0", None).await;
    for call in [Call::SuspendCluster, Call::ResumeCluster] {
        described.refused(call, "acme-1", None, "cluster_retired").await;
    }
    described.refused(Call::RegisterCluster, "", Some(body), "cluster_exists").await;
    described.heartbeat("acme-1", &token, None, "cluster_retired").await;
}

async fn enrolment(described: &Described) {
    let body = json!({"id": "acme-2", "tenant": "acme", "placement": "on_premises"});
    described.ok(Call::RegisterCluster, "", Some(body)).await;
    let made = described.ok(Call::CreateJoinToken, "acme-2", Some(json!({"expires_in_s": 60}))).await;
    described.ok(Call::ListJoinTokens, "acme-2", None).await;
    described.ok(Call::RevokeJoinToken, &text(&made["join_token"]["id"]), None).await;
    described.refused(Call::RevokeJoinToken, "none", None, "join_token_unknown").await;
    for _ in 0..8 {
        described.ok(Call::CreateJoinToken, "acme-2", None).await;
    }
    described.refused(Call::CreateJoinToken, "acme-2", None, "join_tokens_many").await;
    described.refused(Call::CreateJoinToken, "acme-1", None, "cluster_retired").await;
    described.ok(Call::ListCertificates, "acme-2", None).await;
    described.ok(Call::RevokeCertificates, "acme-2", None).await;
    let unknown = json!({"serial": "4f".repeat(16)});
    described.refused(Call::RevokeCertificates, "acme-2", Some(unknown), "certificate_unknown").await;
    for call in
        [Call::ListJoinTokens, Call::CreateJoinToken, Call::ListCertificates, Call::RevokeCertificates]
    {
        described.refused(call, "nobody", None, "cluster_unknown").await;
    }
}

async fn keys_and_clients(described: &Described) {
    let body =
        json!({"tenant": "acme", "subject": "s", "source_type": "worker", "roles": ["r"], "scopes": ["s"]});
    let key = described.ok(Call::CreateApiKey, "", Some(body)).await;
    let id = text(&key["api_key"]["id"]);
    described.ok(Call::ListApiKeys, "?tenant=acme", None).await;
    let new = described.ok(Call::RotateApiKey, &id, Some(json!({"overlap_s": 60}))).await;
    described.refused(Call::RotateApiKey, &id, None, "api_key_ended").await;
    described.refused(Call::RotateApiKey, "none", None, "api_key_unknown").await;
    described.ok(Call::RevokeApiKey, &text(&new["api_key"]["id"]), None).await;
    described.refused(Call::RevokeApiKey, "none", None, "api_key_unknown").await;
    let body = json!({"id": "svc-a", "tenant": "acme", "scopes": ["data.read"]});
    let secret =
        text(&described.ok(Call::CreateServiceClient, "", Some(body.clone())).await["client_secret"]);
    described.refused(Call::CreateServiceClient, "", Some(body), "service_client_exists").await;
    described.ok(Call::ListServiceClients, "", None).await;
    described
        .token(
            &[("grant_type", "client_credentials"), ("client_id", "svc-a"), ("client_secret", &secret)],
            200,
        )
        .await;
    described
        .token(&[("grant_type", "password"), ("client_id", "svc-a"), ("client_secret", &secret)], 400)
        .await;
    described
        .token(&[("grant_type", "client_credentials"), ("client_id", "svc-a"), ("client_secret", "x")], 401)
        .await;
    described.ok(Call::RotateServiceClient, "svc-a", Some(json!({"overlap_s": 1}))).await;
    described.refused(Call::RotateServiceClient, "svc-x", None, "service_client_unknown").await;
    described.ok(Call::RevokeServiceClient, "svc-a", None).await;
    described.refused(Call::RevokeServiceClient, "svc-x", None, "service_client_unknown").await;
    described.refused(Call::RotateServiceClient, "svc-a", None, "service_client_revoked").await;
}

async fn rest(described: &Described) {
    let body = json!({"name": "user:acme - ann", "note": "left", "expires_in_s": 60});
    described.ok(Call::AddRevocation, "", Some(body.clone())).await;
    described.refused(Call::AddRevocation, "", Some(body), "revocation_exists").await;
    described.ok(Call::ListRevocations, "", None).await;
    let of_acme = described.caller(json!({"role": "tenant-admin", "tenant": "acme"})).await;
    described
        .refused_as(&of_acme, Call::RemoveRevocation, "?name=user:acme%20-%20ann", None, "held_above")
        .await;
    described.ok(Call::RemoveRevocation, "?name=user:acme%20-%20ann", None).await;
    described.refused(Call::RemoveRevocation, "?name=jti:none", None, "revocation_unknown").await;
    described
        .refused_as(&of_acme, Call::AddRevocation, "", Some(json!({"name": "jti:a"})), "permission_denied")
        .await;
    described.ok(Call::ListAuditRecords, "?limit=1000&order=newest", None).await;
    described.ok(Call::GetAuditEntry, "1", None).await;
    described.refused(Call::GetAuditEntry, "999999", None, "entry_unknown").await;
    let nobody = json!({"tenant": "acme", "subject": "nobody"});
    described.refused(Call::EraseDataSubject, "", Some(nobody), "subject_unknown").await;
    let own = json!({"subject": (["admin:", described.server.admin.split('_').nth(1).unwrap()].concat())});
    described.ok(Call::EraseDataSubject, "", Some(own)).await;
    for call in [
        Call::WhoAmI,
        Call::GetAuditStatus,
        Call::ListProxies,
        Call::GetConfiguration,
        Call::ListIssuers,
        Call::ListSigningKeys,
    ] {
        described.ok(call, "", None).await;
    }
    described.ok(Call::RotateSigningKey, "identity", None).await;
    described.refused(Call::RotateSigningKey, "identity", None, "rotation_under_way").await;
    described.refused(Call::RotateSigningKey, "nothing", None, "parameter_invalid").await;
    let made = described.ok(Call::CreateAdministrator, "", None).await;
    described.ok(Call::ListAdministrators, "", None).await;
    let own = described.server.admin.split('_').nth(1).unwrap().to_owned();
    described.ok(Call::RevokeAdministrator, &text(&made["administrator"]["id"]), None).await;
    described.refused(Call::RevokeAdministrator, &own, None, "administrator_last").await;
    described.refused(Call::RevokeAdministrator, "none", None, "administrator_unknown").await;
}

/// What a tenant's administrator makes one too many of.
async fn limits(described: &Described) {
    let full = described::start_with(|config| {
        config["serviceTokens"] = json!({"issuer": "https://portcullis.example.com", "audiences": ["p"]});
        config["tenantLimits"] =
            json!({"clusters": 0, "apiKeys": 1, "serviceClients": 0, "administrators": 0, "revocations": 0});
    })
    .await;
    let acme = full.caller(json!({"role": "tenant-admin", "tenant": "acme"})).await;
    let key = json!({"tenant": "acme", "subject": "s", "source_type": "worker"});
    let id = text(&full.ok(Call::CreateApiKey, "", Some(key.clone())).await["api_key"]["id"]);
    let id_2 = text(&full.ok(Call::CreateApiKey, "", Some(key.clone())).await["api_key"]["id"]);
    assert_ne!(id, id_2);
    // A key that took another's place today is itself replaced only within the bound.
    let next = text(&full.ok(Call::RotateApiKey, &id, Some(json!({}))).await["api_key"]["id"]);
    for (call, rest, body) in [
        (Call::RegisterCluster, "", json!({"id": "a", "tenant": "acme", "placement": "on_premises"})),
        (Call::CreateApiKey, "", key),
        (Call::RotateApiKey, next.as_str(), json!({})),
        (Call::CreateServiceClient, "", json!({"id": "svc-a", "tenant": "acme"})),
        (Call::AddRevocation, "", json!({"name": "user:acme - ann"})),
        (Call::CreateAdministrator, "", json!({"role": "tenant-admin", "tenant": "acme"})),
    ] {
        full.refused_as(&acme, call, rest, Some(body), "limit_reached").await;
    }
    let owner = json!({"role": "cluster-owner", "tenant": "acme", "cluster": "none"});
    full.refused(Call::CreateAdministrator, "", Some(owner), "cluster_unknown").await;
    described.has_tried(&full);
}

/// What anybody may ask, and what a service without `serviceTokens` says.
async fn open(described: &Described) {
    for call in [Call::IdentityKeys, Call::ServiceKeys, Call::AuthorizationServerMetadata, Call::OpenApi] {
        described.ok(call, "", None).await;
    }
    let without = described::start_with(|_| {}).await;
    for call in [Call::ServiceKeys, Call::AuthorizationServerMetadata, Call::IssueToken] {
        without.refused(call, "", None, "not_found").await;
    }
    let body = json!({"id": "svc-a", "tenant": "acme"});
    without.refused(Call::CreateServiceClient, "", Some(body), "not_found").await;
    without.refused(Call::CreateJoinToken, "acme-1", None, "not_found").await;
    described.has_tried(&without);
}

#[cfg(feature = "slow")]
mod slow {
    use std::path::Path;
    use std::process::Command;

    use reqwest::Method;
    use serde_json::json;

    use super::common::Server;
    use super::common::database::postgres;

    fn done(command: &mut Command) {
        let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(status.success(), "{command:?}");
    }

    /// Seconds that it may take: one that hangs is told as that.
    const SECONDS: &str = "900";

    /// What cannot be made up: a cluster with its own token, and an entry of the audit log.
    async fn known(server: &Server) -> String {
        let cluster = json!({"id": "heard-of", "tenant": "acme", "placement": "on_premises"});
        let registered = server.expect(201, Method::POST, "/v1/clusters", Some(cluster)).await;
        let token = registered["token"].as_str().unwrap();
        [
            "[[operations]]\ninclude-operation-id = \"heartbeat\"\n",
            "parameters = { \"path.id\" = \"heard-of\" }\n",
            &format!("headers = {{ Authorization = \"Bearer {token}\" }}\n\n"),
            "[[operations]]\ninclude-operation-id = \"getAuditEntry\"\nparameters = { \"path.index\" = 1 }\n",
        ]
        .concat()
    }

    /// Schemathesis (PyPI) makes up requests of the description, right ones and wrong ones.
    async fn schemathesis(server: &Server) {
        let place = tempfile::tempdir().unwrap();
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi_cases/requirements.txt");
        done(Command::new("python3").args(["-m", "venv"]).arg(place.path().join("venv")));
        let program = |name: &str| Command::new(place.path().join("venv/bin").join(name));
        let quiet = ["install", "--quiet", "--disable-pip-version-check", "-r"];
        done(program("pip").args(quiet).arg(requirements));
        let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
            response_headers_conformance,response_schema_conformance,negative_data_rejection";
        std::fs::write(place.path().join("schemathesis.toml"), known(server).await).unwrap();
        let mut run = Command::new("timeout");
        run.arg(SECONDS).arg(place.path().join("venv/bin/schemathesis"));
        run.current_dir(place.path()).args(["run", &server.url("platform", "/openapi.json")]);
        run.args(["--header", &["Authorization: Bearer ", &server.admin].concat()]);
        run.args(["--checks", checks, "--phases", "examples,coverage,fuzzing"]);
        run.args(["--max-examples", "30", "--seed", "1", "--no-color"]);
        done(&mut run);
    }

    fn tokens(config: &mut serde_json::Value) {
        config["serviceTokens"] =
            json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"]});
    }

    #[tokio::test]
    async fn schemathesis_finds_nothing_on_sqlite() {
        schemathesis(&Server::start_with(tokens).await).await;
    }

    #[tokio::test]
    async fn schemathesis_finds_nothing_on_postgresql() {
        let (_database, url) = postgres("schemathesis").await;
        schemathesis(&Server::start_on_with(&url, tokens).await).await;
    }
}
