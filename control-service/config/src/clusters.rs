//! When a data cluster counts as reached.

use std::time::Duration;

use portcullis_control_domain::signal::{Recoveries, Rules};

use crate::section::Section;

/// By what the service tells how data clusters are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClustersConfig {
    /// Without a heartbeat for so long, a cluster is offline.
    pub offline_after: Duration,
    /// How signals make a state.
    pub rules: Rules,
}

pub(crate) fn read(mut section: Section<'_>) -> ClustersConfig {
    let offline_after = section.number("offlineAfterSeconds", 90, 1, 3600);
    let every = section.number("recoverEverySeconds", 30, 0, 3600);
    section.finish();
    let recoveries = Recoveries { every_ms: u64::from(every) * 1000, ..Recoveries::default() };
    let rules = Rules { recoveries, ..Rules::default() };
    ClustersConfig { offline_after: Duration::from_secs(offline_after.into()), rules }
}
