//! What is written by standards of its own, and by no type of the contract.

use std::borrow::Cow;

use portcullis_control_contract::ProblemDocument;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

macro_rules! documents {
    ($($(#[$doc:meta])* $name:ident = $schema:tt;)*) => {
        $($(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

documents! {
    /// This description.
    Document = {"type": "object", "required": ["openapi", "info", "paths"]};
    /// A token request (RFC 6749 §4.4.2, RFC 8693 §2.1). Further members are passed over, as RFC 6749 wants.
    TokenForm = {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"enum": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"]},
            "client_id": {"type": "string", "description": "Of `client_secret_post`."},
            "client_secret": {"type": "string", "description": "Of `client_secret_post`."},
            "scope": {"type": "string", "description": "Scopes with a space between; without it, all of the client's."},
            "audience": {"type": "string", "description": "May stand there several times."},
            "resource": {"type": "string", "description": "May stand there several times (RFC 8707)."},
            "subject_token": {"type": "string", "description": "Of an exchange: the token of whom the client acts for."},
            "subject_token_type": {"type": "string"},
            "requested_token_type": {"type": "string"}
        }
    };
    /// A token (RFC 6749 §5.1, RFC 8693 §2.2.1).
    TokenAnswer = {
        "type": "object",
        "required": ["access_token", "token_type", "expires_in", "scope"],
        "properties": {
            "access_token": {"type": "string"},
            "issued_token_type": {"type": "string"},
            "token_type": {"const": "Bearer"},
            "expires_in": {"type": "integer", "minimum": 0, "maximum": 900},
            "scope": {"type": "string"}
        }
    };
    /// Why there is no token (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 8707 §2).
    TokenRefusal = {
        "type": "object",
        "required": ["error", "error_description"],
        "properties": {
            "error": {"enum": [
                "invalid_request", "invalid_client", "slow_down", "invalid_grant", "unauthorized_client",
                "unsupported_grant_type", "invalid_scope", "invalid_target", "temporarily_unavailable"
            ]},
            "error_description": {"type": "string"}
        }
    };
    /// Metadata of an authorization server (RFC 8414).
    ServerMetadata = {
        "type": "object",
        "required": ["issuer", "token_endpoint", "jwks_uri", "grant_types_supported"],
        "properties": {
            "issuer": {"type": "string"},
            "token_endpoint": {"type": "string"},
            "jwks_uri": {"type": "string"},
            "grant_types_supported": {"type": "array", "items": {"type": "string"}}
        }
    };
}

/// The statuses by which the token endpoint refuses.
pub(super) const TOKEN_REFUSALS: [(u16, &str); 4] = [
    (400, "The request, the grant, a scope or an audience is not right"),
    (401, "The client is not known, or its secret is not right"),
    (429, "Too many wrong secrets"),
    (503, "No token can be issued at present"),
];

/// A problem document with one of these reasons.
pub(super) fn problem(written: &mut SchemaGenerator, reasons: &[&str]) -> Value {
    let document = written.subschema_for::<ProblemDocument>();
    json!({"allOf": [document, {"type": "object", "properties": {"reason": {"enum": reasons}}}]})
}
