//! Service tokens: the OAuth 2.0 token endpoint for services (client credentials, RFC 6749 §4.4) and for
//! agents that act for somebody (token exchange, RFC 8693).

mod endpoint;
mod grant;
mod request;
mod token;

pub use endpoint::{TokenCall, TokenEndpoint, TokenResponse};

/// Why there is no token: RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 8707 §2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request is malformed.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The client is not known, or its secret is wrong.
    #[error("the client is not known, or its secret is not right")]
    InvalidClient,
    /// The client has failed too often; seconds until it may try again.
    #[error("too many wrong secrets; try again later")]
    TooManyFailures(u64),
    /// The subject token is not good.
    #[error("{0}")]
    InvalidGrant(&'static str),
    /// The client may not use this grant.
    #[error("this client may not exchange tokens")]
    UnauthorizedClient,
    /// The grant is not supported.
    #[error("only client_credentials and urn:ietf:params:oauth:grant-type:token-exchange are supported")]
    UnsupportedGrantType,
    /// A scope is not the client's.
    #[error("a scope was asked for that this client has not")]
    InvalidScope,
    /// An audience is not the client's.
    #[error("an audience was asked for that this client may not reach")]
    InvalidTarget,
    /// Nothing can be issued at present.
    #[error("no token can be issued at present; try again")]
    Unavailable,
}

impl TokenError {
    /// `error` of RFC 6749 §5.2.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::TooManyFailures(_) => "slow_down",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// The status that goes with it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::TooManyFailures(_) => 429,
            Self::Unavailable => 503,
            _ => 400,
        }
    }
}
