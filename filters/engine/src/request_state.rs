//! A request as the plugins of one module see it, and what was decided about it.

use std::sync::Arc;

use portcullis_identity::ClusterId;
use portcullis_model::{Permit, Refusal};

use crate::answer::Kept;
use crate::cache::CachedIdentity;
use crate::kept_tokens::KeptToken;

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Decision {
    /// Nothing: an earlier filter ended it, or no stage decided.
    #[default]
    None,
    /// Let through.
    Allow,
    /// Let through, or answered here, without an identity: it is on the closed list.
    Exempt,
    /// Refused, or in dry-run what would have been refused.
    Refuse(Refusal),
    /// Let through, and ended while it was open; in dry-run what would have been ended.
    End(Refusal),
}

impl Decision {
    /// The name in audit records.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Allow => "allow",
            Self::Exempt => "exempt",
            Self::Refuse(_) => "refuse",
            Self::End(_) => "end",
        }
    }
}

/// A request.
#[derive(Debug, Default)]
pub struct RequestState {
    /// Who asks, once authenticated.
    pub known: Option<Arc<CachedIdentity>>,
    /// What the record says of whose credential was refused, encoded; empty where that is not known.
    pub refused_part: Vec<u8>,
    /// The cluster that is asked for, where it may not be reached.
    pub cluster: Option<ClusterId>,
    /// Whether that cluster is the caller's own.
    pub owned: bool,
    /// The page of another origin (`Origin`) that made a browser send the cookie, or show the certificate, by which the
    /// caller is known.
    pub sent_by_page: Option<Box<[u8]>>,
    /// The proof that the cluster may be reached, once that was checked.
    pub permit: Option<Permit>,
    /// What was decided.
    pub decision: Decision,
    /// What an audit record says of the request, encoded.
    pub audit_part: Vec<u8>,
    /// Wall clock when the request began, nanoseconds since the Unix epoch; 0 when we did not see that.
    pub started_ns: u64,
    /// Bytes of the request's body, where they are known at its beginning.
    pub request_length: Option<u64>,
    /// True when a plugin of ours answered the request.
    pub answered: bool,
    /// True when a proxy on the way said that nobody answered: the first plugin that sees it takes the header away.
    pub unanswered: bool,
    /// The opaque token that its provider is asked about again while the request is open.
    pub token: Option<OpaqueToken>,
    /// What stages keep for the answer.
    pub kept: Kept,
}

/// An opaque token, kept for as long as its request is open: nobody else could ask about it again.
pub struct OpaqueToken {
    /// The token.
    pub token: KeptToken,
    /// Until when the provider's last answer holds, seconds since the Unix epoch.
    pub good_until_s: u64,
    /// Since when an answer is waited for, by the monotonic clock in milliseconds.
    pub asked_ms: Option<u64>,
}

impl std::fmt::Debug for OpaqueToken {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpaqueToken").field("good_until_s", &self.good_until_s).finish_non_exhaustive()
    }
}

impl RequestState {
    /// Who refused or ended it, and why.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.decision {
            Decision::Refuse(refusal) | Decision::End(refusal) => Some(refusal),
            Decision::None | Decision::Allow | Decision::Exempt => None,
        }
    }

    /// The cluster that is asked for, as far as that is known.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterId> {
        self.permit.as_ref().map(Permit::cluster).or(self.cluster.as_ref())
    }

    /// Forgets the request, but not the memory that its record took.
    pub(crate) fn clear(&mut self) {
        self.known = None;
        self.refused_part.clear();
        self.cluster = None;
        self.owned = false;
        self.sent_by_page = None;
        self.permit = None;
        self.decision = Decision::None;
        self.audit_part.clear();
        self.started_ns = 0;
        self.request_length = None;
        self.answered = false;
        self.unanswered = false;
        self.token = None;
        self.kept.clear();
    }
}

/// What was seen of the response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Response {
    /// Status, once the response passed this filter.
    pub status: Option<u16>,
    /// Bytes of the body, where they are known at its beginning.
    pub length: Option<u64>,
}
