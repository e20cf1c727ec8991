//! A request as the plugins of this module see it, and what was decided about it.

use std::rc::Rc;

use portcullis_identity::ClusterId;
use portcullis_model::Refusal;

use crate::cache::Known;

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Decision {
    /// Nothing: an earlier filter ended it, or no stage decided.
    #[default]
    None,
    /// Let through.
    Allow,
    /// Let through, or answered here, without an identity: it is on the closed list.
    Exempt,
    /// Refused, or in dry-run what would have been refused.
    Refuse(Refusal),
}

impl Decision {
    /// The name in audit records.
    #[must_use]
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Allow => "allow",
            Self::Exempt => "exempt",
            Self::Refuse(_) => "refuse",
        }
    }
}

/// A request.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Who asks, once authenticated.
    pub known: Option<Rc<Known>>,
    /// The cluster that is asked for.
    pub cluster: Option<ClusterId>,
    /// What was decided.
    pub decision: Decision,
    /// What an audit record says of the request, encoded.
    pub(crate) audit_part: Vec<u8>,
    /// Wall clock when the request began, nanoseconds since the Unix epoch; 0 when we did not see that.
    pub(crate) started_ns: u64,
    /// Bytes of the request's body, where they are known at its beginning.
    pub(crate) request_length: Option<u64>,
    /// True when a plugin of ours answered the request.
    pub answered: bool,
}
