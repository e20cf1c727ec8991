//! Cases on a running mesh: those that need nothing changed side by side, those that need a cluster in another state after
//! each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::Method;
use tokio::task::JoinSet;

use super::case::{Case, State};
use super::outcome::{Outcome, is_complete, way};
use super::place::Place;
use super::wallet::Wallet;
use crate::access_log::{AccessLog, FIRST, Hop};
use crate::block::Plan;
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::mesh::{Mesh, Options};
use crate::wait::{self, PATIENCE, Seen};

/// Requests at a time.
const PARALLEL: usize = 8;

/// How long a proxy's line is waited for. They are written every 20 ms; the rest is for busy machines.
const LINE: Duration = Duration::from_secs(20);

/// How long a line of a further proxy is waited for, if there may be none: a tunnel's own Envoys write nothing.
const FURTHER: Duration = Duration::from_secs(2);

/// How often the log is read meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// What came of a case.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The case.
    pub case: Case,
    /// What came of it.
    pub outcome: Outcome,
    /// In what that is not what was expected.
    pub differences: Vec<String>,
}

impl Tried {
    /// Whether it came out as expected.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.differences.is_empty()
    }
}

/// A mesh on which cases are tried.
pub struct Runner {
    mesh: Mesh,
    wallet: Wallet,
}

/// How a mesh has to be started for it.
#[must_use]
pub fn options() -> Options {
    Options { access_log: true, offline_after_s: 10, ..Options::default() }
}

impl Runner {
    /// Cases will be tried on this mesh, which was started with [`options`].
    #[must_use]
    pub fn new(mesh: Mesh) -> Self {
        Self { mesh, wallet: Wallet::default() }
    }

    /// The mesh.
    pub fn mesh(&mut self) -> &mut Mesh {
        &mut self.mesh
    }

    /// The mesh, after the last case.
    #[must_use]
    pub fn into_mesh(self) -> Mesh {
        self.mesh
    }

    /// Tries all of them; what came of each, in their order.
    ///
    /// # Errors
    /// When the mesh itself fails, or a credential cannot be made.
    pub async fn run(&mut self, cases: &[Case]) -> Result<Vec<Tried>> {
        let mut groups: BTreeMap<Vec<(&'static str, State)>, Vec<usize>> = BTreeMap::new();
        for (index, case) in cases.iter().enumerate() {
            let changed = case.clusters.iter().filter(|(_, state)| **state != State::Online);
            groups.entry(changed.map(|(id, state)| (*id, *state)).collect()).or_default().push(index);
        }
        let mut outcomes = BTreeMap::new();
        for (states, indices) in groups {
            for (id, state) in &states {
                self.bring(id, *state).await?;
            }
            outcomes.extend(self.all(cases, &indices).await?);
            for (id, state) in &states {
                self.bring_back(id, *state).await?;
            }
        }
        let tried = outcomes.into_iter().filter_map(|(index, outcome): (usize, Outcome)| {
            let case = cases.get(index)?.clone();
            Some(Tried { differences: outcome.differences(&case.expect), case, outcome })
        });
        Ok(tried.collect())
    }

    /// Cases that disturb each other in nothing.
    async fn all(&mut self, cases: &[Case], indices: &[usize]) -> Result<Vec<(usize, Outcome)>> {
        let mut requests = Vec::new();
        for index in indices {
            if let Some(case) = cases.get(*index) {
                requests.push((*index, self.wallet.request(&self.mesh, case).await?));
            }
        }
        // Keys and clients that were made just now.
        self.mesh.workers_ready().await?;
        let mut outcomes = Vec::new();
        for some in requests.chunks(PARALLEL) {
            let mut under_way = JoinSet::new();
            for (index, request) in some {
                let (index, request) = (*index, request.clone());
                let (log, plan) = (self.log()?.clone(), self.mesh.plan());
                under_way.spawn(async move { (index, outcome(&request, &log, plan).await) });
            }
            while let Some(ended) = under_way.join_next().await {
                let (index, outcome) = ended
                    .map_err(|error| MeshError::io("wait for", "a request")(std::io::Error::other(error)))?;
                outcomes.push((index, outcome?));
            }
            self.mesh.check()?;
        }
        self.ask_again(&requests, &mut outcomes).await?;
        Ok(outcomes)
    }

    /// A connection that was cut off tells of no configuration. Where there was one before, such a request is sent again now:
    /// by this time the other requests have found the new one everywhere.
    async fn ask_again(
        &self,
        requests: &[(usize, Request)],
        outcomes: &mut [(usize, Outcome)],
    ) -> Result<()> {
        let (log, plan) = (self.log()?, self.mesh.plan());
        if log.generation() == FIRST {
            return Ok(());
        }
        for (index, seen) in outcomes.iter_mut().filter(|(_, seen)| seen.status.is_none()) {
            if let Some((_, request)) = requests.iter().find(|(other, _)| other == index) {
                *seen = outcome(request, log, plan).await?;
            }
        }
        Ok(())
    }

    fn log(&self) -> Result<&AccessLog> {
        let missing = || std::io::Error::other("the mesh was started without `access_log`");
        self.mesh.access_log().ok_or_else(|| MeshError::io("read", "the access log")(missing()))
    }

    async fn bring(&mut self, id: &'static str, state: State) -> Result<()> {
        match state {
            State::Online => Ok(()),
            State::Suspended => self.mesh.admin()?.administer(id, "suspend", 30).await.map(drop),
            State::Offline => {
                self.mesh.stop_heartbeat(id);
                self.becomes(id, "offline").await
            }
        }
    }

    async fn bring_back(&mut self, id: &'static str, state: State) -> Result<()> {
        match state {
            State::Online => Ok(()),
            State::Suspended => self.mesh.admin()?.administer(id, "resume", 30).await.map(drop),
            State::Offline => {
                self.mesh.start_heartbeat(id).await?;
                self.becomes(id, "online").await
            }
        }
    }

    /// Waits until a cluster is in this state, and every worker knows.
    async fn becomes(&mut self, id: &str, state: &str) -> Result<()> {
        let path = format!("/v1/clusters/{id}");
        let admin = self.mesh.admin()?.clone();
        wait::until(&format!("{id} to be {state}"), &self.mesh.log("control"), async || {
            let cluster = admin.call(Method::GET, &path, None).await?;
            let found = &cluster["cluster"]["state"];
            Ok(if *found == *state { Seen::Done(()) } else { Seen::NotYet(cluster.to_string()) })
        })
        .await?;
        self.mesh.workers_ready().await
    }
}

/// Sends a request until every proxy that it passes has decided it by the newest configuration. In between the first of them
/// is asked for something else: the request itself, sent time and again, may be slowed down as that of somebody who guesses.
async fn outcome(request: &Request, log: &AccessLog, plan: Plan) -> Result<Outcome> {
    let (begun, mut probing) = (Instant::now(), false);
    while begun.elapsed() <= PATIENCE {
        let length = log.length()?;
        let sent = if probing { request.bare() } else { request.clone() };
        match sent.send().await {
            Ok(response) => {
                let way = logged(log, length, plan, response.from).await?;
                let is_new = way.iter().all(|(_, hop)| hop.generation == log.generation());
                if is_new && !probing {
                    return Ok(Outcome::of(&response, &way));
                }
                probing = !is_new;
            }
            Err(_) if probing => probing = false,
            Err(error) => return Ok(Outcome::unanswered(error.to_string())),
        }
        tokio::time::sleep(POLL).await;
    }
    let last = "requests are decided by the one before".to_owned();
    let (what, log) = ("the configuration at every worker".to_owned(), log.file().to_owned());
    Err(MeshError::NotReady { what, waited: begun.elapsed(), last, log })
}

/// What the proxies wrote of a request.
async fn logged(
    log: &AccessLog,
    length: u64,
    plan: Plan,
    client: std::net::SocketAddr,
) -> Result<Vec<(Place, Hop)>> {
    let begun = Instant::now();
    let mut reader = log.from(length);
    loop {
        let way = way(plan, reader.hops()?, client);
        let patience = if way.is_empty() { LINE } else { FURTHER };
        if is_complete(&way) || (!way.is_empty() && begun.elapsed() > patience) {
            return Ok(way);
        }
        if begun.elapsed() > patience {
            let last =
                "no proxy wrote a line of it; a Telemetry of the manifests may ask for another access log";
            let (what, log) = ("the access log".to_owned(), log.file().to_owned());
            return Err(MeshError::NotReady { what, waited: begun.elapsed(), last: last.to_owned(), log });
        }
        tokio::time::sleep(POLL).await;
    }
}
