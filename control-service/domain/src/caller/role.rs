//! Roles, and what each may do.

use crate::schema;
use portcullis_identity::ids::{ClusterId, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authority, Permission, Reach};
use crate::text_enum::text_enum;

text_enum!(
    /// The name of a role.
    RoleName {
        /// Everything.
        Administrator = "administrator",
        /// Clusters, keys and revocations of all tenants.
        Operator = "operator",
        /// Looks, and changes nothing.
        Auditor = "auditor",
        /// What a tenant owns.
        TenantAdmin = "tenant-admin",
        /// One cluster.
        ClusterOwner = "cluster-owner",
    }
);

/// A role with its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RoleParts", into = "RoleParts")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Clusters, keys and revocations of all tenants.
    Operator,
    /// Looks at everything, or at what concerns one tenant.
    Auditor(Option<TenantId>),
    /// What a tenant owns.
    TenantAdmin(TenantId),
    /// One cluster, as long as it is this tenant's.
    ClusterOwner(TenantId, ClusterId),
}

/// A role as the API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleParts {
    /// Its name.
    pub role: RoleName,
    /// The tenant that it is bound to.
    #[schemars(with = "Option<schema::TenantId>")]
    pub tenant: Option<TenantId>,
    /// The cluster that it is bound to.
    #[schemars(with = "Option<schema::ClusterId>")]
    pub cluster: Option<ClusterId>,
}

/// Why a role cannot have these bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRole {
    /// It is of the whole platform.
    #[error("role: administrator and operator are of the whole platform; give neither tenant nor cluster")]
    Bound,
    /// An auditor is not bound to a cluster.
    #[error("cluster: an auditor is of the whole platform or of a tenant; leave it out")]
    AuditorOfCluster,
    /// It needs a tenant alone.
    #[error("tenant: a tenant-admin needs one, and no cluster")]
    TenantAlone,
    /// It needs tenant and cluster.
    #[error("tenant, cluster: a cluster-owner needs both: the cluster, and whose it is")]
    TenantAndCluster,
}

impl TryFrom<RoleParts> for Role {
    type Error = InvalidRole;

    fn try_from(parts: RoleParts) -> Result<Self, InvalidRole> {
        match (parts.role, parts.tenant, parts.cluster) {
            (RoleName::Administrator, None, None) => Ok(Self::Administrator),
            (RoleName::Operator, None, None) => Ok(Self::Operator),
            (RoleName::Administrator | RoleName::Operator, ..) => Err(InvalidRole::Bound),
            (RoleName::Auditor, tenant, None) => Ok(Self::Auditor(tenant)),
            (RoleName::Auditor, _, Some(_)) => Err(InvalidRole::AuditorOfCluster),
            (RoleName::TenantAdmin, Some(tenant), None) => Ok(Self::TenantAdmin(tenant)),
            (RoleName::TenantAdmin, ..) => Err(InvalidRole::TenantAlone),
            (RoleName::ClusterOwner, Some(tenant), Some(cluster)) => Ok(Self::ClusterOwner(tenant, cluster)),
            (RoleName::ClusterOwner, ..) => Err(InvalidRole::TenantAndCluster),
        }
    }
}

impl From<Role> for RoleParts {
    fn from(role: Role) -> Self {
        let name = role.name();
        let (tenant, cluster) = match role {
            Role::Administrator | Role::Operator => (None, None),
            Role::Auditor(tenant) => (tenant, None),
            Role::TenantAdmin(tenant) => (Some(tenant), None),
            Role::ClusterOwner(tenant, cluster) => (Some(tenant), Some(cluster)),
        };
        Self { role: name, tenant, cluster }
    }
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> RoleName {
        match self {
            Self::Administrator => RoleName::Administrator,
            Self::Operator => RoleName::Operator,
            Self::Auditor(_) => RoleName::Auditor,
            Self::TenantAdmin(_) => RoleName::TenantAdmin,
            Self::ClusterOwner(..) => RoleName::ClusterOwner,
        }
    }

    /// What it can touch.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self {
            Self::Administrator | Self::Operator | Self::Auditor(None) => Reach::Platform,
            Self::Auditor(Some(tenant)) | Self::TenantAdmin(tenant) => Reach::Tenant(tenant.clone()),
            Self::ClusterOwner(tenant, cluster) => Reach::Cluster(tenant.clone(), cluster.clone()),
        }
    }

    /// Whether it may do this, within its reach.
    #[must_use]
    pub fn may(&self, what: Permission) -> bool {
        self.name().may(what) && (!what.is_of_platform() || self.reach() == Reach::Platform)
    }

    /// Everything that it may do.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(|what| self.may(*what))
    }

    /// Whether it may give out the other one: nobody grants what they lack.
    #[must_use]
    pub fn may_grant(&self, other: &Self) -> bool {
        self.reach().covers(&other.reach()) && other.permissions().all(|what| self.may(what))
    }
}

impl RoleName {
    /// Whether the role may do this at all. Each role names what it may: a permission that is new is nobody's but the
    /// administrator's until somebody has thought about it.
    #[must_use]
    pub fn may(self, what: Permission) -> bool {
        match self {
            Self::Administrator => true,
            Self::Operator => OPERATOR.contains(&what),
            Self::Auditor => AUDITOR.contains(&what),
            Self::TenantAdmin => TENANT_ADMIN.contains(&what),
            Self::ClusterOwner => CLUSTER_OWNER.contains(&what),
        }
    }
}

impl RoleName {
    /// Whose word it is what somebody of this role says.
    #[must_use]
    pub fn authority(self) -> Authority {
        match self {
            Self::Administrator | Self::Operator | Self::Auditor => Authority::Platform,
            Self::TenantAdmin => Authority::Tenant,
            Self::ClusterOwner => Authority::Owner,
        }
    }
}

const OPERATOR: &[Permission] = &[
    Permission::WhoAmI,
    Permission::ClustersRead,
    Permission::ClustersRegister,
    Permission::ClustersSuspend,
    Permission::ClustersResume,
    Permission::ClustersEnrol,
    Permission::CertificatesRevoke,
    Permission::ClustersRetire,
    Permission::ApiKeysRead,
    Permission::ApiKeysWrite,
    Permission::ServiceClientsRead,
    Permission::RevocationsRead,
    Permission::RevocationsWrite,
    Permission::PlatformRead,
    Permission::SigningKeysRotate,
];

const AUDITOR: &[Permission] = &[
    Permission::WhoAmI,
    Permission::ClustersRead,
    Permission::ApiKeysRead,
    Permission::ServiceClientsRead,
    Permission::RevocationsRead,
    Permission::AuditRead,
    Permission::PlatformRead,
    Permission::AdministratorsRead,
];

const TENANT_ADMIN: &[Permission] = &[
    Permission::WhoAmI,
    Permission::ClustersRead,
    Permission::ClustersRegister,
    Permission::ClustersSuspend,
    Permission::ClustersResume,
    Permission::ClustersEnrol,
    Permission::CertificatesRevoke,
    Permission::ClustersRetire,
    Permission::ApiKeysRead,
    Permission::ApiKeysWrite,
    Permission::ServiceClientsRead,
    Permission::ServiceClientsWrite,
    Permission::RevocationsRead,
    Permission::RevocationsWrite,
    Permission::AdministratorsRead,
    Permission::AdministratorsWrite,
];

const CLUSTER_OWNER: &[Permission] = &[
    Permission::WhoAmI,
    Permission::ClustersRead,
    Permission::ClustersSuspend,
    Permission::ClustersResume,
    Permission::ClustersEnrol,
    Permission::CertificatesRevoke,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Role> {
        let (acme, globex): (TenantId, TenantId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let cluster: ClusterId = "acme-1".parse().unwrap();
        vec![
            Role::Administrator,
            Role::Operator,
            Role::Auditor(None),
            Role::Auditor(Some(acme.clone())),
            Role::TenantAdmin(acme.clone()),
            Role::ClusterOwner(acme, cluster.clone()),
            Role::Auditor(Some(globex.clone())),
            Role::TenantAdmin(globex.clone()),
            Role::ClusterOwner(globex, cluster),
        ]
    }

    /// Who may give out what, written by hand: row grants column.
    const GRANTS: [&str; 9] = [
        "xxxxxxxxx", // administrator
        "-x---x--x", // operator
        "--xx--x--", // auditor
        "---x-----", // auditor of acme
        "----xx---", // tenant-admin of acme
        "-----x---", // cluster-owner of acme
        "------x--", // auditor of globex
        "-------xx", // tenant-admin of globex
        "--------x", // cluster-owner of globex
    ];

    #[test]
    fn nobody_grants_what_they_lack() {
        for (role, row) in all().iter().zip(GRANTS) {
            let found: String =
                all().iter().map(|other| if role.may_grant(other) { 'x' } else { '-' }).collect();
            assert_eq!(found, row, "{role:?}");
        }
    }

    #[test]
    fn who_is_bound_has_no_permission_of_the_whole_platform() {
        for role in all() {
            for what in role.permissions().filter(|what| what.is_of_platform()) {
                assert_eq!(role.reach(), Reach::Platform, "{role:?}: {what:?}");
            }
        }
        assert!(Role::Auditor(None).may(Permission::PlatformRead));
        assert!(!Role::Auditor(Some("acme".parse().unwrap())).may(Permission::PlatformRead));
    }

    #[test]
    fn a_role_has_its_own_bounds_and_reads_back() {
        for role in all() {
            let written = serde_json::to_value(&role).unwrap();
            assert_eq!(serde_json::from_value::<Role>(written).unwrap(), role);
        }
        for parts in [
            r#"{"role": "administrator", "tenant": "acme"}"#,
            r#"{"role": "operator", "cluster": "a"}"#,
            r#"{"role": "auditor", "tenant": "acme", "cluster": "a"}"#,
            r#"{"role": "tenant-admin"}"#,
            r#"{"role": "tenant-admin", "tenant": "acme", "cluster": "a"}"#,
            r#"{"role": "cluster-owner", "tenant": "acme"}"#,
            r#"{"role": "cluster-owner", "cluster": "a"}"#,
        ] {
            assert!(serde_json::from_str::<Role>(parts).is_err(), "{parts}");
        }
    }
}
