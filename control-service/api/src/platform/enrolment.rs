//! Join tokens and certificates of clusters.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use portcullis_control_contract::agents::{
    CertificateList, CertificateRevocation, CertificatesRevoked, JoinToken, JoinTokenCreated,
    JoinTokenCreation, JoinTokenList,
};
use portcullis_control_contract::calls::Call;
use portcullis_control_contract::{ListQuery, limit};
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::Caller;
use portcullis_control_services::enrolment::Enrolment;
use portcullis_control_store::Store;

use super::guard::Routes;
use crate::extract::{ClusterPath, OptionalBody, Parameters, Segment};
use crate::{Problem, ProblemKind};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Call::ListJoinTokens, list)
        .on(Call::CreateJoinToken, create)
        .on(Call::RevokeJoinToken, revoke)
        .on(Call::ListCertificates, certificates)
        .on(Call::RevokeCertificates, revoke_certificates)
}

async fn create(
    State(store): State<Store>,
    State(enrolment): State<Option<Arc<Enrolment>>>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    OptionalBody(body): OptionalBody<JoinTokenCreation>,
) -> Result<(StatusCode, Json<JoinTokenCreated>), Problem> {
    let life_s = body.check().map_err(Problem::body)?;
    let nowhere = "no cluster can join here: the configuration has no listeners.agents";
    let enrolment = enrolment.ok_or_else(|| Problem::new(ProblemKind::NotFound, nowhere))?;
    let secret = enrolment.join_secret();
    let join_token = store.create_join_token(id, &secret, life_s, action).await?;
    Ok((StatusCode::CREATED, Json(JoinTokenCreated { join_token, token: secret.reveal().into() })))
}

async fn list(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    ClusterPath(id): ClusterPath,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<JoinTokenList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.join_tokens(caller.role.reach(), id, query.after, limit).await?;
    Ok(Json(JoinTokenList { join_tokens: listed.items, next: listed.next }))
}

async fn revoke(
    State(store): State<Store>,
    Extension(action): Extension<AuditEvent>,
    Segment(id): Segment<String>,
) -> Result<Json<JoinToken>, Problem> {
    Ok(Json(store.revoke_join_token(id, action).await?))
}

async fn certificates(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    ClusterPath(id): ClusterPath,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<CertificateList>, Problem> {
    let limit = limit(query.limit).map_err(Problem::parameter)?;
    let listed = store.certificates(caller.role.reach(), id, query.after, limit).await?;
    Ok(Json(CertificateList { certificates: listed.items, next: listed.next }))
}

async fn revoke_certificates(
    State(store): State<Store>,
    State(enrolment): State<Option<Arc<Enrolment>>>,
    Extension(action): Extension<AuditEvent>,
    ClusterPath(id): ClusterPath,
    OptionalBody(body): OptionalBody<CertificateRevocation>,
) -> Result<Json<CertificatesRevoked>, Problem> {
    let serial = body.check().map_err(Problem::body)?;
    let certificates = store.revoke_certificates(id, serial, action).await?;
    if let Some(enrolment) = enrolment {
        enrolment.look();
    }
    Ok(Json(CertificatesRevoked { certificates }))
}
