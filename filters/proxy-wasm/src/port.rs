//! The engine's ports in the words of the ABI.

use portcullis_engine::head::headers::Headers;
use portcullis_engine::metrics::MetricId;
use portcullis_engine::port::{
    Call, CallId, Hash, Outcome, OutcomeWanted, PortError, PortResult, Proxy, Reply, Severity, Signature,
    Store, Stream,
};
use portcullis_proxy_wasm_abi::{
    Block, BufferType, Cas, ContextId, HashFunction, Host, HostError, HttpCall, LocalResponse, LogLevel,
    MapType,
};

use crate::metrics;

const REQUEST: MapType = MapType::HttpRequestHeaders;
const RESPONSE: MapType = MapType::HttpResponseHeaders;

/// The filter-state name under which plugins hand a request over. One segment: Envoy finds a property
/// that a plugin set by the first segment of its path only.
const HANDLE: [&str; 1] = ["portcullis.exchange"];

/// The contexts of a request.
#[derive(Clone, Copy)]
struct Contexts {
    root: ContextId,
    stream: ContextId,
}

/// The proxy during a callback: of a root context, or of a request.
pub(crate) struct Port<'a> {
    host: &'a dyn Host,
    contexts: Option<Contexts>,
}

impl<'a> Port<'a> {
    /// During a callback of a root context.
    pub(crate) fn of_root(host: &'a dyn Host) -> Self {
        Self { host, contexts: None }
    }

    /// During a callback of a request.
    pub(crate) fn of_stream(host: &'a dyn Host, root: ContextId, stream: ContextId) -> Self {
        Self { host, contexts: Some(Contexts { root, stream }) }
    }

    fn send(&self, call: &Call<'_>) -> Result<CallId, HostError> {
        let call = HttpCall {
            upstream: call.upstream,
            headers: call.headers,
            body: call.body,
            trailers: &[],
            timeout: call.timeout,
        };
        self.host.http_call(&call).map(|token| CallId(token.0.into()))
    }

    fn number(&self, path: &[&str]) -> u64 {
        let number = self.host.property_i64(path).ok().flatten();
        number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
    }

    fn read(&self, map: MapType, into: &mut Headers) -> PortResult<()> {
        let Block { buffer, length } = self.host.header_block(map, into.take_buffer()).map_err(failed)?;
        into.fill_up_to(buffer, length)
            .map_err(|error| PortError { operation: "get_header_map_pairs", cause: error.to_string().into() })
    }
}

fn failed(error: HostError) -> PortError {
    PortError { operation: error.call, cause: error.fault.to_string().into() }
}

impl Proxy for Port<'_> {
    fn log(&self, severity: Severity, line: &str) {
        let level = match severity {
            Severity::Warning => LogLevel::Warn,
            Severity::Error => LogLevel::Error,
            Severity::Critical => LogLevel::Critical,
        };
        self.host.log(level, line);
    }

    fn wall_clock_ns(&self) -> PortResult<u64> {
        self.host.now().map_err(failed)
    }

    fn monotonic_ns(&self) -> PortResult<u64> {
        self.host.monotonic().map_err(failed)
    }

    fn random(&self, out: &mut [u8]) -> PortResult<()> {
        self.host.random(out).map_err(failed)
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        self.host.env(name)
    }

    fn instance(&self) -> Vec<u8> {
        let node = |path: &[&str]| self.host.property(path).ok().flatten();
        node(&["node", "id"]).or_else(|| node(&["xds", "node", "id"])).unwrap_or_default()
    }

    /// Made as the root context of a request, so that it goes on when the request ends and its answer comes
    /// to the root context. The request is the effective context again afterwards.
    fn call(&self, call: &Call<'_>) -> PortResult<CallId> {
        let Some(Contexts { root, stream }) = self.contexts else { return self.send(call).map_err(failed) };
        self.host.set_effective_context(root).map_err(failed)?;
        let sent = self.send(call);
        self.host.set_effective_context(stream).map_err(failed)?;
        sent.map_err(failed)
    }

    fn store(&self) -> &dyn Store {
        self
    }

    fn verify_signature(&self, signature: &Signature<'_>) -> Option<bool> {
        let hash = match signature.hash {
            Hash::Sha256 => HashFunction::Sha256,
            Hash::Sha384 => HashFunction::Sha384,
            Hash::Sha512 => HashFunction::Sha512,
        };
        self.host.verify_signature(hash, signature.key, signature.signature, signature.text).ok()
    }

    fn count(&self, metric: MetricId, by: u64) {
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        metrics::with(self.host, metric, |id| self.host.increment_metric(id, by));
    }

    fn gauge(&self, metric: MetricId, value: u64) {
        metrics::with(self.host, metric, |id| self.host.record_metric(id, value));
    }

    fn observe(&self, metric: MetricId, value: u64) {
        metrics::with(self.host, metric, |id| self.host.record_metric(id, value));
    }
}

impl Store for Port<'_> {
    fn set(&self, key: &str, value: &[u8]) -> bool {
        self.host.set_shared_data(key, value, None).is_ok()
    }

    fn get(&self, key: &str) -> (Vec<u8>, u32) {
        self.host.shared_data(key).ok().flatten().map(|v| (v.data, v.cas.0)).unwrap_or_default()
    }

    fn swap(&self, key: &str, value: &[u8], version: u32) -> bool {
        self.host.set_shared_data(key, value, Some(Cas(version))).is_ok()
    }
}

impl Stream for Port<'_> {
    fn request_headers(&self, into: &mut Headers) -> PortResult<()> {
        self.read(REQUEST, into)
    }

    fn response_headers(&self, into: &mut Headers) -> PortResult<()> {
        self.read(RESPONSE, into)
    }

    fn add_request_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.host.add_header(REQUEST, name, value).map_err(failed)
    }

    fn set_request_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.host.replace_header(REQUEST, name, value).map_err(failed)
    }

    fn remove_request_header(&self, name: &[u8]) -> PortResult<()> {
        self.host.remove_header(REQUEST, name).map_err(failed)
    }

    fn add_response_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.host.add_header(RESPONSE, name, value).map_err(failed)
    }

    fn set_response_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.host.replace_header(RESPONSE, name, value).map_err(failed)
    }

    fn remove_response_header(&self, name: &[u8]) -> PortResult<()> {
        self.host.remove_header(RESPONSE, name).map_err(failed)
    }

    fn request_body(&self, most: usize) -> PortResult<Vec<u8>> {
        self.host.buffer(BufferType::HttpRequestBody, 0, most).map_err(failed)
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        self.host.property(&["source\0address"]).ok().flatten()
    }

    fn peer_uri(&self) -> PortResult<Option<Vec<u8>>> {
        self.host.property(&["connection\0uri_san_peer_certificate"]).map_err(failed)
    }

    fn handle(&self) -> PortResult<Option<Vec<u8>>> {
        self.host.property(&HANDLE).map_err(failed)
    }

    fn set_handle(&self, handle: &[u8]) -> PortResult<()> {
        self.host.set_property(&HANDLE, handle).map_err(failed)
    }

    fn reply(&self, reply: &Reply<'_>) -> PortResult<()> {
        let response = LocalResponse {
            status: reply.status,
            details: reply.details,
            headers: reply.headers,
            body: reply.body,
            grpc_status: reply.grpc_status,
        };
        self.host.send_local_response(&response).map_err(failed)
    }

    fn resume(&self) -> PortResult<()> {
        self.host.resume_http_request().map_err(failed)
    }

    fn final_status(&self) -> Option<u16> {
        let value = self.host.header(RESPONSE, ":status").ok().flatten()?;
        std::str::from_utf8(&value).ok()?.parse().ok()
    }

    fn outcome(&self, wanted: OutcomeWanted) -> Outcome {
        let number = |wanted: bool, path: &[&str]| if wanted { self.number(path) } else { 0 };
        Outcome {
            flags: self.number(&["response\0flags"]),
            duration_us: number(wanted.duration, &["request\0duration"]) / 1_000,
            request_bytes: number(wanted.request_bytes, &["request\0size"]),
            response_bytes: number(wanted.response_bytes, &["response\0size"]),
        }
    }
}
