//! What the sidecars of data clusters may hold of the mesh API at a time: each principal so much, and all of
//! them together no more than leaves the gateways their part.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_control_domain::log_throttle::LogThrottle;
use portcullis_control_snapshot::POLLS;
use portcullis_identity::ids::SpiffeId;

/// Other calls of one principal at a time.
const CALLS: usize = 32;
/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It waits for a new snapshot.
    Poll,
    /// It is done as fast as the service can.
    Call,
}

#[derive(Debug, Default)]
struct Held {
    polls: usize,
    calls: usize,
}

impl Held {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Poll => &mut self.polls,
            Kind::Call => &mut self.calls,
        }
    }
}

#[derive(Debug, Default)]
struct All {
    used: usize,
    // Principals are those of the configuration, so there are few.
    of: HashMap<SpiffeId, Held>,
}

/// The shares of all sidecars.
#[derive(Debug)]
pub struct Shares {
    together: usize,
    all: Mutex<All>,
    said: LogThrottle,
}

impl Shares {
    /// Sidecars get no more than half of a listener's connections; the rest is the gateways'.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self { together: (connections / 2).max(1), all: Mutex::default(), said: LogThrottle::default() }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share for one call of a sidecar; it is given back when the share is dropped.
    #[must_use]
    pub fn take(&self, principal: &SpiffeId, kind: Kind) -> Option<Share<'_>> {
        let most = match kind {
            Kind::Poll => POLLS,
            Kind::Call => CALLS,
        };
        let mut all = self.lock();
        let free = all.used < self.together;
        let held = all.of.entry(principal.clone()).or_default();
        if free && *held.of(kind) < most {
            *held.of(kind) += 1;
            all.used += 1;
            return Some(Share { shares: self, principal: principal.clone(), kind });
        }
        if self.said.allow(principal.as_str()) {
            tracing::warn!(%principal, ?kind, most, together = self.together, "a sidecar has as many calls open as it may");
        }
        None
    }
}

/// One call's place.
#[derive(Debug)]
pub struct Share<'a> {
    shares: &'a Shares,
    principal: SpiffeId,
    kind: Kind,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut all = self.shares.lock();
        all.used = all.used.saturating_sub(1);
        if let Some(held) = all.of.get_mut(&self.principal) {
            let held = held.of(self.kind);
            *held = held.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar(n: usize) -> SpiffeId {
        SpiffeId::new(&["spiffe://cluster.local/ns/a/sa/s", &n.to_string()].concat()).unwrap()
    }

    #[test]
    fn a_principal_gets_its_share_and_no_more_until_it_gives_back() {
        let shares = Shares::new(10_000);
        let mut held: Vec<_> = (0..POLLS).map(|_| shares.take(&sidecar(1), Kind::Poll).unwrap()).collect();
        assert!(shares.take(&sidecar(1), Kind::Poll).is_none());
        assert!(shares.take(&sidecar(1), Kind::Call).is_some(), "records are delivered beside the polls");
        assert!(shares.take(&sidecar(2), Kind::Poll).is_some());
        held.pop();
        assert!(shares.take(&sidecar(1), Kind::Poll).is_some());
    }

    #[test]
    fn all_sidecars_together_leave_half_to_the_gateways() {
        let shares = Shares::new(40);
        let held: Vec<_> = (0..40).filter_map(|n| shares.take(&sidecar(n), Kind::Poll)).collect();
        assert_eq!(held.len(), 20);
        drop(held);
        assert!(shares.take(&sidecar(1), Kind::Call).is_some());
    }
}
