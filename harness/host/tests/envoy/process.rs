//! A real Envoy with the chains that the cases need.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::PATIENCE;
use super::case::{Policy, Probe, Setup};

/// Where the probe modules are.
pub(crate) type Modules = BTreeMap<Probe, PathBuf>;

/// The set-up that is a gRPC server, and the cluster that leads to it.
pub(crate) const GRPC: &str = "grpc";

/// How long old connections live on after an update: longer than the stories need to end theirs, also where the
/// updates of other stories compile meanwhile on a slow machine.
const DRAIN: Duration = Duration::from_secs(10);

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const VERSION: &str = "1.40.";

/// Where Envoy is: `PORTCULLIS_ENVOY`, else where `portcullis-mesh tools` installs it.
fn binary() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("PORTCULLIS_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("portcullis")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/portcullis")))
        .expect("PORTCULLIS_CACHE, XDG_CACHE_HOME or HOME is set");
    let path = var("PORTCULLIS_ENVOY")
        .unwrap_or_else(|| cache.join("func-e/envoy-versions").join(format!("{VERSION}0")).join("bin/envoy"));
    assert!(
        path.is_file(),
        "these tests compare with a real Envoy, and there is none at {}.\n\
         Install it with `cargo run -p portcullis-mesh -- tools`, or set PORTCULLIS_ENVOY to a binary of {VERSION}x",
        path.display()
    );
    let version = Command::new(&path).arg("--version").output().expect("envoy runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(
        version.contains(&format!("/{VERSION}")),
        "{} is not Envoy {VERSION}x: {version}",
        path.display()
    );
    path
}

/// A running Envoy. It ends with this value, and with the test process, however that ends.
pub(crate) struct Envoy {
    child: Child,
    folder: TempDir,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Envoy {
    /// Starts Envoy with one listener per set-up.
    pub(crate) fn start(
        setups: &[Setup],
        modules: &Modules,
        clusters: &BTreeMap<&str, SocketAddr>,
        workers: usize,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listeners = setups.iter().map(|setup| {
            // A cluster leads to the listener of its name.
            listener(setup, modules, clusters.get(setup.name.as_str()).copied())
        });
        let config = config(clusters, &json!({"listeners": listeners.collect::<Vec<_>>()}), &json!({}));
        Self::run(folder, &config, setups.len(), workers)
    }

    /// Starts Envoy with listeners that [`Updates`](super::updates::Updates) change.
    pub(crate) fn start_dynamic(
        folder: TempDir,
        listeners: &Path,
        count: usize,
        clusters: &BTreeMap<&str, SocketAddr>,
    ) -> Self {
        let dynamic = json!({"lds_config": {"path_config_source": {"path": listeners}}});
        Self::run(folder, &config(clusters, &json!({}), &dynamic), count, 1)
    }

    fn run(folder: TempDir, config: &Value, listeners: usize, workers: usize) -> Self {
        let path = folder.path().join("envoy.json");
        std::fs::write(&path, serde_json::to_vec_pretty(config).expect("JSON")).expect("written");
        // The shell ends Envoy when the pipe to this process breaks, so that nothing stays behind even if
        // the test is killed.
        let watch = "\"$@\" & envoy=$!; read -r line; kill -9 $envoy; wait $envoy";
        let child = Command::new("sh")
            .args(["-c", watch, "sh"])
            .arg(binary())
            .args(["--use-dynamic-base-id", "--log-format", "%l|%v", "-l", "warning"])
            .args(["--concurrency", &workers.to_string()])
            .args(["--component-log-level", "wasm:trace", "--drain-time-s", &DRAIN.as_secs().to_string()])
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).expect("a log"))
            .spawn()
            .expect("sh runs");
        let mut envoy = Self { child, folder, admin: ANY_PORT, listeners: BTreeMap::new() };
        envoy.wait_until_ready(listeners);
        envoy
    }

    fn wait_until_ready(&mut self, listeners: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "Envoy does not get ready; its log:\n{}", self.log());
            assert!(
                !self.log().contains("critical|error initializing"),
                "Envoy does not start; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
            let Ok(admin) = std::fs::read_to_string(self.folder.path().join("admin")) else { continue };
            let Ok(admin) = admin.trim().parse() else { continue };
            self.admin = admin;
            let answer: Value = serde_json::from_str(&self.get("/listeners?format=json")).unwrap_or_default();
            let found = answer["listener_statuses"].as_array().cloned().unwrap_or_default();
            self.listeners = found
                .iter()
                .filter_map(|listener| {
                    let address = &listener["local_address"]["socket_address"];
                    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
                    let name = listener["name"].as_str()?.to_owned();
                    Some((name, SocketAddr::from(([127, 0, 0, 1], port))))
                })
                .collect();
            if self.listeners.len() == listeners && self.get("/ready").trim() == "LIVE" {
                return;
            }
        }
    }

    /// The listener of a set-up.
    pub(crate) fn address(&self, setup: &str) -> SocketAddr {
        *self
            .listeners
            .get(setup)
            .unwrap_or_else(|| panic!("no listener {setup}; Envoy's log:\n{}", self.log()))
    }

    /// Everything that Envoy logged so far.
    pub(crate) fn log(&self) -> String {
        self.log_after(0)
    }

    /// What Envoy logged after so many bytes: its log grows to many megabytes, and is looked at often.
    pub(crate) fn log_after(&self, bytes: u64) -> String {
        let mut read = Vec::new();
        if let Ok(mut log) = std::fs::File::open(self.log_path()) {
            let whole = log.seek(SeekFrom::Start(bytes)).and_then(|_| log.read_to_end(&mut read));
            whole.expect("the log can be read");
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// How many bytes Envoy logged so far.
    pub(crate) fn logged(&self) -> u64 {
        std::fs::metadata(self.log_path()).map_or(0, |log| log.len())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Tells Envoy to end.
    pub(crate) fn quit(&self) {
        super::wire::post(self.admin, "/quitquitquit");
    }

    /// A page of the admin interface.
    pub(crate) fn get(&self, path: &str) -> String {
        super::wire::fetch(self.admin, path)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The shell ends by itself; an error means that it is gone already.
        let _ = self.child.wait();
    }
}

fn config(clusters: &BTreeMap<&str, SocketAddr>, fixed: &Value, dynamic: &Value) -> Value {
    let clusters: Vec<Value> = clusters.iter().map(|(name, address)| cluster(name, *address)).collect();
    let mut fixed = fixed.clone();
    fixed["clusters"] = clusters.into();
    json!({
        "node": {"id": "node-1", "cluster": "cluster-1"},
        "admin": {"address": socket(ANY_PORT)},
        "static_resources": fixed,
        "dynamic_resources": dynamic,
    })
}

/// The listener of a set-up.
pub(super) fn listener(setup: &Setup, modules: &Modules, address: Option<SocketAddr>) -> Value {
    json!({
        "name": setup.name,
        "address": socket(address.unwrap_or(ANY_PORT)),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager(setup, modules),
        }]}],
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Routes of a gRPC server: a message, and an error.
fn grpc_routes() -> Value {
    let header = |name: &str, value: &str| json!({"header": {"key": name, "value": value}});
    json!([
        {"match": {"prefix": "/acme.Never/"}, "route": {"cluster": "upstream"}},
        {"match": {"prefix": "/acme.Ok/"}, "route": {"cluster": "upstream"},
         "request_headers_to_add": [header("x-answer", "grpc")]},
        {"match": {"prefix": "/acme.Denied/"}, "direct_response": {"status": 200},
         "response_headers_to_add": [header("grpc-status", "7"), header("grpc-message", "not you")]},
    ])
}

fn connection_manager(setup: &Setup, modules: &Modules) -> Value {
    let route =
        |prefix: &str, cluster: &str| json!({"match": {"prefix": prefix}, "route": {"cluster": cluster}});
    let mut filters: Vec<Value> = setup.plugins.iter().map(|plugin| {
        let mut config = json!({
            "name": plugin.name,
            "root_id": plugin.root_id,
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin.config},
            "failure_policy": match plugin.policy {
                Policy::Closed => "FAIL_CLOSED",
                Policy::Open => "FAIL_OPEN",
                Policy::Reload => "FAIL_RELOAD",
            },
            "vm_config": {
                "vm_id": setup.vm_id(),
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": modules[&plugin.probe]}},
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin.vm_config},
                "environment_variables": {"key_values": {"PROBE": "present"}},
            },
        });
        if plugin.policy == Policy::Reload {
            config["reload_config"] = json!({"backoff": {"base_interval": "0.2s"}});
        }
        json!({"name": plugin.name, "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": config}})
    }).collect();
    filters.push(json!({"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": true}}));
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "codec_type": if setup.http2 || setup.name == GRPC { "HTTP2" } else { "HTTP1" },
        "http_protocol_options": {"enable_trailers": true},
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": if setup.http2 { json!([{"upgrade_type": "websocket"}]) } else { json!([]) },
        "server_header_transformation": "PASS_THROUGH",
        "request_headers_timeout": "5s",
        "route_config": {"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes":
            if setup.name == GRPC { grpc_routes() } else { json!([
            route("/refused", "refused"), route("/b/", "upstream-b"), route("/", "upstream")
                .as_object().map(|all| {
                    let mut all = all.clone();
                    all["match"] = json!({"safe_regex": {"regex": "/(|up.*)"}});
                    Value::Object(all)
                }).unwrap_or_default(),
        ])}}]},
        "http_filters": filters,
    })
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    let http1 = json!({"explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}});
    let http2 = json!({"explicit_http_config": {"http2_protocol_options": {}}});
    let mut options = if name.starts_with("grpc") { http2 } else { http1 };
    options["@type"] = json!("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": address.ip().to_string(), "port_value": address.port()}}}}]}]},
    })
}
