//! Every call of the platform API, and what it needs. Routes, their checks and the table in the documents follow from
//! this one.

use portcullis_control_domain::caller::Permission;

/// Whom a call lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Callers whose role has this permission.
    Needs(Permission),
    /// A data cluster, with its own token.
    Cluster,
    /// A client of the token endpoint, with its secret.
    ServiceClient,
    /// Anybody: what it answers is public.
    Anybody,
}

macro_rules! calls {
    ($(#[doc = $doc:literal] $name:ident = $method:ident $path:literal, $access:expr;)*) => {
        /// A call of the platform API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Call { $(#[doc = $doc] $name,)* }

        impl Call {
            /// All of them, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Self::$name => stringify!($name),)* } }

            /// Its method.
            #[must_use]
            pub fn method(self) -> &'static str { match self { $(Self::$name => stringify!($method),)* } }

            /// Its path, with parameters in braces.
            #[must_use]
            pub fn path(self) -> &'static str { match self { $(Self::$name => $path,)* } }

            /// What it does.
            #[must_use]
            pub fn summary(self) -> &'static str { match self { $(Self::$name => $doc.trim_ascii(),)* } }

            /// Whom it lets in.
            #[must_use]
            pub fn access(self) -> Access {
                use Access::{Anybody, Cluster, Needs, ServiceClient};
                match self { $(Self::$name => $access,)* }
            }
        }
    };
}

calls! {
    /// Who calls.
    WhoAmI = GET "/v1/whoami", Needs(Permission::WhoAmI);
    /// Lists clusters.
    ListClusters = GET "/v1/clusters", Needs(Permission::ClustersRead);
    /// Registers a cluster.
    RegisterCluster = POST "/v1/clusters", Needs(Permission::ClustersRegister);
    /// Shows a cluster.
    GetCluster = GET "/v1/clusters/{id}", Needs(Permission::ClustersRead);
    /// Suspends a cluster.
    SuspendCluster = POST "/v1/clusters/{id}/suspend", Needs(Permission::ClustersSuspend);
    /// Resumes a cluster.
    ResumeCluster = POST "/v1/clusters/{id}/resume", Needs(Permission::ClustersResume);
    /// Retires a cluster.
    RetireCluster = DELETE "/v1/clusters/{id}", Needs(Permission::ClustersRetire);
    /// A cluster is there.
    Heartbeat = POST "/v1/clusters/{id}/heartbeat", Cluster;
    /// Lists API keys.
    ListApiKeys = GET "/v1/api-keys", Needs(Permission::ApiKeysRead);
    /// Makes an API key.
    CreateApiKey = POST "/v1/api-keys", Needs(Permission::ApiKeysWrite);
    /// Replaces an API key.
    RotateApiKey = POST "/v1/api-keys/{id}/rotate", Needs(Permission::ApiKeysWrite);
    /// Revokes an API key.
    RevokeApiKey = DELETE "/v1/api-keys/{id}", Needs(Permission::ApiKeysWrite);
    /// Lists service clients.
    ListServiceClients = GET "/v1/service-clients", Needs(Permission::ServiceClientsRead);
    /// Makes a service client.
    CreateServiceClient = POST "/v1/service-clients", Needs(Permission::ServiceClientsWrite);
    /// Gives a service client a new secret.
    RotateServiceClient = POST "/v1/service-clients/{id}/rotate", Needs(Permission::ServiceClientsWrite);
    /// Revokes a service client.
    RevokeServiceClient = DELETE "/v1/service-clients/{id}", Needs(Permission::ServiceClientsWrite);
    /// Lists revocations.
    ListRevocations = GET "/v1/revocations", Needs(Permission::RevocationsRead);
    /// Revokes something.
    AddRevocation = POST "/v1/revocations", Needs(Permission::RevocationsWrite);
    /// Takes a revocation back.
    RemoveRevocation = DELETE "/v1/revocations", Needs(Permission::RevocationsWrite);
    /// Looks at audit records.
    ListAuditRecords = GET "/v1/audit/records", Needs(Permission::AuditRead);
    /// Gives what it takes to verify a record.
    GetAuditEntry = GET "/v1/audit/entries/{index}", Needs(Permission::AuditRead);
    /// Erases a person from the audit log.
    EraseDataSubject = POST "/v1/audit/erasures", Needs(Permission::AuditErase);
    /// Tells what of the audit log is missing.
    GetAuditStatus = GET "/v1/audit/status", Needs(Permission::PlatformRead);
    /// Tells which proxy has which revision.
    ListProxies = GET "/v1/proxies", Needs(Permission::PlatformRead);
    /// Tells how issuers' keys are doing.
    ListIssuers = GET "/v1/issuers", Needs(Permission::PlatformRead);
    /// Lists the keys that sign tokens.
    ListSigningKeys = GET "/v1/signing-keys", Needs(Permission::PlatformRead);
    /// Tells which configuration is in use.
    GetConfiguration = GET "/v1/configuration", Needs(Permission::PlatformRead);
    /// Begins the change of a key that signs tokens.
    RotateSigningKey = POST "/v1/signing-keys/{purpose}", Needs(Permission::SigningKeysRotate);
    /// Lists who has a token of this API.
    ListAdministrators = GET "/v1/administrators", Needs(Permission::AdministratorsRead);
    /// Gives out such a token.
    CreateAdministrator = POST "/v1/administrators", Needs(Permission::AdministratorsWrite);
    /// Revokes such a token.
    RevokeAdministrator = DELETE "/v1/administrators/{id}", Needs(Permission::AdministratorsWrite);
    /// The key set of identity tokens.
    IdentityKeys = GET "/v1/identity/jwks", Anybody;
    /// Gives out a service token.
    IssueToken = POST "/oauth2/token", ServiceClient;
    /// The key set of service tokens.
    ServiceKeys = GET "/oauth2/jwks", Anybody;
    /// The metadata of RFC 8414.
    AuthorizationServerMetadata = GET "/.well-known/oauth-authorization-server", Anybody;
    /// The OpenAPI 3.1 description of this API.
    OpenApi = GET "/openapi.json", Anybody;
}
