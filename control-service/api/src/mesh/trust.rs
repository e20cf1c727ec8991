//! What tunnel gateways verify agents by.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use portcullis_control_config::Principals;
use portcullis_control_contract::agents::TunnelTrust;
use portcullis_control_services::Current;
use portcullis_control_services::enrolment::Enrolment;
use portcullis_control_store::Store;
use portcullis_identity::ids::SpiffeId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extract::Parameters;
use crate::{Problem, ProblemKind, Stopping};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TrustQuery {
    after: u64,
    wait: u64,
}

/// Answers at once what the gateway has not, else the next change, or the same again when the time is over.
pub(super) async fn trust(
    State(store): State<Store>,
    State(enrolment): State<Option<Arc<Enrolment>>>,
    State(principals): State<Arc<Current<Principals>>>,
    State(Stopping(mut stopping)): State<Stopping>,
    Extension(principal): Extension<SpiffeId>,
    Parameters(query): Parameters<TrustQuery>,
) -> Result<Json<TunnelTrust>, Problem> {
    if !principals.get().is_tunnel_gateway(&principal) {
        let told = [principal.as_str(), " is no tunnel gateway"].concat();
        return Err(Problem::new(ProblemKind::ViewForbidden, told));
    }
    if query.wait > 60 {
        return Err(Problem::new(ProblemKind::PollInvalid, "wait: up to 60 seconds"));
    }
    let nowhere = "no cluster can join here: the configuration has no listeners.agents";
    let enrolment = enrolment.ok_or_else(|| Problem::new(ProblemKind::NotFound, nowhere))?;
    store.check_fresh()?;
    let mut trust = enrolment.trust();
    let is_new = trust.wait_for(|trust| trust.number != query.after);
    tokio::select! {
        // It ends with the service alone.
        _ = is_new => {}
        () = tokio::time::sleep(Duration::from_secs(query.wait)) => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    store.check_fresh()?;
    let now = Arc::clone(&trust.borrow());
    Ok(Json(TunnelTrust {
        trust_bundle: now.roots_pem(),
        revocation_list: now.revocation_list_pem(),
        number: now.number,
    }))
}
