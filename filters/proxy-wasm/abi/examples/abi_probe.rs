//! A plugin that touches every hostcall that Portcullis uses, to be loaded into a real proxy:
//! what it finds comes back in `x-probe-*` headers, by the path asked for.
//!
//! `cargo build -p portcullis-proxy-wasm-abi --example abi_probe --target wasm32-wasip1`

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use portcullis_proxy_wasm_abi::{
    Action, BufferType, CallResponse, ContextId, HashFunction, Host, HostResult, HttpCall, HttpContext,
    LifeSpan, LocalResponse, LogLevel, MapType, MetricId, MetricType, QueueId, RootContext,
};

/// Cluster that the probe calls; the proxy under test must have it.
const UPSTREAM: &str = "probe_upstream";

portcullis_proxy_wasm_abi::entry!(
    root = new_root,
    callbacks = [
        on_vm_start,
        on_tick,
        on_queue_ready,
        on_http_call_response,
        on_request_headers,
        on_response_headers,
        on_done,
        on_log,
    ],
);

/// The number of headers in a block.
fn count(block: &[u8]) -> u32 {
    block.first_chunk().map_or(0, |count| u32::from_le_bytes(*count))
}

fn new_root(_host: &dyn Host, root_id: &[u8]) -> Option<Box<dyn RootContext>> {
    (root_id == b"probe").then(|| Box::<Root>::default() as Box<dyn RootContext>)
}

/// What a root shares with its streams.
#[derive(Default)]
struct Shared {
    paused: Vec<ContextId>,
    ticks: u64,
    root_answers: u64,
    notified: u64,
    requests: Option<MetricId>,
    queue: Option<QueueId>,
}

#[derive(Default)]
struct Root {
    shared: Rc<RefCell<Shared>>,
}

impl Root {
    fn set_up(&self, host: &dyn Host) -> HostResult<()> {
        let mut shared = self.shared.borrow_mut();
        shared.requests = Some(host.define_metric(MetricType::Counter, "probe_requests")?);
        let seconds = host.define_metric(MetricType::Histogram, "probe_histogram")?;
        host.record_metric(seconds, 7)?;
        shared.queue = Some(host.register_queue("probe")?);
        host.set_tick_period(Duration::from_millis(200))
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, host: &dyn Host, config: HostResult<&[u8]>) -> bool {
        host.log(LogLevel::Info, &format!("probe vm_start: {config:?}"));
        config.is_ok()
    }

    fn on_configure(&mut self, host: &dyn Host, config: HostResult<&[u8]>) -> bool {
        let env = host.env("PROBE_ENV");
        let line = format!("probe configure: {config:?}, env: {env:?}");
        host.log(LogLevel::Info, &line);
        if let Err(error) = self.set_up(host) {
            host.log(LogLevel::Error, &error.to_string());
            return false;
        }
        config.is_ok_and(|config| config != b"refuse")
    }

    fn http_context(&mut self, _host: &dyn Host, id: ContextId) -> Box<dyn HttpContext> {
        let shared = Rc::clone(&self.shared);
        Box::new(Stream { id, shared, found: Vec::new() })
    }

    fn on_tick(&mut self, host: &dyn Host) {
        self.shared.borrow_mut().ticks += 1;
        if let Err(error) = call(host, "/from-root", Duration::from_secs(1)) {
            host.log(LogLevel::Error, &error.to_string());
        }
    }

    fn on_queue_ready(&mut self, host: &dyn Host, queue: QueueId) {
        while let Ok(Some(_)) = host.dequeue(queue) {
            self.shared.borrow_mut().notified += 1;
        }
    }

    fn on_http_call_response(&mut self, _host: &dyn Host, response: CallResponse) {
        if response.headers > 0 {
            self.shared.borrow_mut().root_answers += 1;
        }
    }

    fn take_wakes(&mut self) -> Vec<ContextId> {
        std::mem::take(&mut self.shared.borrow_mut().paused)
    }
}

struct Stream {
    id: ContextId,
    shared: Rc<RefCell<Shared>>,
    found: Vec<(String, String)>,
}

impl Stream {
    fn found(&mut self, name: &str, value: impl std::fmt::Debug) {
        self.found.push((format!("x-probe-{name}"), format!("{value:?}")));
    }

    fn look_around(&mut self, host: &dyn Host) {
        let map = MapType::HttpRequestHeaders;
        let mut random = [0; 16];
        self.found("now", host.now());
        self.found("monotonic", host.monotonic());
        self.found("random", host.random(&mut random).map(|()| random));
        self.found("random-too-long", host.random(&mut vec![0; 1 << 20]));
        self.found("pairs", host.header_block(map, Vec::new()).map(|block| count(block.bytes())));
        let odd = host.header(map, "x-odd");
        self.found("odd", odd.map(|v| v.map(|v| v.escape_ascii().to_string())));
        self.found("absent", host.header(map, "x-absent"));
        self.found(
            "response-map",
            host.header_block(MapType::HttpResponseHeaders, Vec::new()).map(|block| block.bytes().to_vec()),
        );
        self.found("add", host.add_header(map, "x-added", b"1"));
        self.found("replace", host.replace_header(map, "x-replace", b"new"));
        self.found("remove", host.remove_header(map, b"x-remove"));
        self.found("remove-absent", host.remove_header(map, b"x-absent"));
        let flags = host.property_i64(&["connection", "id"]);
        self.found("connection-id", flags.map(|id| id.is_some()));
        self.found("no-property", host.property(&["no", "such"]));
        self.found("set-property", host.set_property(&["probe"], b"p"));
        let body = host.buffer(BufferType::HttpRequestBody, 0, 10);
        self.found("no-body", body);
        self.found("route-cache", host.clear_route_cache());
        let state = host.set_envoy_filter_state("envoy.string", b"v", LifeSpan::FilterChain);
        self.found("filter-state", state);
        let foreign = host.call_foreign("no_such_function", b"");
        self.found("no-foreign", foreign);
        self.shared_things(host);
    }

    fn shared_things(&mut self, host: &dyn Host) {
        self.found("no-data", host.shared_data("probe-absent"));
        self.found("data", host.set_shared_data("probe", b"1", None));
        let old = host.shared_data("probe");
        self.found("data-overwrite", host.set_shared_data("probe", b"2", None));
        if let Ok(Some(old)) = old {
            let raced = host.set_shared_data("probe", b"3", Some(old.cas));
            self.found("data-raced", raced);
        }
        self.found("no-queue", host.resolve_queue("", "no such queue"));
        let (queue, requests) = {
            let shared = self.shared.borrow();
            (shared.queue, shared.requests)
        };
        if let (Some(queue), Some(requests)) = (queue, requests) {
            self.found("enqueue", host.enqueue(queue, b"entry"));
            self.found("increment", host.increment_metric(requests, 1));
            self.found("increment-zero", host.increment_metric(requests, 0));
        }
        self.found("effective-gone", host.set_effective_context(ContextId(!0)));
        self.found("done", host.done());
    }

    fn verify(&mut self, host: &dyn Host) {
        let [key, signature, text] = ["x-key", "x-signature", "x-text"].map(|name| {
            let value = host.header(MapType::HttpRequestHeaders, name);
            unhex(&value.ok().flatten().unwrap_or_default())
        });
        let hash = HashFunction::Sha256;
        let good = host.verify_signature(hash, &key, &signature, &text);
        self.found("verify", good);
        let bad = host.verify_signature(hash, &key, &signature, b"other");
        self.found("verify-other", bad);
    }
}

impl HttpContext for Stream {
    fn on_request_headers(&mut self, host: &dyn Host, _end_of_stream: bool) -> Action {
        let path = host.header(MapType::HttpRequestHeaders, ":path");
        match path.ok().flatten().unwrap_or_default().as_slice() {
            b"/deny" => {
                let response = LocalResponse {
                    status: 403,
                    details: "probe_denied",
                    headers: &[(b"x-probe-denied", b"yes"), (b"x-raw", b"\xff\xfe")],
                    body: b"denied\n",
                    grpc_status: None,
                };
                self.found("denied", host.send_local_response(&response));
                Action::Pause
            }
            b"/paused" => {
                self.shared.borrow_mut().paused.push(self.id);
                Action::Pause
            }
            b"/call" => match call(host, "/from-stream", Duration::from_secs(2)) {
                Ok(()) => Action::Pause,
                Err(error) => {
                    self.found("call", error);
                    Action::Continue
                }
            },
            b"/cancelled" => {
                self.found("call", call(host, "/slow", Duration::from_secs(5)));
                Action::Continue
            }
            b"/verify" => {
                self.verify(host);
                Action::Continue
            }
            _ => {
                self.look_around(host);
                Action::Continue
            }
        }
    }

    fn on_response_headers(&mut self, host: &dyn Host, _end_of_stream: bool) -> Action {
        let counts = {
            let shared = self.shared.borrow();
            (shared.ticks, shared.root_answers, shared.notified)
        };
        self.found("ticks-answers-notified", counts);
        let map = MapType::HttpResponseHeaders;
        for (name, value) in std::mem::take(&mut self.found) {
            if let Err(error) = host.add_header(map, &name, value.as_bytes()) {
                host.log(LogLevel::Error, &error.to_string());
            }
        }
        Action::Continue
    }

    fn on_http_call_response(&mut self, host: &dyn Host, response: CallResponse) {
        let status = host.header(MapType::HttpCallResponseHeaders, ":status");
        let body = host.buffer(BufferType::HttpCallResponseBody, 0, response.body);
        self.found("answer-status", status);
        self.found("answer-body", body.map(|body| body.len()));
        self.found("answer", response);
        self.found("resume", host.resume_http_request());
    }

    fn on_wake(&mut self, host: &dyn Host) {
        let path = host.header(MapType::HttpRequestHeaders, ":path");
        self.found("woken", path);
        self.found("resume", host.resume_http_request());
    }

    fn on_log(&mut self, host: &dyn Host) {
        let path = host.header(MapType::HttpRequestHeaders, ":path");
        let flags = host.property_i64(&["response", "flags"]);
        let details = host.property(&["response", "code_details"]);
        let details = details.map(|d| d.map(|d| d.escape_ascii().to_string()));
        let path = path.map(|p| p.map(|p| p.escape_ascii().to_string()));
        let line = format!("probe log: {path:?} flags {flags:?} details {details:?}");
        host.log(LogLevel::Info, &line);
    }
}

fn call(host: &dyn Host, path: &str, timeout: Duration) -> HostResult<()> {
    let call = HttpCall {
        upstream: UPSTREAM,
        headers: &[(b":method", b"GET"), (b":path", path.as_bytes()), (b":authority", b"probe")],
        timeout,
        ..HttpCall::default()
    };
    host.http_call(&call).map(|_| ())
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
    text.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | digit(d))).collect()
}
