//! Revocations of tokens, subjects, keys and clients.

use portcullis_identity::ids::TenantId;
use portcullis_model::claims::{REVOKED_SERVICE_CLIENT, REVOKED_USER, read_user_name, service_client_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::{Authority, Reach};

/// Tokens that a client or a key led to live no longer than this: after it their revocation has nothing left
/// to refuse.
const TOKENS_S: u64 = 3600;

/// Something that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revocation {
    /// `jti:…`, `sub:…`, `sid:…`, `kid:…`, `client:…` or `user:…`; of a deleted service client `service_client:…`.
    pub name: String,
    /// Why, for people.
    pub note: String,
    /// Since when, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it has nothing left to refuse and is removed, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    /// Whose word it is: nobody below can take it back.
    #[serde(default = "platform")]
    pub made_by: Authority,
}

/// Whose word a revocation is of which nothing else is said.
fn platform() -> Authority {
    Authority::Platform
}

/// Whether somebody of this reach may revoke by this name, and see such a revocation. Of a tenant these are its
/// persons: every other kind of name means something in all tenants. Keys and clients are revoked by calls of their own.
#[must_use]
pub fn is_within(name: &str, reach: &Reach) -> bool {
    match reach {
        Reach::Platform => true,
        Reach::Tenant(tenant) => {
            let user = name.split_once(':').filter(|(kind, _)| *kind == REVOKED_USER);
            user.and_then(|(_, name)| read_user_name(name)).is_some_and(|(of, ..)| of == *tenant)
        }
        Reach::Cluster(..) | Reach::Nothing => false,
    }
}

/// The first name of a tenant's persons, and the first one behind all of them. A space stands behind the tenant's id,
/// and '!' is what comes after a space.
#[must_use]
pub fn names_within(tenant: &str) -> (String, String) {
    let of = |end| [REVOKED_USER, ":", tenant, end].concat();
    (of(" "), of("!"))
}

impl Revocation {
    /// Ends the tokens that an API key led to. Gateways drop the key itself; sidecars know only those tokens. This
    /// service made up the id, so it is nobody else's key.
    #[must_use]
    pub fn of_api_key(id: &str, now_ms: u64) -> Self {
        Self::of_tokens(["kid:", id].concat(), "the API key was revoked", now_ms)
    }

    /// Ends every token that a client of the token endpoint got, and no other: a tenant's administrator chooses its id
    /// and may delete it, and tokens of other issuers and tenants may name a client of that id.
    #[must_use]
    pub fn of_service_client(tenant: &TenantId, id: &str, now_ms: u64) -> Self {
        let name = [REVOKED_SERVICE_CLIENT, ":", &service_client_name(tenant, id)].concat();
        Self::of_tokens(name, "the service client was revoked", now_ms)
    }

    /// What its name stands for gets no new tokens, so the revocation ends with the last of the old ones.
    fn of_tokens(name: String, note: &str, now_ms: u64) -> Self {
        let expires_at_s = Some(now_ms / 1000 + TOKENS_S);
        let made_by = Authority::Platform;
        Self { name, note: note.to_owned(), created_at_ms: now_ms, expires_at_s, made_by }
    }
}

/// Whether something that is revoked can be told of a credential that a sidecar sees: an identity token names
/// subject, session, key and client of the credential behind it, and not its token id.
#[must_use]
pub fn reaches_sidecars(name: &str) -> bool {
    !name.starts_with("jti:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_reaches_its_own_persons_and_nothing_else() {
        let acme = Reach::Tenant("acme".parse().unwrap());
        assert!(is_within("user:acme https://idp.example.com ann", &acme));
        assert!(is_within("user:acme - batch", &acme));
        for name in [
            "user:acme-2 - ann",
            "user:globex - ann",
            "sub:ann",
            "kid:1",
            "client:svc-a",
            "service_client:acme svc-a",
            "user:acme",
            "user:acme - a b",
        ] {
            assert!(!is_within(name, &acme), "{name}");
            assert!(is_within(name, &Reach::Platform), "{name}");
        }
        assert!(!is_within("user:acme - ann", &Reach::Nothing));
    }

    #[test]
    fn the_range_of_a_tenants_names_is_what_it_reaches() {
        let (first, behind) = names_within("acme");
        let names = [
            "user:acme - ann",
            "user:acme https://idp ann",
            "user:acme-2 - ann",
            "user:acm - ann",
            "user:b - x",
        ];
        let acme = Reach::Tenant("acme".parse().unwrap());
        for name in names {
            assert_eq!((first.as_str()..behind.as_str()).contains(&name), is_within(name, &acme), "{name}");
        }
    }
}
