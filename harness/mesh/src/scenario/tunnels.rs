//! What must not reach a data cluster around the gateway.

use std::time::Instant;

use super::{Expect, Scenario};
use crate::error::Result;
use crate::http::Request;
use crate::mesh::Impostor;
use crate::sample::ONPREM;

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
        self.expect_soon("person", "tunnel down", request.clone(), Expect::Unanswered).await;
        for (what, node_id, cluster_id) in [
            ("impostor's tunnel, by cluster id", "evil", ONPREM),
            ("impostor's tunnel, by node id", ONPREM, "evil"),
        ] {
            let start = Instant::now();
            let impostor = Impostor { certificate: "evil", node_id, cluster_id };
            let outcome = self.mesh.refuses_impostor(impostor).await.map_err(|error| error.to_string());
            self.outcome("other data cluster", what, "refused", outcome, start.elapsed());
            self.expect("person", "while the impostor dials", request.clone(), Expect::Unanswered).await;
            self.mesh.stop_impostors().await;
        }
        self.mesh.start_tunnel().await?;
        self.expect_soon("person", "tunnel up again", request, Expect::Reaches(ONPREM)).await;
        Ok(())
    }
}
