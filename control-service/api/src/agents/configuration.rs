//! What agents have to know.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_control_config::Tunnel;
use portcullis_control_contract::agents::{
    AgentConfiguration, ConfigurationQuery, IdentityTrust, TunnelConfiguration,
};
use portcullis_control_domain::signing::Purpose;
use portcullis_protocol::audit::hex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::extract::Parameters;
use crate::{AgentsState, Problem, ProblemKind};

/// How often a waiting call looks whether there is something new.
const LOOK: Duration = Duration::from_secs(1);

fn tunnel(tunnel: &Tunnel) -> TunnelConfiguration {
    let Tunnel { address, server_name, connections } = tunnel.clone();
    TunnelConfiguration::ReverseTunnel { address, server_name, connections }
}

/// What agents have to know, as it is now.
pub(super) fn of(state: &AgentsState) -> AgentConfiguration {
    AgentConfiguration {
        trust_bundle: state.enrolment.trust_bundle(),
        identity: IdentityTrust {
            issuer: state.told.identity_issuer.clone(),
            keys: state.signing.key_set(Purpose::Identity),
        },
        tunnel: state.enrolment.agents().tunnel.as_ref().map(tunnel),
        snapshot_key: state.told.snapshot_key.clone(),
        heartbeat_interval_s: state.presence.interval_s(),
        renew_issued_before_ms: None,
    }
}

/// Answers at once what the agent has not, else when there is something new, or when its time is over.
pub(super) async fn told(
    State(state): State<AgentsState>,
    headers: HeaderMap,
    Parameters(query): Parameters<ConfigurationQuery>,
) -> Result<Response, Problem> {
    let wait = Duration::from_secs(query.check().map_err(Problem::parameter)?);
    let until = Instant::now() + wait;
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut stopping = state.stopping.0.clone();
    loop {
        state.store.check_fresh()?;
        let written = serde_json::to_vec(&of(&state));
        let written =
            written.map_err(|error| Problem::new(ProblemKind::StoreUnavailable, error.to_string()))?;
        let digest: [u8; 32] = Sha256::digest(&written).into();
        let tag = ["\"", &hex(&digest), "\""].concat();
        let is_over = Instant::now() >= until || *stopping.borrow();
        if known != Some(tag.as_str()) {
            return Ok(answered(StatusCode::OK, &tag, written));
        }
        if is_over {
            return Ok(answered(StatusCode::NOT_MODIFIED, &tag, Vec::new()));
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + LOOK).min(until)) => {}
            _ = stopping.changed() => {}
        }
    }
}

fn answered(status: StatusCode, tag: &str, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::OK {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
