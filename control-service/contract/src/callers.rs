//! Who calls.

use portcullis_control_domain::audit::RecordedCaller;
use portcullis_control_domain::caller::{Caller, CallerCredential, Permission, RoleParts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who calls, and what they may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    /// What audit records call the caller.
    pub subject: String,
    /// Who issued its token, if that was not this service.
    pub issuer: Option<String>,
    /// The public id of its token, or of the key that verified it.
    pub key_id: Option<String>,
    /// Its role.
    #[serde(flatten)]
    pub role: RoleParts,
    /// What the role may do, within its bounds.
    pub permissions: Vec<Permission>,
    /// When the credential ends, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
}

impl From<Caller> for WhoAmI {
    fn from(caller: Caller) -> Self {
        let subject = RecordedCaller::from(&caller).subject();
        let permissions = caller.role.permissions().collect();
        let (issuer, key_id) = match caller.credential {
            CallerCredential::Token { id } => (None, Some(id)),
            CallerCredential::Person { issuer, key_id, .. } => (Some(issuer), key_id),
        };
        Self {
            subject,
            issuer,
            key_id,
            role: caller.role.into(),
            permissions,
            expires_at_s: caller.expires_at_s,
        }
    }
}
