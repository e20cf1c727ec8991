use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Seconds that a change may wait for its acknowledgement.
const MAX_WAIT: u64 = 30;

/// `?wait=`: how long to wait until all workers concerned have a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_WAIT))]
    pub wait: Option<u64>,
}

impl Wait {
    /// The checked duration.
    ///
    /// # Errors
    /// [`Invalid`] when it is too long.
    pub fn duration(self) -> Result<Duration, Invalid> {
        match self.wait.unwrap_or(0) {
            s @ 0..=MAX_WAIT => Ok(Duration::from_secs(s)),
            _ => Err(Invalid("wait: must be from 0 to 30 seconds")),
        }
    }
}
