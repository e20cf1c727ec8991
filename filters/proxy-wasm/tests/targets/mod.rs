//! The fuzz targets: what an attacker can feed the module with, and what must be true of it whatever
//! comes. `examples/fuzz.rs` makes inputs; `fuzz_regressions.rs` replays those that once failed.
#![allow(dead_code, reason = "the fuzzer and the regression test use a part of it each")]

use std::time::Duration;

use portcullis_mesh_stand_in::Answer as Answered;
use portcullis_protocol::snapshot::sign_page;
use portcullis_protocol::wire::{Page, SignedMessage};
use portcullis_testhost::{Answer, Call, HeaderMap, Host, Request, Seen, StartError, Upstream, VmId};
use prost::Message;
use serde_json::{Value, json};

use crate::world::{API_KEY, Target as On, UPSTREAM, World, config, good, install, plugin, target, token};

/// Longer than every hold and time-out of the filter.
const LONG: Duration = Duration::from_secs(20);

/// A kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Lines `name: value`; the first line is the path.
    Headers,
    /// The parts of a body, each after a byte with its length.
    Body,
    /// `pluginConfig`.
    Configuration,
    /// A snapshot page as it comes from the network. The first byte: 0 as it is, else signed well.
    Snapshot,
}

impl Target {
    pub(crate) const ALL: [Self; 4] = [Self::Headers, Self::Body, Self::Configuration, Self::Snapshot];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Configuration => "configuration",
            Self::Snapshot => "snapshot",
        }
    }

    /// Good inputs to start from.
    pub(crate) fn examples(self) -> Vec<Vec<u8>> {
        match self {
            Self::Headers => {
                let bearer = format!("authorization: Bearer {}", token(|_| ()));
                vec![
                    format!("/clusters/acme-1/v1?q=1\n{bearer}\nx-request-id: r1").into_bytes(),
                    format!("/v1\n:authority: acme-1.clusters.platform.test\n{bearer}").into_bytes(),
                    format!("/clusters/acme-1/\nx-api-key: {API_KEY}\nuser-agent: a").into_bytes(),
                    format!("/v1\nx-portcullis-cluster: acme-1\n{bearer}\ncontent-type: application/grpc").into_bytes(),
                    b"/v1/a\n:authority: admin.platform.test\nauthorization: Bearer pca_x".to_vec(),
                    b"/clusters/acme-1/\norigin: https://a.test\naccess-control-request-method: GET\ncookie: a=b".to_vec(),
                ]
            }
            Self::Body => vec![b"\x05hello\x05world".to_vec(), b"\x02{}\x00\x01x".to_vec()],
            Self::Configuration => vec![with_platform().to_string().into_bytes()],
            Self::Snapshot => {
                let page = good_page();
                vec![[&[0][..], &page].concat(), [&[1][..], &unsigned(&page)].concat()]
            }
        }
    }

    /// Words that mean something to the module.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Headers => &[
                "authorization: ",
                "x-api-key: ",
                "x-portcullis-identity: ",
                "x_portcullis_subject: ",
                "Bearer ",
                "Basic ",
                "eyJhbGciOiJub25lIn0.",
                ":authority: ",
                ":method: OPTIONS",
                "..",
                "%2f",
                "//",
                "?",
                "#",
                "x-forwarded-proto: ",
                "content-type: application/grpc",
                "admin.platform.test",
                "x-target-cluster: ",
                "cookie: ",
                "mcp-protocol-version: ",
                ",",
            ],
            Self::Body => &["\u{ff}", "{", "}"],
            Self::Configuration => {
                &["null", "true", "\"role\":\"sidecar\"", "{", "}", "[", "1e999", "-1", "\\u0000"]
            }
            Self::Snapshot => &["\u{8}\u{1}", "acme-1", "\u{7f}"],
        }
    }

    /// Feeds the module with the input. The error says which promise it broke.
    pub(crate) fn check(self, input: &[u8]) -> Result<(), String> {
        match self {
            Self::Headers => check_request(headers(input)),
            Self::Body => check_request(body(input)),
            Self::Configuration => check_configuration(input),
            Self::Snapshot => check_snapshot(input),
        }
    }
}

/// What must be true of the host after anything.
fn check_host(host: &mut Host) -> Result<(), String> {
    // The native module catches its panics and refuses the request. No input may cause one all the same.
    if portcullis_envoy::abi::panics() > 0 {
        return Err("the native module panicked".to_owned());
    }
    if let Some(failure) = host.vms().into_iter().find_map(|vm| vm.failure) {
        return Err(format!("a VM died: {failure}"));
    }
    match host.take_misuse().first() {
        Some(misuse) => Err(format!("misuse of the ABI: {misuse}")),
        None => Ok(()),
    }
}

thread_local! {
    /// The module with its snapshot; requests must not change it for those that come after.
    static WORLD: std::cell::RefCell<Option<(On, World)>> = const { std::cell::RefCell::new(None) };
}

fn check_request(request: Request) -> Result<(), String> {
    WORLD.with_borrow_mut(|slot| {
        slot.take_if(|(on, _)| *on != target());
        let (_, world) =
            slot.get_or_insert_with(|| (target(), World::new(vec![plugin("gateway", &with_platform())])));
        let exchange = world.host.request(request);
        world.settle();
        world.host.advance(LONG);
        world.answer_all();
        let result = check_host(&mut world.host).and_then(|()| {
            if !exchange.is_over() {
                return Err(format!("the request never ends:\n{exchange}"));
            }
            let Some(seen) = exchange.upstream() else { return Ok(()) };
            let [place, cluster, tenant] =
                ["platform", "cluster", "tenant"].map(|name| seen.header(&format!("x-portcullis-{name}")));
            match (place, cluster, tenant) {
                (None, Some("acme-1" | "acme-degraded"), Some("acme")) => Ok(()),
                (Some("admin"), None, None) if is_of_platform(&seen) => Ok(()),
                other => Err(format!("forwarded as {other:?}:\n{exchange}")),
            }
        });
        world.api.records.clear();
        world.host.clear_history();
        if result.is_err() {
            *slot = None;
        }
        result
    })
}

fn with_platform() -> Value {
    let mut config = config();
    config["platformHosts"] = json!([{"name": "admin", "paths": ["/v1/"]}]);
    config
}

/// Whether a request is for what there is at the one host of the platform.
fn is_of_platform(seen: &Seen) -> bool {
    let host = seen.header(":authority").unwrap_or_default().to_ascii_lowercase();
    let path = seen.header(":path").unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    host.starts_with("admin.platform.test")
        && path.starts_with("/v1/")
        && !path.contains("//")
        && !path.contains("/..")
}

/// A request that a codec could have let through: names are tokens, values have no line breaks.
fn headers(input: &[u8]) -> Request {
    let mut lines = input.split(|byte| *byte == b'\n');
    let clean =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().filter(|b| !matches!(b, 0 | b'\r')).collect() };
    let path = clean(lines.next().unwrap_or_default());
    let mut map =
        HeaderMap::from([(":authority", "api.platform.test"), (":method", "GET"), (":scheme", "https")]);
    map.set(":path", path);
    for line in lines.take(200) {
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map_or(line.len(), |at| at + 1);
        let (name, value) = line.split_at(colon);
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let known = matches!(name, b":authority" | b":method" | b":scheme");
        let value = clean(value.strip_prefix(b":").unwrap_or(value)).trim_ascii().to_vec();
        if known {
            map.set(name, value);
        } else if !name.is_empty() && name.iter().all(token) {
            map.add(name, value);
        }
    }
    map.add("x-forwarded-proto", "https");
    Request::exact(map)
}

fn body(input: &[u8]) -> Request {
    let mut request = good("acme-1");
    request.headers.set(":method", "POST");
    let mut rest = input;
    while let Some((len, after)) = rest.split_first() {
        let (part, after) = after.split_at(usize::from(*len).min(after.len()));
        request = request.chunk(part);
        rest = after;
    }
    request
}

fn check_configuration(input: &[u8]) -> Result<(), String> {
    let plugins = [plugin("gateway", &config()).config(input)];
    let builder = Host::builder().cluster(UPSTREAM, Upstream::manual()).allow_misuse();
    match install(builder, &plugins).start() {
        Err(StartError::ConfigureRefused { .. } | StartError::VmStartRefused { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(mut host) => {
            let exchange = host.request(good("acme-1"));
            host.advance(LONG);
            if exchange.upstream().is_some() {
                return Err(format!("forwarded without a snapshot:\n{exchange}"));
            }
            check_host(&mut host)
        }
    }
}

/// The page that a cold filter is sent, with the nonce that all polls of this seed have.
fn good_page() -> Vec<u8> {
    let world = polled();
    let call = poll(&world).expect("the worker polls");
    let path = call.request.headers.get(":path").expect("a path").to_owned();
    let (_, query) = path.split_once('?').expect("a query");
    match world.api.page(query) {
        Answered::Body(page) => page,
        other => panic!("no page but {other:?}"),
    }
}

/// A world whose filters have asked and wait.
fn polled() -> World {
    let mut world = World::cold(vec![plugin("gateway", &config())]);
    while poll(&world).is_none() {
        world.host.advance(Duration::from_millis(50));
    }
    world
}

/// The poll that serves the worker. In native code the main thread polls for all of them.
fn poll(world: &World) -> Option<Call> {
    let polls = |call: &Call| target() == On::Native || call.vm == VmId::Worker(0);
    world.host.pending_calls(UPSTREAM).into_iter().find(polls)
}

/// The page within its signature.
fn unsigned(page: &[u8]) -> Vec<u8> {
    let signed = SignedMessage::decode(page).expect("a signed page");
    signed.message
}

fn check_snapshot(input: &[u8]) -> Result<(), String> {
    let Some((mode, bytes)) = input.split_first() else { return Ok(()) };
    let mut world = polled();
    let honest = *mode != 0;
    let answer = match Page::decode(bytes) {
        Ok(page) if honest => sign_page(&page, world.api.signing_seed),
        _ => bytes.to_vec(),
    };
    let good = good_page();
    for call in world.host.pending_calls(UPSTREAM) {
        world.host.answer(call.id, Answer::ok().body(&answer));
    }
    let exchange = world.host.request(self::good("acme-1"));
    world.host.advance(LONG);
    // Fields that nobody knows may be added around a signed page; the page itself is what counts.
    let same = SignedMessage::decode(answer.as_slice()).is_ok_and(|signed| {
        SignedMessage::decode(good.as_slice()).is_ok_and(|good| signed.message == good.message)
    });
    if exchange.upstream().is_some() && !honest && !same {
        return Err(format!("a page that nobody signed was taken:\n{exchange}"));
    }
    check_host(&mut world.host)
}
