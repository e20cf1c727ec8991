//! What a call can need.

use crate::text_enum::text_enum;

text_enum!(
    /// What a call of the platform API needs. The names are an interface: they never change their meaning.
    Permission {
        /// To hear who one is.
        WhoAmI = "whoami",
        /// To see clusters.
        ClustersRead = "clusters:read",
        /// To register clusters.
        ClustersRegister = "clusters:register",
        /// To close clusters.
        ClustersSuspend = "clusters:suspend",
        /// To take a suspension back: one's own, or one from below.
        ClustersResume = "clusters:resume",
        /// To let a cluster join: to make join tokens, and to revoke them.
        ClustersEnrol = "clusters:enrol",
        /// To revoke the certificates of clusters.
        CertificatesRevoke = "certificates:revoke",
        /// To end clusters for good.
        ClustersRetire = "clusters:retire",
        /// To see API keys; never the keys themselves.
        ApiKeysRead = "api-keys:read",
        /// To make, replace and revoke API keys of services.
        ApiKeysWrite = "api-keys:write",
        /// To make and replace API keys that pass for people.
        ApiKeysHuman = "api-keys:human",
        /// To see clients of the token endpoint.
        ServiceClientsRead = "service-clients:read",
        /// To make them, to replace their secrets, to revoke them.
        ServiceClientsWrite = "service-clients:write",
        /// To see revocations.
        RevocationsRead = "revocations:read",
        /// To make revocations and to take them back.
        RevocationsWrite = "revocations:write",
        /// To look at audit records.
        AuditRead = "audit:read",
        /// To erase a person from the audit log.
        AuditErase = "audit:erase",
        /// To see how the platform is doing: issuers, signing keys, proxies, the configuration, the streams of the audit log.
        PlatformRead = "platform:read",
        /// To begin the change of a key that signs tokens.
        SigningKeysRotate = "signing-keys:rotate",
        /// To see who has a token of this API.
        AdministratorsRead = "administrators:read",
        /// To give out such tokens, of no more than one has, and to revoke them.
        AdministratorsWrite = "administrators:write",
    }
);

impl Permission {
    /// True for what is of the whole platform: nobody who is bound to a tenant has it.
    pub(super) fn is_of_platform(self) -> bool {
        matches!(self, Self::ApiKeysHuman | Self::AuditErase | Self::PlatformRead | Self::SigningKeysRotate)
    }
}
