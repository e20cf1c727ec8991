//! What a tenant makes.

use crate::text_enum::text_enum;

text_enum!(
    /// What a tenant can make.
    Made {
        /// Clusters.
        Clusters = "clusters",
        /// API keys.
        ApiKeys = "apiKeys",
        /// Clients of the token endpoint.
        ServiceClients = "serviceClients",
        /// Tokens of the platform API.
        Administrators = "administrators",
        /// Revocations.
        Revocations = "revocations",
    }
);

impl Made {
    /// What people call several of them.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::ApiKeys => "API keys",
            Self::ServiceClients => "service clients",
            Self::Administrators => "tokens of the platform API",
            Self::Revocations => "revocations",
        }
    }
}
