//! Who sent audit records, and what each sender may say.
//!
//! The mesh token is the same for all filters, so it proves nothing here: what counts is the principal that
//! the service's own sidecar saw.

use std::collections::{BTreeMap, HashMap};

use portcullis_identity::ids::{ClusterId, SpiffeId};
use portcullis_protocol::audit::SIDECAR_HOP;
use portcullis_protocol::wire::AuditRecord;

/// `hop` and `proxy` of the service's own records, and how its callers prove themselves.
pub const CONTROL_HOP: &str = "control";
pub(super) const CONTROL_PROXY: &str = "control-service";
const CONTROL_CREDENTIALS: [&str; 4] = ["admin_token", "cluster_token", "join_token", "cluster_certificate"];

/// The highest number at which a gateway's stream may be when it is first heard of: a gateway may have
/// counted for months before this database was made or restored.
const MAX_FIRST: i64 = 1 << 40;
/// How far a stream may be ahead of its pace. A gateway that refused everybody through a long outage counted
/// all of that; what a sidecar may make up at once has to stay small.
const AHEAD_GATEWAY: i64 = 1 << 32;
const AHEAD_SIDECAR: i64 = 10_000_000;
/// Requests a second that no worker reaches.
const PACE: i64 = 100_000;

/// A sender of audit records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    principal: String,
    kind: SenderKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SenderKind {
    Control,
    Gateway,
    Sidecar(Vec<ClusterId>),
}

/// Why a record, or what a batch says of its stream, is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectReason {
    /// It cannot be read.
    Unreadable,
    /// Only the control service itself records such a thing.
    Control,
    /// A sidecar's records have a hop of their own.
    Hop,
    /// The sidecar stands in another cluster.
    Cluster,
    /// The cluster belongs to another tenant.
    Tenant,
    /// The stream belongs to another principal.
    Stream,
    /// The stream cannot have come so far.
    Number,
}

impl RejectReason {
    /// The name in the log and in metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Control => "control",
            Self::Hop => "hop",
            Self::Cluster => "cluster",
            Self::Tenant => "tenant",
            Self::Stream => "stream",
            Self::Number => "number",
        }
    }
}

/// How often what was not taken.
pub type Refusals = BTreeMap<RejectReason, u64>;

/// What the clusters of a sender belong to.
pub type Tenants = HashMap<ClusterId, String>;

impl Sender {
    /// The control service itself.
    #[must_use]
    pub fn control() -> Self {
        Self { principal: String::new(), kind: SenderKind::Control }
    }

    /// A gateway: it sees requests for all clusters of all tenants.
    #[must_use]
    pub fn gateway(principal: &SpiffeId) -> Self {
        Self { principal: principal.to_string(), kind: SenderKind::Gateway }
    }

    /// A sidecar of these clusters.
    #[must_use]
    pub fn sidecar(principal: &SpiffeId, clusters: impl IntoIterator<Item = ClusterId>) -> Self {
        let kind = SenderKind::Sidecar(clusters.into_iter().collect());
        Self { principal: principal.to_string(), kind }
    }

    /// The SPIFFE id; empty for the control service itself.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Whether it is a gateway.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.kind == SenderKind::Gateway
    }

    /// Whether it is a sidecar.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        matches!(self.kind, SenderKind::Sidecar(_))
    }

    /// The name in the database.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            SenderKind::Control => "control",
            SenderKind::Gateway => "gateway",
            SenderKind::Sidecar(_) => "sidecar",
        }
    }

    /// The clusters whose tenants matter for what the sender may write.
    #[must_use]
    pub fn clusters(&self) -> &[ClusterId] {
        match &self.kind {
            SenderKind::Sidecar(clusters) => clusters,
            SenderKind::Control | SenderKind::Gateway => &[],
        }
    }

    /// Whether the sender may write this record. `tenants`: those of its clusters; a cluster that nobody registered
    /// has an empty one.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, record: &AuditRecord, tenants: &Tenants) -> Result<(), RejectReason> {
        if self.kind == SenderKind::Control {
            return Ok(());
        }
        let control = record.hop == CONTROL_HOP
            || record.proxy == CONTROL_PROXY
            || CONTROL_CREDENTIALS.contains(&record.credential.as_str());
        if control {
            return Err(RejectReason::Control);
        }
        if !self.is_sidecar() {
            return Ok(());
        }
        if record.hop != SIDECAR_HOP {
            return Err(RejectReason::Hop);
        }
        // A request that was refused early names neither cluster nor tenant.
        let mut own =
            tenants.iter().filter(|(id, _)| [id.as_str(), ""].contains(&&*record.cluster)).peekable();
        if own.peek().is_none() {
            return Err(RejectReason::Cluster);
        }
        if !record.tenant.is_empty() && !own.any(|(_, tenant)| *tenant == record.tenant) {
            return Err(RejectReason::Tenant);
        }
        Ok(())
    }

    /// Where a stream begins that is first heard of at this number.
    #[must_use]
    pub fn base(&self, number: i64) -> i64 {
        if self.is_gateway() && number <= MAX_FIRST { number } else { 0 }
    }

    /// Whether a stream of this sender can have come so far.
    #[must_use]
    pub fn can_have_reached(&self, number: i64, base: i64, elapsed_s: i64) -> bool {
        let ahead = match self.kind {
            SenderKind::Control => return true,
            SenderKind::Gateway => AHEAD_GATEWAY,
            SenderKind::Sidecar(_) => AHEAD_SIDECAR,
        };
        number <= base.saturating_add(ahead).saturating_add(PACE.saturating_mul(elapsed_s.max(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SpiffeId {
        SpiffeId::new(&["spiffe://cluster.local/ns/", name, "/sa/x"].concat()).unwrap()
    }

    #[test]
    fn a_sidecar_of_two_clusters_names_each_with_its_own_tenant() {
        let cluster = |name: &str| ClusterId::new(name).unwrap();
        let sender = Sender::sidecar(&id("a"), [cluster("one"), cluster("two")]);
        let tenants = Tenants::from([(cluster("one"), "acme".into()), (cluster("two"), "globex".into())]);
        for (tenant, named, wanted) in [
            ("acme", "one", Ok(())),
            ("globex", "two", Ok(())),
            ("globex", "", Ok(())),
            ("", "", Ok(())),
            ("globex", "one", Err(RejectReason::Tenant)),
            ("other", "", Err(RejectReason::Tenant)),
            ("acme", "three", Err(RejectReason::Cluster)),
            ("", "three", Err(RejectReason::Cluster)),
        ] {
            let record = AuditRecord {
                tenant: tenant.into(),
                cluster: named.into(),
                hop: "sidecar".into(),
                ..AuditRecord::default()
            };
            assert_eq!(sender.judge(&record, &tenants), wanted, "{tenant} {named}");
        }
    }

    #[test]
    fn a_stream_that_was_too_far_ahead_is_believed_again_in_time() {
        let sender = Sender::sidecar(&id("a"), []);
        assert!(sender.can_have_reached(AHEAD_SIDECAR, 0, 0));
        assert!(!sender.can_have_reached(AHEAD_SIDECAR + 1, 0, 0));
        assert!(!sender.can_have_reached(AHEAD_SIDECAR + 1, 0, -5), "the clock was set back");
        assert!(sender.can_have_reached(AHEAD_SIDECAR + PACE, 0, 1));
        assert!(!sender.can_have_reached(i64::MAX, 0, 3600));
        let gateway = Sender::gateway(&id("g"));
        assert_eq!((gateway.base(MAX_FIRST), gateway.base(MAX_FIRST + 1)), (MAX_FIRST, 0));
        assert_eq!(sender.base(5), 0);
    }
}
