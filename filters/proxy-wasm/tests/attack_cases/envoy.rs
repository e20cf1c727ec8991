//! A gateway that the native module guards, in the real Envoy, with the mesh API of the other tests behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use portcullis_mesh::process::Process;
use portcullis_mesh::wait::{PATIENCE, Seen};
use portcullis_mesh::{http, paths, tools};
use portcullis_mesh_stand_in::{Answer, Ask, MeshApi};
use portcullis_testhost::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{NOW, UPSTREAM};

/// How long a poll for the snapshot hangs: nothing changes here.
const POLL: Duration = Duration::from_secs(5);

type Shared = Arc<Mutex<MeshApi>>;

/// The running gateway.
pub(crate) struct Gateway {
    address: SocketAddr,
    // Ends when it is dropped.
    _envoy: Process,
}

/// Serves the mesh API on a free port.
async fn serve(api: Shared) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let router = Router::new().fallback(answer).with_state(api);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn answer(
    State(api): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let path = uri.to_string();
    let ask = Ask { call: 0, path: &path, authorization: authorization.unwrap_or_default(), body: &body };
    let mut answer = api.lock().expect("no panic").answer(&ask);
    if answer == Answer::Wait {
        tokio::time::sleep(POLL).await;
        answer = api.lock().expect("no panic").no_news(uri.query().unwrap_or_default());
    }
    match answer {
        Answer::Body(body) => Ok(body),
        Answer::Status(204) => Err(StatusCode::NO_CONTENT),
        _ => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

impl Gateway {
    /// Starts Envoy, and waits until the module has its snapshot.
    pub(crate) async fn start(config: &Value, api: MeshApi, dir: &Path) -> Self {
        let bootstrap = bootstrap(config, serve(Arc::new(Mutex::new(api))).await);
        let (file, admin_file) = (dir.join("envoy.json"), dir.join("admin"));
        std::fs::write(&file, bootstrap.to_string()).expect("a folder to write to");
        let envoy = tools::installed_envoy(&paths::root()).expect("`make tools` has installed Envoy");
        let mut command = tokio::process::Command::new(envoy);
        command
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])
            .arg("--admin-address-path")
            .arg(&admin_file)
            .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", paths::native_module_folder())
            .env("PORTCULLIS_MESH_TOKEN", "mesh-token")
            .env("LD_PRELOAD", stopped_clock(dir))
            .env("CLOCK_S", NOW.to_string());
        let log = dir.join("envoy.log");
        let mut envoy = Process::start("Envoy", command, &log).expect("Envoy starts");
        let listens = async || {
            Ok(address(&admin_file).await.map_or_else(|| Seen::NotYet("no port".to_owned()), Seen::Done))
        };
        let address = envoy.until("the gateway", listens).await.expect("Envoy tells its port");
        envoy
            .until("the snapshot", async || {
                let ready = http::Request::get(address, "/-/portcullis/ready").send().await?;
                Ok(if ready.status == 200 { Seen::Done(()) } else { Seen::NotYet(ready.text()) })
            })
            .await
            .expect("the module is ready");
        Self { address, _envoy: envoy }
    }

    /// The status and the reason that a request gets.
    pub(crate) async fn send(&self, request: &Request) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("Envoy listens");
        stream.write_all(&on_the_wire(request)).await.expect("it reads");
        let (mut head, mut part) = (Vec::new(), [0; 4_096]);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut part)).await;
            match read.expect("an answer").expect("it is sent") {
                0 => break,
                size => head.extend_from_slice(&part[..size]),
            }
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let reason = head.lines().find_map(|line| line.strip_prefix("x-portcullis-reason: "));
        (status.unwrap_or_default(), reason.unwrap_or_default().to_owned())
    }
}

/// Builds the clock that stands still.
fn stopped_clock(dir: &Path) -> std::path::PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attack_cases/clock.c");
    let library = dir.join("clock.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.expect("a C compiler").success(), "{source} does not compile");
    library
}

async fn address(admin_file: &Path) -> Option<SocketAddr> {
    let admin = std::fs::read_to_string(admin_file).ok()?.trim().parse().ok()?;
    let page = http::Request::get(admin, "/listeners?format=json").send().await.ok()?.json();
    let socket = &page["listener_statuses"][0]["local_address"]["socket_address"];
    let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A request as a client of HTTP/1.1 writes it.
fn on_the_wire(request: &Request) -> Vec<u8> {
    let of = |name: &str| request.headers.get_bytes(name).unwrap_or_default().to_vec();
    let mut out =
        [of(":method"), b" ".into(), of(":path"), b" HTTP/1.1\r\nhost: ".into(), of(":authority")].concat();
    out.extend_from_slice(b"\r\nconnection: close\r\n");
    for (name, value) in request.headers.iter().filter(|(name, _)| !name.starts_with(b":")) {
        out.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    if request.trailers.is_empty() {
        out.extend_from_slice(b"\r\n");
        out.extend(request.body.concat());
        return out;
    }
    out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n0\r\n");
    for (name, value) in request.trailers.iter() {
        out.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// One listener with the module, and a way to the mesh API. What the module lets on is answered with 200.
fn bootstrap(config: &Value, mesh_api: SocketAddr) -> Value {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let module = json!({
        "@type": typed("http.dynamic_modules.v3.DynamicModuleFilter"),
        "dynamic_module_config": {"name": "portcullis", "metrics_namespace": "portcullis"},
        "filter_name": "gateway",
        "filter_config": {
            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": config.to_string(),
        },
    });
    let manager = json!({
        "@type": typed("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "http_filters": [
            {"name": "portcullis", "typed_config": module},
            {"name": "router", "typed_config": {"@type": typed("http.router.v3.Router")}},
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
        ]}]},
    });
    let endpoint = json!({"endpoint": {"address": socket(mesh_api.port())}});
    json!({
        "admin": {"address": socket(0)},
        "static_resources": {
            "listeners": [{"name": "gateway", "address": socket(0), "filter_chains": [
                {"filters": [{"name": "manager", "typed_config": manager}]},
            ]}],
            "clusters": [{
                "name": UPSTREAM, "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": {"cluster_name": UPSTREAM, "endpoints": [{"lb_endpoints": [endpoint]}]},
            }],
        },
    })
}
