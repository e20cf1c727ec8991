//! Envoy's configuration for these tests.

use std::net::SocketAddr;
use std::path::Path;

use portcullis_mesh::pki::{Authority, Workload};
use serde_json::{Value, json};

/// Admin, clusters, and where further clusters and listeners are read from.
pub(crate) fn bootstrap(dir: &Path, upstream: SocketAddr) -> Value {
    json!({
        "node": {"id": "probe", "cluster": "probe"},
        "admin": {"address": address("127.0.0.1:0".parse().unwrap())},
        "dynamic_resources": {
            "cds_config": {"path_config_source": {"path": dir.join("cds.json")}},
            "lds_config": {"path_config_source": {"path": dir.join("lds.json")}},
        },
        "static_resources": {"clusters": [
            cluster("upstream", &[upstream]),
            // A port that nobody listens on.
            cluster("nowhere", &["127.0.0.1:1".parse().unwrap()]),
            cluster("empty", &[]),
        ]},
    })
}

/// The listener with these filters, as a file of listeners.
pub(crate) fn listeners(filters: &[(&str, &str)], at: SocketAddr, version: u32) -> Value {
    json!({
        "version_info": version.to_string(),
        "resources": [listener("probe", at, &chain(filters, version), &Value::Null)],
    })
}

/// A file of one further cluster, or of none.
pub(crate) fn clusters(cluster: &Value) -> Value {
    let clusters: Vec<&Value> = [cluster].into_iter().filter(|cluster| !cluster.is_null()).collect();
    json!({"version_info": clusters.len().to_string(), "resources": clusters})
}

/// Two listeners: `front` at the address, which leads with a certificate to the other one, where
/// the filters are.
pub(crate) fn mutual_tls(filters: &[(&str, &str)], front: SocketAddr, inner: SocketAddr) -> (Value, Value) {
    let authority = Authority::new("test").unwrap();
    let context = |workload| {
        let leaf = authority.workload(workload).unwrap();
        json!({
            "tls_certificates": [{
                "certificate_chain": {"inline_string": leaf.certificate},
                "private_key": {"inline_string": leaf.key},
            }],
            "validation_context": {"trusted_ca": {"inline_string": authority.root()}},
        })
    };
    let server = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": context(Workload::INGRESS),
    }});
    let client = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "inner.test",
        "common_tls_context": context(Workload::RUNNER),
    }});
    let mut leads = cluster("inner", &[inner]);
    leads["@type"] = json!("type.googleapis.com/envoy.config.cluster.v3.Cluster");
    leads["transport_socket"] = client;
    let to_inner = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "front",
        "address": address(front),
        "filter_chains": [{"filters": [{
            "name": "tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "front",
                "cluster": "inner",
            },
        }]}],
    });
    let listeners = json!({
        "version_info": "tls",
        "resources": [to_inner, listener("probe", inner, &chain(filters, 0), &server)],
    });
    (listeners, leads)
}

fn chain(filters: &[(&str, &str)], version: u32) -> Vec<Value> {
    let router = json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }});
    filters.iter().map(|(name, config)| filter(name, config, version)).chain([router]).collect()
}

fn filter(name: &str, config: &str, version: u32) -> Value {
    // Another text is another configuration to Envoy.
    let config = if version == 0 { config.to_owned() } else { format!("{config} v{version}") };
    json!({"name": name, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": {"name": "envoy_probe", "metrics_namespace": "portcullis"},
        "filter_name": name,
        "filter_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config},
    }})
}

fn listener(name: &str, at: SocketAddr, filters: &[Value], transport_socket: &Value) -> Value {
    let mut chain = json!({"filters": [{"name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "probe",
        "http_protocol_options": {"enable_trailers": true},
        "stream_idle_timeout": "15s",
        "delayed_close_timeout": "0s",
        "route_config": {"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {
                "name": "other",
                "match": {"prefix": "/", "headers": [{"name": "x-to", "string_match": {"exact": "other"}}]},
                "direct_response": {"status": 299, "body": {"inline_string": "other"}},
            },
            {"name": "main", "match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
        ]}]},
        "http_filters": filters,
    }}]});
    if !transport_socket.is_null() {
        chain["transport_socket"] = transport_socket.clone();
    }
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": address(at),
        "filter_chains": [chain],
    })
}

fn cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> =
        endpoints.iter().map(|at| json!({"endpoint": {"address": address(*at)}})).collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}},
        }},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip(), "port_value": at.port()}})
}
