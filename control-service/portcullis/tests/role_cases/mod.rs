//! Every call of the table, and what each role gets of it: written by hand.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Server, first_event, text};

/// Another tenant than that of the things in question.
pub(crate) const GLOBEX: &str = "globex";

/// The roles, in the order of [`Case::wanted`]; `{cluster}` is the one in question, which is acme's.
pub(crate) fn roles() -> [Value; 7] {
    [
        json!({"role": "administrator"}),
        json!({"role": "operator"}),
        json!({"role": "auditor"}),
        json!({"role": "auditor", "tenant": "acme"}),
        json!({"role": "tenant-admin", "tenant": "acme"}),
        json!({"role": "cluster-owner", "tenant": "acme", "cluster": "{cluster}"}),
        json!({"role": "tenant-admin", "tenant": GLOBEX}),
    ]
}

pub(crate) fn name_of(role: &Value) -> String {
    [text(&role["role"]), role["tenant"].as_str().unwrap_or_default().to_owned()].join(" ")
}

/// One call.
pub(crate) struct Case {
    pub(crate) call: &'static str,
    pub(crate) query: &'static str,
    pub(crate) body: Option<&'static str>,
    /// Statuses: administrator, operator, auditor, auditor of acme, tenant-admin of acme, cluster-owner, tenant-admin of
    /// globex.
    pub(crate) wanted: [u16; 7],
    permission: &'static str,
}

impl Case {
    pub(crate) fn permission(&self) -> &'static str {
        self.permission
    }

    /// Whether the role may never do this; otherwise a 403 is for what it would do it to.
    pub(crate) fn denied(&self, role: &Value) -> bool {
        role["tenant"] != GLOBEX || self.permission == "audit:read" || self.permission == "platform:read"
    }
}

const fn case(
    call: &'static str,
    permission: &'static str,
    body: Option<&'static str>,
    wanted: [u16; 7],
) -> Case {
    Case { call, query: "", body, wanted, permission }
}

/// In an order in which each thing is still there when its turn comes.
pub(crate) const CASES: &[Case] = &[
    case("GET /v1/whoami", "whoami", None, [200, 200, 200, 200, 200, 200, 200]),
    case("GET /v1/clusters", "clusters:read", None, [200, 200, 200, 200, 200, 200, 200]),
    case("GET /v1/clusters/watch", "clusters:read", None, [200, 200, 200, 200, 200, 200, 200]),
    case("GET /v1/clusters/{id}", "clusters:read", None, [200, 200, 200, 200, 200, 200, 404]),
    case(
        "POST /v1/clusters",
        "clusters:register",
        Some(r#"{"id": "{new}", "tenant": "acme", "placement": "on_premises"}"#),
        [201, 201, 403, 403, 201, 403, 403],
    ),
    case("POST /v1/clusters/{id}/suspend", "clusters:suspend", None, [200, 200, 403, 403, 200, 200, 404]),
    case("POST /v1/clusters/{id}/resume", "clusters:resume", None, [200, 200, 403, 403, 200, 200, 404]),
    case("GET /v1/clusters/{id}/join-tokens", "clusters:read", None, [200, 200, 200, 200, 200, 200, 404]),
    case("POST /v1/clusters/{id}/join-tokens", "clusters:enrol", None, [201, 201, 403, 403, 201, 201, 404]),
    case("DELETE /v1/join-tokens/{id}", "clusters:enrol", None, [200, 200, 403, 403, 200, 200, 404]),
    case("GET /v1/clusters/{id}/certificates", "clusters:read", None, [200, 200, 200, 200, 200, 200, 404]),
    case(
        "POST /v1/clusters/{id}/certificates/revoke",
        "certificates:revoke",
        None,
        [200, 200, 403, 403, 200, 200, 404],
    ),
    case("POST /v1/clusters/{id}/heartbeat", "", None, [401, 401, 401, 401, 401, 401, 401]),
    case("DELETE /v1/clusters/{id}", "clusters:retire", None, [200, 200, 403, 403, 200, 403, 404]),
    case("GET /v1/api-keys", "api-keys:read", None, [200, 200, 200, 200, 200, 403, 200]),
    case(
        "POST /v1/api-keys",
        "api-keys:write",
        Some(r#"{"tenant": "acme", "subject": "s", "source_type": "worker"}"#),
        [201, 201, 403, 403, 201, 403, 403],
    ),
    case("POST /v1/api-keys/{id}/rotate", "api-keys:write", None, [201, 201, 403, 403, 201, 403, 404]),
    case("DELETE /v1/api-keys/{id}", "api-keys:write", None, [200, 200, 403, 403, 200, 403, 404]),
    case("GET /v1/service-clients", "service-clients:read", None, [200, 200, 200, 200, 200, 403, 200]),
    case(
        "POST /v1/service-clients",
        "service-clients:write",
        Some(r#"{"id": "svc-{new}", "tenant": "acme"}"#),
        [201, 403, 403, 403, 201, 403, 403],
    ),
    case(
        "POST /v1/service-clients/{id}/rotate",
        "service-clients:write",
        None,
        [200, 403, 403, 403, 200, 403, 404],
    ),
    case(
        "DELETE /v1/service-clients/{id}",
        "service-clients:write",
        None,
        [200, 403, 403, 403, 200, 403, 404],
    ),
    case("GET /v1/revocations", "revocations:read", None, [200, 200, 200, 200, 200, 403, 200]),
    case(
        "POST /v1/revocations",
        "revocations:write",
        Some(r#"{"name": "user:acme - {new}"}"#),
        [201, 201, 403, 403, 201, 403, 403],
    ),
    Case {
        query: "?name=user:acme%20-%20{new}",
        ..case("DELETE /v1/revocations", "revocations:write", None, [200, 200, 403, 403, 200, 403, 404])
    },
    case("GET /v1/audit/records", "audit:read", None, [200, 403, 200, 200, 403, 403, 403]),
    // The first record is about the whole platform.
    case("GET /v1/audit/entries/{index}", "audit:read", None, [200, 403, 200, 404, 403, 403, 403]),
    case(
        "POST /v1/audit/erasures",
        "audit:erase",
        Some(r#"{"unverified_on": "2020-01-01"}"#),
        [404, 403, 403, 403, 403, 403, 403],
    ),
    case("GET /v1/audit/status", "platform:read", None, [200, 200, 200, 403, 403, 403, 403]),
    case("GET /v1/proxies", "platform:read", None, [200, 200, 200, 403, 403, 403, 403]),
    case("GET /v1/issuers", "platform:read", None, [200, 200, 200, 403, 403, 403, 403]),
    case("GET /v1/signing-keys", "platform:read", None, [200, 200, 200, 403, 403, 403, 403]),
    case("GET /v1/configuration", "platform:read", None, [200, 200, 200, 403, 403, 403, 403]),
    case("POST /v1/signing-keys/{purpose}", "signing-keys:rotate", None, [202, 202, 403, 403, 403, 403, 403]),
    case("GET /v1/administrators", "administrators:read", None, [200, 403, 200, 200, 200, 403, 200]),
    case(
        "POST /v1/administrators",
        "administrators:write",
        Some(r#"{"role": "cluster-owner", "tenant": "acme", "cluster": "{cluster}"}"#),
        [201, 403, 403, 403, 201, 403, 403],
    ),
    case("DELETE /v1/administrators/{id}", "administrators:write", None, [200, 403, 403, 403, 200, 403, 404]),
    case("GET /v1/identity/jwks", "", None, [200, 200, 200, 200, 200, 200, 200]),
    case("POST /oauth2/token", "", None, [400, 400, 400, 400, 400, 400, 400]),
    case("GET /oauth2/jwks", "", None, [200, 200, 200, 200, 200, 200, 200]),
    case("GET /.well-known/oauth-authorization-server", "", None, [200, 200, 200, 200, 200, 200, 200]),
    case("GET /openapi.json", "", None, [200, 200, 200, 200, 200, 200, 200]),
];

/// Lists, and the member of the answer that has the things.
pub(crate) const LISTS: &[(&str, &str)] = &[
    ("/v1/clusters", "clusters"),
    ("/v1/api-keys", "api_keys"),
    ("/v1/service-clients", "service_clients"),
    ("/v1/revocations", "revocations"),
    ("/v1/audit/records", "records"),
    ("/v1/administrators", "administrators"),
];

/// Calls that name one thing.
pub(crate) const NAMED: &[(&str, &str, Option<&str>)] = &[
    ("GET", "/v1/clusters/{cluster}", None),
    ("POST", "/v1/clusters/{cluster}/suspend", None),
    ("POST", "/v1/clusters/{cluster}/resume", None),
    ("DELETE", "/v1/clusters/{cluster}", None),
    ("GET", "/v1/clusters/{cluster}/join-tokens", None),
    ("POST", "/v1/clusters/{cluster}/join-tokens", None),
    ("DELETE", "/v1/join-tokens/{join_token}", None),
    ("GET", "/v1/clusters/{cluster}/certificates", None),
    ("POST", "/v1/clusters/{cluster}/certificates/revoke", None),
    ("POST", "/v1/api-keys/{key}/rotate", None),
    ("DELETE", "/v1/api-keys/{key}", None),
    ("POST", "/v1/service-clients/{client}/rotate", None),
    ("DELETE", "/v1/service-clients/{client}", None),
    ("DELETE", "/v1/revocations?name=user:acme%20-%20{revoked}", None),
    ("DELETE", "/v1/administrators/{administrator}", None),
];

/// The path of a thing that is not there.
pub(crate) fn nowhere(path: &str) -> String {
    let names = ["{cluster}", "{join_token}", "{key}", "{client}", "{revoked}", "{administrator}"];
    names.iter().fold(path.to_owned(), |path, name| path.replace(name, "0011223344556677"))
}

/// What makes something in a tenant.
pub(crate) const MADE: &[(&str, &str)] = &[
    ("/v1/clusters", r#"{"id": "{cluster}", "tenant": "{tenant}", "placement": "on_premises"}"#),
    ("/v1/api-keys", r#"{"tenant": "{tenant}", "subject": "s", "source_type": "worker"}"#),
    ("/v1/service-clients", r#"{"id": "svc-mine", "tenant": "{tenant}"}"#),
    ("/v1/revocations", r#"{"name": "user:{tenant} - ann"}"#),
    ("/v1/administrators", r#"{"role": "tenant-admin", "tenant": "{tenant}"}"#),
];

/// A caller of a role, and things of acme's that nobody else touches.
pub(crate) struct Who {
    pub(crate) token: String,
    /// The token's public part.
    pub(crate) id: String,
    pub(crate) cluster: String,
    join_token: String,
    key: String,
    client: String,
    revoked: String,
    administrator: String,
    new: String,
}

impl Who {
    /// A caller with things of its own.
    pub(crate) async fn new(server: &Server, at: usize, role: &Value) -> Self {
        let of = |name: &str| [name, &at.to_string()].concat();
        let cluster = of("acme-");
        server.register(&cluster).await;
        let path = ["/v1/clusters/", &cluster, "/join-tokens"].concat();
        let join_token = server.expect(201, Method::POST, &path, None).await;
        let key = server.create_key("batch").await;
        let client = of("svc-acme-");
        let body = json!({"id": client, "tenant": "acme"});
        server.expect(201, Method::POST, "/v1/service-clients", Some(body)).await;
        let revoked = of("revoked-");
        let body = json!({"name": format!("user:acme - {revoked}")});
        server.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
        let body = json!({"role": "cluster-owner", "tenant": "acme", "cluster": cluster});
        let administrator = server.expect(201, Method::POST, "/v1/administrators", Some(body)).await;
        let things = Self {
            token: String::new(),
            id: String::new(),
            cluster,
            join_token: text(&join_token["join_token"]["id"]),
            key: text(&key["api_key"]["id"]),
            client,
            revoked,
            administrator: text(&administrator["administrator"]["id"]),
            new: of("new-"),
        };
        Self::of(server, role, &things).await
    }

    /// Another caller, with the same things.
    pub(crate) async fn of(server: &Server, role: &Value, things: &Self) -> Self {
        let role = serde_json::from_str(&things.fill(&role.to_string())).unwrap();
        let made = server.expect(201, Method::POST, "/v1/administrators", Some(role)).await;
        let Self { cluster, join_token, key, client, revoked, administrator, new, .. } = things;
        let copy = |name: &String| name.clone();
        Self {
            token: text(&made["token"]),
            id: text(&made["administrator"]["id"]),
            cluster: copy(cluster),
            join_token: copy(join_token),
            key: copy(key),
            client: copy(client),
            revoked: copy(revoked),
            administrator: copy(administrator),
            new: copy(new),
        }
    }

    /// A text with the names of its things; `{id}` of a path is that of the kind that the path is about.
    pub(crate) fn fill(&self, text: &str) -> String {
        let id = match text.split('/').nth(2) {
            Some("clusters") => &self.cluster,
            Some("join-tokens") => &self.join_token,
            Some("api-keys") => &self.key,
            Some("service-clients") => &self.client,
            _ => &self.administrator,
        };
        [
            ("{id}", id.as_str()),
            // A change that is under way must have ended before the next one of its kind.
            ("{purpose}", if self.new == "new-1" { "service" } else { "identity" }),
            ("{index}", "1"),
            ("{cluster}", &self.cluster),
            ("{join_token}", &self.join_token),
            ("{key}", &self.key),
            ("{client}", &self.client),
            ("{revoked}", &self.revoked),
            ("{administrator}", &self.administrator),
            ("{new}", &self.new),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// A call, its status and its answer.
    pub(crate) async fn call(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut call = server.http.request(method, server.url("platform", path)).bearer_auth(&self.token);
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        match answer.headers()["content-type"] == "text/event-stream" {
            true => (status, json!(first_event(answer).await)),
            false => (status, answer.json().await.unwrap()),
        }
    }
}
