//! What handlers take from a request, with problem documents for what is not right, and how filters are answered.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use portcullis_control_domain::random::random;
use portcullis_identity::ids::ClusterId;
use portcullis_protocol::audit::hex;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Problem, ProblemKind, reading};

/// Time for a body, from when the head is there.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
            let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("application/json")
        });
        if !json {
            return Err(Problem::new(
                ProblemKind::MediaTypeUnsupported,
                "send content-type: application/json",
            ));
        }
        parse(&read(request, state).await?).map(Self)
    }
}

/// A JSON body that may be absent.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    // No name has it, and PostgreSQL cannot store it.
    if escapes_nul(bytes) {
        return Err(Problem::new(
            ProblemKind::BodyInvalid,
            "a text holds the character U+0000; leave it out",
        ));
    }
    // The readers of structs take a list of their members, too, each by its place.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(
            ProblemKind::BodyInvalid,
            "the body must be a JSON object: {\"name\": value}",
        ));
    }
    reading::json(bytes).map_err(|told| Problem::new(ProblemKind::BodyInvalid, told))
}

/// Whether a JSON text has the escape of U+0000. Behind an escaped backslash the same characters are a text.
fn escapes_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at..).unwrap_or_default();
        if escape.starts_with(br"\u0000") {
            return true;
        }
        rest = escape.get(2..).unwrap_or_default();
    }
    false
}

/// Reads a body up to the limit of its route.
pub(crate) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    read_within(BODY_TIME, request, state).await
}

/// The same, in a time of its own.
pub(crate) async fn read_within<S: Send + Sync>(
    time: Duration,
    request: Request,
    state: &S,
) -> Result<Bytes, Problem> {
    let body = tokio::time::timeout(time, Bytes::from_request(request, state)).await;
    let slow = |_| {
        let detail = ["send the whole body within ", &time.as_secs().to_string(), " s"].concat();
        Problem::new(ProblemKind::BodyTooSlow, detail)
    };
    let body = body.map_err(slow)?;
    body.map_err(|rejection| {
        let fault = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ProblemKind::BodyTooLarge,
            _ => ProblemKind::BodyInvalid,
        };
        Problem::new(fault, rejection.body_text())
    })
}

/// Query parameters.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Problem> {
        let read = reading::query(parts.uri.query().unwrap_or_default());
        read.map(Self).map_err(|told| Problem::new(ProblemKind::ParameterInvalid, told))
    }
}

/// The one parameter of a path.
pub(crate) struct Segment<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|rejection| {
            let told = match rejection {
                PathRejection::FailedToDeserializePathParams(failed) => match failed.into_kind() {
                    ErrorKind::Message(said) => ["the path: ", &reading::told::<T>("", &said)].concat(),
                    other => other.to_string(),
                },
                other => other.body_text(),
            };
            Problem::new(ProblemKind::ParameterInvalid, told)
        })
    }
}

/// The cluster id of the path.
pub(crate) struct ClusterPath(pub(crate) ClusterId);

impl<S: Send + Sync> FromRequestParts<S> for ClusterPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let Segment(text) = Segment::<String>::from_request_parts(parts, state).await?;
        ClusterId::new(&text)
            .map(Self)
            .map_err(|e| Problem::new(ProblemKind::ParameterInvalid, e.to_string()))
    }
}

/// The value of a header that is there once.
pub(crate) fn once<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1), if there is exactly one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' '))
}

/// The caller's request id if it is a sound one, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    let sound = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    given.filter(sound).map_or_else(|| hex(&random::<16>()), str::to_owned)
}

/// An answer in protobuf, that nobody keeps.
pub(crate) fn protobuf(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-protobuf"), (header::CACHE_CONTROL, "no-store")], bytes)
        .into_response()
}
