//! Callers inside the mesh, at the gateway's second port: known by their certificate, and nobody else.

use serde_json::json;

use super::{Expect, SELECTOR, Scenario};
use crate::error::Result;
use crate::http::Request;
use crate::idp::Algorithm;
use crate::pki::Workload;
use crate::sample::{CLIENT_PEOPLE, FOREIGN, HOSTED, ONPREM};
use crate::tls::Tls;

/// The SPIFFE id of [`Workload::RUNNER`].
const RUNNER: &str = "spiffe://cluster.local/ns/acme-workflows/sa/workflow-runner";

/// What an Envoy before ours would have written about the runner.
const FORGED_PEER: &str = "By=spiffe://cluster.local/ns/istio-system/sa/ingressgateway;Hash=00;\
    URI=spiffe://cluster.local/ns/acme-workflows/sa/workflow-runner";

impl Scenario<'_> {
    pub(super) async fn workloads(&mut self) -> Result<()> {
        let runner = self.mesh.tls_of(Workload::RUNNER)?;
        let stranger = self.mesh.tls_of(Workload::STRANGER)?;
        let as_runner = |cluster| Expect::Caller {
            cluster,
            source_type: "worker",
            credential: "workload",
            subject: RUNNER,
        };
        let person = self.token("ann@acme.example", CLIENT_PEOPLE, Algorithm::Rs256, &json!({}))?;
        let as_person = Expect::Caller {
            cluster: HOSTED,
            source_type: "human",
            credential: "jwt",
            subject: "ann@acme.example",
        };
        let unknown = Expect::Refused(401, "workload_unknown");
        let rows = [
            ("workflow runner", "mesh port, hosted cluster", self.inside(&runner, HOSTED), as_runner(HOSTED)),
            ("workflow runner", "mesh port, tunnel", self.inside(&runner, ONPREM), as_runner(ONPREM)),
            (
                "workflow runner",
                "mesh port, cluster of another tenant",
                self.inside(&runner, FOREIGN),
                Expect::Refused(404, "cluster_unknown"),
            ),
            (
                "workflow runner",
                "mesh port, token of a person",
                self.inside(&runner, HOSTED).bearer(&person),
                as_person,
            ),
            ("unknown workload", "mesh port", self.inside(&stranger, HOSTED), unknown),
            (
                "unknown workload",
                "mesh port, forged certificate header",
                self.inside(&stranger, HOSTED).header("x-forwarded-client-cert", FORGED_PEER),
                unknown,
            ),
            (
                "neighbour",
                "port 8080, forged certificate header",
                self.to(HOSTED).header("x-forwarded-client-cert", FORGED_PEER),
                Expect::Refused(401, "credential_missing"),
            ),
        ];
        for (who, what, request, expect) in rows {
            self.expect(who, what, request, expect).await;
        }
        self.cut_off_from_the_mesh_port().await
    }

    /// Nobody without a certificate of the mesh reaches the filter there, with a good token or without.
    async fn cut_off_from_the_mesh_port(&mut self) -> Result<()> {
        let token = self.human()?;
        let nobody = self.mesh.tls_of_nobody()?;
        let forger = self.mesh.forged_tls_of(Workload::RUNNER)?;
        let plain = Request::get(self.mesh.plan().ingress_mesh(), "/tables").header(SELECTOR, HOSTED);
        let rows = [
            ("person", "mesh port, TLS without a certificate", self.inside(&nobody, HOSTED)),
            ("forger", "mesh port, runner's name, other issuer", self.inside(&forger, HOSTED)),
            ("person", "mesh port, plaintext", plain),
        ];
        for (who, what, request) in rows {
            self.expect(who, what, request.bearer(&token), Expect::CutOff).await;
        }
        Ok(())
    }

    /// A GET at the port for callers inside the mesh.
    fn inside(&self, tls: &Tls, cluster: &str) -> Request {
        Request::get(self.mesh.plan().ingress_mesh(), "/tables").header(SELECTOR, cluster).over(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_the_workload_of_this_name() {
        assert_eq!(Workload::RUNNER.spiffe_id(), RUNNER);
        assert!(FORGED_PEER.ends_with(RUNNER));
    }
}
