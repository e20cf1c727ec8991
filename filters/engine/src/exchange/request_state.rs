//! A request as the plugins of one module see it, and what was decided about it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use portcullis_identity::ClusterId;
use portcullis_model::{Decision, Permit, Refusal};

use crate::cache::CachedIdentity;
use crate::introspection::kept_tokens::KeptToken;

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

/// What stages keep of a request: at most one thing of each type, which is private to the stage that keeps it.
/// Only requests of which something is kept have their answer shown to the stages.
#[derive(Default)]
pub struct Kept(Vec<Box<dyn Any>>);

impl fmt::Debug for Kept {
    /// Without what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.0.len()).finish()
    }
}

impl Kept {
    /// Keeps something, in place of what was kept of that type.
    pub fn keep<T: Any>(&mut self, thing: T) {
        self.forget::<T>();
        self.0.push(Box::new(thing));
    }

    /// What is kept of a type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.iter().find_map(|kept| kept.downcast_ref())
    }

    /// Forgets what is kept of a type.
    pub fn forget<T: Any>(&mut self) {
        self.0.retain(|kept| !kept.is::<T>());
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
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

impl fmt::Debug for OpaqueToken {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpaqueToken").field("good_until_s", &self.good_until_s).finish_non_exhaustive()
    }
}

impl RequestState {
    /// Who refused or ended it, and why.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.decision {
            Decision::Refuse(refusal) | Decision::End(refusal) => Some(refusal),
            Decision::None | Decision::Allow | Decision::Exempt | Decision::Platform => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Mine(u8);

    #[test]
    fn one_thing_of_each_type_is_kept() {
        let mut kept = Kept::default();
        assert!(kept.is_empty() && kept.get::<Mine>().is_none());
        kept.keep(Mine(1));
        kept.keep("another stage's");
        kept.keep(Mine(2));
        assert_eq!((kept.get(), kept.get::<&str>()), (Some(&Mine(2)), Some(&"another stage's")));
        kept.forget::<&str>();
        assert!(kept.get::<&str>().is_none() && !kept.is_empty());
        kept.clear();
        assert!(kept.is_empty());
    }
}
