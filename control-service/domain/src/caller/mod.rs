//! Who calls the platform API, and what they may.
//!
//! A role says what may be done (its permissions) and to what (its reach). Both are asked: the table of calls for the
//! permission, the store for the reach, so that what a caller may not see is not there for them.

mod permission;
mod reach;
mod role;
mod voucher;

pub use permission::Permission;
pub use reach::{Authority, Reach};
pub use role::{InvalidRole, Role, RoleName, RoleParts};
pub use voucher::{Person, Voucher};

/// Who calls the platform API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// How it proved itself.
    pub credential: CallerCredential,
    /// What it may do.
    pub role: Role,
    /// When the credential ends, seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    /// The person by whose word it is good, where there is one.
    pub voucher: Option<Box<Voucher>>,
    /// When this service made the credential, milliseconds since the Unix epoch; `None` of somebody else's.
    pub made_at_ms: Option<u64>,
}

/// How long a token is good that a person makes, in seconds. Nothing tells the service that somebody has lost a role at
/// their identity provider, so whatever they made has to be made again from time to time.
pub const MAX_VOUCHED_S: u64 = 90 * 24 * 3600;

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
    /// The id of the caller's token, if it is one of this service.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        match &self.credential {
            CallerCredential::Token { id } => Some(id),
            CallerCredential::Person { .. } => None,
        }
    }

    /// Until when a token may be good that this caller makes, seconds since the Unix epoch. What a person's token makes
    /// ends with that one at the latest: making tokens by tokens must not outlive the bound.
    #[must_use]
    pub fn vouches_until_s(&self, now_s: u64) -> Option<u64> {
        self.voucher.as_ref()?;
        match self.credential {
            CallerCredential::Token { .. } => self.expires_at_s,
            CallerCredential::Person { .. } => Some(now_s.saturating_add(MAX_VOUCHED_S)),
        }
    }
}
