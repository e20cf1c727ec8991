//! Calls whose answers are held against the description of the API.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use jsonschema::Validator;
use portcullis_control_contract::calls::{Access, Call};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::common::{Server, first_event};

/// What can be wrong with every call of a form, which is tried for one and not for each.
const OF_EVERY_CALL: &[&str] = &[
    "token_missing",
    "token_invalid",
    "too_many_refusals",
    "permission_denied",
    "callers_busy",
    "store_unavailable",
    "replica_behind",
    "store_recovering",
    "parameter_invalid",
    "body_invalid",
    "body_too_large",
    "body_too_slow",
    "media_type_unsupported",
];

pub(crate) struct Described {
    pub(crate) server: Server,
    document: Value,
    tried: Mutex<BTreeSet<(String, String)>>,
    validators: Mutex<HashMap<String, Validator>>,
}

pub(crate) async fn start() -> Described {
    start_with(|config| {
        config["serviceTokens"] =
            json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"]});
        config["listeners"]["agents"] = json!("127.0.0.1:0");
        config["agents"] = json!({"serverNames": ["agents.portcullis.test"]});
        config["workloads"] = json!([{"spiffeId": "spiffe://cluster.local/ns/a/sa/b", "tenant": "acme"}]);
    })
    .await
}

pub(crate) async fn start_with(edit: impl FnOnce(&mut Value)) -> Described {
    let server = Server::start_with(edit).await;
    let document = server.http.get(server.url("platform", "/openapi.json")).send().await.unwrap();
    Described {
        document: document.json().await.unwrap(),
        server,
        tried: Mutex::default(),
        validators: Mutex::default(),
    }
}

impl Described {
    fn operation(&self, call: Call) -> &Value {
        &self.document["paths"][call.path()][call.method().to_lowercase()]
    }

    /// The path of a call; `rest` is its parameter, and what follows the path.
    pub(crate) fn path(&self, call: Call, rest: &str) -> String {
        match call.path().split_once('{') {
            None if rest.starts_with('?') || rest.is_empty() => [call.path(), rest].concat(),
            None => call.path().to_owned(),
            Some((begin, end)) => {
                let (value, query) =
                    rest.split_once('?').map_or((rest, String::new()), |(v, q)| (v, ["?", q].concat()));
                [begin, value, end.split_once('}').unwrap().1, &query].concat()
            }
        }
    }

    fn request(&self, call: Call, path: &str, body: Option<Value>) -> RequestBuilder {
        let method = Method::from_bytes(call.method().as_bytes()).unwrap();
        let request = self.server.http.request(method, self.server.url("platform", path));
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// Makes a call as the administrator, and holds its answer against the description.
    pub(crate) async fn send(&self, call: Call, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.request(call, path, body).bearer_auth(&self.server.admin);
        self.check(call, request.send().await.unwrap()).await
    }

    /// The status, the type and the form of an answer must be among those of the description.
    async fn check(&self, call: Call, answer: Response) -> (u16, Value) {
        let status = answer.status().as_u16();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let described = &self.operation(call)["responses"][status.to_string()];
        let schema = &described["content"][&kind]["schema"];
        for header in described["headers"].as_object().into_iter().flatten() {
            assert!(answer.headers().contains_key(header.0), "{call:?} {status} has no {}", header.0);
        }
        let events = kind == "text/event-stream";
        let text = if events { first_event(answer).await } else { answer.text().await.unwrap() };
        assert!(schema.is_object(), "{call:?} answered {status} {kind}, which is not described: {text}");
        let value = if events { json!(text) } else { serde_json::from_str(&text).unwrap() };
        let errors =
            self.errors([&format!("{call:?}"), kind.as_str(), &status.to_string()].concat(), schema, &value);
        assert_eq!(errors, Vec::<String>::new(), "{call:?} {status}: {text}");
        let what = value["reason"].as_str().unwrap_or(if status < 300 { "done" } else { "refused" });
        self.tried.lock().unwrap().insert((format!("{call:?}"), what.to_owned()));
        (status, value)
    }

    fn errors(&self, key: String, schema: &Value, value: &Value) -> Vec<String> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(key).or_insert_with(|| {
            let root = json!({"allOf": [schema], "components": self.document["components"]});
            jsonschema::validator_for(&root).unwrap()
        });
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// A call that is carried out.
    pub(crate) async fn ok(&self, call: Call, rest: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.send(call, &self.path(call, rest), body).await;
        assert!(status < 300, "{call:?} {rest}: {status} {answer}");
        answer
    }

    /// The same, of somebody else.
    pub(crate) async fn ok_as(&self, token: &str, call: Call, rest: &str, body: Option<Value>) {
        let request = self.request(call, &self.path(call, rest), body).bearer_auth(token);
        let (status, answer) = self.check(call, request.send().await.unwrap()).await;
        assert!(status < 300, "{call:?} {rest}: {status} {answer}");
    }

    /// A call that is refused for a reason.
    pub(crate) async fn refused(&self, call: Call, rest: &str, body: Option<Value>, reason: &str) {
        self.refused_as(&self.server.admin, call, rest, body, reason).await;
    }

    /// The same, of somebody else.
    pub(crate) async fn refused_as(
        &self,
        token: &str,
        call: Call,
        rest: &str,
        body: Option<Value>,
        reason: &str,
    ) {
        let request = self.request(call, &self.path(call, rest), body).bearer_auth(token);
        let (_, answer) = self.check(call, request.send().await.unwrap()).await;
        assert_eq!(answer["reason"], reason, "{call:?} {rest}: {answer}");
    }

    /// The token of a new caller.
    pub(crate) async fn caller(&self, role: Value) -> String {
        crate::text(&self.ok(Call::CreateAdministrator, "", Some(role)).await["token"])
    }

    /// A heartbeat; without a reason it is taken.
    pub(crate) async fn heartbeat(&self, id: &str, token: &str, body: Option<Value>, reason: &str) {
        let request = self.request(Call::Heartbeat, &self.path(Call::Heartbeat, id), body).bearer_auth(token);
        let (_, answer) = self.check(Call::Heartbeat, request.send().await.unwrap()).await;
        assert_eq!(answer["reason"].as_str().unwrap_or_default(), reason, "{answer}");
    }

    /// A token request.
    pub(crate) async fn token(&self, form: &[(&str, &str)], status: u16) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.request(Call::IssueToken, "/oauth2/token", None);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let (found, answer) = self.check(Call::IssueToken, request.send().await.unwrap()).await;
        assert_eq!(found, status, "{answer}");
    }

    /// A body is refused as `body_invalid` if, and only if, the description does not have it.
    pub(crate) async fn agrees(&self, call: Call, body: Value) {
        let schema = &self.operation(call)["requestBody"]["content"]["application/json"]["schema"];
        let wrong = self.errors(format!("{call:?} takes"), schema, &body);
        let (status, answer) = self.send(call, &self.path(call, ""), Some(body.clone())).await;
        let refused = answer["reason"] == "body_invalid";
        assert_eq!(!wrong.is_empty(), refused, "{call:?} {body}: {wrong:?}, and {status} {answer}");
    }

    /// Takes over what another service was tried with.
    pub(crate) fn has_tried(&self, other: &Self) {
        self.tried.lock().unwrap().extend(other.tried.lock().unwrap().iter().cloned());
    }

    /// Every call was carried out once, and refused for each reason of its own.
    pub(crate) fn nothing_is_left_untried(&self) {
        let tried = self.tried.lock().unwrap();
        let mut left = Vec::new();
        for call in Call::ALL {
            let mut wanted = vec!["done".to_owned()];
            for response in self.operation(*call)["responses"].as_object().unwrap().values() {
                let problem = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
                let reasons = problem["properties"]["reason"]["enum"].as_array();
                wanted.extend(reasons.into_iter().flatten().map(crate::text));
            }
            let open = call.access() == Access::Anybody;
            wanted.retain(|reason| !OF_EVERY_CALL.contains(&reason.as_str()) || open);
            let name = format!("{call:?}");
            left.extend(
                wanted.into_iter().map(|reason| (name.clone(), reason)).filter(|w| !tried.contains(w)),
            );
        }
        assert_eq!(left, Vec::new(), "described and never seen");
    }
}
