//! Native filters in the chain: what they are shown, what they hold, and what wakes them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use portcullis_testhost::native::{
    Action, NativeFilter, NativePlugin, PluginHandle, StreamHandle, StreamWaker,
};
use portcullis_testhost::{Answer, Callback, HeaderMap, Host, MapKind, Request, Upstream};

/// What a filter answers to headers, bodies and trailers.
#[derive(Clone, Copy)]
struct Script {
    headers: Action,
    body: Action,
    trailers: Action,
}

const CONTINUE: Action = 0;
/// Of headers: they wait, and the body is shown. Of a body: it is kept.
const STOP: Action = 1;
/// Of headers: they and all behind them wait.
const STOP_ALL: Action = 4;

/// A plugin that does as its script says at every piece but the last, and writes down what it saw.
#[derive(Clone)]
struct Scripted {
    script: Script,
    seen: Rc<RefCell<Vec<String>>>,
    handle: Option<PluginHandle>,
    waker: Rc<RefCell<Option<StreamWaker>>>,
}

impl Scripted {
    fn host(script: Script) -> (Host, Rc<RefCell<Vec<String>>>) {
        let seen = Rc::<RefCell<Vec<String>>>::default();
        let plugin = Self { script, seen: Rc::clone(&seen), handle: None, waker: Rc::default() };
        let host = Host::builder().native(Box::new(plugin)).cluster("c", Upstream::manual());
        (host.upstream(Answer::ok().body("hello")).start().expect("it starts"), seen)
    }
}

impl NativePlugin for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn configure(&mut self, handle: PluginHandle) -> Result<(), String> {
        self.handle = Some(handle);
        Ok(())
    }

    fn tick_period(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn on_tick(&mut self) {
        self.seen.borrow_mut().push("tick".to_owned());
    }

    fn on_wake(&mut self, event: u64) {
        self.seen.borrow_mut().push(format!("woken {event}"));
        let request =
            Request::exact(HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "c")]));
        let handle = self.handle.as_ref().expect("configured");
        assert!(handle.call("nowhere", request.clone(), Duration::from_secs(1)).is_none());
        assert!(handle.call("c", request, Duration::from_secs(1)).is_some());
    }

    fn on_call_ended(&mut self, _call: u64, answer: Option<(HeaderMap, Vec<u8>)>) {
        let status = answer.and_then(|(headers, _)| headers.get(":status").map(str::to_owned));
        self.seen.borrow_mut().push(format!("answered {}", status.unwrap_or_default()));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake(7);
        }
    }

    fn open(&mut self, stream: StreamHandle) -> Box<dyn NativeFilter> {
        Box::new(Opened { plugin: self.clone(), stream })
    }
}

struct Opened {
    plugin: Scripted,
    stream: StreamHandle,
}

impl NativeFilter for Opened {
    fn on_piece(&mut self, piece: Callback, end: bool) -> Action {
        let held = self.stream.with_body(true, true, <[u8]>::len);
        let came = self.stream.with_body(true, false, <[u8]>::len);
        let trailers = self.stream.with_headers(MapKind::RequestTrailers, |trailers| trailers.len());
        let line = format!("{piece:?} {held}+{came} {}", trailers.map_or("-".to_owned(), |n| n.to_string()));
        self.plugin.seen.borrow_mut().push(line);
        let script = self.plugin.script;
        match piece {
            Callback::RequestHeaders => {
                if script.headers == STOP_ALL {
                    *self.plugin.waker.borrow_mut() = Some(self.stream.waker());
                    self.stream.plugin().wake(1);
                }
                if end { CONTINUE } else { script.headers }
            }
            Callback::RequestBody if end => CONTINUE,
            Callback::RequestBody => script.body,
            Callback::RequestTrailers => script.trailers,
            _ => CONTINUE,
        }
    }

    fn on_wake(&mut self, event: u64) {
        self.plugin.seen.borrow_mut().push(format!("stream woken {event}"));
        self.stream.resume(true);
    }

    fn on_complete(&mut self) {
        self.plugin.seen.borrow_mut().push("complete".to_owned());
    }
}

#[test]
fn headers_wait_for_the_body_and_the_whole_goes_on_together() {
    let (mut host, seen) = Scripted::host(Script { headers: STOP, body: STOP, trailers: CONTINUE });
    let exchange = host.request(Request::post("/").stay_open());
    host.send_body(&exchange, "abc");
    host.send_body(&exchange, "de");
    assert!(exchange.upstream().is_none(), "{exchange}");
    host.end_request(&exchange);
    exchange.assert_status(200).assert_upstream_body("abcde");
    let pieces = ["RequestHeaders 0+0 -", "RequestBody 0+3 -", "RequestBody 3+2 -", "RequestBody 5+0 -"];
    assert_eq!(seen.borrow()[..4], pieces);
    assert_eq!(seen.borrow().last().map(String::as_str), Some("complete"));
}

#[test]
fn trailers_let_what_waited_go_on() {
    let (mut host, _) = Scripted::host(Script { headers: STOP, body: STOP, trailers: CONTINUE });
    let exchange = host.request(Request::post("/").chunk("abc").trailer("x-end", "1"));
    exchange.assert_status(200).assert_upstream_body("abc");
    assert_eq!(exchange.upstream().unwrap().trailers.get("x-end"), Some("1"));
}

#[test]
fn a_full_stop_shows_the_body_after_the_stream_was_woken() {
    let (mut host, seen) = Scripted::host(Script { headers: STOP_ALL, body: CONTINUE, trailers: CONTINUE });
    let exchange = host.request(Request::post("/").body("abc"));
    exchange.assert_paused();
    assert_eq!(seen.borrow()[..], ["RequestHeaders 0+0 -", "woken 1"]);
    let call = host.pending_calls("c").first().expect("a call").id;
    host.answer(call, Answer::status(204));
    exchange.assert_status(200).assert_upstream_body("abc");
    assert_eq!(seen.borrow()[2..5], ["answered 204", "stream woken 7", "RequestBody 0+3 -"]);
}

#[test]
fn a_body_that_is_kept_beyond_the_limit_is_refused_by_the_host() {
    let (mut host, _) = Scripted::host(Script { headers: STOP, body: STOP, trailers: CONTINUE });
    let exchange = host.request(Request::post("/").chunk(vec![b'x'; 3 << 20]));
    exchange.assert_status(413);
    assert!(exchange.upstream().is_none(), "{exchange}");
}

#[test]
fn ticks_come_by_the_hosts_clock() {
    let (mut host, seen) = Scripted::host(Script { headers: CONTINUE, body: CONTINUE, trailers: CONTINUE });
    host.advance(Duration::from_millis(149));
    assert_eq!(seen.borrow()[..], ["tick", "tick"]);
}
