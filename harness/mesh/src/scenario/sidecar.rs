//! The filter at a data cluster's sidecar: the gateway's identity token is all that counts there.

use std::time::{Duration, Instant};

use hyper::Method;
use portcullis_identity::HEADER;
use serde_json::{Value, json};
use tokio::sync::mpsc::channel;

use super::{Expect, Row, Scenario};
use crate::data_api::headers_seen;
use crate::error::Result;
use crate::http::{Request, Response};
use crate::overlay::Overlay;
use crate::pki::Workload;
use crate::sample::{HOSTED, ONPREM};
use crate::wait::{self, Seen};

/// What the sidecar writes anew from the token of the person.
const ALL: [(&str, &str); 4] = [
    ("x-portcullis-cluster", HOSTED),
    ("x-portcullis-source-type", "human"),
    ("x-portcullis-subject", "ann@acme.example"),
    ("x-portcullis-tenant", "acme"),
];

/// What the stage `source-type` alone writes.
const SOURCE_TYPE: [(&str, &str); 1] = [("x-portcullis-source-type", "human")];

/// Adds what somebody on the way to the data cluster might add.
fn forged(request: Request) -> Request {
    [
        ("x-portcullis-subject", "root"),
        ("x-portcullis-tenant", "globex"),
        ("x-portcullis-source-type", "worker"),
        ("x-portcullis-roles", "admin"),
        ("x-portcullis-cluster", ONPREM),
        ("x_portcullis_source_type", "worker"),
    ]
    .into_iter()
    .fold(request, |request, (name, value)| request.header(name, value))
}

impl Scenario<'_> {
    /// The filter at a sidecar, with all stages and with the source type alone.
    pub(super) async fn filter_at_sidecar(&mut self) -> Result<()> {
        let own = self.mesh.identity_token(&self.human_request()?).await?;
        let other = self.mesh.identity_token(&self.to(ONPREM).bearer(&self.human()?)).await?;
        let with_token = self.mesh.at_sidecar()?.header(HEADER, &own);
        self.under_way_while_the_filter_comes(&with_token).await?;
        let direct = forged(with_token.clone());
        self.rewritten("gateway", "sidecar: forged headers beside its token", &direct, &ALL).await?;
        let whole = self.human_request()?;
        self.rewritten("person", "gateway, then filter at the sidecar", &whole, &ALL).await?;
        let rows = [
            ("sidecar: token for another cluster", Some(&other), "identity_invalid"),
            ("sidecar: forged headers, no token", None, "identity_missing"),
        ];
        for (what, token, reason) in rows {
            let request = token.into_iter().fold(self.mesh.at_sidecar()?, |r, token| r.header(HEADER, token));
            self.expect("gateway", what, forged(request), Expect::Refused(401, reason)).await;
        }
        self.records_of_sidecar().await?;
        self.source_type_at_sidecar(&direct).await?;
        self.mesh.unguard_sidecar().await?;
        // Without the filter nobody takes forged headers away: that was its doing.
        let begun = Instant::now();
        let root = |seen: &Response| flat(seen).iter().any(|(_, value)| value == "root");
        let what = "filter at the sidecar taken away";
        let passed = self.soon(what, &direct, root).await.map(drop).map_err(|error| error.to_string());
        self.outcome("operator", what, "headers pass", passed, begun.elapsed());
        Ok(())
    }

    /// Turns the filter on while a request is under way: that one ends as it began, without the filter.
    async fn under_way_while_the_filter_comes(&mut self, request: &Request) -> Result<()> {
        let (body, parts) = channel(1);
        let slow = request.clone().method(Method::POST);
        let under_way = tokio::spawn(async move { slow.send_slowly(parts).await });
        let (admin, log) = (self.mesh.plan().hosted_admin(), self.mesh.log(HOSTED));
        wait::until("a request under way at the sidecar", &log, async || {
            let gauges = Request::get(admin, "/stats?filter=downstream_rq_active$").send().await?.text();
            let some = gauges.lines().any(|line| line.starts_with("http.inbound") && !line.ends_with(": 0"));
            Ok(if some { Seen::Done(()) } else { Seen::NotYet(gauges) })
        })
        .await?;
        self.mesh.guard_sidecar().await?;
        // The body ends here.
        drop(body);
        let answer = under_way.await.map_err(|error| error.to_string());
        let (outcome, took) = match answer.and_then(|answer| answer.map_err(|error| error.to_string())) {
            Ok(answer) if answer.status == 200 => (Ok(()), answer.elapsed),
            Ok(answer) => (Err(format!("{} {}", answer.status, answer.text())), answer.elapsed),
            Err(error) => (Err(error), Duration::ZERO),
        };
        self.outcome("gateway", "under way while the filter comes", "not cut", outcome, took);
        Ok(())
    }

    /// Its records are taken, all of them, as its own.
    async fn records_of_sidecar(&mut self) -> Result<()> {
        let (begun, admin) = (Instant::now(), self.mesh.admin()?.clone());
        let what = "records of the filter at the sidecar";
        let own = Workload::HOSTED.spiffe_id();
        let log = self.mesh.log("control");
        let outcome = wait::until(what, &log, async || {
            let records = admin.audit("hop=sidecar").await?;
            let status = admin.call(Method::GET, "/v1/audit/status", None).await?;
            if let Some(foreign) = records.iter().find(|r| r["principal"] != own.as_str()) {
                return Ok(Seen::Done(Err(foreign.to_string())));
            }
            Ok(match (status["rejected"].as_u64(), records.iter().any(|r| r["decision"] == "refuse")) {
                (Some(0), true) => Seen::Done(Ok(())),
                _ => Seen::NotYet(format!("{} records, rejected: {}", records.len(), status["rejected"])),
            })
        });
        let outcome = outcome.await.unwrap_or_else(|error| Err(error.to_string()));
        self.outcome("operator", what, "taken as its own", outcome, begun.elapsed());
        Ok(())
    }

    /// The stage `source-type` as the only plugin there.
    async fn source_type_at_sidecar(&mut self, direct: &Request) -> Result<()> {
        let overlay = Overlay::local(self.mesh.manifests());
        let stage = json!([{"op": "replace", "path": "/spec/pluginName", "value": "source-type"}]);
        let target = json!({"kind": "WasmPlugin", "name": "portcullis-sidecar-acme-hosted"});
        let patch = json!({"target": target, "patch": stage.to_string()});
        overlay.edit_list("patches", |patches| patches.push(patch.clone()))?;
        self.mesh.apply().await?;
        self.rewritten("gateway", "sidecar with `source-type` alone", direct, &SOURCE_TYPE).await?;
        overlay.edit_list("patches", |patches: &mut Vec<Value>| patches.retain(|other| *other != patch))
    }

    /// Notes whether the Data API comes to get exactly these flat headers.
    async fn rewritten(
        &mut self,
        who: &str,
        what: &str,
        request: &Request,
        headers: &[(&str, &str)],
    ) -> Result<()> {
        let wanted: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let begun = Instant::now();
        let seen = self.soon(what, request, |seen| seen.status == 200 && flat(seen) == wanted).await;
        let (ok, got, reason, took) = match seen {
            Ok(seen) => (true, "as the token says", format!("{} flat headers", wanted.len()), seen.elapsed),
            Err(error) => (false, "otherwise", error.to_string(), begun.elapsed()),
        };
        self.note(Row {
            who: who.to_owned(),
            request: what.to_owned(),
            expected: "as the token says".to_owned(),
            got: got.to_owned(),
            reason,
            took,
            ok,
        });
        Ok(())
    }
}

/// The headers of ours that the Data API got, but the token, in order.
fn flat(seen: &Response) -> Vec<(String, String)> {
    let ours = |name: &str| name.replace('_', "-").starts_with("x-portcullis-") && name != HEADER;
    let mut found: Vec<_> = headers_seen(seen).into_iter().filter(|(name, _)| ours(name)).collect();
    found.sort();
    found
}
