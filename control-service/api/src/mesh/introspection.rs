//! What opaque tokens stand for.

use std::sync::Arc;

use axum::extract::{Extension, FromRef, Request, State};
use axum::response::Response;
use portcullis_control_config::Principals;
use portcullis_control_domain::log_throttle::LogThrottle;
use portcullis_control_services::Current;
use portcullis_control_services::introspection::{IntrospectError, Introspected, Providers};
use portcullis_control_services::metrics::Metrics;
use portcullis_control_store::Store;
use portcullis_identity::ids::SpiffeId;
use portcullis_model::fair::ClientNetwork;
use portcullis_protocol::snapshot::{NONCE_LEN, sign_introspection};
use portcullis_protocol::wire::{IntrospectionAnswer, IntrospectionRequest};
use prost::Message;
use serde_json::Value;

use super::admission::gateway;
use crate::extract::{protobuf, read};
use crate::{MeshState, Problem, ProblemKind};

/// Bytes of a token at most.
const MAX_TOKEN: usize = 8192;

/// What an introspection needs.
#[derive(Clone)]
pub(super) struct Introspection {
    store: Store,
    principals: Arc<Current<Principals>>,
    providers: Arc<Current<Providers>>,
    complaints: Arc<LogThrottle>,
    metrics: Arc<Metrics>,
}

impl FromRef<MeshState> for Introspection {
    fn from_ref(state: &MeshState) -> Self {
        Self {
            store: state.store.clone(),
            principals: Arc::clone(&state.principals),
            providers: Arc::clone(&state.providers),
            complaints: Arc::clone(&state.complaints),
            metrics: Arc::clone(&state.metrics),
        }
    }
}

/// What an opaque token stands for. Gateways only: the answer may hold a person's claims.
pub(super) async fn introspect(
    State(introspection): State<Introspection>,
    Extension(principal): Extension<SpiffeId>,
    request: Request,
) -> Result<Response, Problem> {
    gateway(&introspection.principals, &principal)?;
    introspection.store.check_fresh()?;
    let body = read(request, &()).await?;
    // The decoder's error is left out: it might repeat a piece of the token.
    let bad = |detail: &str| Problem::new(ProblemKind::BodyInvalid, detail);
    let ask = IntrospectionRequest::decode(body).map_err(|_| bad("not an IntrospectionRequest"))?;
    let visible =
        (1..=MAX_TOKEN).contains(&ask.token.len()) && ask.token.bytes().all(|b| b.is_ascii_graphic());
    if ask.nonce.len() != NONCE_LEN || !visible {
        return Err(bad("nonce must have 16 bytes, token 1 to 8192 visible ASCII characters"));
    }
    let providers = introspection.providers.get();
    let source = ClientNetwork::from_bytes(&ask.source);
    let outcome = providers.ask(&ask.provider, &ask.token, source).await;
    let (active, claims) = match outcome {
        Ok(Introspected::Active(claims)) => (true, Value::Object(claims).to_string().into_bytes()),
        Ok(Introspected::Inactive) => (false, Vec::new()),
        Err(error) => return Err(introspection.no_answer(&ask.provider, &error)),
    };
    let outcome = if active { "active" } else { "inactive" };
    introspection.metrics.introspections.count(&[&ask.provider, outcome]);
    let answer = IntrospectionAnswer { nonce: ask.nonce, provider: ask.provider, active, claims };
    Ok(protobuf(sign_introspection(&answer, introspection.store.hub().seed())))
}

impl Introspection {
    fn no_answer(&self, provider: &str, error: &IntrospectError) -> Problem {
        // Only names of the configuration become labels: a caller's would grow the metrics without bound.
        let known = if matches!(error, IntrospectError::Unknown) { "" } else { provider };
        self.metrics.introspections.count(&[known, error.outcome()]);
        let is_told = matches!(error, IntrospectError::Provider(_));
        if !is_told && self.complaints.allow(known) {
            tracing::warn!(provider = known, %error, "a token could not be introspected");
        }
        let fault = match error {
            IntrospectError::Unknown => ProblemKind::ProviderUnknown,
            IntrospectError::Busy => ProblemKind::ProviderBusy,
            IntrospectError::Provider(_) => ProblemKind::ProviderFailed,
        };
        Problem::new(fault, error.to_string())
    }
}
