//! A case through the test host.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_testhost::{
    Answer, Exchange, FailurePolicy, Host, Metric, Module, Plugin, Request, Seen, Upstream,
};

use super::case::{Body, Case, Message, Observed, Policy, Probe, Scripted, Sent, Setup};
use super::crowd::{Crowd, Gathered, WORKERS};
use super::of_case;
use super::story::{Step, Story, Told};
use super::wire::{Reaction, SLOW, reaction};

/// The same back-off as the real one is given.
const BACKOFF: Duration = Duration::from_millis(200);

/// Long enough for every time-out and answer of the cases, short of the next tick.
const LONGEST: Duration = Duration::from_secs(16);

pub(crate) fn run(case: &Case, modules: &BTreeMap<Probe, Module>) -> Observed {
    let mut host = host(&case.setup, modules, 1);
    let mut observed = Observed::default();
    let mut before = host.logs().len();
    for (_, sent) in case.tagged() {
        host.advance(Duration::from_millis(sent.pause));
        let exchange = host.request(request(&sent, case.setup.http2));
        // A client that is not answered leaves, as the one of Envoy does.
        let patience = Duration::from_secs(sent.patience);
        host.advance(patience.min(LONGEST));
        if patience < LONGEST && exchange.response().filter(on_the_wire).is_none() {
            host.disconnect(&exchange);
        }
        host.advance(LONGEST.saturating_sub(patience));
        observed.exchanges.push(ends(&exchange));
        let logs = host.logs();
        let lines = logs.iter().skip(before).filter(|line| of_case(&line.message, case.name).is_some());
        observed.logs.extend(lines.map(|line| format!("{} {}", line.level, line.message)));
        before = logs.len();
    }
    if let Some(prefix) = case.metrics {
        let metrics = host.metrics();
        let values = metrics.iter().filter(|(name, _)| name.starts_with(prefix));
        observed.metrics = values
            .filter_map(|(name, metric)| match metric {
                Metric::Counter(value) | Metric::Gauge(value) => Some((name.to_owned(), *value)),
                Metric::Histogram(_) => None,
            })
            .collect();
    }
    observed
}

/// A story through the test host.
pub(crate) fn tell(story: &Story, modules: &BTreeMap<Probe, Module>) -> Vec<Told> {
    let mut host = host(&story.first, modules, 1);
    let (mut begun, mut removed) = (Vec::new(), false);
    let mut before = 0;
    let mut told = Vec::new();
    let steps = std::iter::once((String::new(), None)).chain(story.tagged());
    for (_, step) in steps {
        let mut now = Told::default();
        match step {
            None => {}
            Some(Step::Request(sent)) => {
                let exchange = host.request(request(&sent, false));
                host.advance(LONGEST);
                now.exchanges.push(ends(&exchange));
            }
            Some(Step::Begin(sent)) => begun.push(host.request(request(&sent, false))),
            Some(Step::Finish) => {
                // Time for the callouts of requests that wait for one.
                host.advance(Duration::from_secs(5));
                for exchange in begun.drain(..) {
                    if exchange.upstream().is_some() {
                        host.respond(&exchange, answer(""));
                    }
                    host.advance(LONGEST);
                    now.exchanges.push(ends(&exchange));
                }
            }
            Some(Step::Update(setup)) => now.accepted = Some(host.update(plugins(&setup, modules)).is_ok()),
            Some(Step::Remove) => removed = true,
            Some(end @ (Step::Drain | Step::ShutDown)) => {
                if removed || matches!(end, Step::ShutDown) {
                    host.shut_down();
                } else {
                    host.drain();
                }
                host.advance(LONGEST);
                now.exchanges.extend(begun.drain(..).map(|exchange| ends(&exchange)));
            }
        }
        let logs = host.logs();
        let lines =
            logs.iter().skip(before).filter(|line| of_case(&line.message, &story.first.name).is_some());
        now.logs = lines.map(|line| format!("{} {}", line.level, line.message)).collect();
        now.logs.sort();
        before = logs.len();
        told.push(now);
    }
    told
}

/// A case of several workers through the test host: they take turns.
pub(crate) fn crowd(case: &Crowd, modules: &BTreeMap<Probe, Module>) -> Vec<Gathered> {
    let mut host = host(&case.setup, modules, WORKERS);
    let mut before = 0;
    let step = |(tag, sent, times): (String, Sent, usize)| {
        let mut gathered = Gathered::default();
        for turn in 0..times {
            host.advance(Duration::from_millis(sent.pause));
            let exchange = host.request(request(&sent, false).on_worker(turn % WORKERS));
            let (upstream, client) = ends(&exchange);
            gathered.add(&tag, upstream.as_ref(), client.as_ref());
        }
        let logs = host.logs();
        let lines = logs.iter().skip(before).filter(|line| of_case(&line.message, case.name).is_some());
        gathered.logs = lines.map(|line| format!("{} {}", line.level, line.message)).collect();
        before = logs.len();
        gathered
    };
    case.tagged().map(step).collect()
}

/// What both ends saw of an exchange.
fn ends(exchange: &Exchange) -> (Option<Message>, Option<Message>) {
    let message = |seen: Seen| Message::new(seen.headers.iter(), &seen.body_bytes(), seen.trailers.iter());
    let upstream = exchange.upstream().filter(on_the_wire).map(upstream);
    (upstream, exchange.response().filter(on_the_wire).map(message))
}

/// Whether the other end of a connection takes the message as whole: it does not know of an end of the
/// stream that comes after the last byte of a declared length.
fn on_the_wire(seen: &Seen) -> bool {
    let declared = seen.header("content-length").and_then(|length| length.parse::<usize>().ok());
    seen.complete || declared == Some(seen.body_bytes().len())
}

/// The codec writes the scheme into no header.
fn upstream(seen: Seen) -> Message {
    let headers = seen.headers.iter().filter(|(name, _)| *name != b":scheme");
    Message::new(headers, &seen.body_bytes(), seen.trailers.iter())
}

fn host(setup: &Setup, modules: &BTreeMap<Probe, Module>, workers: usize) -> Host {
    let named = |request: &Request| answer(request.headers.get("x-answer").unwrap_or_default());
    let mut builder = Host::builder()
        .allow_misuse()
        .workers(workers)
        .property("xds.node.id", "node-1")
        .property("xds.node.cluster", "cluster-1")
        .upstream(Upstream::with(named))
        .upstream_named("upstream-b", Upstream::with(named))
        .upstream_named("refused", Answer::refused())
        .upstream_named("held", Upstream::manual())
        .cluster("upstream", Upstream::with(named))
        .cluster("refused", Answer::refused())
        .cluster("grpc-refused", Answer::refused())
        .cluster(
            "grpc",
            Upstream::with(|request| match request.headers.get(":path") {
                Some(path) if path.starts_with("/acme.Ok/") => Answer::grpc("pong"),
                Some(path) if path.starts_with("/acme.Denied/") => Answer::grpc_error(7, "not you"),
                Some(path) if path.starts_with("/acme.Never/") => Answer::never(),
                _ => Answer::status(404),
            }),
        )
        .router(|headers| {
            let path = headers.get(":path").unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            if path.starts_with("/refused") {
                Some("refused".to_owned())
            } else if headers.get("x-answer") == Some("held") {
                Some("held".to_owned())
            } else if path.starts_with("/b/") {
                Some("upstream-b".to_owned())
            } else {
                (path == "/" || path.starts_with("/up")).then(|| "upstream".to_owned())
            }
        });
    for plugin in plugins(setup, modules) {
        builder = builder.plugin(plugin);
    }
    builder.start().expect("the host starts")
}

fn plugins(setup: &Setup, modules: &BTreeMap<Probe, Module>) -> Vec<Plugin> {
    let plugin = |plugin: &Scripted| {
        let policy = match plugin.policy {
            Policy::Closed => FailurePolicy::Closed,
            Policy::Open => FailurePolicy::Open,
            Policy::Reload => FailurePolicy::Reload { backoff: BACKOFF },
        };
        Plugin::new(&modules[&plugin.probe])
            .name(&plugin.name)
            .root_id(&plugin.root_id)
            .vm_id(setup.vm_id())
            .vm_config(&plugin.vm_config)
            .config(&plugin.config)
            .env("PROBE", "present")
            .on_failure(policy)
    };
    setup.plugins.iter().map(plugin).collect()
}

fn request(sent: &Sent, http2: bool) -> Request {
    let request = match &sent.protocol {
        Some(protocol) => Request::extended_connect(&sent.path, protocol),
        None => Request::new(&sent.method, &sent.path),
    };
    match http2 {
        true => fill(request, sent).http2(),
        // The codec of HTTP/1.1 takes no such path.
        false if !sent.path.is_ascii() => request.malformed(),
        false => fill(request, sent),
    }
}

fn fill(mut request: Request, sent: &Sent) -> Request {
    for (name, value) in &sent.headers {
        request = request.header(name, value);
    }
    match &sent.body {
        Body::None => request,
        Body::Whole(body) => request.body(body),
        Body::Chunks(chunks, trailers) => {
            request = chunks.iter().fold(request, Request::chunk);
            trailers.iter().fold(request, |request, (name, value)| request.trailer(name, value))
        }
        Body::Unfinished(chunks) => chunks.iter().fold(request, Request::chunk).stay_open(),
    }
}

fn answer(name: &str) -> Answer {
    match reaction(name) {
        Reaction::Reset => Answer::reset(),
        Reaction::Never => Answer::never(),
        Reaction::Slow => answer("").after(SLOW),
        Reaction::Held => answer(""),
        Reaction::Answer { status, headers, body } => {
            let start = Answer::status(status);
            let answer = headers.iter().fold(start, |answer, (name, value)| answer.header(name, value));
            match body {
                Body::None => answer,
                Body::Whole(body) => answer.body(body),
                Body::Chunks(chunks, trailers) => {
                    let answer = chunks.iter().fold(answer, Answer::chunk);
                    trailers.iter().fold(answer, |answer, (name, value)| answer.trailer(name, value))
                }
                Body::Unfinished(chunks) => chunks.iter().fold(answer, Answer::chunk).stall(),
            }
        }
    }
}
