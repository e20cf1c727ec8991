//! Calls to identity providers: bounded in time and size, no redirects, and only the authorities that the
//! operator named.

use std::time::Duration;

use reqwest::{Client, Response};

use crate::config::Remote;

/// Why a call was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The call failed. The address is left out: it may hold what no log should show.
    #[error("{0}")]
    Http(reqwest::Error),
    /// It was answered by something else than 200.
    #[error("answered {0}; expected 200 (redirects are not followed)")]
    Status(u16),
    /// The answer is too large.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// A client for one server.
///
/// # Errors
/// [`reqwest::Error`] when the system's TLS configuration cannot be used.
pub fn client(remote: &Remote, timeout: Duration) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    if remote.url.scheme() == "http" {
        // Plain HTTP is for loopback, where no proxy belongs in between.
        builder = builder.no_proxy();
    }
    if let Some(authorities) = &remote.authorities {
        builder = builder.tls_certs_only(authorities.certificates()?);
    }
    builder.build()
}

/// The body of an answer with status 200, up to a size.
///
/// # Errors
/// [`CallError`] for every other answer.
pub async fn body(mut answer: Response, max: usize) -> Result<Vec<u8>, CallError> {
    if answer.status() != reqwest::StatusCode::OK {
        return Err(CallError::Status(answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > max {
            return Err(CallError::TooLarge(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
