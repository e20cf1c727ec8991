//! What several workers make of requests. The kernel chooses the worker of a connection, so a case sends many
//! and what is compared is the set of answers and of log lines.

use std::collections::BTreeSet;

use super::case::{Message, Sent, Setup, write_end};

/// As many as make it a crowd.
pub(crate) const WORKERS: usize = 2;

/// Steps that both hosts must take alike: each is a request that is sent so many times, over connections of
/// its own.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    steps: Vec<(Sent, usize)>,
}

/// What a step led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// What upstream and client saw of the requests: each thing once.
    exchanges: BTreeSet<String>,
    pub(crate) logs: BTreeSet<String>,
}

impl Crowd {
    fn new(name: &'static str, config: &str) -> Self {
        Self { name, setup: Setup::named(name).plugin(config), steps: Vec::new() }
    }

    fn times(mut self, times: usize, sent: Sent) -> Self {
        self.steps.push((sent, times));
        self
    }

    /// The steps, each with its tag, which its requests carry.
    pub(crate) fn tagged(&self) -> impl Iterator<Item = (String, Sent, usize)> {
        self.steps.iter().enumerate().map(|(at, (sent, times))| {
            let tag = format!("{}-{at}", self.name);
            (tag.clone(), sent.clone().header("x-case", tag), *times)
        })
    }
}

impl Gathered {
    pub(crate) fn add(&mut self, tag: &str, upstream: Option<&Message>, client: Option<&Message>) {
        struct Ends<'a>(Option<&'a Message>, Option<&'a Message>);
        impl std::fmt::Display for Ends<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write_end(f, "upstream", self.0)?;
                write_end(f, "client", self.1)
            }
        }
        self.exchanges.insert(format!("{tag}:\n{}", Ends(upstream, client)));
    }
}

impl std::fmt::Display for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exchanges.iter().try_for_each(|exchange| write!(f, "{exchange}"))?;
        self.logs.iter().try_for_each(|line| writeln!(f, "log {line}"))
    }
}

/// So many connections that no worker stays without one.
const MANY: usize = 60;

pub(crate) fn all() -> Vec<Crowd> {
    let get = |script: &str| Sent::get("/").script(script);
    let refuses = "request_headers: reply 403 d no -1";
    vec![
        // Tried are: the canary, the main thread, one worker, and the other one.
        Crowd::new("one-is-not-configured", &format!("configure: return_nth tried 4 0; {refuses}"))
            .times(MANY, Sent::get("/")),
        Crowd::new("one-dies-configuring", &format!("configure: trap_nth tried 4; {refuses}"))
            .times(MANY, Sent::get("/")),
        // A queue tells its last registrant, which is a worker, and nobody when that one is dead.
        Crowd::new(
            "queue",
            "configure: queue jobs; request_headers: count requests; queue_ready: case queue-x; \
             queue_ready: count told; queue_ready: counted told; queue_ready: has_counted requests",
        )
        .times(MANY, Sent::get("/"))
        .times(6, get("request_headers: enqueue jobs job"))
        .times(MANY, get("request_headers: trap_if_counted told"))
        .times(30, get("request_headers: enqueue jobs job"))
        .times(MANY, get("request_headers: dequeue jobs; request_headers: dequeue jobs; request_headers: dequeue jobs")),
        Crowd::new("ticks", "configure: tick_period 50; tick: tick_period 0; tick: add_up ticks")
            .times(1, Sent::get("/").after(1000))
            .times(4, get("request_headers: shared_get ticks")),
        Crowd::new("shared", "")
            .times(20, get("request_headers: add_up sum; request_headers: metric 0 crowd_sum; request_headers: increment crowd_sum 1"))
            .times(MANY, get("request_headers: shared_get sum; request_headers: metric 0 crowd_sum; request_headers: metric_value crowd_sum")),
    ]
}
