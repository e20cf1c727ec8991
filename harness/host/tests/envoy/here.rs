//! A case through the test host.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_testhost::{Answer, FailurePolicy, Host, Module, Plugin, Request, Seen, Upstream};

use super::case::{Body, Case, Message, Observed, Policy, Probe, Sent};
use super::wire::{Reaction, SLOW, reaction};

/// The same back-off as the real one is given.
const BACKOFF: Duration = Duration::from_millis(200);

/// Long enough for every time-out and answer of the cases, short of the next tick.
const LONGEST: Duration = Duration::from_secs(16);

pub(crate) fn run(case: &Case, modules: &BTreeMap<Probe, Module>) -> Observed {
    let mut host = host(case, modules);
    let mut observed = Observed::default();
    let mut before = host.logs().len();
    for (_, sent) in case.tagged() {
        host.advance(Duration::from_millis(sent.pause));
        let exchange = host.request(request(&sent));
        // A client that is not answered leaves, as the one of Envoy does.
        let patience = Duration::from_secs(sent.patience);
        host.advance(patience.min(LONGEST));
        if patience < LONGEST && exchange.response().filter(on_the_wire).is_none() {
            host.disconnect(&exchange);
        }
        host.advance(LONGEST.saturating_sub(patience));
        let message =
            |seen: Seen| Message::new(seen.headers.iter(), &seen.body_bytes(), seen.trailers.iter());
        let upstream = exchange.upstream().filter(on_the_wire).map(upstream);
        let client = exchange.response().filter(on_the_wire).map(message);
        observed.exchanges.push((upstream, client));
        let tag = format!("[{}-", case.name);
        let logs = host.logs();
        let lines = logs.iter().skip(before).filter(|line| line.message.contains(&tag));
        observed.logs.extend(lines.map(|line| format!("{} {}", line.level, line.message)));
        before = logs.len();
    }
    if let Some(prefix) = case.metrics {
        let metrics = host.metrics();
        let values = metrics.iter().filter(|(name, _)| name.starts_with(prefix));
        observed.metrics = values
            .filter_map(|(name, _)| {
                let value = metrics.counter(name).max(metrics.gauge(name));
                metrics.histogram(name).is_empty().then(|| (name.to_owned(), value))
            })
            .collect();
    }
    observed
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

fn host(case: &Case, modules: &BTreeMap<Probe, Module>) -> Host {
    let named = |request: &Request| answer(request.headers.get("x-answer").unwrap_or_default());
    let mut builder = Host::builder()
        .allow_misuse()
        .property("xds.node.id", "node-1")
        .property("xds.node.cluster", "cluster-1")
        .upstream(Upstream::with(named))
        .upstream_named("upstream-b", Upstream::with(named))
        .upstream_named("refused", Answer::refused())
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
            } else if path.starts_with("/b/") {
                Some("upstream-b".to_owned())
            } else {
                (path == "/" || path.starts_with("/up")).then(|| "upstream".to_owned())
            }
        });
    for plugin in &case.setup.plugins {
        let policy = match plugin.policy {
            Policy::Closed => FailurePolicy::Closed,
            Policy::Open => FailurePolicy::Open,
            Policy::Reload => FailurePolicy::Reload { backoff: BACKOFF },
        };
        builder = builder.plugin(
            Plugin::new(&modules[&plugin.probe])
                .name(&plugin.name)
                .root_id(&plugin.root_id)
                .vm_id(case.setup.vm_id())
                .vm_config(&plugin.vm_config)
                .config(&plugin.config)
                .env("PROBE", "present")
                .on_failure(policy),
        );
    }
    builder.start().expect("the host starts")
}

fn request(sent: &Sent) -> Request {
    let mut request = Request::new(&sent.method, &sent.path);
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
