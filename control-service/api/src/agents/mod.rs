//! The agents' listener: data clusters join here, and come back by their certificates.

mod configuration;
mod proof;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use portcullis_control_contract::agents::{
    CERTIFICATE, CONFIGURATION, CertificateIssued, CertificateRequest, HEARTBEAT, JOIN, JoinSecret,
};
use portcullis_control_contract::clusters::{HeartbeatRequest, HeartbeatResponse};
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::enrolment::{AskedBy, Issue};
use portcullis_control_services::authority;
use portcullis_control_services::enrolment::EnrolmentError;
use portcullis_control_services::presence::HeartbeatError;

use crate::extract::{Body, OptionalBody, bearer};
use crate::timed::{Timed, timed};
use crate::{AgentsState, Problem, ProblemKind};
use proof::{Named, by_certificate, called, refuse};

/// Bytes of a body at most.
const MAX_BODY: usize = 16 * 1024;

pub(crate) fn routes(state: &AgentsState) -> Router<AgentsState> {
    let proved = middleware::from_fn_with_state(state.clone(), by_certificate);
    let calls: [(&str, &str, MethodRouter<AgentsState>); 4] = [
        ("Join", JOIN, post(join)),
        ("RenewCertificate", CERTIFICATE, post(renew).route_layer(proved.clone())),
        ("AgentHeartbeat", HEARTBEAT, post(heartbeat).route_layer(proved.clone())),
        ("AgentConfiguration", CONFIGURATION, get(configuration::told).route_layer(proved)),
    ];
    calls.into_iter().fold(Router::new(), |router, (call, path, answer)| {
        let times = Timed { metrics: Arc::clone(&state.metrics), call };
        let answer = answer.layer(DefaultBodyLimit::max(MAX_BODY));
        router.route(path, answer.route_layer(middleware::from_fn_with_state(times, timed)))
    })
}

/// What is wrong with a request for a certificate.
fn problem(error: EnrolmentError) -> Problem {
    match error {
        EnrolmentError::Request(error) => Problem::new(ProblemKind::RequestInvalid, error.to_string()),
        EnrolmentError::Store(error) => error.into(),
        EnrolmentError::Authority(error) => {
            tracing::error!(%error, "no certificate could be issued");
            Problem::new(ProblemKind::AuthorityFailed, "try again; the service's log says more")
        }
    }
}

fn not_a_token() -> Problem {
    let told = "send Authorization: Bearer with the whole join token, as `portcullis clusters join-token` printed it";
    Problem::new(ProblemKind::JoinTokenInvalid, told)
}

async fn join(State(state): State<AgentsState>, request: Request) -> Result<Response, Problem> {
    let action = called(&request);
    let token = bearer(request.headers()).and_then(JoinSecret::parse);
    let Some(token) = token else {
        let named = Named::default();
        return Err(refuse(&state, action, &named, not_a_token()).await);
    };
    let key_id = token.id().to_owned();
    let action = AuditEvent { by: RecordedCaller::JoinToken { key_id: key_id.clone() }, ..action };
    let by = AskedBy::JoinToken { id: key_id, digest: token.digest() };
    match issued(&state, by, action.clone(), request).await {
        Ok(answer) => Ok(answer),
        Err(problem) => {
            let problem = match problem.kind() {
                ProblemKind::JoinTokenUnknown => not_a_token(),
                _ => problem,
            };
            let named = Named::by_join_token(&state.store, token.id()).await?;
            Err(refuse(&state, action, &named, problem).await)
        }
    }
}

async fn renew(
    State(state): State<AgentsState>,
    proof: axum::Extension<proof::Proved>,
    request: Request,
) -> Result<Response, Problem> {
    let serial = proof.serial.clone();
    let by = RecordedCaller::Agent { key_id: serial.clone() };
    let action = AuditEvent { by, ..called(&request) };
    issued(&state, AskedBy::Certificate { serial }, action, request).await
}

async fn issued(
    state: &AgentsState,
    by: AskedBy,
    action: AuditEvent,
    request: Request,
) -> Result<Response, Problem> {
    let Body(body) = Body::<CertificateRequest>::from_request(request, &()).await?;
    let CertificateRequest { csr, version: _ } = body.check().map_err(Problem::body)?;
    let request = authority::Request::read(&csr).map_err(|error| problem(error.into()))?;
    let Issue { certificate, renew_after_ms, chain } =
        state.enrolment.issue(by, &request, action).await.map_err(problem)?;
    let answer = CertificateIssued {
        cluster: certificate.cluster,
        tenant: certificate.tenant,
        certificate: chain,
        serial: certificate.serial,
        not_after_ms: certificate.not_after_ms,
        renew_after_ms,
        configuration: configuration::of(state),
    };
    Ok((StatusCode::OK, Json(answer)).into_response())
}

async fn heartbeat(
    State(state): State<AgentsState>,
    proof: axum::Extension<proof::Proved>,
    request: Request,
) -> Result<Json<HeartbeatResponse>, Problem> {
    let OptionalBody(body) = OptionalBody::<HeartbeatRequest>::from_request(request, &()).await?;
    let HeartbeatRequest { status, version } = body.check().map_err(Problem::body)?;
    let presence = &state.presence;
    let outcome =
        presence.heartbeat(&state.store, proof.cluster.id.clone(), None, status.into(), version).await;
    let state_now = outcome.map_err(|error| match error {
        HeartbeatError::Token => proof::unknown(),
        HeartbeatError::Retired => Problem::new(ProblemKind::ClusterRetired, error.to_string()),
        HeartbeatError::Store(error) => error.into(),
    })?;
    state.metrics.heartbeats.add(1);
    Ok(Json(HeartbeatResponse { state: state_now, next_heartbeat_s: presence.interval_s() }))
}
