//! How names are written, for the description of the API. What checks them are the types that they are read into; the
//! tests of the API hold both together. A pattern may let through more than its type, and never less.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $schema:tt;)*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

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

names! {
    /// A tenant's id.
    TenantId = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"};
    /// A cluster's id: a DNS label.
    ClusterId = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"};
    /// Whom a credential speaks for.
    Subject = {"type": "string", "pattern": "^[!-~]{1,255}$"};
    /// A role that a credential grants.
    RoleOfCredential = {"type": "string", "pattern": "^[!-+\\x2d-~]{1,64}$"};
    /// An OAuth scope (RFC 6749 §3.3).
    Scope = {"type": "string", "pattern": "^[!#-\\[\\]-~]{1,128}$"};
    /// A client of the token endpoint.
    ServiceClientId = {"type": "string", "pattern": "^svc-[a-z0-9-]{1,60}$"};
    /// What an audience is called.
    Audience = {"type": "string", "pattern": "^[!-~]{1,255}$"};
    /// What kind of caller holds a credential.
    SourceType = {"enum": ["human", "worker", "mcp_agent"]};
    /// The state that filters enforce.
    ClusterState = {"enum": ["pending", "online", "degraded", "offline", "suspended", "retired"]};
    /// What is revoked: a kind, and a value of it; of one person tenant, issuer (`-` for none) and subject.
    RevocationName = {
        "type": "string",
        "pattern": "^((jti|sub|sid|client):[!-~]{1,255}|kid:.{1,255}|user:[a-z0-9-]{1,63} [!-~]{1,255} [!-~]{1,255})$"
    };
    /// Why a cluster is held closed.
    HoldReason = {"type": "string", "minLength": 1, "maxLength": 200};
    /// What a cluster says that it runs.
    ReportedVersion = {"type": "string", "pattern": "^[!-~]{1,64}$"};
    /// Server-sent events, one after the other.
    EventStream = {"type": "string"};
    /// Fields of `control.yaml`.
    Settings = {"type": "object"};
    /// A set of public keys (RFC 7517).
    KeySet = {
        "type": "object",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {
            "type": "object",
            "required": ["kty", "kid"],
            "properties": {
                "kty": {"type": "string"}, "kid": {"type": "string"}, "alg": {"type": "string"},
                "use": {"type": "string"}, "crv": {"type": "string"}, "x": {"type": "string"}
            }
        }}}
    };
}
