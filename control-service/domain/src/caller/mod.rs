//! Who calls the platform API, and what they may.
//!
//! A role says what may be done (its permissions) and to what (its reach). Both are asked: the table of calls for the
//! permission, the store for the reach, so that what a caller may not see is not there for them.

mod permission;
mod reach;
mod role;

pub use permission::Permission;
pub use reach::{Authority, Reach};
pub use role::{InvalidRole, Role, RoleName, RoleParts};

/// Who calls the platform API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// How it proved itself.
    pub credential: CallerCredential,
    /// What it may do.
    pub role: Role,
    /// When the credential ends, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
}

/// How a caller proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerCredential {
    /// By a token that this service made.
    Token {
        /// Its public part.
        id: String,
    },
    /// By a token of an identity provider.
    Person {
        /// Who issued it.
        issuer: String,
        /// Whom it names. Only together with the issuer is that one person.
        subject: String,
        /// The key that verified it.
        key_id: Option<String>,
    },
}

impl Caller {
    /// What names it in audit records.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.credential {
            CallerCredential::Token { id } => ["admin:", id].concat(),
            CallerCredential::Person { subject, .. } => subject.clone(),
        }
    }
}
