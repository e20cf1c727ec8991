//! What a stream of the probe does, by its path.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portcullis_envoy::abi::{
    AbiError, Attribute, BodyAction, BodyKind, FilterEvents, HeaderMap, HeadersAction, LocalReply,
    StreamHandle, TrailersAction, panics,
};

use crate::config::{Config, JOURNAL, LOOK, PANIC};

/// How much of a body is read.
const BODY_LIMIT: usize = 10;

pub(crate) struct Stream {
    config: Arc<Config>,
    began: Instant,
    path: String,
    body: Vec<u8>,
}

fn answer(stream: &StreamHandle<'_>, body: impl Into<Vec<u8>>) -> HeadersAction {
    stream.reply(LocalReply { status: 200, body: body.into(), ..LocalReply::default() });
    HeadersAction::Hold
}

impl Stream {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { config, began: Instant::now(), path: String::new(), body: Vec::new() }
    }

    fn panic_if_asked(&self, hook: &str) {
        assert!(self.path != format!("/panic/{hook}"), "asked for in {hook}");
    }

    fn ask(&self, stream: &StreamHandle<'_>, what: &str) -> HeadersAction {
        let (cluster, path) = what.split_once('/').unwrap();
        let timeout = Duration::from_millis(if path.starts_with("slow") { 200 } else { 5000 });
        let asked = (cluster.to_owned(), format!("/{path}"), timeout, stream.waker().unwrap());
        self.config.state.lock().unwrap().asked.push(asked);
        stream.wake_main(LOOK);
        HeadersAction::Hold
    }

    fn edit(stream: &StreamHandle<'_>) -> Result<HeadersAction, AbiError> {
        let map = HeaderMap::Request;
        stream.add_header(map, b"x-added", b"one")?;
        stream.add_header(map, b"x-added", b"t\xffo")?;
        stream.set_header(map, b"x-set", b"new")?;

        stream.remove_header(map, b"x-removed")?;
        stream.remove_header(map, b"x-never-there")?;
        assert!(stream.add_header(map, b"x-bad", b"a\r\nx-smuggled: 1").is_err());
        assert!(stream.set_header(map, b"x-kept", b"").is_err(), "Envoy would remove it");
        assert!(stream.add_header(map, b"x-kept", b"").is_err());
        assert_eq!(stream.header(map, b"x-empty")?, Some(Vec::new()));
        assert_eq!(stream.header_count(map, b"x-added")?, 2);
        assert_eq!(stream.header(map, b"x-set")?, Some(b"new".to_vec()));
        assert_eq!(stream.header(map, b"x-removed")?, None);
        assert!(stream.add_header(HeaderMap::Response, b"x-too-early", b"1").is_err());
        Ok(HeadersAction::Continue)
    }

    fn route(stream: &StreamHandle<'_>, clear: bool) -> HeadersAction {
        stream.set_header(HeaderMap::Request, b"x-to", b"other").unwrap();
        if clear {
            stream.clear_route_cache();
        }
        HeadersAction::Continue
    }

    fn reply(&self, stream: &StreamHandle<'_>) -> HeadersAction {
        let header = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let bad = self.path == "/bad-reply";
        let grpc = stream.header(HeaderMap::Request, b"x-grpc").unwrap();
        stream.reply(LocalReply {
            status: 418,
            headers: vec![
                header("x-a", if bad { b"1\r\n" } else { b"1" }),
                header("x-a", b"2"),
                header("content-type", b"text/tea"),
            ],
            body: b"short and stout".to_vec(),
            details: "probe_reply".to_owned(),
            grpc_status: grpc.map(|_| 5),
        });
        // What it answers does not matter after a reply.
        HeadersAction::Continue
    }

    fn read(stream: &StreamHandle<'_>) -> HeadersAction {
        let mut headers = Vec::new();
        stream.read_headers(HeaderMap::Request, &mut headers).unwrap();
        let mut none = b"old".to_vec();
        assert!(stream.read_headers(HeaderMap::Response, &mut none).is_err() && none.is_empty());
        answer(stream, headers)
    }

    fn report(&self, stream: &StreamHandle<'_>) -> String {
        let ticks = self.config.ticks.load(Ordering::Relaxed);
        let thread = std::thread::current().name().map(str::to_owned);
        format!("worker={} ticks={ticks} panics={} thread={thread:?}", stream.worker(), panics())
    }
}

impl FilterEvents for Stream {
    fn on_request_headers(&mut self, stream: &StreamHandle<'_>, end: bool) -> HeadersAction {
        let path = stream.header(HeaderMap::Request, b":path").unwrap().unwrap();
        self.path = String::from_utf8(path).unwrap();
        let metrics = self.config.metrics;
        stream.count(metrics.requests, 1).unwrap();
        stream.add(metrics.open, 1).unwrap();
        self.panic_if_asked("request_headers");
        if self.config.name == "second" {
            let state = stream.state(b"probe").unwrap();
            return match self.path.as_str() {
                "/state" => answer(stream, format!("{state:?} {:?}", stream.state(b"none").unwrap())),
                _ => HeadersAction::Continue,
            };
        }
        match self.path.as_str() {
            "/headers" => Self::read(stream),
            "/edit" => Self::edit(stream).unwrap(),
            "/route" => Self::route(stream, true),
            "/route-stale" => Self::route(stream, false),
            "/reply" | "/bad-reply" => self.reply(stream),
            "/body" if !end => HeadersAction::AwaitBody,
            "/state" => {
                stream.set_state(b"probe", b"left\xff\0").unwrap();
                HeadersAction::Continue
            }
            "/hold" | "/hold-reply" | "/panic/scheduled" => {
                self.config.state.lock().unwrap().held.push(stream.waker().unwrap());
                HeadersAction::Hold
            }
            "/hold-forever" => HeadersAction::Hold,
            "/panic/config_scheduled" => {
                stream.wake_main(PANIC);
                answer(stream, "asked")
            }
            "/journal" => answer(stream, JOURNAL.lock().unwrap().join("\n")),
            "/report" => answer(stream, self.report(stream)),
            path => match path.strip_prefix("/callout/") {
                Some(what) => self.ask(stream, what),
                None => HeadersAction::Continue,
            },
        }
    }

    fn on_request_body(&mut self, stream: &StreamHandle<'_>, end: bool) -> BodyAction {
        self.panic_if_asked("request_body");
        if self.path != "/body" {
            return BodyAction::Continue;
        }
        if !end {
            return BodyAction::Buffer;
        }
        let total = stream.read_body(BodyKind::BufferedRequest, BODY_LIMIT, &mut self.body).unwrap();
        let mut received = Vec::new();
        let last = stream.read_body(BodyKind::ReceivedRequest, 1 << 20, &mut received).unwrap();
        assert_eq!(last, received.len());
        let begin = String::from_utf8_lossy(&self.body);
        answer(stream, format!("{total} bytes, {begin:?} first"));
        BodyAction::Buffer
    }

    fn on_request_trailers(&mut self, stream: &StreamHandle<'_>) -> TrailersAction {
        self.panic_if_asked("request_trailers");
        let mut trailers = Vec::new();
        stream.read_headers(HeaderMap::RequestTrailers, &mut trailers).unwrap();
        self.config.note(&format!("trailers {}", String::from_utf8_lossy(&trailers)));
        TrailersAction::Continue
    }

    fn on_response_headers(&mut self, stream: &StreamHandle<'_>, _end: bool) -> HeadersAction {
        self.panic_if_asked("response_headers");
        stream.set_header(HeaderMap::Response, b"x-probe", self.config.name.as_bytes()).unwrap();
        stream.remove_header(HeaderMap::Response, b"x-secret").unwrap();
        match self.path.as_str() {
            "/hold-response" => {
                self.config.state.lock().unwrap().held.push(stream.waker().unwrap());
                return HeadersAction::Hold;
            }
            "/await-body" => return HeadersAction::AwaitBody,
            _ => {}
        }
        if self.path == "/response-reply" {
            stream.reply(LocalReply { status: 502, body: b"instead".to_vec(), ..LocalReply::default() });
        }
        HeadersAction::Continue
    }

    fn on_response_body(&mut self, stream: &StreamHandle<'_>, end: bool) -> BodyAction {
        self.panic_if_asked("response_body");
        let mut body = Vec::new();
        let total = stream.read_body(BodyKind::ReceivedResponse, usize::MAX, &mut body).unwrap();
        stream.record(self.config.metrics.sizes, total as u64).unwrap();
        if self.path == "/await-body" && end {
            let total = stream.read_body(BodyKind::BufferedResponse, 4, &mut body).unwrap();
            let seen = format!("{total} {}", String::from_utf8_lossy(&body));
            stream.set_header(HeaderMap::Response, b"x-body", seen.as_bytes()).unwrap();
        }
        if self.path == "/await-body" && !end { BodyAction::Buffer } else { BodyAction::Continue }
    }

    fn on_response_trailers(&mut self, stream: &StreamHandle<'_>) -> TrailersAction {
        self.panic_if_asked("response_trailers");
        stream.add_header(HeaderMap::ResponseTrailers, b"x-more", b"added").unwrap();
        TrailersAction::Continue
    }

    fn on_wake(&mut self, stream: &StreamHandle<'_>, event: u64) {
        self.panic_if_asked("scheduled");
        match self.path.as_str() {
            "/hold-response" => stream.resume(),
            "/hold" => {
                stream.set_header(HeaderMap::Request, b"x-woken", event.to_string().as_bytes()).unwrap();
                stream.resume();
            }
            "/hold-reply" => stream.reply(LocalReply { status: 403, ..LocalReply::default() }),
            _ => {
                let outcome = self.config.state.lock().unwrap().outcome.clone();
                answer(stream, outcome);
            }
        }
    }

    fn on_complete(&mut self, stream: &StreamHandle<'_>) {
        stream.subtract(self.config.metrics.open, 1).unwrap();
        self.panic_if_asked("stream_complete");
        if !self.path.starts_with("/note") && !self.path.starts_with("/hold") {
            return;
        }
        let text =
            |attribute| stream.text(attribute).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.config.note(&format!(
            "{} {}: code={:?} details={:?} flags={:?} sizes={:?}/{:?} source={:?} mtls={:?} peer={:?} upstream={:?} \
             route={:?} protocol={:?} name={:?} wrong={:?} micros={}",
            self.config.name,
            self.path,
            stream.number(Attribute::ResponseCode),
            text(Attribute::ResponseCodeDetails),
            stream.number(Attribute::ResponseFlags),
            stream.number(Attribute::RequestSize),
            stream.number(Attribute::ResponseSize),
            text(Attribute::SourceAddress),
            stream.flag(Attribute::ConnectionMtls),
            text(Attribute::ConnectionUriSanPeerCertificate),
            text(Attribute::UpstreamAddress),
            text(Attribute::XdsRouteName),
            text(Attribute::RequestProtocol),
            text(Attribute::ConnectionRequestedServerName),
            stream.number(Attribute::SourceAddress),
            self.began.elapsed().as_micros(),
        ));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.panic_if_asked("destroy");
        }
    }
}
