//! Filters that poll.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::task::JoinSet;

use super::{Found, PAUSE, REPLICAS, World};
use crate::common::{self, Access, GATEWAY, Reader, Server};

/// A filter. [`Reader`] refuses a page that would lead it back.
pub(crate) struct Poller {
    reader: Reader,
    at: usize,
    pub(crate) pages: usize,
    /// The replicas that have answered it.
    answered_by: BTreeSet<usize>,
    /// When it had which revision.
    had: Vec<(u64, Instant)>,
}

impl Poller {
    pub(crate) fn new(server: &Server, n: usize) -> Self {
        let reader = server.reader("gateway", GATEWAY, &format!("{n:02x}"));
        Self { reader, at: n, pages: 0, answered_by: BTreeSet::new(), had: Vec::new() }
    }

    /// One poll; false when the replica did not answer it.
    async fn poll(&mut self, replica: &Access, wait: u64) -> bool {
        let answer = self.reader.request(replica, wait).send().await;
        let Ok(answer) = answer else { return false };
        if answer.status() != 200 {
            assert_eq!(answer.status(), 503, "{:?}", answer.text().await);
            return false;
        }
        let Ok(bytes) = answer.bytes().await else { return false };
        let (before, generation) = (self.reader.state.revision(), self.reader.state.generation().to_vec());
        let page = self.reader.take(&bytes);
        let revision = self.reader.state.revision();
        let goes_on = page.generation == generation && !page.reset && revision >= before;
        assert!(goes_on || self.pages == 0, "a filter begins once: {before}, {revision}");
        self.pages += 1;
        self.answered_by.insert(self.at % REPLICAS);
        self.had.push((revision, Instant::now()));
        true
    }

    pub(super) async fn change_replicas(mut self, world: Arc<World>) -> Self {
        while world.goes_on() {
            self.at += 1;
            if !self.poll(&world.replica(self.at), 2).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self
    }

    async fn stay(mut self, world: Arc<World>, stopped: Arc<tokio::sync::Notify>) -> Self {
        let replica = world.replica(self.at);
        let end = stopped.notified();
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return self,
                answered = self.poll(&replica, 60) => assert!(answered),
            }
        }
    }

    /// It has in the end what a replica has, and what that one says of each cluster. All of them have answered it.
    pub(crate) async fn ends_with(&mut self, server: &Server, found: &Found) {
        assert_eq!(self.answered_by.len(), REPLICAS);
        self.reader.sync(server).await;
        found.is_what(&self.reader.state);
    }
}

/// How long changes took: the middle one, all but one of a hundred, and the longest.
pub(crate) struct Took {
    p50: Duration,
    pub(crate) p99: Duration,
    longest: Duration,
    samples: usize,
}

impl Took {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        Self { p50: at(50), p99: at(99), longest: at(100), samples: took.len() }
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { p50, p99, longest, samples } = self;
        write!(f, "p50 {p50:?}, p99 {p99:?}, longest {longest:?} of {samples}")
    }
}

/// How long suspensions by each of the replicas take to those who poll the others, from the call on, and to be answered.
pub(crate) async fn rollout(world: &Arc<World>, server: &Server) -> (Took, Took) {
    let stopped = Arc::new(tokio::sync::Notify::new());
    let mut pollers = JoinSet::new();
    for n in 0..10 {
        pollers.spawn(Poller::new(server, n).stay(Arc::clone(world), Arc::clone(&stopped)));
    }
    server.register("measured").await;
    let (mut changes, mut calls) = (Vec::new(), Vec::new());
    for n in 0..100 {
        tokio::time::sleep(PAUSE).await;
        let what = if n % 2 == 0 { "suspend" } else { "resume" };
        let (replica, begun) = (world.replica(n), Instant::now());
        let path = ["/v1/clusters/measured/", what].concat();
        let changed = replica.expect(200, Method::POST, &path, None).await;
        calls.push(begun.elapsed());
        changes.push((n % REPLICAS, changed["revision"].as_u64().unwrap(), begun));
    }
    let last = changes.last().map_or(0, |(_, revision, _)| *revision);
    common::until("everybody has the last one", async || world.is_everywhere(server, last).await).await;
    stopped.notify_waiters();
    let mut took = Vec::new();
    for poller in pollers.join_all().await {
        for (_, revision, begun) in changes.iter().filter(|(by, _, _)| *by != poller.at % REPLICAS) {
            let had = poller.had.iter().find(|(had, _)| had >= revision).map(|(_, at)| *at);
            took.push(had.expect("every change reaches every poller") - *begun);
        }
    }
    (Took::of(took), Took::of(calls))
}
