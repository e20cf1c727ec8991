//! The control service gone: what is known stays enforced until it is stale, then everything is refused.

use std::time::Duration;

use super::{Expect, Scenario};
use crate::error::Result;
use crate::mesh::{FOREIGN, HOSTED};

impl Scenario<'_> {
    pub(super) async fn outage(&mut self) -> Result<()> {
        let good = self.human()?;
        let (own, foreign) = (self.to(HOSTED).bearer(&good), self.to(FOREIGN).bearer(&good));
        self.mesh.stop_control().await;
        let what = "control service stopped: own cluster";
        self.expect("person", what, own.clone(), Expect::Reaches(HOSTED)).await;
        let what = "control service stopped: foreign cluster";
        self.expect("person", what, foreign, Expect::Refused(404, "cluster_unknown")).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let stale = Expect::Refused(503, "snapshot_stale");
        self.expect_soon("person", "stopped until the snapshot is stale", own.clone(), stale).await;
        self.mesh.start_control().await?;
        self.expect_soon("person", "control service started again", own, Expect::Reaches(HOSTED)).await;
        Ok(())
    }
}
