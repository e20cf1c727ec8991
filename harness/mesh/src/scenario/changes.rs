//! Changes while traffic runs: a policy edit, a mistake in one, suspend and resume.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use super::browsers::CONSOLE;
use super::{Expect, Row, SELECTOR, Scenario};
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::overlay::Overlay;
use crate::sample::HOSTED;
use crate::wait::{self, PATIENCE, Seen};

/// The file that the scenario adds to `overlays/local`.
const POLICY: &str = "agents-only-get.yaml";

/// Refusals in a row after which a suspension has reached everybody.
const SETTLED: usize = 200;

/// Requests that must have passed before it.
const BEFORE: usize = 50;

/// What counts as at once. It takes milliseconds; the rest is for busy machines.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Scenario<'_> {
    /// An `AuthorizationPolicy` takes effect without a restart; a file that does not parse changes nothing.
    pub(super) async fn policy_edit(&mut self) -> Result<()> {
        let overlay = Overlay::local(self.mesh.manifests());
        let agent = self.agent()?;
        let post = Request::new(Method::POST, self.mesh.plan().ingress(), "/tables")
            .header(SELECTOR, HOSTED)
            .bearer(&agent);
        self.expect("MCP agent", "POST before the edit", post.clone(), Expect::Reaches(HOSTED)).await;
        overlay.write(POLICY, &policy())?;
        overlay.edit_list("resources", |files| files.push(POLICY.into()))?;
        let took = self.mesh.apply().await?;
        self.outcome("operator", "edit: MCP agents may only GET", "applied", Ok(()), took);
        self.expect_soon("MCP agent", "POST after the edit", post.clone(), Expect::Policy).await;
        let answer = post.header("origin", CONSOLE).send().await?;
        self.told_page("a policy's refusal", (403, CONSOLE), &answer);
        let get = self.to(HOSTED).bearer(&agent);
        self.expect("MCP agent", "GET after the edit", get, Expect::Reaches(HOSTED)).await;

        let broken = overlay.path(POLICY);
        std::fs::write(&broken, "kind: AuthorizationPolicy\nspec: [")
            .map_err(MeshError::io("write", &broken))?;
        let start = Instant::now();
        let refused = match self.mesh.apply().await {
            Err(MeshError::Manifest { .. }) => Ok(()),
            Err(other) => Err(other.to_string()),
            Ok(_) => Err("was applied".to_owned()),
        };
        self.outcome("operator", "edit that does not parse", "refused", refused, start.elapsed());
        let get = self.to(HOSTED).bearer(&agent);
        self.expect("MCP agent", "GET after the mistake", get, Expect::Reaches(HOSTED)).await;
        overlay.edit_list("resources", |files| files.retain(|name| name != POLICY))?;
        self.mesh.apply().await?;
        Ok(())
    }

    /// Suspends a cluster under traffic; shows when the first refusal came and when the last request passed.
    pub(super) async fn suspension(&mut self) -> Result<()> {
        let request = self.human_request()?;
        let (admin, probe) = (self.mesh.admin()?.clone(), request.clone());
        let passing = Arc::new(AtomicUsize::new(0));
        let passed = Arc::clone(&passing);
        let traffic = tokio::spawn(async move {
            let (mut answers, mut refused_in_a_row) = (Vec::new(), 0);
            let begun = Instant::now();
            while refused_in_a_row < SETTLED && begun.elapsed() < PATIENCE {
                if let Ok(response) = probe.send().await {
                    answers.push((Instant::now(), response.status));
                    passed.fetch_add(usize::from(response.status == 200), Ordering::Relaxed);
                    refused_in_a_row = if response.status == 403 { refused_in_a_row + 1 } else { 0 };
                }
            }
            answers
        });
        wait::until("traffic before the suspension", self.mesh.run_dir(), async || {
            let passed = passing.load(Ordering::Relaxed);
            Ok(if passed >= BEFORE { Seen::Done(()) } else { Seen::NotYet(format!("{passed} passed")) })
        })
        .await?;
        let asked = Instant::now();
        let progress = admin.administer(HOSTED, "suspend", 30).await?;
        let known = asked.elapsed();
        let answers = traffic.await.unwrap_or_default();
        let since = |at: &Instant| at.saturating_duration_since(asked);
        let first_refusal = answers.iter().find(|(_, status)| *status == 403).map(|(at, _)| since(at));
        let last_pass = answers.iter().rfind(|(_, status)| *status == 200).map(|(at, _)| since(at));
        let passed_before = answers.first().is_some_and(|(_, status)| *status == 200);
        let ok = passed_before && first_refusal.is_some() && last_pass < Some(AT_ONCE);
        let ms = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        self.note(Row {
            who: "operator".to_owned(),
            request: format!("suspend under traffic ({} requests)", answers.len()),
            expected: "refused at once".to_owned(),
            got: format!("first refusal {:.0} ms, last pass {:.0} ms", ms(first_refusal), ms(last_pass)),
            reason: format!("acknowledged by {}", acknowledged(&progress)),
            took: known,
            ok,
        });
        self.expect(
            "person",
            "suspended cluster",
            request.clone(),
            Expect::Refused(403, "cluster_suspended"),
        )
        .await;
        admin.administer(HOSTED, "resume", 30).await?;
        self.expect_soon("person", "resumed cluster", request, Expect::Reaches(HOSTED)).await;
        Ok(())
    }

    /// Notes something that is not a request.
    pub(super) fn outcome(
        &mut self,
        who: &str,
        what: &str,
        expected: &str,
        outcome: std::result::Result<(), String>,
        took: Duration,
    ) {
        let ok = outcome.is_ok();
        let reason = outcome.err().unwrap_or_default();
        let got = if ok { expected.to_owned() } else { "otherwise".to_owned() };
        let (who, request, expected) = (who.to_owned(), what.to_owned(), expected.to_owned());
        self.note(Row { who, request, expected, got, reason, took, ok });
    }
}

fn acknowledged(progress: &Value) -> String {
    let fields = progress.as_object().into_iter().flatten().filter(|(name, _)| *name != "cluster");
    fields.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn policy() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "agents-only-get", "namespace": "istio-system"},
        "spec": {
            "selector": {"matchLabels": {"istio": "ingressgateway"}},
            "action": "DENY",
            "rules": [{
                "to": [{"operation": {"notMethods": ["GET"]}}],
                "when": [{"key": "request.headers[x-portcullis-source-type]", "values": ["mcp_agent"]}],
            }],
        },
    })
}
