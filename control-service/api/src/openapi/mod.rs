//! The OpenAPI 3.1 description of the platform API, made of what the program itself uses: the table of calls, the types
//! of the contract, and the list of problems.

mod documents;
mod operations;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use portcullis_control_contract::calls::{Access, Call};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::ProblemKind;
use documents::{TOKEN_REFUSALS, TokenRefusal, problem};
use operations::{Answer, BodyOf, Operation, SchemaOf, operation};

static DESCRIPTION: LazyLock<Value> = LazyLock::new(describe);

/// The description.
#[must_use]
pub fn openapi() -> &'static Value {
    &DESCRIPTION
}

/// What of a request a call looks at. Anything else in it is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Takes {
    pub(crate) query: bool,
    pub(crate) body: bool,
}

impl Takes {
    pub(crate) fn of(call: Call) -> Self {
        let operation = operation(call);
        Self { query: operation.query.is_some(), body: !matches!(operation.body, BodyOf::Nothing) }
    }
}

/// Makes schemas: of what is written, with names to refer to, and of what is read, each as a whole.
struct Schemas {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.meta_schema = None;
                settings.definitions_path = "/components/schemas".into();
            })
        };
        let read = settings().with(|settings| settings.inline_subschemas = true);
        Self {
            written: settings().for_serialize().into_generator(),
            read: read.for_deserialize().into_generator(),
        }
    }
}

fn describe() -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for call in Call::ALL {
        let described = schemas.operation(*call);
        paths.entry(call.path()).or_default().insert(call.method().to_lowercase(), described);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Platform API of Portcullis",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Operators, data clusters and services call this API. Members and parameters that are not \
                described are refused, but where a standard wants them passed over (`/oauth2/token`) and in what \
                answers everybody. A path that there is not is 404 (`not_found`), a method that a path has not is \
                405 (`method_not_allowed`), and where all connections are taken the answer is 503.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.written.take_definitions(true),
            "securitySchemes": security_schemes(),
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "callerToken": {"type": "http", "scheme": "bearer", "bearerFormat": "pca_…",
            "description": "A token of the platform API. What stands beside it is the permission that its role must have."},
        "clusterToken": {"type": "http", "scheme": "bearer", "bearerFormat": "pcc_…",
            "description": "The token that registration gave the cluster."},
        "clientSecretBasic": {"type": "http", "scheme": "basic",
            "description": "Id and secret of a client of the token endpoint; or both in the form."},
    })
}

fn security(access: Access) -> Value {
    match access {
        Access::Needs(permission) => json!([{"callerToken": [permission.as_str()]}]),
        Access::Cluster => json!([{"clusterToken": []}]),
        Access::ServiceClient => json!([{"clientSecretBasic": []}, {}]),
        Access::Anybody => json!([]),
    }
}

impl Schemas {
    fn operation(&mut self, call: Call) -> Value {
        let operation = operation(call);
        let name = call.name();
        let id = name.chars().take(1).flat_map(char::to_lowercase).chain(name.chars().skip(1));
        let mut described = json!({
            "operationId": id.collect::<String>(),
            "summary": call.summary(),
            "security": security(call.access()),
            "parameters": self.parameters(call.path(), &operation),
            "responses": self.responses(call, &operation),
        });
        if let (Some(body), Some(members)) = (self.body(operation.body), described.as_object_mut()) {
            members.insert("requestBody".to_owned(), body);
        }
        described
    }

    fn parameters(&mut self, path: &str, operation: &Operation) -> Vec<Value> {
        let named = path.split(['{', '}']).skip(1).step_by(2).zip(&operation.path);
        let described = |(name, schema): (&str, &SchemaOf)| {
            parameter("path", name, true, schema(&mut self.read).to_value())
        };
        let mut all: Vec<Value> = named.map(described).collect();
        let Some(query) = operation.query else { return all };
        let query = query(&mut self.read).to_value();
        let required = |name: &str| {
            query["required"].as_array().is_some_and(|list| list.iter().any(|required| required == name))
        };
        for (name, schema) in query["properties"].as_object().into_iter().flatten() {
            all.push(parameter("query", name, required(name), text_or_nothing(schema.clone())));
        }
        all
    }

    fn body(&mut self, body: BodyOf) -> Option<Value> {
        let (media_type, schema, required) = match body {
            BodyOf::Nothing => return None,
            BodyOf::Json(schema) => ("application/json", schema, true),
            BodyOf::Optional(schema) => ("application/json", schema, false),
            BodyOf::Form(schema) => ("application/x-www-form-urlencoded", schema, true),
        };
        let schema = schema(&mut self.read);
        Some(json!({"required": required, "content": {media_type: {"schema": schema}}}))
    }

    fn responses(&mut self, call: Call, operation: &Operation) -> Value {
        let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
        for kind in problems(call, operation) {
            by_status.entry(kind.status()).or_default().push(kind);
        }
        let mut responses = Map::new();
        for (status, kinds) in by_status {
            let reasons: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
            let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
            let schema = problem(&mut self.written, &reasons);
            let content = json!({"application/problem+json": {"schema": schema}});
            responses.insert(status.to_string(), response(status, &titles.join("; "), content));
        }
        if call.access() == Access::ServiceClient {
            self.token_refusals(&mut responses);
        }
        let Answer { status, media_type, schema } = operation.answer;
        let content = json!({media_type: {"schema": schema(&mut self.written)}});
        responses.insert(status.to_string(), response(status, "Done", content));
        Value::Object(responses)
    }

    /// The token endpoint refuses by RFC 6749, beside what can be wrong with any request.
    fn token_refusals(&mut self, responses: &mut Map<String, Value>) {
        let schema: Schema = self.written.subschema_for::<TokenRefusal>();
        for (status, what) in TOKEN_REFUSALS {
            let content = json!({"application/json": {"schema": schema}});
            let described =
                responses.entry(status.to_string()).or_insert_with(|| response(status, what, json!({})));
            if let (Some(known), Value::Object(more)) = (described["content"].as_object_mut(), content) {
                known.extend(more);
            }
        }
    }
}

fn response(status: u16, what: &str, content: Value) -> Value {
    let header = |name: &str, what: &str| json!({name: {"description": what, "schema": {"type": "string"}}});
    let headers = match status {
        401 => header("WWW-Authenticate", "How a caller proves itself."),
        429 | 503 => header("Retry-After", "Seconds to wait."),
        _ => json!({}),
    };
    json!({"description": what, "headers": headers, "content": content})
}

fn parameter(place: &str, name: &str, required: bool, schema: Value) -> Value {
    json!({
        "in": place,
        "name": name,
        "required": required,
        "description": schema.get("description").cloned().unwrap_or_else(|| "Which one.".into()),
        "schema": schema,
    })
}

/// The schema of a parameter: what is a number or nothing in JSON is a number here, or is not there.
fn text_or_nothing(mut schema: Value) -> Value {
    if let Some(members) = schema.as_object_mut() {
        if let Some(kinds) = members.get("type").and_then(Value::as_array) {
            let kind = kinds.iter().find(|kind| **kind != "null").cloned();
            members.insert("type".to_owned(), kind.unwrap_or_else(|| "string".into()));
        }
        if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
            choices.retain(|choice| choice["type"] != "null");
        }
        members.retain(|name, value| name != "default" || !value.is_null());
    }
    schema
}

/// Everything that can be wrong with a call.
fn problems(call: Call, operation: &Operation) -> Vec<ProblemKind> {
    use ProblemKind::{
        BodyInvalid, BodyTooLarge, BodyTooSlow, CallersBusy, MediaTypeUnsupported, ParameterInvalid,
        PermissionDenied, ReplicaBehind, StoreRecovering, StoreUnavailable, TokenInvalid, TokenMissing,
        TooManyRefusals,
    };
    let of_caller: &[ProblemKind] = match call.access() {
        Access::Needs(_) => &[
            TokenMissing,
            TokenInvalid,
            TooManyRefusals,
            PermissionDenied,
            CallersBusy,
            StoreUnavailable,
            ReplicaBehind,
            StoreRecovering,
        ],
        Access::Cluster => &[TokenInvalid, TooManyRefusals, StoreUnavailable, ReplicaBehind, StoreRecovering],
        Access::ServiceClient => &[StoreRecovering],
        Access::Anybody => &[],
    };
    let of_parameters: &[ProblemKind] = match call.access() {
        Access::Needs(_) | Access::Cluster => &[ParameterInvalid],
        Access::ServiceClient | Access::Anybody => &[],
    };
    let of_body: &[ProblemKind] = match operation.body {
        // A body where none belongs is read, too, and refused.
        BodyOf::Nothing if call.method() == "GET" => &[],
        BodyOf::Nothing | BodyOf::Optional(_) | BodyOf::Form(_) => &[BodyInvalid, BodyTooLarge, BodyTooSlow],
        BodyOf::Json(_) => &[BodyInvalid, BodyTooLarge, BodyTooSlow, MediaTypeUnsupported],
    };
    let mut all: Vec<ProblemKind> = Vec::new();
    for kind in [of_caller, of_parameters, of_body, operation.problems].concat() {
        if !all.contains(&kind) {
            all.push(kind);
        }
    }
    all
}

#[cfg(test)]
mod tests;
