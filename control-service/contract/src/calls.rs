//! Every call of the platform API, what it needs and what it does. Routes, their checks, what a restored store takes and
//! does again, and the table in the documents follow from this one.

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

/// What a call does to what is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Tells something, and changes nothing.
    Reads,
    /// The same of the audit log, which tells of persons and so of whoever looks at it.
    ReadsAudit,
    /// Closes something for somebody, and opens nothing. Another call takes it back.
    Closes,
    /// Closes something for good: nothing takes it back.
    Ends,
    /// Ends something, and gives out what takes its place.
    Replaces,
    /// Takes away what is not to be known any more, for good.
    Erases,
    /// Makes something that is good from then on.
    Makes,
    /// Opens what was closed.
    Opens,
    /// Tells the service how something is doing.
    Reports,
    /// Gives out a token.
    Issues,
}

impl Effect {
    /// Whether nothing is any different afterwards.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Reads | Self::ReadsAudit)
    }
}

/// A call as an audit record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'p> {
    /// Which one it was.
    pub call: Call,
    /// The parameter of its path; empty where it has none.
    pub id: &'p str,
    /// What the record adds to the path: the name of what was made.
    pub rest: &'p str,
}

macro_rules! calls {
    ($(#[doc = $doc:literal] $name:ident = $method:ident $path:literal, $access:expr, $effect:ident;)*) => {
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

            /// What it does, for people.
            #[must_use]
            pub fn summary(self) -> &'static str { match self { $(Self::$name => $doc.trim_ascii(),)* } }

            /// Whom it lets in.
            #[must_use]
            pub fn access(self) -> Access {
                use Access::{Anybody, Cluster, Needs, ServiceClient};
                match self { $(Self::$name => $access,)* }
            }

            /// What it does.
            #[must_use]
            pub fn effect(self) -> Effect { match self { $(Self::$name => Effect::$effect,)* } }
        }
    };
}

impl Call {
    /// Which call an audit record tells of, if the table has it.
    #[must_use]
    pub fn recorded<'p>(method: &str, path: &'p str) -> Option<Recorded<'p>> {
        let method = if method == "HEAD" { "GET" } else { method };
        let of_method = Self::ALL.iter().filter(|call| call.method() == method);
        // What is added to one path may look like a part of a longer one, which is the one that was called.
        of_method
            .filter_map(|call| call.named_by(path))
            .max_by_key(|found| found.call.path().matches('/').count())
    }

    /// This call, if a recorded path begins with its own.
    fn named_by(self, path: &str) -> Option<Recorded<'_>> {
        let (mut id, mut rest) = ("", path.strip_prefix('/')?);
        for wanted in self.path().split('/').skip(1) {
            let (part, more) = rest.split_once('/').unwrap_or((rest, ""));
            match wanted.starts_with('{') {
                true => id = part,
                false if part == wanted => {}
                false => return None,
            }
            rest = more;
        }
        Some(Recorded { call: self, id, rest })
    }
}

calls! {
    /// Who calls.
    WhoAmI = GET "/v1/whoami", Needs(Permission::WhoAmI), Reads;
    /// Lists clusters.
    ListClusters = GET "/v1/clusters", Needs(Permission::ClustersRead), Reads;
    /// Tells of every change of a cluster's state as it happens.
    WatchClusters = GET "/v1/clusters/watch", Needs(Permission::ClustersRead), Reads;
    /// Registers a cluster.
    RegisterCluster = POST "/v1/clusters", Needs(Permission::ClustersRegister), Makes;
    /// Shows a cluster.
    GetCluster = GET "/v1/clusters/{id}", Needs(Permission::ClustersRead), Reads;
    /// Suspends a cluster.
    SuspendCluster = POST "/v1/clusters/{id}/suspend", Needs(Permission::ClustersSuspend), Closes;
    /// Resumes a cluster.
    ResumeCluster = POST "/v1/clusters/{id}/resume", Needs(Permission::ClustersResume), Opens;
    /// Retires a cluster.
    RetireCluster = DELETE "/v1/clusters/{id}", Needs(Permission::ClustersRetire), Ends;
    /// Lists the join tokens of a cluster.
    ListJoinTokens = GET "/v1/clusters/{id}/join-tokens", Needs(Permission::ClustersRead), Reads;
    /// Makes a join token of a cluster.
    CreateJoinToken = POST "/v1/clusters/{id}/join-tokens", Needs(Permission::ClustersEnrol), Makes;
    /// Revokes a join token.
    RevokeJoinToken = DELETE "/v1/join-tokens/{id}", Needs(Permission::ClustersEnrol), Ends;
    /// Lists the certificates of a cluster.
    ListCertificates = GET "/v1/clusters/{id}/certificates", Needs(Permission::ClustersRead), Reads;
    /// Revokes certificates of a cluster.
    RevokeCertificates = POST "/v1/clusters/{id}/certificates/revoke", Needs(Permission::CertificatesRevoke), Ends;
    /// A cluster is there.
    Heartbeat = POST "/v1/clusters/{id}/heartbeat", Cluster, Reports;
    /// Lists API keys.
    ListApiKeys = GET "/v1/api-keys", Needs(Permission::ApiKeysRead), Reads;
    /// Makes an API key.
    CreateApiKey = POST "/v1/api-keys", Needs(Permission::ApiKeysWrite), Makes;
    /// Replaces an API key.
    RotateApiKey = POST "/v1/api-keys/{id}/rotate", Needs(Permission::ApiKeysWrite), Replaces;
    /// Revokes an API key.
    RevokeApiKey = DELETE "/v1/api-keys/{id}", Needs(Permission::ApiKeysWrite), Ends;
    /// Lists service clients.
    ListServiceClients = GET "/v1/service-clients", Needs(Permission::ServiceClientsRead), Reads;
    /// Makes a service client.
    CreateServiceClient = POST "/v1/service-clients", Needs(Permission::ServiceClientsWrite), Makes;
    /// Gives a service client a new secret.
    RotateServiceClient = POST "/v1/service-clients/{id}/rotate", Needs(Permission::ServiceClientsWrite), Replaces;
    /// Revokes a service client.
    RevokeServiceClient = DELETE "/v1/service-clients/{id}", Needs(Permission::ServiceClientsWrite), Ends;
    /// Lists revocations.
    ListRevocations = GET "/v1/revocations", Needs(Permission::RevocationsRead), Reads;
    /// Revokes something.
    AddRevocation = POST "/v1/revocations", Needs(Permission::RevocationsWrite), Closes;
    /// Takes a revocation back.
    RemoveRevocation = DELETE "/v1/revocations", Needs(Permission::RevocationsWrite), Opens;
    /// Looks at audit records.
    ListAuditRecords = GET "/v1/audit/records", Needs(Permission::AuditRead), ReadsAudit;
    /// Gives what it takes to verify a record.
    GetAuditEntry = GET "/v1/audit/entries/{index}", Needs(Permission::AuditRead), ReadsAudit;
    /// Erases a person from the audit log.
    EraseDataSubject = POST "/v1/audit/erasures", Needs(Permission::AuditErase), Erases;
    /// Tells what of the audit log is missing.
    GetAuditStatus = GET "/v1/audit/status", Needs(Permission::PlatformRead), ReadsAudit;
    /// Tells which proxy has which revision.
    ListProxies = GET "/v1/proxies", Needs(Permission::PlatformRead), Reads;
    /// Tells how issuers' keys are doing.
    ListIssuers = GET "/v1/issuers", Needs(Permission::PlatformRead), Reads;
    /// Lists the keys that sign tokens.
    ListSigningKeys = GET "/v1/signing-keys", Needs(Permission::PlatformRead), Reads;
    /// Tells which configuration is in use.
    GetConfiguration = GET "/v1/configuration", Needs(Permission::PlatformRead), Reads;
    /// Begins the change of a key that signs tokens.
    RotateSigningKey = POST "/v1/signing-keys/{purpose}", Needs(Permission::SigningKeysRotate), Makes;
    /// Lists who has a token of this API.
    ListAdministrators = GET "/v1/administrators", Needs(Permission::AdministratorsRead), Reads;
    /// Gives out such a token.
    CreateAdministrator = POST "/v1/administrators", Needs(Permission::AdministratorsWrite), Makes;
    /// Revokes such a token.
    RevokeAdministrator = DELETE "/v1/administrators/{id}", Needs(Permission::AdministratorsWrite), Ends;
    /// The key set of identity tokens.
    IdentityKeys = GET "/v1/identity/jwks", Anybody, Reads;
    /// Gives out a service token.
    IssueToken = POST "/oauth2/token", ServiceClient, Issues;
    /// The key set of service tokens.
    ServiceKeys = GET "/oauth2/jwks", Anybody, Reads;
    /// The metadata of RFC 8414.
    AuthorizationServerMetadata = GET "/.well-known/oauth-authorization-server", Anybody, Reads;
    /// The OpenAPI 3.1 description of this API.
    OpenApi = GET "/openapi.json", Anybody, Reads;
}
