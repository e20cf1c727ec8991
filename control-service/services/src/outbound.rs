//! Calls to identity providers: bounded in time and size, no redirects, and only the authorities that the
//! operator named.

use std::time::{Duration, UNIX_EPOCH};

use portcullis_control_config::Remote;
use portcullis_control_domain::clock::now_ms;
use reqwest::{Certificate, Client, Response};

/// Why a call was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The call failed. The address is left out: it may hold what no log should show.
    #[error("{0}")]
    Http(reqwest::Error),
    /// It was answered by something else than 200, perhaps with the wish to be asked later (RFC 9110 §10.2.3).
    #[error("answered {0}; expected 200 (redirects are not followed)")]
    Status(u16, Option<Duration>),
    /// The answer is too large.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl CallError {
    /// How long the server wants not to be asked.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(_, asked) => *asked,
            Self::Http(_) | Self::TooLarge(_) => None,
        }
    }
}

/// What an answer's `Retry-After` says: seconds, or a date that is still to come.
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    at.checked_sub(Duration::from_millis(now_ms()))
}

/// A client for one server.
///
/// # Errors
/// [`reqwest::Error`] when the system's TLS configuration cannot be used.
pub(crate) fn client(remote: &Remote, timeout: Duration) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    if remote.url.scheme() == "http" {
        // Plain HTTP is for loopback, where no proxy belongs in between.
        builder = builder.no_proxy();
    }
    if let Some(authorities) = &remote.authorities {
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(authorities.pem())?);
    }
    builder.build()
}

/// The body of an answer with status 200, up to a size.
///
/// # Errors
/// [`CallError`] for every other answer.
pub(crate) async fn body(mut answer: Response, max: usize) -> Result<Vec<u8>, CallError> {
    if answer.status() != reqwest::StatusCode::OK {
        return Err(CallError::Status(answer.status().as_u16(), retry_after(&answer)));
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
