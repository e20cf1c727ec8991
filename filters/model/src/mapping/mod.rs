//! Which claims say what, for an issuer of tokens or a provider of introspection.
//!
//! One definition for both sides: the control service reads it from its file and tells every mistake; a filter reads
//! it from the snapshot and takes none that has one.

mod names;
mod path;
mod pattern;
mod subject;
mod tenant;
#[cfg(test)]
mod tests;
mod written;

use portcullis_identity::ids::{IssuerId, Role, Scope, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claims::Claims;
use crate::errors::{FieldError, FieldErrors};

pub use names::{Names, NamesRule};
pub use path::{ClaimFault, ClaimPath, Found, InvalidPath};
pub use pattern::TenantPattern;
pub use subject::{SubjectRule, SubjectSource};
pub use tenant::{Form, NoTenant, TenantRule, TenantSource};

/// Bytes of a mapping at most, as JSON: it travels with the issuer's keys as one record.
const MAX_BYTES: usize = 64 * 1024;

/// Hosts of Entra ID, whose `email` anybody can set to anything.
const ENTRA_HOSTS: [&str; 8] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "sts.chinacloudapi.cn",
];

/// Which claims say what. Each rule may be just the path of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimMapping {
    /// The subject.
    pub subject: SubjectRule,
    /// The tenant.
    pub tenant: TenantRule,
    /// Roles.
    pub roles: NamesRule<Role>,
    /// Scopes (RFC 8693 §4.2).
    pub scopes: NamesRule<Scope>,
    /// OAuth client; `azp` is tried when this one is absent.
    #[serde(with = "path::optional")]
    pub client_id: Option<ClaimPath>,
    /// What stands for the audience where there is no `aud` at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<ClaimPath>,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            subject: known("sub").into(),
            tenant: known("tenant").into(),
            roles: known("roles").into(),
            scopes: known("scope").into(),
            client_id: Some(known("client_id")),
            audience: None,
        }
    }
}

/// A path of one name that is known to be sound.
fn known(name: &'static str) -> ClaimPath {
    ClaimPath::of_name(name)
}

impl ClaimMapping {
    /// What is wrong with the rules, which belong to tokens of these issuers for these tenants.
    #[must_use]
    pub fn check<'i>(
        &self,
        issuers: impl IntoIterator<Item = &'i IssuerId>,
        tenants: &[TenantId],
    ) -> Vec<FieldError> {
        let errors = FieldErrors::default();
        let entra = issuers.into_iter().any(is_entra);
        self.subject.check(entra, &errors);
        self.tenant.check(tenants, entra, &errors);
        self.roles.check("roles", &errors);
        self.scopes.check("scopes", &errors);
        errors.into_list()
    }

    /// Whether the rules are too long for one record. Asked by who sends them: a filter that has them has read the
    /// record, and would need all that writes JSON for the question.
    ///
    /// # Errors
    /// What is wrong.
    pub fn fits_record(&self) -> Result<(), String> {
        match serde_json::to_vec(self) {
            Ok(text) if text.len() <= MAX_BYTES => Ok(()),
            _ => Err(format!("the rules take more than {MAX_BYTES} bytes; split the issuer's tenants")),
        }
    }

    /// The client by its claim, or where there is none by `azp`. One of the wrong form is a fault: it must not slip
    /// to the other claim, nor to a rule for tokens without a client.
    ///
    /// # Errors
    /// [`ClaimFault`] with the claim that is no text.
    pub fn client<'a>(&self, claims: &'a Claims) -> Result<Option<(&'a str, ClaimFault)>, ClaimFault> {
        let named = self.client_id.as_ref().map(|path| (path.find(claims), path.into()));
        let azp = known("azp");
        for (found, claim) in named.into_iter().chain([(azp.find(claims), ClaimFault::from(&azp))]) {
            match found {
                Found::Absent => {}
                Found::Value(Value::String(text)) => return Ok(Some((text, claim))),
                Found::Value(_) | Found::Malformed => return Err(claim),
            }
        }
        Ok(None)
    }
}

fn is_entra(issuer: &IssuerId) -> bool {
    let text = issuer.as_str().to_ascii_lowercase();
    let host =
        text.split_once("://").map_or("", |(_, rest)| rest.split(['/', ':']).next().unwrap_or_default());
    ENTRA_HOSTS.contains(&host) || host.ends_with(".ciamlogin.com") || host.ends_with(".b2clogin.com")
}
