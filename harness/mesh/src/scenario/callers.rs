//! Who may come in, and what nobody can forge.

use hyper::header::HOST;
use serde_json::json;

use super::{Expect, Row, SELECTOR, Scenario};
use crate::error::Result;
use crate::idp::Algorithm;
use crate::sample::{CLIENT_PEOPLE, HOSTED, ONPREM};

/// The domain of the sample platform, as `pluginConfig.domain` says it.
pub(super) const DOMAIN: &str = "alfred-platform.example.com";

impl Scenario<'_> {
    pub(super) async fn callers(&mut self) -> Result<()> {
        let person = |alg| self.token("ann@acme.example", CLIENT_PEOPLE, alg, &json!({}));
        let (rsa, ec, ed) = (person(Algorithm::Rs256)?, person(Algorithm::Es256)?, person(Algorithm::EdDsa)?);
        let (worker, agent, key) = (self.worker()?, self.agent()?, self.key.key.clone());
        let rows = [
            ("person, RS256", "hosted cluster by header", self.to(HOSTED).bearer(&rsa), HOSTED),
            ("person, ES256", "on-premises cluster, tunnel", self.to(ONPREM).bearer(&ec), ONPREM),
            (
                "person, EdDSA",
                "cluster by host",
                self.mesh
                    .get("/tables")
                    .header(HOST.as_str(), format!("{HOSTED}.clusters.{DOMAIN}"))
                    .bearer(&ed),
                HOSTED,
            ),
            (
                "person, ES256",
                "cluster by path",
                self.mesh.get(&format!("/clusters/{ONPREM}/tables")).bearer(&ec),
                ONPREM,
            ),
            ("worker, EdDSA", "hosted cluster", self.to(HOSTED).bearer(&worker), HOSTED),
            ("MCP agent for a person", "on-premises cluster", self.to(ONPREM).bearer(&agent), ONPREM),
            ("worker, API key", "on-premises cluster", self.to(ONPREM).header("x-api-key", key), ONPREM),
        ];
        for (who, what, request, cluster) in rows {
            self.expect(who, what, request, Expect::Reaches(cluster)).await;
        }
        Ok(())
    }

    /// Headers that only Portcullis may set have no effect, whoever sends them.
    pub(super) async fn forgeries(&mut self) -> Result<()> {
        let request = self
            .human_request()?
            .header("x-portcullis-subject", "root")
            .header("x-portcullis-cluster", ONPREM)
            .header("x-portcullis-tenant", "globex")
            .header("x-portcullis-source-type", "worker")
            .header("x_portcullis_roles", "admin")
            .header("x-portcullis-identity", "forged");
        let response = request.send().await?;
        let body = response.json();
        let seen: Vec<(&str, &str)> = body["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|h| (h[0].as_str().unwrap_or_default(), h[1].as_str().unwrap_or_default()))
            .filter(|(name, _)| name.starts_with("x-portcullis-") || name.contains('_'))
            .collect();
        let has = |name: &str, value: &str| {
            let values: Vec<&str> = seen.iter().filter(|(n, _)| *n == name).map(|(_, v)| *v).collect();
            values == [value]
        };
        let ok = body["identity"]["subject"] == "ann@acme.example"
            && body["cluster"] == HOSTED
            && has("x-portcullis-cluster", HOSTED)
            && has("x-portcullis-subject", "ann@acme.example")
            && has("x-portcullis-tenant", "acme")
            && has("x-portcullis-source-type", "human")
            && !seen
                .iter()
                .any(|(name, value)| name.contains('_') || *value == "forged" || *value == "admin");
        let got = if ok { "removed" } else { "SEEN" };
        self.note(Row {
            who: "person".to_owned(),
            request: "forged x-portcullis-* in the request".to_owned(),
            expected: "removed".to_owned(),
            got: got.to_owned(),
            reason: format!("{} headers of ours", seen.len()),
            took: response.elapsed,
            ok,
        });
        self.forged_response().await
    }

    async fn forged_response(&mut self) -> Result<()> {
        let request = self.mesh.get("/forge").header(SELECTOR, HOSTED).bearer(&self.human()?);
        let response = request.send().await?;
        let forged = response
            .headers
            .keys()
            .filter(|name| name.as_str().replace('_', "-").starts_with("x-portcullis-"))
            .count();
        let ok = response.status == 200 && forged == 0 && response.header("x-data-api") == "kept";
        self.note(Row {
            who: "Data API".to_owned(),
            request: "forged x-portcullis-* in the response".to_owned(),
            expected: "removed".to_owned(),
            got: if ok { "removed".to_owned() } else { format!("{} with {forged} forged", response.status) },
            reason: "other headers are kept".to_owned(),
            took: response.elapsed,
            ok,
        });
        Ok(())
    }
}
