//! The engine's ports in the words of the interface.

use std::cell::Cell;
use std::sync::Arc;

use portcullis_engine::head::headers::Headers;
use portcullis_engine::metrics::MetricId;
use portcullis_engine::port::{
    Call, CallId, Outcome, OutcomeWanted, PortError, PortResult, Proxy, Reply, Severity, Signature, Store,
    Stream, StreamKey,
};

use super::shared::{CALLS, OwnedCall, Shared};
use super::{crypto, machine, process};
use crate::abi::{
    AbiError, Attribute, BodyKind, Callout, HeaderMap, LocalReply, LogLevel, MainHandle, StreamHandle, log,
};

/// The filter state under which filters hand a request over.
const HANDLE: &[u8] = b"portcullis.exchange";

/// Names the proxy's instance in audit records; without it the host's name does.
const INSTANCE_ENV: [&str; 2] = ["PORTCULLIS_INSTANCE", "HOSTNAME"];

fn failed(error: AbiError) -> PortError {
    PortError { operation: error.call, cause: error.fault.to_string().into() }
}

/// Nothing has to outlive the module's memory here: a panic is caught, and takes nothing away.
struct NoStore;

impl Store for NoStore {
    fn set(&self, _key: &str, _value: &[u8]) -> bool {
        true
    }

    fn get(&self, _key: &str) -> (Vec<u8>, u32) {
        (Vec::new(), 0)
    }

    fn swap(&self, _key: &str, _value: &[u8], _version: u32) -> bool {
        true
    }
}

/// What is there in the whole process. It cannot call anybody.
pub(super) struct ProcessPort;

impl Proxy for ProcessPort {
    fn log(&self, severity: Severity, line: &str) {
        let level = match severity {
            Severity::Warning => LogLevel::Warn,
            Severity::Error => LogLevel::Error,
            Severity::Critical => LogLevel::Critical,
        };
        log(level, line);
    }

    fn wall_clock_ns(&self) -> PortResult<u64> {
        machine::wall_clock_ns()
            .ok_or(PortError { operation: "clock", cause: "the clock stands before 1970".into() })
    }

    fn monotonic_ns(&self) -> PortResult<u64> {
        Ok(machine::monotonic_ns())
    }

    fn random(&self, out: &mut [u8]) -> PortResult<()> {
        machine::random(out).map_err(|cause| PortError { operation: "getrandom", cause: cause.into() })
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        machine::env(name)
    }

    fn instance(&self) -> Vec<u8> {
        INSTANCE_ENV.iter().find_map(|name| self.env(name)).unwrap_or_default()
    }

    fn call(&self, _call: &Call<'_>) -> PortResult<CallId> {
        Err(PortError { operation: "call", cause: "there is nobody to send it yet".into() })
    }

    fn store(&self) -> &dyn Store {
        &NoStore
    }

    fn verify_signature(&self, signature: &Signature<'_>) -> Option<bool> {
        crypto::verify(signature)
    }

    fn count(&self, _metric: MetricId, _by: u64) {}

    fn gauge(&self, _metric: MetricId, _value: u64) {}

    fn observe(&self, _metric: MetricId, _value: u64) {}
}

/// What is the same on every thread.
macro_rules! as_in_the_process {
    () => {
        fn log(&self, severity: Severity, line: &str) {
            ProcessPort.log(severity, line);
        }

        fn wall_clock_ns(&self) -> PortResult<u64> {
            ProcessPort.wall_clock_ns()
        }

        fn monotonic_ns(&self) -> PortResult<u64> {
            ProcessPort.monotonic_ns()
        }

        fn random(&self, out: &mut [u8]) -> PortResult<()> {
            ProcessPort.random(out)
        }

        fn env(&self, name: &str) -> Option<Vec<u8>> {
            ProcessPort.env(name)
        }

        fn instance(&self) -> Vec<u8> {
            ProcessPort.instance()
        }

        fn store(&self) -> &dyn Store {
            &NoStore
        }

        fn verify_signature(&self, signature: &Signature<'_>) -> Option<bool> {
            crypto::verify(signature)
        }
    };
}

/// The main thread, during an event of a configuration.
pub(super) struct MainPort<'a> {
    pub(super) main: &'a MainHandle<'a>,
    pub(super) shared: &'a Shared,
}

impl Proxy for MainPort<'_> {
    as_in_the_process!();

    fn count(&self, metric: MetricId, by: u64) {
        self.shared.metrics.tell(self.main, metric, by);
    }

    fn gauge(&self, metric: MetricId, value: u64) {
        self.shared.metrics.tell(self.main, metric, value);
    }

    fn observe(&self, metric: MetricId, value: u64) {
        self.shared.metrics.tell(self.main, metric, value);
    }

    fn call(&self, call: &Call<'_>) -> PortResult<CallId> {
        let callout =
            Callout { cluster: call.upstream, headers: call.headers, body: call.body, timeout: call.timeout };
        let callout = self.main.callout(&callout).map_err(failed)?;
        let id = CallId(process::number());
        self.shared.sent(callout, id);
        Ok(id)
    }
}

/// A worker, during an event of a request.
pub(super) struct StreamPort<'a> {
    stream: &'a StreamHandle<'a>,
    shared: Arc<Shared>,
    key: StreamKey,
    changed: Cell<bool>,
}

impl<'a> StreamPort<'a> {
    pub(super) fn new(stream: &'a StreamHandle<'a>, shared: Arc<Shared>, key: StreamKey) -> Self {
        Self { stream, shared, key, changed: Cell::new(false) }
    }

    /// Lets Envoy choose the route again where the request's headers were changed: it does not by itself.
    pub(super) fn choose_route_again(&self) {
        if self.changed.take() {
            self.stream.clear_route_cache();
        }
    }

    fn read(&self, map: HeaderMap, into: &mut Headers) -> PortResult<()> {
        let mut block = into.take_buffer();
        self.stream.read_headers(map, &mut block).map_err(failed)?;
        into.fill(block).map_err(|error| PortError { operation: "headers", cause: error.to_string().into() })
    }

    fn change(&self, result: Result<(), AbiError>) -> PortResult<()> {
        self.changed.set(true);
        result.map_err(failed)
    }
}

impl Proxy for StreamPort<'_> {
    as_in_the_process!();

    fn count(&self, metric: MetricId, by: u64) {
        self.shared.metrics.tell_stream(self.stream, metric, by);
    }

    /// The main thread does it at its tick: a worker has no way to.
    fn gauge(&self, _metric: MetricId, _value: u64) {}

    fn observe(&self, metric: MetricId, value: u64) {
        self.shared.metrics.tell_stream(self.stream, metric, value);
    }

    /// A call of a stream would end with it, so the main thread sends it.
    fn call(&self, call: &Call<'_>) -> PortResult<CallId> {
        let id = CallId(process::number());
        self.shared.ask(OwnedCall {
            id,
            upstream: call.upstream.to_owned(),
            headers: call.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            body: call.body.to_vec(),
            timeout: call.timeout,
        });
        self.stream.wake_main(CALLS);
        Ok(id)
    }
}

impl Stream for StreamPort<'_> {
    fn request_headers(&self, into: &mut Headers) -> PortResult<()> {
        self.read(HeaderMap::Request, into)
    }

    fn response_headers(&self, into: &mut Headers) -> PortResult<()> {
        self.read(HeaderMap::Response, into)
    }

    fn add_request_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.change(self.stream.add_header(HeaderMap::Request, name.as_bytes(), value))
    }

    fn set_request_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.change(self.stream.set_header(HeaderMap::Request, name.as_bytes(), value))
    }

    fn remove_request_header(&self, name: &[u8]) -> PortResult<()> {
        self.change(self.stream.remove_header(HeaderMap::Request, name))
    }

    fn add_response_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.stream.add_header(HeaderMap::Response, name.as_bytes(), value).map_err(failed)
    }

    fn set_response_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.stream.set_header(HeaderMap::Response, name.as_bytes(), value).map_err(failed)
    }

    fn remove_response_header(&self, name: &[u8]) -> PortResult<()> {
        self.stream.remove_header(HeaderMap::Response, name).map_err(failed)
    }

    fn request_body(&self, most: usize) -> PortResult<Vec<u8>> {
        let mut body = Vec::new();
        self.stream.read_body(BodyKind::BufferedRequest, most, &mut body).map_err(failed)?;
        let mut received = Vec::new();
        let rest = most.saturating_sub(body.len());
        self.stream.read_body(BodyKind::ReceivedRequest, rest, &mut received).map_err(failed)?;
        body.append(&mut received);
        Ok(body)
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        self.stream.text(Attribute::SourceAddress)
    }

    fn peer_uri(&self) -> PortResult<Option<Vec<u8>>> {
        Ok(self.stream.text(Attribute::ConnectionUriSanPeerCertificate))
    }

    fn handle(&self) -> PortResult<Option<Vec<u8>>> {
        self.stream.state(HANDLE).map_err(failed)
    }

    fn set_handle(&self, handle: &[u8]) -> PortResult<()> {
        self.stream.set_state(HANDLE, handle).map_err(failed)
    }

    fn reply(&self, reply: &Reply<'_>) -> PortResult<()> {
        self.stream.reply(LocalReply {
            status: reply.status,
            headers: reply.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            body: reply.body.to_vec(),
            details: reply.details.to_owned(),
            grpc_status: reply.grpc_status,
        });
        Ok(())
    }

    fn expect_wake(&self) -> PortResult<()> {
        let nobody = || PortError { operation: "wake", cause: "there is nobody to wake it".into() };
        let home = self.shared.home().ok_or_else(nobody)?;
        let waker = self.stream.waker().map_err(failed)?;
        if home.expect(self.stream.worker(), self.key, waker) { Ok(()) } else { Err(nobody()) }
    }

    fn shows_body_of_held(&self) -> bool {
        true
    }

    fn resume(&self) -> PortResult<()> {
        self.stream.resume();
        Ok(())
    }

    fn final_status(&self) -> Option<u16> {
        self.stream.number(Attribute::ResponseCode).and_then(|code| u16::try_from(code).ok())
    }

    fn outcome(&self, wanted: OutcomeWanted) -> Outcome {
        let number = |wanted: bool, attribute| {
            if wanted { self.stream.number(attribute).unwrap_or_default() } else { 0 }
        };
        Outcome {
            flags: number(true, Attribute::ResponseFlags),
            // The interface does not tell it.
            duration_us: 0,
            request_bytes: number(wanted.request_bytes, Attribute::RequestSize),
            response_bytes: number(wanted.response_bytes, Attribute::ResponseSize),
        }
    }
}
