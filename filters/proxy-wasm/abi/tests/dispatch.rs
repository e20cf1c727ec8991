//! The dispatcher against the proxy in memory: every callback finds its context or a safe answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use portcullis_proxy_wasm_abi::fake::FakeHost;
use portcullis_proxy_wasm_abi::{
    Action, BufferType, CallResponse, CallToken, ContextId, Dispatcher, Host, HostErrorKind, HostResult,
    HttpCall, HttpContext, LogLevel, Proxy, QueueId, RootContext,
};

const NONE: ContextId = ContextId(0);
const ROOT: ContextId = ContextId(1);
const STREAM: ContextId = ContextId(2);
const OTHER: ContextId = ContextId(3);

thread_local! {
    /// What the contexts below saw, in order. One test is one thread.
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Streams to wake after the next event of the root.
    static WAKES: RefCell<Vec<ContextId>> = const { RefCell::new(Vec::new()) };
    /// Runs inside the next `on_request_headers` or `on_tick`.
    static INSIDE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

fn see(what: impl Into<String>) {
    SEEN.with_borrow_mut(|seen| seen.push(what.into()));
}

fn seen() -> Vec<String> {
    SEEN.take()
}

fn run_inside() {
    if let Some(inside) = INSIDE.take() {
        inside();
    }
}

struct Root;
struct Stream(ContextId);

fn new_root(_host: &dyn Host, root_id: &[u8]) -> Option<Box<dyn RootContext>> {
    (root_id == b"known").then(|| Box::new(Root) as Box<dyn RootContext>)
}

fn call(host: &dyn Host) -> HostResult<CallToken> {
    host.http_call(&HttpCall {
        upstream: "somewhere",
        headers: &[(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")],
        timeout: Duration::from_secs(1),
        ..HttpCall::default()
    })
}

impl RootContext for Root {
    fn on_configure(&mut self, _host: &dyn Host, config: HostResult<&[u8]>) -> bool {
        see(format!("configure {:?}", config.map(|c| c.escape_ascii().to_string())));
        true
    }

    fn http_context(&mut self, _host: &dyn Host, id: ContextId) -> Box<dyn HttpContext> {
        Box::new(Stream(id))
    }

    fn on_tick(&mut self, host: &dyn Host) {
        see("tick");
        run_inside();
        let _ = call(host);
    }

    fn on_queue_ready(&mut self, _host: &dyn Host, queue: QueueId) {
        see(format!("queue {queue}"));
    }

    fn on_http_call_response(&mut self, _host: &dyn Host, response: CallResponse) {
        see(format!("root answer {}", response.token));
    }

    fn take_wakes(&mut self) -> Vec<ContextId> {
        WAKES.take()
    }
}

impl HttpContext for Stream {
    fn on_request_headers(&mut self, host: &dyn Host, _end: bool) -> Action {
        see(format!("request {}", self.0));
        run_inside();
        let _ = call(host);
        Action::Continue
    }

    fn on_http_call_response(&mut self, host: &dyn Host, response: CallResponse) {
        see(format!("stream {} answer {}", self.0, response.token));
        let _ = host.resume_http_request();
    }

    fn on_wake(&mut self, host: &dyn Host) {
        see(format!("wake {}", self.0));
        let _ = host.resume_http_request();
    }

    fn on_log(&mut self, _host: &dyn Host) {
        see(format!("log {}", self.0));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        see(format!("drop {}", self.0));
    }
}

/// A configured root, and one stream.
fn running() -> (Rc<FakeHost>, Rc<Dispatcher>) {
    let (host, dispatcher) = (Rc::new(FakeHost::new()), Rc::new(Dispatcher::new(new_root)));
    host.give_property(&["plugin_root_id"], b"known");
    dispatcher.on_context_create(&*host, ROOT, NONE);
    assert!(dispatcher.on_configure(&*host, ROOT, 0));
    dispatcher.on_context_create(&*host, STREAM, ROOT);
    seen();
    (host, dispatcher)
}

fn is_refused(host: &FakeHost) -> bool {
    let sent = host.take_responses();
    sent.len() == 1 && sent[0].status == 503 && sent[0].header("x-portcullis-reason").is_some()
}

#[test]
fn the_configuration_reaches_the_root() {
    let (host, dispatcher) = (FakeHost::new(), Dispatcher::new(new_root));
    host.give_property(&["plugin_root_id"], b"known");
    host.set_buffer(BufferType::PluginConfiguration, b"{}");
    dispatcher.on_context_create(&host, ROOT, NONE);
    assert!(dispatcher.on_vm_start(&host, ROOT, 0));
    assert!(dispatcher.on_configure(&host, ROOT, 2));
    host.fail("get_buffer_bytes", Some(HostErrorKind::InternalFailure));
    assert!(dispatcher.on_configure(&host, ROOT, 2));
    let seen = seen();
    assert_eq!(seen[0], r#"configure Ok("{}")"#);
    assert!(seen[1].contains("InternalFailure"), "{seen:?}");
}

#[test]
fn an_unknown_root_id_rejects_the_configuration() {
    let (host, dispatcher) = (FakeHost::new(), Dispatcher::new(new_root));
    host.give_property(&["plugin_root_id"], b"unheard of");
    dispatcher.on_context_create(&host, ROOT, NONE);
    assert!(dispatcher.on_vm_start(&host, ROOT, 0));
    assert!(!dispatcher.on_configure(&host, ROOT, 0));
    assert!(host.logged(LogLevel::Critical, "unheard of"));
}

#[test]
fn a_root_id_that_cannot_be_read_refuses_every_request() {
    let (host, dispatcher) = (FakeHost::new(), Dispatcher::new(new_root));
    host.fail("get_property", Some(HostErrorKind::InternalFailure));
    dispatcher.on_context_create(&host, ROOT, NONE);
    assert!(dispatcher.on_configure(&host, ROOT, 0), "must not be skipped");
    dispatcher.on_context_create(&host, STREAM, ROOT);
    assert_eq!(dispatcher.on_request_headers(&host, STREAM, true), Action::Pause);
    assert!(is_refused(&host));
}

#[test]
fn a_request_of_an_unknown_context_is_refused() {
    let (host, dispatcher) = running();
    assert_eq!(dispatcher.on_request_headers(&*host, OTHER, true), Action::Pause);
    assert!(is_refused(&host));
    host.fail("send_local_response", Some(HostErrorKind::InternalFailure));
    assert_eq!(dispatcher.on_request_headers(&*host, OTHER, true), Action::Pause);
    assert_eq!(dispatcher.on_request_headers(&*host, ROOT, true), Action::Pause);
}

#[test]
fn callbacks_of_unknown_contexts_do_nothing() {
    let (host, dispatcher) = running();
    dispatcher.on_context_create(&*host, OTHER, ContextId(99));
    dispatcher.on_tick(&*host, OTHER);
    dispatcher.on_queue_ready(&*host, OTHER, QueueId(1));
    dispatcher.on_http_call_response(&*host, host.answer(CallToken(77), &[], b""));
    dispatcher.on_log(&*host, OTHER);
    dispatcher.on_delete(&*host, OTHER);
    assert!(dispatcher.on_done(&*host, OTHER));
    let action = dispatcher.on_response_headers(&*host, OTHER, true);
    assert_eq!(action, Action::Continue);
    assert_eq!(dispatcher.live(), (1, 1));
    assert_eq!(seen(), [""; 0]);
}

#[test]
fn answers_go_to_their_senders() {
    let (host, dispatcher) = running();
    dispatcher.on_context_create(&*host, OTHER, ROOT);
    dispatcher.on_request_headers(&*host, STREAM, true);
    dispatcher.on_request_headers(&*host, OTHER, true);
    dispatcher.on_tick(&*host, ROOT);
    let calls = host.take_calls();
    let senders: Vec<_> = calls.iter().map(|call| call.context).collect();
    assert_eq!(senders, [STREAM, OTHER, ROOT]);
    seen();
    for call in calls.iter().rev() {
        dispatcher.on_http_call_response(&*host, host.answer(call.token, &[], b""));
    }
    assert_eq!(seen(), ["root answer 3", "stream 3 answer 2", "stream 2 answer 1"]);
    assert_eq!(host.take_resumed(), [OTHER, STREAM]);
    // A second answer to the same call has no addressee.
    dispatcher.on_http_call_response(&*host, host.answer(calls[0].token, &[], b""));
    assert_eq!(seen(), [""; 0]);
}

#[test]
fn calls_of_ended_streams_leave_nothing_behind() {
    let (host, dispatcher) = running();
    dispatcher.on_tick(&*host, ROOT);
    for id in (10..1010).map(ContextId) {
        dispatcher.on_context_create(&*host, id, ROOT);
        dispatcher.on_request_headers(&*host, id, true);
        dispatcher.on_delete(&*host, id);
    }
    assert_eq!(host.calls().outstanding(), 1, "the root's own");
    assert_eq!(dispatcher.live(), (1, 1));
    seen();
    for call in host.take_calls().iter().skip(1) {
        dispatcher.on_http_call_response(&*host, host.reset(call.token));
    }
    assert_eq!(seen(), [""; 0]);
}

#[test]
fn the_root_wakes_streams_that_still_live() {
    let (host, dispatcher) = running();
    WAKES.set(vec![OTHER, STREAM]);
    dispatcher.on_queue_ready(&*host, ROOT, QueueId(4));
    assert_eq!(seen(), ["queue 4", "wake 2"]);
    assert_eq!(host.take_resumed(), [STREAM]);

    host.forget(STREAM);
    WAKES.set(vec![STREAM]);
    dispatcher.on_tick(&*host, ROOT);
    assert_eq!(seen(), ["tick"]);
    assert!(host.logged(LogLevel::Error, "set_effective_context"));
}

#[test]
fn a_proxy_that_calls_back_in_the_middle_finds_the_safe_answer() {
    let (host, dispatcher) = running();
    let (inner_host, inner) = (Rc::clone(&host), Rc::clone(&dispatcher));
    INSIDE.set(Some(Box::new(move || {
        let again = inner.on_request_headers(&*inner_host, STREAM, true);
        assert_eq!(again, Action::Pause);
        inner.on_tick(&*inner_host, ROOT);
        inner.on_context_create(&*inner_host, OTHER, ROOT);
    })));
    let action = dispatcher.on_request_headers(&*host, STREAM, true);
    assert_eq!(action, Action::Continue);
    assert!(is_refused(&host), "the nested one only");
    assert_eq!(seen(), ["request 2", "tick"]);
    assert_eq!(dispatcher.live(), (1, 2));
    let senders: Vec<_> = host.take_calls().iter().map(|call| call.context).collect();
    assert_eq!(senders, [ROOT, STREAM], "the outer one is current again");
}

#[test]
fn a_stream_deleted_while_it_runs_is_dropped_afterwards() {
    let (host, dispatcher) = running();
    let (inner_host, inner) = (Rc::clone(&host), Rc::clone(&dispatcher));
    INSIDE.set(Some(Box::new(move || inner.on_delete(&*inner_host, STREAM))));
    dispatcher.on_request_headers(&*host, STREAM, true);
    assert_eq!(seen(), ["request 2", "drop 2"]);
    assert_eq!(dispatcher.live(), (1, 0));
    assert_eq!(host.calls().outstanding(), 0, "also what it sent afterwards");
}

#[test]
fn a_request_refused_elsewhere_is_logged_and_dropped() {
    let (host, dispatcher) = running();
    dispatcher.on_log(&*host, STREAM);
    assert!(dispatcher.on_done(&*host, STREAM));
    dispatcher.on_delete(&*host, STREAM);
    assert_eq!(seen(), ["log 2", "drop 2"]);
}
