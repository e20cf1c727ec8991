//! Envoy bootstraps, as values that a serialiser writes.

mod managed;
mod stats;
mod tunnel;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{MeshError, Result};
use crate::pki::write_private;

pub use managed::{LOCALITY, Managed, NodeKind};
pub use stats::Shown;
pub(crate) use tunnel::HUB;
pub use tunnel::{Dialler, Upstream, accepting_gateway};

/// Runtime flags that every Envoy of the mesh gets.
fn runtime() -> Value {
    json!({"layers": [{"name": "static", "static_layer": {
        // A request for a cluster without a tunnel is answered at once instead of waiting for one.
        "envoy.reloadable_features.reverse_conn_force_local_reply": true,
    }}]})
}

/// The same bootstrap for an Envoy with the native module: its metrics are called like those of the Wasm module,
/// without Envoy's name before theirs. Older Envoys do not know the flag.
pub(crate) fn for_native_module(mut bootstrap: Value) -> Value {
    let flag = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
    bootstrap["layered_runtime"]["layers"][0]["static_layer"][flag] = true.into();
    bootstrap
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn typed(type_name: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/{type_name}").into();
    fields
}

fn http2() -> Value {
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    // A peer that is there and does not answer is found out in four seconds.
    let options = json!({
        "connection_keepalive": {"interval": "2s", "timeout": "2s"},
        "allow_connect": true,
    });
    json!({ name: typed(name, json!({"explicit_http_config": {"http2_protocol_options": options}})) })
}

fn endpoint(cluster: &str, address: SocketAddr) -> Value {
    json!({"cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}]})
}

/// How a proxy on the way tells the gateway that nobody answered: by the header that refusals have.
fn told_as_unreachable() -> Value {
    let failure =
        json!({"op": "GE", "value": {"default_value": 500, "runtime_key": "portcullis.unreachable"}});
    let header = json!({"key": "x-portcullis-reason", "value": "cluster_unreachable"});
    json!({"mappers": [{
        "filter": {"status_code_filter": {"comparison": failure}},
        "headers_to_add": [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }]})
}

/// An HTTP connection manager that sends everything to one cluster.
fn forward_all(stat_prefix: &str, cluster: &str) -> Value {
    let manager = json!({
        "stat_prefix": stat_prefix,
        // What was normalised at the edge stays as it is; what was not is refused here too.
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]}]},
        // A WebSocket goes through a tunnel as extended CONNECT (RFC 8441).
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
        "local_reply_config": told_as_unreachable(),
        // A stream may last; one on which nothing is said for so long does not.
        "stream_idle_timeout": "300s",
        "http_filters": [{"name": "envoy.filters.http.router",
            "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({}))}],
    });
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", manager)})
}

/// Writes a bootstrap so that only its owner can read it.
///
/// # Errors
/// When the file cannot be written.
pub fn write(bootstrap: &Value, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(bootstrap).map_err(|e| MeshError::io("write", path)(e.into()))?;
    write_private(path, &text)
}
