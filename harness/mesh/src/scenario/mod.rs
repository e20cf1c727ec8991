//! The scenario: every kind of caller, every kind of refusal, and changes while traffic runs. `demo` prints
//! it as a table; the end-to-end test asserts it.

mod audit;
mod authn;
mod browsers;
mod callers;
mod changes;
mod credentials;
mod outage;
mod platform;
mod sidecar;
mod table;
mod tunnels;
mod workloads;

use std::time::Duration;

use serde_json::{Value, json};

use crate::control::IssuedApiKey;
use crate::data_api::headers_seen;
use crate::error::Result;
use crate::http::{Request, Response};
use crate::idp::{Algorithm, claims};
use crate::mesh::{Mesh, Options};
use crate::sample::{CLIENT_AGENTS, CLIENT_PEOPLE, CLIENT_WORKERS};
use crate::sample::{HOSTED, TENANT};
use crate::wait::{self, PATIENCE, Seen};

pub use table::{print_header, print_row, print_summary};

/// The header by which a client names the cluster.
pub const SELECTOR: &str = "x-target-cluster";

/// One thing that was tried.
#[derive(Debug, Clone)]
pub struct Row {
    /// Who did it.
    pub who: String,
    /// What was tried.
    pub request: String,
    /// What should come of it.
    pub expected: String,
    /// What came of it.
    pub got: String,
    /// The reason code of a refusal, or a remark.
    pub reason: String,
    /// How long it took.
    pub took: Duration,
    /// Whether it came out as expected.
    pub ok: bool,
}

/// What a scenario left behind.
#[derive(Debug)]
pub struct Report {
    /// All rows, in order.
    pub rows: Vec<Row>,
    /// The newest audit records, as the platform API gives them.
    pub audit: Vec<Value>,
}

impl Report {
    /// The rows that came out otherwise than expected.
    pub fn failed(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.ok)
    }
}

/// What should come of a request.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// It reaches the Data API of this cluster, with an identity that verifies.
    Reaches(&'static str),
    /// The same, as this caller.
    Caller {
        cluster: &'static str,
        source_type: &'static str,
        credential: &'static str,
        subject: &'static str,
    },
    /// The filter refuses it with this status and reason.
    Refused(u16, &'static str),
    /// It is let on, and the filter says that nobody answered.
    Unanswered,
    /// An `AuthorizationPolicy` refuses it.
    Policy,
    /// Envoy answers with this status before any filter of ours.
    Envoy(u16),
    /// The connection is cut off.
    CutOff,
}

/// A mesh that is gone through the scenario.
pub struct Scenario<'a> {
    mesh: &'a mut Mesh,
    on_row: &'a mut dyn FnMut(&Row),
    rows: Vec<Row>,
    /// Request ids that the audit log must know, with the decision that it must have recorded.
    traced: Vec<(String, &'static str)>,
    key: IssuedApiKey,
}

impl<'a> Scenario<'a> {
    /// Options for a mesh that the scenario can go through quickly: clusters go offline and snapshots become
    /// stale within seconds, and manifests may be edited.
    #[must_use]
    pub fn options() -> Options {
        Options { private_manifests: true, offline_after_s: 6, stale_after_s: Some(8), ..Options::default() }
    }

    /// Goes through all of it. Rows that come out otherwise than expected do not stop it.
    ///
    /// # Errors
    /// When the mesh itself fails: a component dies, or the platform API refuses the administrator.
    pub async fn run(mesh: &'a mut Mesh, on_row: &'a mut dyn FnMut(&Row)) -> Result<Report> {
        let mut scenario = Self::new(mesh, on_row).await?;
        scenario.unchanging().await?;
        scenario.opaque_tokens().await?;
        scenario.service_tokens().await?;
        scenario.platform_endpoints().await?;
        scenario.identity_key().await?;
        scenario.issuer_rotation().await?;
        scenario.issuer_keys().await?;
        scenario.claims_at_sidecar().await?;
        scenario.policy_edit().await?;
        scenario.suspension().await?;
        scenario.filter_at_sidecar().await?;
        scenario.tunnels().await?;
        scenario.outage().await?;
        let audit = scenario.audit().await?;
        Ok(Report { rows: scenario.rows, audit })
    }

    /// The part that changes nothing: callers, forgeries, refusals, and their audit records.
    ///
    /// # Errors
    /// As for [`Scenario::run`].
    pub async fn run_unchanging(mesh: &'a mut Mesh, on_row: &'a mut dyn FnMut(&Row)) -> Result<Report> {
        let mut scenario = Self::new(mesh, on_row).await?;
        scenario.unchanging().await?;
        let audit = scenario.audit().await?;
        Ok(Report { rows: scenario.rows, audit })
    }

    async fn new(mesh: &'a mut Mesh, on_row: &'a mut dyn FnMut(&Row)) -> Result<Self> {
        let key = mesh.admin()?.create_key(TENANT, "nightly-export", "worker").await?;
        Ok(Self { mesh, on_row, rows: Vec::new(), traced: Vec::new(), key })
    }

    async fn unchanging(&mut self) -> Result<()> {
        self.callers().await?;
        self.forgeries().await?;
        self.credentials().await?;
        self.browsers().await?;
        self.workloads().await?;
        self.clusters().await?;
        self.headers().await
    }

    /// A token of five minutes for a client of the sample identity provider.
    fn token(&self, subject: &str, client: &str, algorithm: Algorithm, extra: &Value) -> Result<String> {
        let mut all = json!({"client_id": client});
        if let (Some(all), Some(extra)) = (all.as_object_mut(), extra.as_object()) {
            all.extend(extra.clone());
        }
        self.mesh.idp().sign(algorithm, &claims(subject, TENANT, &all))
    }

    fn human(&self) -> Result<String> {
        self.token("ann@acme.example", CLIENT_PEOPLE, Algorithm::Es256, &json!({}))
    }

    fn worker(&self) -> Result<String> {
        self.token("pipeline-7", CLIENT_WORKERS, Algorithm::EdDsa, &json!({}))
    }

    /// An agent that acts for a person (RFC 8693 §4.1).
    fn agent(&self) -> Result<String> {
        let act = json!({"act": {"sub": "research-agent"}});
        self.token("ann@acme.example", CLIENT_AGENTS, Algorithm::Rs256, &act)
    }

    /// A request of an authenticated person to `acme-hosted`.
    fn human_request(&self) -> Result<Request> {
        Ok(self.to(HOSTED).bearer(&self.human()?))
    }

    /// A GET that names the cluster by header.
    fn to(&self, cluster: &str) -> Request {
        self.mesh.get("/tables").header(SELECTOR, cluster)
    }

    /// Sends a request and notes what came of it.
    async fn expect(&mut self, who: &str, what: &str, request: Request, expect: Expect) {
        let answer = request.send().await;
        let (got, reason, took, ok) = match (&answer, expect) {
            (Ok(response), _) => {
                let (got, reason) = describe(response);
                (got, reason, response.elapsed, fits(response, expect))
            }
            (Err(error), Expect::CutOff) if error.to_string().contains("cut off") => {
                ("cut off".to_owned(), String::new(), Duration::ZERO, true)
            }
            (Err(error), _) => ("no answer".to_owned(), error.to_string(), Duration::ZERO, false),
        };
        if let (Ok(response), Some(decision)) = (&answer, recorded_as(expect)) {
            self.traced.extend(request_id(response).map(|id| (id, decision)));
        }
        self.note(Row {
            who: who.to_owned(),
            request: what.to_owned(),
            expected: expect.to_string(),
            got,
            reason,
            took,
            ok,
        });
    }

    fn note(&mut self, row: Row) {
        (self.on_row)(&row);
        self.rows.push(row);
    }

    /// Repeats a request until it comes out as expected at every worker, then notes one more try.
    async fn expect_soon(&mut self, who: &str, what: &str, request: Request, expect: Expect) {
        match self.soon(what, &request, |response| fits(response, expect)).await {
            Ok(_) => self.expect(who, what, request, expect).await,
            Err(error) => self.outcome(who, what, &expect.to_string(), Err(error.to_string()), PATIENCE),
        }
    }

    /// Repeats a request until the answers of all workers fit; returns the last one.
    async fn soon(
        &self,
        what: &str,
        request: &Request,
        fits: impl Fn(&Response) -> bool,
    ) -> Result<Response> {
        wait::in_a_row(what, self.mesh.run_dir(), async || {
            Ok(match request.send().await {
                Ok(response) if fits(&response) => Seen::Done(response),
                Ok(response) => Seen::NotYet(format!("{} {}", response.status, response.text())),
                Err(error) => Seen::NotYet(error.to_string()),
            })
        })
        .await
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reaches(cluster) => write!(f, "200 {cluster}"),
            Self::Caller { cluster, source_type, .. } => write!(f, "200 {cluster} {source_type}"),
            Self::Refused(status, reason) => write!(f, "{status} {reason}"),
            Self::Unanswered => f.write_str("503 cluster_unreachable"),
            Self::Policy => f.write_str("403 by policy"),
            Self::Envoy(status) => write!(f, "{status} by Envoy"),
            Self::CutOff => f.write_str("cut off"),
        }
    }
}

fn fits(response: &Response, expect: Expect) -> bool {
    match expect {
        Expect::Reaches(cluster) => {
            let body = response.json();
            response.status == 200 && body["cluster"] == cluster && body["identity"]["cluster"] == cluster
        }
        Expect::Caller { cluster, source_type, credential, subject } => {
            let identity = &response.json()["identity"];
            fits(response, Expect::Reaches(cluster))
                && identity["source_type"] == source_type
                && identity["credential"] == credential
                && identity["subject"] == subject
        }
        Expect::Refused(status, reason) => {
            response.status == status
                && response.header("x-portcullis-reason") == reason
                && response.json()["reason"] == reason
        }
        Expect::Unanswered => fits(response, Expect::Refused(503, "cluster_unreachable")),
        Expect::Policy => response.status == 403 && response.text().contains("RBAC"),
        Expect::Envoy(status) => {
            response.status == status && response.header("x-portcullis-reason").is_empty()
        }
        Expect::CutOff => false,
    }
}

fn describe(response: &Response) -> (String, String) {
    let body = response.json();
    let identity = &body["identity"];
    if response.status == 200 && identity.is_object() {
        let text = |name: &str| identity[name].as_str().unwrap_or_default().to_owned();
        let got = format!("200 {}", body["cluster"].as_str().unwrap_or_default());
        return (got, format!("{} {}", text("source_type"), text("subject")));
    }
    let mut reason = response.header("x-portcullis-reason").to_owned();
    if reason.is_empty() {
        reason = response.text().chars().filter(|c| !c.is_control()).take(60).collect();
    }
    (response.status.to_string(), reason)
}

/// The decision that the audit log must have recorded.
fn recorded_as(expect: Expect) -> Option<&'static str> {
    match expect {
        Expect::Reaches(_) | Expect::Caller { .. } => Some("allow"),
        Expect::Refused(..) => Some("refuse"),
        Expect::Unanswered => Some("end"),
        Expect::Policy | Expect::Envoy(_) | Expect::CutOff => None,
    }
}

/// The id by which the audit log knows a request: in a refusal, or as the Data API saw it.
fn request_id(response: &Response) -> Option<String> {
    let told = response.json()["request_id"].as_str().map(ToOwned::to_owned);
    told.or_else(|| {
        headers_seen(response).into_iter().find(|(name, _)| name == "x-request-id").map(|(_, id)| id)
    })
}
