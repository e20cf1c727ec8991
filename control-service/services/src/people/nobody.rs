//! Why nobody is let in.

use portcullis_authn::Rejected;
use portcullis_control_store::StoreError;

/// Why somebody with a token is let in nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NobodyKnown {
    /// No issuer's people may call.
    #[error("no people are configured")]
    None,
    /// A gateway would refuse the token, too.
    #[error("the token is refused as {}", .0.reason.code())]
    Refused(Box<Rejected>),
    /// It is good, and no rule gives its subject a role.
    #[error("no rule of platformCallers gives this person a role")]
    NoRole {
        /// Who it is.
        subject: String,
        /// Who says so.
        issuer: String,
    },
    /// It cannot be judged at present.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same.
    #[error("the token cannot be judged: {0}")]
    Failed(String),
    /// So many wait to be judged that one more may not.
    #[error("as many callers are being looked at as may be at once; try again")]
    Busy,
}
