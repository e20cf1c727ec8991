//! `POST /oauth2/token`, the key set of service tokens, and the metadata of RFC 8414.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_control_contract::calls::Call;
use portcullis_control_domain::signing::Purpose;
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::oauth::{TokenCall, TokenEndpoint, TokenError};
use portcullis_control_services::signing::SigningKeys;
use serde_json::{Value, json};

use super::guard::Routes;
use super::issuers::key_set;
use crate::extract::{read_within, request_id};
use crate::{Problem, ProblemKind};

/// Bytes of a token request at most: two tokens and a little.
const MAX_FORM: usize = 32 * 1024;
/// Time for its body: whoever asks has it at hand.
const BODY_TIME: Duration = Duration::from_secs(5);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::IssueToken, token.layer(DefaultBodyLimit::max(MAX_FORM)))
        .on(Call::ServiceKeys, keys)
        .on(Call::AuthorizationServerMetadata, metadata)
}

/// There is no token endpoint.
pub(super) fn gives_out_none() -> Problem {
    Problem::new(ProblemKind::NotFound, "this service gives out no tokens: serviceTokens is not set")
}

async fn keys(
    State(tokens): State<Arc<TokenEndpoint>>,
    State(signing): State<Arc<SigningKeys>>,
) -> Result<impl IntoResponse, Problem> {
    tokens.settings().ok_or_else(gives_out_none)?;
    Ok(key_set(&signing, Purpose::Service))
}

async fn metadata(State(tokens): State<Arc<TokenEndpoint>>) -> Result<Json<Value>, Problem> {
    let issuer = tokens.settings().ok_or_else(gives_out_none)?.issuer.as_str();
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

async fn token(
    State(endpoint): State<Arc<TokenEndpoint>>,
    State(metrics): State<Arc<Metrics>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    request: Request,
) -> Response {
    if endpoint.settings().is_none() {
        return gives_out_none().into_response();
    }
    let place = endpoint.place();
    let outcome = match &place {
        None => Err(TokenError::Unavailable),
        Some(_) => {
            let headers = request.headers().clone();
            match read_within(BODY_TIME, request, &()).await {
                Ok(body) => endpoint.answer(&call(peer, &headers, &body)).await,
                Err(problem) => return problem.into_response(),
            }
        }
    };
    let code = outcome.as_ref().map_or_else(TokenError::code, |_| "issued");
    metrics.token_requests.count(&[code]);
    let mut response = match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refusal(&error),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn call<'a>(peer: SocketAddr, headers: &'a HeaderMap, body: &'a [u8]) -> TokenCall<'a> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let authorization = headers.get_all(header::AUTHORIZATION).iter().map(|v| v.to_str().ok()).collect();
    TokenCall { peer: peer.ip(), request_id: request_id(headers), content_type, authorization, body }
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
