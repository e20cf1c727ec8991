//! Who calls the mesh API, and how much of it a sidecar may hold.

use std::sync::Arc;

use axum::extract::{FromRef, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use portcullis_control_config::Principals;
use portcullis_control_services::Current;
use portcullis_control_services::shares::{Kind, Shares};
use portcullis_control_snapshot::View;
use portcullis_identity::ids::SpiffeId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::snapshot;
use crate::extract::{bearer, once};
use crate::xfcc::{self, XfccError};
use crate::{MeshState, MeshToken, Problem, ProblemKind};

/// What every call has to pass.
#[derive(Clone)]
pub(super) struct Admission {
    token: MeshToken,
    principals: Arc<Current<Principals>>,
    shares: Arc<Shares>,
}

impl FromRef<MeshState> for Admission {
    fn from_ref(state: &MeshState) -> Self {
        let MeshState { token, principals, shares, .. } = state;
        Self { token: *token, principals: Arc::clone(principals), shares: Arc::clone(shares) }
    }
}

/// Tells handlers who calls, and holds a sidecar to its share: by its principal, since whatever else it says of
/// itself is free text. Gateways get whatever sidecars may not have.
pub(super) async fn within_share(
    State(admission): State<Admission>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = admission.authenticate(request.headers())?;
    let kind = if request.uri().path() == snapshot::PATH { Kind::Poll } else { Kind::Call };
    let _share = if admission.principals.get().may_read(&principal, &View::Gateway) {
        None
    } else {
        let taken = || Problem::new(ProblemKind::ShareTaken, "wait until some of them have ended");
        Some(admission.shares.take(&principal, kind).ok_or_else(taken)?)
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

impl Admission {
    /// Who calls; checked before anything else of the request is read.
    fn authenticate(&self, headers: &HeaderMap) -> Result<SpiffeId, Problem> {
        let digest: [u8; 32] = Sha256::digest(bearer(headers).unwrap_or_default().as_bytes()).into();
        if !bool::from(digest.ct_eq(&self.token.0)) {
            return Err(Problem::new(
                ProblemKind::MeshTokenInvalid,
                "send Authorization: Bearer with the token of mesh.tokenFile",
            ));
        }
        let missing = |e: XfccError| Problem::new(ProblemKind::PrincipalMissing, e.to_string());
        let value = once(headers, "x-forwarded-client-cert").ok_or(XfccError::NotOnce).map_err(missing)?;
        let principal = xfcc::principal(value).map_err(missing)?;
        if !self.principals.get().knows(&principal) {
            let detail =
                [principal.as_str(), " is in none of mesh.gateways, mesh.sidecars and mesh.tunnelGateways"]
                    .concat();
            return Err(Problem::new(ProblemKind::PrincipalUnknown, detail));
        }
        Ok(principal)
    }
}

/// Refuses whoever is no gateway.
pub(super) fn gateway(principals: &Current<Principals>, principal: &SpiffeId) -> Result<(), Problem> {
    if principals.get().may_read(principal, &View::Gateway) {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::ViewForbidden, [principal.as_str(), " is no gateway"].concat()))
}
