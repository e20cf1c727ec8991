//! `POST /oauth2/token`, the key set of service tokens, and the metadata of RFC 8414.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_control_config::ServiceTokens;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::client::ServiceClient;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::signing::Purpose;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_services::introspection::Introspected;
use portcullis_control_services::judge::{self, Unjudged};
use portcullis_control_services::oauth::{
    Form, Grant, GrantRequest, Issued, TokenError, TokenRequest, client_credentials, credentials, exchange,
    form, issue,
};
use portcullis_identity::Principal;
use portcullis_model::Reason;
use portcullis_model::fair::ClientNetwork;
use portcullis_model::policy::Jwks;
use portcullis_protocol::wire::{AuditRecord, RecordKind};
use serde::Serialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Service;
use super::extract::read_within;
use super::platform::request_id;
use super::problem::{Problem, ProblemKind};

/// Bytes of a token request at most: two tokens and a little.
const MAX_FORM: usize = 32 * 1024;
/// Time for its body: whoever asks has it at hand.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Token requests under way at most.
const MAX_PLACES: usize = 256;
/// The stage of audit records.
const STAGE: &str = "token-endpoint";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/oauth2/token", post(token).layer(DefaultBodyLimit::max(MAX_FORM)))
        .route("/oauth2/jwks", get(keys))
        .route("/.well-known/oauth-authorization-server", get(metadata))
}

/// How many token requests may be under way: anybody can begin one, so no more than half of the connections.
#[must_use]
pub fn token_permits(connections: usize) -> usize {
    MAX_PLACES.min(connections / 2).max(1)
}

fn token_issuer(service: &Service) -> Result<&ServiceTokens, Problem> {
    let off =
        || Problem::new(ProblemKind::NotFound, "this service gives out no tokens: serviceTokens is not set");
    service.signing.service_tokens().ok_or_else(off)
}

/// A key set, with how long a copy of it may be used.
pub(super) fn key_set(service: &Service, purpose: Purpose) -> (HeaderMap, Json<Jwks>) {
    let age = service.signing.max_age(purpose).as_secs().to_string();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&["public, max-age=", &age].concat()) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    (headers, Json(service.signing.key_set(purpose)))
}

async fn keys(State(service): State<Arc<Service>>) -> Result<impl IntoResponse, Problem> {
    token_issuer(&service)?;
    Ok(key_set(&service, Purpose::Service))
}

async fn metadata(State(service): State<Arc<Service>>) -> Result<Json<Value>, Problem> {
    let issuer = token_issuer(&service)?.issuer.as_str();
    let at = |path: &str| [issuer, path].concat();
    Ok(Json(json!({
        "issuer": issuer,
        "token_endpoint": at("/oauth2/token"),
        "jwks_uri": at("/oauth2/jwks"),
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
    })))
}

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
}

async fn token(
    State(service): State<Arc<Service>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    request: Request,
) -> Response {
    let issuer_settings = match token_issuer(&service) {
        Ok(issuer_settings) => issuer_settings,
        Err(problem) => return problem.into_response(),
    };
    // Before the body is read: bodies that never come are what fills the service.
    let place = service.token_permits.try_acquire();
    let outcome = match &place {
        Err(_) => Err(TokenError::Unavailable),
        Ok(_) => {
            let headers = request.headers().clone();
            match read_within(BODY_TIME, request, &()).await {
                Ok(body) => answer(&service, issuer_settings, peer, &headers, &body).await,
                Err(problem) => return problem.into_response(),
            }
        }
    };
    let code = outcome.as_ref().map_or_else(TokenError::code, |_| "issued");
    service.metrics.token_requests.count(&[code]);
    let mut response = match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refusal(&error),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn refusal(error: &TokenError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({"error": error.code(), "error_description": error.to_string()});
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    match error {
        TokenError::InvalidClient => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"portcullis\""));
        }
        TokenError::TooManyFailures(seconds) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        TokenError::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        _ => {}
    }
    response
}

async fn answer(
    service: &Arc<Service>,
    issuer_settings: &ServiceTokens,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<TokenResponse, TokenError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(TokenError::InvalidRequest("send content-type: application/x-www-form-urlencoded"));
    }
    let form = form(body)?;
    let (client, action) = caller(service, peer, headers, &form).await?;
    let granted = match TokenRequest::read(&form) {
        Ok(request) => grant(service, &client, &request).await.map(|granted| (request, granted)),
        Err(error) => Err(error),
    };
    let (request, granted) = match granted {
        Ok(granted) => granted,
        Err(error) => {
            record(service, &action, &client, None, error.status(), error.code()).await?;
            return Err(error);
        }
    };
    let key = service.signing.current(Purpose::Service).ok_or(TokenError::Unavailable)?;
    let lifetime_s = u64::from(client.lifetime_s.min(issuer_settings.lifetime_s));
    let issued =
        issue(&key, issuer_settings.issuer.as_str(), &client.id, &granted, lifetime_s, now_ms() / 1000);
    record(service, &action, &client, Some((&granted, &issued)), 200, "").await?;
    let exchanged = matches!(request.grant, GrantRequest::Exchange { .. });
    Ok(TokenResponse {
        access_token: issued.text,
        issued_token_type: exchanged.then_some(ACCESS_TOKEN),
        token_type: "Bearer",
        expires_in: issued.expires_in_s,
        scope: granted.scopes.join(" "),
    })
}

/// The client, and what is audited of its request. Who is none is audited too.
async fn caller(
    service: &Service,
    peer: SocketAddr,
    headers: &HeaderMap,
    form: &Form,
) -> Result<(ServiceClient, AuditEvent), TokenError> {
    let mut action = AuditEvent {
        subject: String::new(),
        credential: "client_secret",
        key_id: String::new(),
        method: "POST".to_owned(),
        path: "/oauth2/token".to_owned(),
        request_id: request_id(headers),
        client_address: peer.ip().to_string(),
    };
    let authorization: Option<Vec<&str>> =
        headers.get_all(header::AUTHORIZATION).iter().map(|v| v.to_str().ok()).collect();
    let outcome = match authorization.ok_or(TokenError::InvalidClient).and_then(|a| credentials(&a, form)) {
        Err(error) => Err(error),
        Ok(proof) => {
            let token = Token::parse(TokenKind::ServiceClient, &proof.secret);
            // What a caller says of itself is not believed before it is checked, but it is worth a record.
            action.subject = ["client:", &proof.id].concat();
            action.key_id = token.as_ref().map(|t| t.id().to_owned()).unwrap_or_default();
            authenticate(service, &proof.id, token.as_ref()).await
        }
    };
    match outcome {
        Ok(client) => Ok((client, action)),
        Err(TokenError::InvalidClient) => Err(refuse(service, &action).await),
        Err(error) => Err(error),
    }
}

/// Audits a caller that is no client. When many come from one address they get slower, so that nobody can fill
/// the audit log by making up clients; a client with its secret never comes here.
async fn refuse(service: &Service, action: &AuditEvent) -> TokenError {
    // Not counted with calls for want of an administrator's token, which come by the same gateway.
    let address = ["token endpoint, ", &action.client_address].concat();
    let now = Instant::now();
    if let Some(pause) = service.refused_callers.pause(&address, false, now) {
        return TokenError::TooManyFailures(pause.as_secs() + 1);
    }
    service.refused_callers.failed(&address, false, now);
    let refused = TokenError::InvalidClient;
    let mut record = action.record(refused.status(), refused.code());
    STAGE.clone_into(&mut record.stage);
    append(service, record).await.map_or_else(|error| error, |()| refused)
}

/// The client that a secret proves. A wrong secret costs a pause for further wrong
/// ones; the right one is never slowed down, whoever guesses beside it.
async fn authenticate(
    service: &Service,
    id: &str,
    token: Option<&Token>,
) -> Result<ServiceClient, TokenError> {
    let unavailable = |error| {
        tracing::error!(%error, "the store failed");
        TokenError::Unavailable
    };
    let found = service.store.service_client(id.to_owned()).await.map_err(unavailable)?;
    let secrets = found.as_ref().map(|(_, secrets)| secrets.as_slice()).unwrap_or_default();
    let named = token.is_some_and(|t| secrets.iter().any(|s| s.id == t.id()));
    let digest = token.map(Token::digest);
    let right = digest.is_some_and(|d| secrets.iter().any(|s| bool::from(s.digest.ct_eq(&d))));
    if let (Some((client, _)), true) = (found, right) {
        service.backoff.succeeded(id);
        return Ok(client);
    }
    let now = Instant::now();
    if let Some(pause) = service.backoff.pause(id, named, now) {
        return Err(TokenError::TooManyFailures(pause.as_secs() + 1));
    }
    service.backoff.failed(id, named, now);
    Err(TokenError::InvalidClient)
}

async fn grant(
    service: &Arc<Service>,
    client: &ServiceClient,
    request: &TokenRequest,
) -> Result<Grant, TokenError> {
    let GrantRequest::Exchange { subject_token } = &request.grant else {
        return client_credentials(client, request);
    };
    if !client.may_exchange {
        return Err(TokenError::UnauthorizedClient);
    }
    let refused = |reason: Reason| TokenError::InvalidGrant(reason.code());
    let subject = match verify(service, subject_token, None).await? {
        Err(Unjudged::Asks(provider)) => {
            let told = service.providers.get().ask(&provider, subject_token, ClientNetwork::Unknown).await;
            let claims = match told.map_err(|_| TokenError::Unavailable)? {
                Introspected::Active(claims) => claims,
                Introspected::Inactive => return Err(refused(Reason::TokenInactive)),
            };
            let told = Value::Object(claims).to_string().into_bytes();
            verify(service, subject_token, Some(told)).await?
        }
        judged => judged,
    };
    let subject = subject.map_err(|unjudged| match unjudged {
        Unjudged::Refused(why) => refused(why.reason),
        Unjudged::Asks(_) => TokenError::Unavailable,
    })?;
    exchange(client, request, &subject)
}

/// Judges a subject token. Verifying RSA takes its time, and a snapshot is bound to its thread.
async fn verify(
    service: &Arc<Service>,
    token: &Zeroizing<String>,
    told: Option<Vec<u8>>,
) -> Result<Result<Principal, Unjudged>, TokenError> {
    let (service, token) = (Arc::clone(service), token.clone());
    let verified = tokio::task::spawn_blocking(move || {
        let hub = service.store.hub();
        let page = hub.excerpt(&[
            RecordKind::Issuer,
            RecordKind::IssuerSecret,
            RecordKind::SourceRules,
            RecordKind::Introspection,
            RecordKind::Revocation,
        ]);
        let snapshot = judge::open(&page, hub.seed()).map_err(|error| {
            tracing::error!(%error, "the snapshot cannot be read");
            TokenError::Unavailable
        })?;
        Ok(judge::subject_token(&token, &snapshot, now_ms() / 1000, told.as_deref()))
    });
    verified.await.map_err(|_| TokenError::Unavailable)?
}

/// Every token, and every one that an authenticated client did not get, is audited before the answer.
async fn record(
    service: &Service,
    action: &AuditEvent,
    client: &ServiceClient,
    issued: Option<(&Grant, &Issued)>,
    status: u16,
    reason: &str,
) -> Result<(), TokenError> {
    let mut record = action.record(status, reason);
    STAGE.clone_into(&mut record.stage);
    record.tenant.clone_from(&client.tenant);
    if let Some((grant, issued)) = issued {
        record.path = [record.path.as_str(), "/", &issued.id].concat();
        if !grant.actors.is_empty() {
            record.subject.clone_from(&grant.subject);
            record.actors.clone_from(&grant.actors);
        }
    }
    append(service, record).await
}

async fn append(service: &Service, record: AuditRecord) -> Result<(), TokenError> {
    service.store.append(record).await.map_err(|error| {
        tracing::error!(%error, "a token request could not be audited");
        TokenError::Unavailable
    })
}
