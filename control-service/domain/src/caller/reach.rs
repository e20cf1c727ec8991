//! What of the platform a caller can touch.

use portcullis_identity::ids::{ClusterId, TenantId};

use crate::text_enum::text_enum;

text_enum!(
    /// Who says something, in the order in which one overrules the other.
    Authority {
        /// The owner of a cluster.
        Owner = "owner",
        /// The tenant.
        Tenant = "tenant",
        /// The platform.
        Platform = "platform",
    }
);

/// What of the platform a caller can touch. What is beyond it is not there for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: nobody has been told who calls.
    #[default]
    Nothing,
    /// Everything.
    Platform,
    /// What belongs to one tenant.
    Tenant(TenantId),
    /// One cluster, as long as it is this tenant's.
    Cluster(TenantId, ClusterId),
}

impl Reach {
    /// Whether everything of the other one is within this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Nothing) | (Self::Platform, _) => true,
            (Self::Tenant(own), Self::Tenant(of) | Self::Cluster(of, _)) => own == of,
            (own, other) => own == other,
        }
    }

    /// Whether what a tenant owns is within it.
    #[must_use]
    pub fn has_tenant(&self, tenant: &str) -> bool {
        match self {
            Self::Platform => true,
            Self::Tenant(own) => own.as_str() == tenant,
            Self::Cluster(..) | Self::Nothing => false,
        }
    }

    /// Whether a cluster of a tenant is within it.
    #[must_use]
    pub fn has_cluster(&self, tenant: &TenantId, cluster: &ClusterId) -> bool {
        match self {
            Self::Cluster(of, own) => (of, own) == (tenant, cluster),
            _ => self.has_tenant(tenant.as_str()),
        }
    }

    /// The tenant and the cluster that a list of things is bound to. No tenant has the empty name, so it stands for
    /// nothing.
    #[must_use]
    pub fn bounds(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Nothing => (Some(""), Some("")),
            Self::Platform => (None, None),
            Self::Tenant(tenant) => (Some(tenant.as_str()), None),
            Self::Cluster(tenant, cluster) => (Some(tenant.as_str()), Some(cluster.as_str())),
        }
    }

    /// Whose word it is what somebody of this reach says. Who reaches nothing has the least.
    #[must_use]
    pub fn authority(&self) -> Authority {
        match self {
            Self::Platform => Authority::Platform,
            Self::Tenant(_) => Authority::Tenant,
            Self::Cluster(..) | Self::Nothing => Authority::Owner,
        }
    }
}
