//! Which data clusters there are, as far as routes are concerned.

use portcullis_identity::ids::ClusterId;

/// Where a cluster stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On the platform: reached by an internal address.
    Hosted,
    /// At a customer's: reached through a tunnel that it dialled.
    OnPremises,
}

/// What operators say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It keeps its routes, whatever else its state: the filter refuses by the snapshot, at once, and a cluster that is
    /// resumed or comes back waits for nobody.
    Kept,
    /// Gone for good: it has no routes.
    Retired,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub id: ClusterId,
    /// Where it stands.
    pub placement: Placement,
    /// Whether it has routes.
    pub state: State,
}
