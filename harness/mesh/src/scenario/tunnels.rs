//! What must not reach a data cluster around the gateway.

use std::time::{Duration, Instant};

use super::{Expect, Scenario};
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::mesh::{Impostor, ONPREM};

impl Scenario<'_> {
    pub(super) async fn tunnels(&mut self) -> Result<()> {
        let plan = self.mesh.plan();
        for (what, address) in [
            ("plaintext to the hosted sidecar", plan.hosted_sidecar()),
            ("plaintext to the on-premises sidecar", plan.onprem_sidecar()),
            ("plaintext to the tunnel gateway", plan.tunnel_inbound()),
            ("plaintext to the control service", plan.control_sidecar()),
        ] {
            self.expect("neighbour", what, Request::get(address, "/tables"), Expect::CutOff).await;
        }
        let request = self.to(ONPREM).bearer(&self.human()?);
        self.mesh.kill("tunnel-agent").await;
        self.expect_soon("person", "tunnel down", request.clone(), Expect::Envoy(503)).await;
        for (what, node_id, cluster_id) in [
            ("impostor's tunnel, by cluster id", "evil", ONPREM),
            ("impostor's tunnel, by node id", ONPREM, "evil"),
        ] {
            let start = Instant::now();
            let outcome = self.impostor(Impostor { certificate: "evil", node_id, cluster_id }).await;
            let outcome = outcome.map_err(|error| error.to_string());
            self.outcome("other data cluster", what, "refused", outcome, start.elapsed());
            self.expect("person", "while the impostor dials", request.clone(), Expect::Envoy(503)).await;
            self.mesh.stop_impostors().await;
        }
        self.mesh.start_tunnel().await?;
        self.expect_soon("person", "tunnel up again", request, Expect::Reaches(ONPREM)).await;
        Ok(())
    }

    /// Lets an impostor dial until the gateway has refused it at least once, and checks that it never accepted.
    async fn impostor(&mut self, impostor: Impostor) -> Result<()> {
        let (accepted, refused) = (self.mesh.accepted_tunnels().await?, self.mesh.refused_tunnels().await?);
        self.mesh.start_impostor(impostor)?;
        let start = Instant::now();
        while self.mesh.refused_tunnels().await? == refused {
            self.mesh.check()?;
            if start.elapsed() > Duration::from_secs(20) {
                let log = self.mesh.log("tunnel-gateway");
                let what = "the refusal of an impostor".to_owned();
                let last = "it has not been refused".to_owned();
                return Err(MeshError::NotReady { what, waited: start.elapsed(), last, log });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match self.mesh.accepted_tunnels().await? {
            now if now == accepted => Ok(()),
            _ => Err(MeshError::NotReady {
                what: "the refusal of an impostor".to_owned(),
                waited: start.elapsed(),
                last: "its tunnel was ACCEPTED".to_owned(),
                log: self.mesh.log("tunnel-gateway"),
            }),
        }
    }
}
