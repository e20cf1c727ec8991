//! The control service gone: what is known stays enforced until it is stale, then everything is refused.

use super::{Expect, Scenario};
use crate::error::Result;
use crate::sample::{FOREIGN, HOSTED};

impl Scenario<'_> {
    pub(super) async fn outage(&mut self) -> Result<()> {
        let good = self.human()?;
        let (own, foreign) = (self.to(HOSTED).bearer(&good), self.to(FOREIGN).bearer(&good));
        self.mesh.stop_control().await;
        let what = "control service stopped: own cluster";
        self.expect("person", what, own.clone(), Expect::Reaches(HOSTED)).await;
        let what = "control service stopped: foreign cluster";
        self.expect("person", what, foreign, Expect::Refused(404, "cluster_unknown")).await;
        let stale = Expect::Refused(503, "snapshot_stale");
        self.expect_soon("person", "stopped until the snapshot is stale", own.clone(), stale).await;
        self.mesh.start_control().await?;
        self.expect_soon("person", "control service started again", own, Expect::Reaches(HOSTED)).await;
        Ok(())
    }
}
