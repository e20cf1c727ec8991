//! What the log is told of refused audit records.

use portcullis_control_domain::audit::{Refusals, Sender};
use portcullis_control_domain::log_throttle::LogThrottle;

/// Tells the log of refusals, of each principal once in a second.
#[derive(Debug, Default)]
pub(crate) struct Notices(LogThrottle);

impl Notices {
    /// Nothing that the records say is repeated: they may hold anything.
    pub(crate) fn tell(&self, sender: &Sender, refusals: &Refusals) {
        if refusals.is_empty() || !self.0.allow(sender.principal()) {
            return;
        }
        let reasons: Vec<_> =
            refusals.iter().map(|(unfit, n)| [unfit.code(), "=", &n.to_string()].concat()).collect();
        tracing::warn!(principal = sender.principal(), kind = sender.kind(), reasons = %reasons.join(" "),
            "audit records were refused; see the reasons under \"Whose audit records are taken\" in docs/reference.md");
    }
}
