//! The filter chains that are compared, as Envoy's JSON configuration.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::mesh_api::{MeshApi, TOKEN};
use crate::world::{AUDIENCE, IDENTITY_ISSUER, ISSUER, World, cluster};

/// Envoy's name of the mesh API.
pub(crate) const MESH_API: &str = "mesh-api";

/// The readiness path of the gateway plugin.
pub(crate) const READY: &str = "/-/portcullis/ready";

/// Envoy's filter for JSON Web Tokens; also the name under which it leaves their claims.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// A listener: a name, its HTTP filters before the router, its access log, and the header by which the
/// route is chosen (none: every request).
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// The listener's name.
    pub name: &'static str,
    filters: Vec<Value>,
    access_log: Vec<Value>,
    route_header: Option<&'static str>,
    snapshot: bool,
    /// Tells in the answer what went upstream.
    echo: bool,
}

/// What an echoing chain tells of a request as it went upstream.
const ECHOED: [(&str, &str); 8] = [
    ("x-echo-subject", "%REQ(X-PORTCULLIS-SUBJECT)%"),
    ("x-echo-tenant", "%REQ(X-PORTCULLIS-TENANT)%"),
    ("x-echo-roles", "%REQ(X-PORTCULLIS-ROLES)%"),
    ("x-echo-source-type", "%REQ(X-PORTCULLIS-SOURCE-TYPE)%"),
    ("x-echo-cluster", "%REQ(X-PORTCULLIS-CLUSTER)%"),
    ("x-echo-identity", "%REQ(X-PORTCULLIS-IDENTITY)%"),
    ("x-echo-authorization", "%REQ(AUTHORIZATION)%"),
    ("x-echo-forged", "%REQ(X_PORTCULLIS_SOURCE_TYPE)%"),
];

impl Chain {
    fn new(name: &'static str, filters: Vec<Value>) -> Self {
        Self { name, filters, access_log: Vec::new(), route_header: None, snapshot: false, echo: false }
    }

    /// The router alone.
    pub(crate) fn bare() -> Self {
        Self::new("bare", Vec::new())
    }

    /// Envoy's JWT authentication and RBAC, with or without a cache of verified tokens.
    pub(crate) fn native(name: &'static str, world: &World, cache: bool) -> Self {
        Self::new(name, vec![jwt_authn(world, cache, &[]), named_rule()])
    }

    /// What Istio makes of a `RequestAuthentication` for identity tokens and of an `AuthorizationPolicy` by
    /// their claim `source_type`: the token is verified anew for each request.
    pub(crate) fn claim_rule(name: &'static str, world: &World) -> Self {
        let source_type = json!({"metadata": {
            "filter": JWT_AUTHN,
            "path": [{"key": "payload"}, {"key": "source_type"}],
            "value": {"string_match": {"exact": "human"}},
        }});
        let provider = json!({
            "issuer": IDENTITY_ISSUER,
            "audiences": [cluster(0)],
            "local_jwks": {"inline_string": world.identity_jwks().to_string()},
            "payload_in_metadata": "payload",
        });
        Self::new(name, vec![jwt_filter(&provider), rbac(&json!({"any": true}), &source_type)])
    }

    /// The gateway, and what Istio makes of an `AuthorizationPolicy` with a condition on a header that the
    /// gateway sets.
    pub(crate) fn header_rule(name: &'static str, wasm: &Path) -> Self {
        let mut chain = Self::plugins(name, &["gateway"], wasm);
        let human = json!({"header": {
            "name": "x-portcullis-source-type", "string_match": {"exact": "human"},
        }});
        chain.filters.push(rbac(&json!({"any": true}), &human));
        chain
    }

    /// Envoy's filters doing work like ours: five claims as headers, RBAC, and a record of each request
    /// with the fields of ours, as text or as JSON.
    pub(crate) fn native_comparable(name: &'static str, world: &World, log: &Path, as_json: bool) -> Self {
        let claims = ["sub", "tenant", "client_id", "scope", "jti"];
        let mut chain = Self::new(name, vec![jwt_authn(world, true, &claims), named_rule()]);
        chain.access_log.push(access_log(log, as_json));
        chain
    }

    /// Plugins of our module, one after the other.
    pub(crate) fn plugins(name: &'static str, root_ids: &[&str], wasm: &Path) -> Self {
        let mut chain = Self::new(
            name,
            root_ids.iter().map(|id| plugin(id, wasm, &plugin_config().to_string())).collect(),
        );
        chain.snapshot = true;
        let routed = |id: &&str| matches!(*id, "gateway" | "cluster-status");
        chain.route_header = root_ids.iter().any(routed).then_some("x-portcullis-cluster");
        chain
    }

    /// The native module under a root id.
    pub(crate) fn module(name: &'static str, root_id: &str) -> Self {
        let mut chain = Self::new(name, vec![module(root_id, &plugin_config().to_string())]);
        chain.snapshot = true;
        chain.route_header = Some("x-portcullis-cluster");
        chain
    }

    /// A module that times a hostcall.
    pub(crate) fn probe(name: &'static str, wasm: &Path) -> Self {
        Self::new(name, vec![plugin("probe", wasm, "")])
    }

    /// The same chain, telling in its answers what went upstream.
    #[cfg(test)]
    pub(crate) fn echoing(mut self) -> Self {
        self.echo = true;
        self
    }

    /// True when the chain asks for a snapshot.
    pub(crate) fn is_ours(&self) -> bool {
        self.snapshot
    }

    fn listener(&self) -> Value {
        let mut filters = self.filters.clone();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }));
        let mut matches = json!({"prefix": "/"});
        if let Some(header) = self.route_header {
            matches["headers"] = json!([{"name": header, "present_match": true}]);
        }
        let echoed: &[(&str, &str)] = if self.echo { &ECHOED } else { &[] };
        let echoed: Vec<Value> =
            echoed.iter().map(|(name, value)| json!({"header": {"key": name, "value": value}})).collect();
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": self.name,
            "codec_type": "AUTO",
            "access_log": self.access_log,
            "http_filters": filters,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"], "response_headers_to_add": echoed,
                "routes": [{
                    "match": matches,
                    "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
                }],
            }]},
        });
        json!({
            "name": self.name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        })
    }
}

/// The whole bootstrap: the chains as listeners, and the mesh API as a cluster.
pub(crate) fn bootstrap(chains: &[Chain], mesh_api: SocketAddr) -> Value {
    let endpoint = json!({"endpoint": {"address": {"socket_address": {
        "address": mesh_api.ip().to_string(), "port_value": mesh_api.port(),
    }}}});
    json!({
        "node": {"id": "router~127.0.0.1~bench.portcullis~portcullis.svc.cluster.local", "cluster": "bench"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": chains.iter().map(Chain::listener).collect::<Vec<_>>(),
            "clusters": [{
                "name": MESH_API, "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": {
                    "cluster_name": MESH_API, "endpoints": [{"lb_endpoints": [endpoint]}],
                },
            }],
        },
    })
}

fn jwt_authn(world: &World, cache: bool, claims: &[&str]) -> Value {
    let mut provider = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": world.jwks().to_string()},
        "claim_to_headers": claims.iter()
            .map(|claim| json!({"header_name": format!("x-jwt-{}", claim.replace('_', "-")), "claim_name": claim}))
            .collect::<Vec<_>>(),
    });
    if cache {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": 1_000});
    }
    jwt_filter(&provider)
}

fn jwt_filter(provider: &Value) -> Value {
    json!({
        "name": JWT_AUTHN,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"idp": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}],
        },
    })
}

/// One rule that allows what names a cluster: the least that an authorisation does.
fn named_rule() -> Value {
    let named = json!({"header": {"name": "x-target-cluster", "present_match": true}});
    rbac(&named, &json!({"any": true}))
}

fn rbac(permission: &Value, principal: &Value) -> Value {
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"named": {
                "permissions": [permission],
                "principals": [principal],
            }}},
        },
    })
}

/// The fields of our audit record, by Envoy's command operators; the proxy's name is a constant, which
/// spares Envoy an expression per request.
const RECORD: [(&str, &str); 17] = [
    ("time", "%START_TIME%"),
    ("proxy", "bench.portcullis"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("trace", "%REQ(TRACEPARENT)%"),
    ("status", "%RESPONSE_CODE%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("duration_ms", "%DURATION%"),
    ("subject", "%REQ(X-JWT-SUB)%"),
    ("tenant", "%REQ(X-JWT-TENANT)%"),
    ("client", "%REQ(X-JWT-CLIENT-ID)%"),
    ("cluster", "%REQ(X-TARGET-CLUSTER)%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(:PATH)%"),
    ("client_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("received", "%BYTES_RECEIVED%"),
    ("sent", "%BYTES_SENT%"),
];

fn access_log(path: &Path, as_json: bool) -> Value {
    let format = if as_json {
        json!({"json_format": RECORD.into_iter().collect::<std::collections::BTreeMap<_, _>>()})
    } else {
        let line = RECORD.map(|(name, value)| [name, "=", value].concat()).join(" ");
        json!({"text_format_source": {"inline_string": line + "\n"}})
    };
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path, "log_format": format,
        },
    })
}

/// What `pluginConfig` holds in the benchmark.
pub(crate) fn plugin_config() -> Value {
    json!({
        "role": "edge",
        "domain": "bench.test",
        "readyPath": READY,
        "snapshot": {"upstream": MESH_API, "authority": MESH_API, "key": STANDARD.encode(MeshApi::key())},
    })
}

/// A filter of `libportcullis.so`, which Envoy finds by the search path of its environment.
fn module(root_id: &str, config: &str) -> Value {
    json!({
        "name": "portcullis-native",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "portcullis", "metrics_namespace": "portcullis"},
            "filter_name": root_id,
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": config,
            },
        },
    })
}

fn plugin(root_id: &str, wasm: &Path, config: &str) -> Value {
    json!({
        "name": "envoy.filters.http.wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": root_id, "root_id": root_id, "failure_policy": "FAIL_RELOAD",
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": config,
                },
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm}},
                    "environment_variables": {"key_values": {"PORTCULLIS_MESH_TOKEN": TOKEN}},
                },
            },
        },
    })
}
