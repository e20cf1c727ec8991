//! A stage that wants to see the body, of a request that had to wait first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_engine::port::StreamKey;
use portcullis_engine::request_state::RequestState;
use portcullis_engine::stage::{Ticket, Unforwarded};
use portcullis_engine::testing::FakeProxy;
use portcullis_engine::waiting::Awaited;
use portcullis_engine::{Context, Flow, Instance, Plugin, PolicySource, Request, Root, Stage, Verdict};
use portcullis_engine::{Worker, worker};
use portcullis_model::{Reason, Refusal};
use portcullis_protocol::audit::StreamId;
use serde_json::json;

/// Lets a request wait once, and then refuses what says so in its body.
#[derive(Default)]
struct Reader {
    asked: AtomicBool,
}

impl Stage for Reader {
    fn name(&self) -> &'static str {
        "reader"
    }

    fn decides(&self) -> bool {
        false
    }

    fn on_request_headers(&self, _context: &mut Context<'_>) -> Flow {
        if self.asked.swap(true, Ordering::Relaxed) {
            return Flow::NextWithBody(16);
        }
        Flow::Wait(Ticket { awaited: Awaited::Token(1), until_ms: u64::MAX })
    }

    fn on_request_body(&self, _exchange: &mut RequestState, body: &[u8]) -> Result<(), Refusal> {
        if body == b"bad" { Err(Refusal::new("reader", Reason::HeaderInvalid)) } else { Ok(()) }
    }

    fn forward(&self, _context: &mut Context<'_>) -> Result<(), Unforwarded> {
        Ok(())
    }
}

/// A request that waits, with no body or with one that has not come yet.
fn waiting(proxy: &FakeProxy, bodiless: bool) -> Request {
    let root = Root { id: "reader", whole: true, stages: || vec![Box::<Reader>::default()] };
    let snapshot = json!({"upstream": "control", "key": STANDARD.encode([1; 32])});
    let config = json!({"role": "edge", "domain": "platform.test", "snapshot": snapshot}).to_string();
    let plugin = Plugin::new(&root, config.as_bytes()).unwrap();
    let stream = StreamId(worker::random(proxy).unwrap());
    let source = PolicySource::new(proxy, &plugin.config, &stream.0).unwrap();
    let worker = Worker::new(proxy, &plugin.config, stream, Arc::new(source)).unwrap();
    let instance = Instance::new(Arc::new(plugin), 1, Arc::new(worker));
    proxy.begin(&[(":method", "POST"), (":path", "/"), (":authority", "api.platform.test")]);
    let mut request = Request::new(StreamKey(1), "reader", Some(instance));
    assert_eq!(request.on_request_headers(proxy, bodiless), Verdict::Hold);
    request
}

#[test]
fn a_woken_request_whose_body_is_wanted_stays_held_until_the_body_was_seen() {
    let proxy = FakeProxy::new();
    let mut request = waiting(&proxy, false);
    assert_eq!(request.on_request_body(&proxy, 2, false), Verdict::Hold, "it waits");
    request.on_wake(&proxy);
    assert_eq!(proxy.resumed.get(), 0, "nobody has looked at its body");
    assert!(request.wants_body() && !request.passes_body());
    *proxy.body.borrow_mut() = b"good".to_vec();
    assert_eq!(request.on_request_body(&proxy, 4, true), Verdict::Continue);
    assert!(request.passes_body());
}

#[test]
fn a_woken_request_is_refused_for_its_body() {
    let proxy = FakeProxy::new();
    let mut request = waiting(&proxy, false);
    request.on_wake(&proxy);
    *proxy.body.borrow_mut() = b"bad".to_vec();
    assert_eq!(request.on_request_body(&proxy, 3, true), Verdict::Hold);
    assert_eq!(proxy.resumed.get(), 0);
    assert_eq!(proxy.reply.borrow().as_ref().map(|reply| reply.status), Some(400));
}

#[test]
fn a_woken_request_without_a_body_goes_on_at_once() {
    let proxy = FakeProxy::new();
    waiting(&proxy, true).on_wake(&proxy);
    assert_eq!(proxy.resumed.get(), 1);
}
