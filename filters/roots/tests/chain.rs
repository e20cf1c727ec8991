//! Stages as filters of their own, one after the other on one request.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_engine::port::StreamKey;
use portcullis_engine::testing::FakeProxy;
use portcullis_engine::{Instance, Plugin, PolicySource, Request, Verdict, Worker, worker};
use portcullis_protocol::audit::StreamId;
use serde_json::json;

/// A request in the filter of this root id.
fn filter(proxy: &FakeProxy, root_id: &'static str) -> Request {
    let root = portcullis_roots::root(root_id.as_bytes()).unwrap();
    let snapshot = json!({"upstream": "control", "key": STANDARD.encode([1; 32])});
    let config = json!({"role": "edge", "domain": "platform.test", "snapshot": snapshot}).to_string();
    let plugin = Plugin::new(root, config.as_bytes()).unwrap();
    let stream = StreamId(worker::random(proxy).unwrap());
    let source = PolicySource::new(proxy, &plugin.config, &stream.0).unwrap();
    let worker = Worker::new(proxy, &plugin.config, stream, Arc::new(source)).unwrap();
    Request::new(StreamKey(1), root_id, Some(Instance::new(Arc::new(plugin), 1, Arc::new(worker))))
}

/// Whether the response that goes to the client says why it was refused.
fn tells_the_reason(proxy: &FakeProxy) -> bool {
    proxy.response.borrow().iter().any(|(name, _)| name == b"x-portcullis-reason")
}

#[test]
fn a_refusal_keeps_its_reason_on_the_way_through_filters_that_never_saw_the_request() {
    let proxy = FakeProxy::new();
    proxy.begin(&[(":method", "TRACE"), (":path", "/"), (":authority", "api.platform.test")]);
    let (mut authn, mut audit) = (filter(&proxy, "authn"), filter(&proxy, "audit"));
    assert_eq!(authn.on_request_headers(&proxy, true), Verdict::Hold);
    let reply = proxy.reply.borrow().clone().unwrap();
    *proxy.response.borrow_mut() = reply.headers;
    assert!(tells_the_reason(&proxy), "it is refused");
    assert_eq!(audit.on_response_headers(&proxy, false), Verdict::Continue);
    assert!(tells_the_reason(&proxy), "the answer of the filter before is ours, too");
}

#[test]
fn what_an_upstream_says_under_our_name_is_removed_also_where_no_filter_saw_the_request() {
    let proxy = FakeProxy::new();
    proxy.begin(&[(":method", "GET"), (":path", "/"), (":authority", "api.platform.test")]);
    *proxy.response.borrow_mut() = vec![(b"x-portcullis-reason".to_vec(), b"forged".to_vec())];
    assert_eq!(filter(&proxy, "audit").on_response_headers(&proxy, false), Verdict::Continue);
    assert!(!tells_the_reason(&proxy));
}
