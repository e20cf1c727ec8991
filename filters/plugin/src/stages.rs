//! Which stages a plugin runs.

/// The stages that a root id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// The root id.
    pub name: &'static str,
    /// Establishes the identity.
    pub authn: bool,
    /// Requires and forwards the source type.
    pub source_type: bool,
    /// Checks the cluster and mints the identity token.
    pub cluster_status: bool,
    /// Records the request.
    pub audit: bool,
}

const NONE: Stages =
    Stages { name: "", authn: false, source_type: false, cluster_status: false, audit: false };

impl Stages {
    /// Every root id of the module.
    pub const ALL: [Self; 5] = [
        Self { name: "gateway", authn: true, source_type: true, cluster_status: true, audit: true },
        Self { name: "authn", authn: true, ..NONE },
        Self { name: "source-type", source_type: true, ..NONE },
        Self { name: "cluster-status", cluster_status: true, ..NONE },
        Self { name: "audit", audit: true, ..NONE },
    ];

    /// The stages of a root id; `None` for one that this module does not have.
    #[must_use]
    pub fn of(root_id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|stages| stages.name.as_bytes() == root_id)
    }

    /// True when the plugin runs alone, so that no other plugin of this module shares the request.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.name == "gateway"
    }

    /// True when the plugin decides anything by the snapshot.
    #[must_use]
    pub fn decides(self) -> bool {
        self.authn || self.source_type || self.cluster_status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_id_is_exact() {
        assert!(
            Stages::of(b"gateway").is_some_and(|s| s.authn && s.source_type && s.cluster_status && s.audit)
        );
        for name in [&b""[..], b"Gateway", b"gateway ", b"other"] {
            assert_eq!(Stages::of(name), None);
        }
    }
}
