//! A proxy in a few lines: the ports for tests of the engine, of stages and of what a request costs.
#![allow(clippy::expect_used, reason = "a test that cannot go on should say so at once")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::head::headers::Headers;
use crate::metrics::{Metric, MetricId};
use crate::port::{
    Call, CallId, Outcome, OutcomeWanted, PortError, PortResult, Proxy, Reply, Severity, Signature, Store,
    Stream,
};

/// A header, name and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A reply that a filter gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenReply {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<Pair>,
    /// Body.
    pub body: Vec<u8>,
    /// `grpc-status`.
    pub grpc_status: Option<u32>,
}

/// A call that a filter made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCall {
    /// Its name.
    pub id: CallId,
    /// `:path`.
    pub path: String,
    /// Headers.
    pub headers: Vec<Pair>,
    /// Body.
    pub body: Vec<u8>,
}

/// The proxy, with one request at a time.
#[derive(Debug, Default)]
pub struct FakeProxy {
    /// Wall and monotonic clock in nanoseconds.
    pub now_ns: Cell<u64>,
    /// Variables of the environment.
    pub env: HashMap<String, Vec<u8>>,
    /// The request's headers; what the filter changes shows here.
    pub request: RefCell<Vec<Pair>>,
    /// The response's headers.
    pub response: RefCell<Vec<Pair>>,
    /// The request's body.
    pub body: RefCell<Vec<u8>>,
    /// The reply to the request, once there is one.
    pub reply: RefCell<Option<SeenReply>>,
    /// How often the request was resumed.
    pub resumed: Cell<u32>,
    /// Address of the client.
    pub client_address: Option<Vec<u8>>,
    /// The URI of the mutual-TLS peer.
    pub peer_uri: Option<Vec<u8>>,
    /// Calls that were made and not taken by the test yet.
    pub calls: RefCell<Vec<SeenCall>>,
    /// Lines of the log.
    pub lines: RefCell<Vec<String>>,
    /// Counters.
    pub counters: RefCell<HashMap<MetricId, u64>>,
    /// Gauges.
    pub gauges: RefCell<HashMap<MetricId, u64>>,
    /// Values of histograms, in order.
    pub observed: RefCell<Vec<(MetricId, u64)>>,
    /// True: whatever changes or reads a message fails.
    pub broken: Cell<bool>,
    handle: RefCell<Option<Vec<u8>>>,
    store: RefCell<HashMap<String, (Vec<u8>, u32)>>,
    next: Cell<u64>,
}

impl FakeProxy {
    /// A proxy with a mesh token.
    #[must_use]
    pub fn new() -> Self {
        let env = HashMap::from([(crate::source::TOKEN_ENV.to_owned(), b"mesh-token".to_vec())]);
        Self { env, now_ns: Cell::new(1_000_000_000_000), ..Self::default() }
    }

    /// Begins a request with these headers.
    pub fn begin(&self, headers: &[(&str, &str)]) {
        let own = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        *self.request.borrow_mut() = headers.iter().map(own).collect();
        self.response.borrow_mut().clear();
        *self.reply.borrow_mut() = None;
        *self.handle.borrow_mut() = None;
        self.resumed.set(0);
    }

    /// The value of a header of the request as it stands now.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let request = self.request.borrow();
        let found = request.iter().find(|(n, _)| n == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    /// A counter's value.
    #[must_use]
    pub fn counter(&self, metric: Metric<'_>) -> u64 {
        self.counters.borrow().get(&metric.id()).copied().unwrap_or_default()
    }

    /// A gauge's value; `None` when it was never set.
    #[must_use]
    pub fn gauge_of(&self, metric: Metric<'_>) -> Option<u64> {
        self.gauges.borrow().get(&metric.id()).copied()
    }

    fn works(&self) -> PortResult<()> {
        if self.broken.get() {
            return Err(PortError { operation: "fake", cause: "broken".into() });
        }
        Ok(())
    }

    fn block(&self, pairs: &RefCell<Vec<Pair>>, into: &mut Headers) -> PortResult<()> {
        self.works()?;
        let pairs = pairs.borrow();
        let slices: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        *into = Headers::from_pairs(&slices).expect("headers of a test are short");
        Ok(())
    }
}

impl Proxy for FakeProxy {
    fn log(&self, severity: Severity, line: &str) {
        self.lines.borrow_mut().push(format!("{severity:?}: {line}"));
    }

    fn wall_clock_ns(&self) -> PortResult<u64> {
        Ok(self.now_ns.get())
    }

    fn monotonic_ns(&self) -> PortResult<u64> {
        Ok(self.now_ns.get())
    }

    fn random(&self, out: &mut [u8]) -> PortResult<()> {
        for byte in out {
            self.next.set(self.next.get() + 1);
            *byte = u8::try_from(self.next.get() % 251).unwrap_or_default();
        }
        Ok(())
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        self.env.get(name).cloned()
    }

    fn instance(&self) -> Vec<u8> {
        b"gw-1".to_vec()
    }

    fn call(&self, call: &Call<'_>) -> PortResult<CallId> {
        self.works()?;
        self.next.set(self.next.get() + 1);
        let headers: Vec<Pair> = call.headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        let path = headers.iter().find(|(n, _)| n == b":path").map(|(_, v)| v.clone()).unwrap_or_default();
        let path = String::from_utf8_lossy(&path).into_owned();
        let id = CallId(self.next.get());
        self.calls.borrow_mut().push(SeenCall { id, path, headers, body: call.body.to_vec() });
        Ok(id)
    }

    fn store(&self) -> &dyn Store {
        self
    }

    fn verify_signature(&self, _signature: &Signature<'_>) -> Option<bool> {
        None
    }

    fn count(&self, metric: MetricId, by: u64) {
        *self.counters.borrow_mut().entry(metric).or_default() += by;
    }

    fn gauge(&self, metric: MetricId, value: u64) {
        self.gauges.borrow_mut().insert(metric, value);
    }

    fn observe(&self, metric: MetricId, value: u64) {
        self.observed.borrow_mut().push((metric, value));
    }
}

impl Store for FakeProxy {
    fn set(&self, key: &str, value: &[u8]) -> bool {
        let mut store = self.store.borrow_mut();
        let entry = store.entry(key.to_owned()).or_default();
        *entry = (value.to_vec(), entry.1 + 1);
        true
    }

    fn get(&self, key: &str) -> (Vec<u8>, u32) {
        self.store.borrow().get(key).cloned().unwrap_or_default()
    }

    fn swap(&self, key: &str, value: &[u8], version: u32) -> bool {
        self.get(key).1 == version && self.set(key, value)
    }
}

impl Stream for FakeProxy {
    fn request_headers(&self, into: &mut Headers) -> PortResult<()> {
        self.block(&self.request, into)
    }

    fn response_headers(&self, into: &mut Headers) -> PortResult<()> {
        self.block(&self.response, into)
    }

    fn add_request_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.works()?;
        self.request.borrow_mut().push((name.as_bytes().to_vec(), value.to_vec()));
        Ok(())
    }

    fn set_request_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.remove_request_header(name.as_bytes())?;
        self.add_request_header(name, value)
    }

    fn remove_request_header(&self, name: &[u8]) -> PortResult<()> {
        self.works()?;
        self.request.borrow_mut().retain(|(n, _)| n != name);
        Ok(())
    }

    fn add_response_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.works()?;
        self.response.borrow_mut().push((name.as_bytes().to_vec(), value.to_vec()));
        Ok(())
    }

    fn set_response_header(&self, name: &str, value: &[u8]) -> PortResult<()> {
        self.remove_response_header(name.as_bytes())?;
        self.add_response_header(name, value)
    }

    fn remove_response_header(&self, name: &[u8]) -> PortResult<()> {
        self.works()?;
        self.response.borrow_mut().retain(|(n, _)| n != name);
        Ok(())
    }

    fn request_body(&self, most: usize) -> PortResult<Vec<u8>> {
        self.works()?;
        Ok(self.body.borrow().iter().copied().take(most).collect())
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        self.client_address.clone()
    }

    fn peer_uri(&self) -> PortResult<Option<Vec<u8>>> {
        Ok(self.peer_uri.clone())
    }

    fn handle(&self) -> PortResult<Option<Vec<u8>>> {
        Ok(self.handle.borrow().clone())
    }

    fn set_handle(&self, handle: &[u8]) -> PortResult<()> {
        *self.handle.borrow_mut() = Some(handle.to_vec());
        Ok(())
    }

    fn reply(&self, reply: &Reply<'_>) -> PortResult<()> {
        *self.reply.borrow_mut() = Some(SeenReply {
            status: reply.status,
            headers: reply.headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect(),
            body: reply.body.to_vec(),
            grpc_status: reply.grpc_status,
        });
        Ok(())
    }

    fn resume(&self) -> PortResult<()> {
        self.resumed.set(self.resumed.get() + 1);
        Ok(())
    }

    fn final_status(&self) -> Option<u16> {
        self.reply.borrow().as_ref().map(|reply| reply.status)
    }

    fn outcome(&self, _wanted: OutcomeWanted) -> Outcome {
        Outcome::default()
    }
}
