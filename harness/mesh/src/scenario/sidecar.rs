//! The filter at a data cluster's sidecar: the gateway's identity token is all that counts there.

use std::time::Duration;

use hyper::Method;
use portcullis_identity::HEADER;
use serde_json::{Value, json};

use super::{Expect, Row, Scenario};
use crate::data_api::headers_seen;
use crate::error::Result;
use crate::http::{Request, Response};
use crate::mesh::{HOSTED, ONPREM};
use crate::overlay::Overlay;
use crate::pki::Workload;

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
        self.mesh.guard_sidecar().await?;
        let with_token = self.mesh.at_sidecar()?.header(HEADER, &own);
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
        let passed = self.until_seen(&direct, |seen| flat(seen).len() > ALL.len()).await?;
        let outcome =
            if flat(&passed).iter().any(|(_, value)| value == "root") { Ok(()) } else { Err(passed.text()) };
        self.outcome("operator", "filter at the sidecar taken away", "headers pass", outcome, passed.elapsed);
        Ok(())
    }

    /// Its records are taken, all of them, as its own.
    async fn records_of_sidecar(&mut self) -> Result<()> {
        let begun = std::time::Instant::now();
        let mut outcome = Err("no record came".to_owned());
        for _ in 0..100 {
            let admin = self.mesh.admin()?;
            let records = admin.call(Method::GET, "/v1/audit/records?hop=sidecar", None).await?;
            let status = admin.call(Method::GET, "/v1/audit/status", None).await?;
            let records = records["records"].as_array().cloned().unwrap_or_default();
            let own = Workload::HOSTED.spiffe_id();
            if let Some(foreign) = records.iter().find(|r| r["principal"] != own.as_str()) {
                outcome = Err(foreign.to_string());
                break;
            }
            outcome = match (status["rejected"].as_u64(), records.iter().any(|r| r["decision"] == "refuse")) {
                (Some(0), true) => Ok(()),
                _ => Err(format!("{} records, rejected: {}", records.len(), status["rejected"])),
            };
            if outcome.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let what = "records of the filter at the sidecar";
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
        let seen = self.until_seen(request, |seen| seen.status == 200 && flat(seen) == wanted).await?;
        let ok = seen.status == 200 && flat(&seen) == wanted;
        self.note(Row {
            who: who.to_owned(),
            request: what.to_owned(),
            expected: "as the token says".to_owned(),
            got: if ok { "as the token says".to_owned() } else { "otherwise".to_owned() },
            reason: if ok { format!("{} flat headers", wanted.len()) } else { seen.text() },
            took: seen.elapsed,
            ok,
        });
        Ok(())
    }

    /// Sends a request until the answer fits, for a minute; returns the last answer.
    async fn until_seen(&self, request: &Request, fits: impl Fn(&Response) -> bool) -> Result<Response> {
        let mut seen = request.send().await?;
        for _ in 0..600 {
            if fits(&seen) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            seen = request.send().await?;
        }
        Ok(seen)
    }
}

/// The headers of ours that the Data API got, but the token, in order.
fn flat(seen: &Response) -> Vec<(String, String)> {
    let ours = |name: &str| name.replace('_', "-").starts_with("x-portcullis-") && name != HEADER;
    let mut found: Vec<_> = headers_seen(seen).into_iter().filter(|(name, _)| ours(name)).collect();
    found.sort();
    found
}
