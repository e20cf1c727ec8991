//! Calls of the platform's agents' listener. One connection is kept for all calls that prove themselves alike.

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, ETAG, HOST, IF_NONE_MATCH, RETRY_AFTER};
use hyper::http::HeaderMap;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use portcullis_control_contract::ProblemDocument;
use portcullis_control_contract::agents::{
    AgentConfiguration, CERTIFICATE, CONFIGURATION, CertificateIssued, CertificateRequest, HEARTBEAT, JOIN,
    JoinSecret,
};
use portcullis_control_contract::clusters::{HeartbeatRequest, HeartbeatResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::connect::{ConnectError, Proxy, Server, Trust, authority, dial, fault, shake_hands};
use crate::credential::Credential;

/// Bytes of an answer at most.
const MOST: usize = 4 << 20;
/// How long an answer may take that does not wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the connection to {0} broke: {1}")]
    Broke(String, String),
    /// No answer came.
    #[error("{host} did not answer within {seconds} s")]
    Silent {
        /// The server.
        host: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// The platform refused.
    #[error("the platform refused ({reason}, HTTP {status}): {detail}")]
    Refused {
        /// The stable code; empty where something else than the platform answered.
        reason: String,
        /// The status.
        status: u16,
        /// What is wrong.
        detail: String,
        /// For how long the platform wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of the platform.
    #[error(
        "{0} answered something that this agent does not understand: {1}; is that the platform's address?"
    )]
    Strange(String, String),
}

impl CallError {
    /// The stable code by which the platform refused.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } if !reason.is_empty() => Some(reason),
            _ => None,
        }
    }

    /// For how long the platform wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the platform does not take the agent's certificate.
    #[must_use]
    pub fn is_about_the_certificate(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::Refused(_)))
            || self.reason().is_some_and(|reason| reason.starts_with("certificate_"))
    }
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A configuration, and by which tag to ask for a newer one.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// The configuration.
    pub configuration: AgentConfiguration,
    /// Its tag.
    pub tag: Option<String>,
}

/// The platform, as an agent sees it.
pub struct Platform {
    server: Server,
    proxy: Option<Proxy>,
    trust: Trust,
    own: Option<Credential>,
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
    date: std::sync::Mutex<Option<std::time::SystemTime>>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Platform {
    /// The platform at this address, known by this trust, to somebody with this certificate or with none.
    #[must_use]
    pub fn new(server: Server, proxy: Option<Proxy>, trust: Trust, own: Option<Credential>) -> Self {
        Self { server, proxy, trust, own, open: Mutex::default(), date: std::sync::Mutex::default() }
    }

    /// Joins.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn join(
        &self,
        token: &JoinSecret,
        request: &CertificateRequest,
    ) -> Result<CertificateIssued, CallError> {
        let call = Call { bearer: Some(token), ..Call::post(JOIN, self.text(request)?) };
        self.value(&self.call(&call).await?)
    }

    /// Asks for a new certificate.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn renew(&self, request: &CertificateRequest) -> Result<CertificateIssued, CallError> {
        self.value(&self.call(&Call::post(CERTIFICATE, self.text(request)?)).await?)
    }

    /// Tells that the cluster is alive.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatResponse, CallError> {
        self.value(&self.call(&Call::post(HEARTBEAT, self.text(request)?)).await?)
    }

    /// Gets the configuration; none where the one of this tag is still the newest after so many seconds.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn configuration(&self, tag: Option<&str>, wait: u64) -> Result<Option<Tagged>, CallError> {
        let path = format!("{CONFIGURATION}?wait={wait}");
        let patience = PATIENCE + Duration::from_secs(wait);
        let answer = self
            .call(&Call { method: Method::GET, path: &path, body: None, bearer: None, tag, patience })
            .await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        Ok(Some(Tagged { configuration: self.value(&answer)?, tag }))
    }

    /// What the platform's clock said in its last answer.
    #[must_use]
    pub fn date(&self) -> Option<std::time::SystemTime> {
        self.date.lock().ok().and_then(|date| *date)
    }

    fn text(&self, body: &impl Serialize) -> Result<Bytes, CallError> {
        let text = serde_json::to_vec(body).map_err(|error| self.strange(&error.to_string()))?;
        Ok(text.into())
    }

    fn value<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, CallError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.strange(&error.to_string()))
    }

    fn strange(&self, why: &str) -> CallError {
        CallError::Strange(self.server.to_string(), why.to_owned())
    }

    async fn call(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let silent =
            |_| CallError::Silent { host: self.server.host.clone(), seconds: call.patience.as_secs() };
        let answer = tokio::time::timeout(call.patience, self.exchange(call)).await.map_err(silent)??;
        let date =
            answer.headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        if let (Some(date), Ok(mut known)) = (date, self.date.lock()) {
            *known = Some(date);
        }
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let retry_after = answer.headers.get(RETRY_AFTER).and_then(|s| s.to_str().ok()?.parse().ok());
        let problem = serde_json::from_slice::<ProblemDocument>(&answer.body).ok();
        let (reason, detail) = problem.map_or_else(
            || (String::new(), "something else than the platform answered".to_owned()),
            |problem| (problem.reason, problem.detail),
        );
        let retry_after = retry_after.map(Duration::from_secs);
        Err(CallError::Refused { reason, status: answer.status.as_u16(), detail, retry_after })
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let mut open = self.open.lock().await;
        // What went wrong on a connection that was open already may be that it was closed meanwhile.
        if let Some(sender) = open.take().filter(|sender| !sender.is_closed())
            && let Ok((sender, answer)) = self.once(sender, call).await
        {
            *open = Some(sender);
            return Ok(answer);
        }
        let (sender, answer) = self.once(self.connect().await?, call).await?;
        *open = Some(sender);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let stream = dial(&self.server.host, self.server.port, self.proxy.as_ref()).await?;
        let stream =
            shake_hands(stream, &self.server, &self.trust, self.own.as_ref().map(Credential::own)).await?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.broke(&error))?;
        // It ends with its sender, and what goes wrong on it the call is told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn once(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        call: &Call<'_>,
    ) -> Result<(SendRequest<Full<Bytes>>, Answer), CallError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.path)
            .header(HOST, authority(&self.server.host, self.server.port))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = call.bearer {
            request = request.header(AUTHORIZATION, ["Bearer ", token.reveal()].concat());
        }
        if let Some(tag) = call.tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let request = request.body(Full::new(call.body.clone().unwrap_or_default()));
        let request = request.map_err(|error| self.strange(&error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| self.broke(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        let body = body.map_err(|error| self.broke(&*error))?.to_bytes();
        Ok((sender, Answer { status: head.status, headers: head.headers, body }))
    }

    fn broke(&self, error: &(dyn Error + 'static)) -> CallError {
        let mut cause = Some(error);
        let mut last = error.to_string();
        while let Some(error) = cause {
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let inner = inner.map(|inner| inner as &(dyn Error + 'static));
            if let Some(fault) = inner.and_then(|inner| fault(&self.server.host, inner)) {
                return fault.into();
            }
            last = error.to_string();
            cause = error.source();
        }
        CallError::Broke(self.server.host.clone(), last)
    }
}

/// A call.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Option<Bytes>,
    bearer: Option<&'a JoinSecret>,
    tag: Option<&'a str>,
    patience: Duration,
}

impl<'a> Call<'a> {
    fn post(path: &'a str, body: Bytes) -> Self {
        Self { method: Method::POST, path, body: Some(body), bearer: None, tag: None, patience: PATIENCE }
    }
}
