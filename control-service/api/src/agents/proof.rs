//! Who an agent is: by a certificate that was issued here and is good at this moment.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::cluster::Cluster;
use portcullis_control_domain::pause::PauseName;
use portcullis_control_services::authority::Peer;
use portcullis_control_store::{Store, StoreError};

use crate::extract::request_id;
use crate::listen::ConnectionPeer;
use crate::refusal::refuse as refuse_and_audit;
use crate::{AgentsState, Problem, ProblemKind};

/// The part of the service by which its records are told.
const STAGE: &str = "agents";

/// The cluster that a request is from.
#[derive(Clone)]
pub(super) struct Proved {
    pub(super) cluster: Cluster,
    /// The serial number of its certificate.
    pub(super) serial: String,
}

/// Whose log a refusal is in.
#[derive(Default)]
pub(super) struct Named {
    cluster: String,
    tenant: String,
}

impl Named {
    /// The cluster that a join token is of, if there is such a token.
    pub(super) async fn by_join_token(store: &Store, id: &str) -> Result<Self, StoreError> {
        Ok(Self::of(store.cluster_of_join_token(id.to_owned()).await?))
    }

    /// That of this cluster, if there is one.
    fn of(cluster: Option<Cluster>) -> Self {
        cluster.map_or_else(Self::default, |cluster| Self {
            cluster: cluster.id.to_string(),
            tenant: cluster.tenant.to_string(),
        })
    }
}

/// What is audited of a call, but for who makes it.
pub(super) fn called(request: &Request) -> AuditEvent {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    AuditEvent {
        method: request.method().to_string(),
        path: request.uri().path().chars().take(64).collect(),
        request_id: request_id(request.headers()),
        client_address: peer.map(|peer| peer.0.ip().to_string()).unwrap_or_default(),
        ..AuditEvent::default()
    }
}

/// A certificate that is nobody's here.
pub(super) fn unknown() -> Problem {
    let told = "this service has not issued this certificate, or does not know of it any more; join again by a new join token";
    Problem::new(ProblemKind::CertificateInvalid, told)
}

/// Refuses whoever may not do this, and audits it. Those who guess get slower; what is only written wrongly is no guess.
pub(super) async fn refuse(
    state: &AgentsState,
    action: AuditEvent,
    named: &Named,
    problem: Problem,
) -> Problem {
    use ProblemKind::{
        CertificateInvalid, CertificateMissing, CertificateRevoked, ClusterRetired, JoinTokenEnded,
        JoinTokenInvalid, JoinTokenUsed, RequestInvalid,
    };
    let kind = problem.kind();
    let is_told = matches!(
        kind,
        CertificateInvalid
            | CertificateMissing
            | CertificateRevoked
            | ClusterRetired
            | JoinTokenEnded
            | JoinTokenInvalid
            | JoinTokenUsed
            | RequestInvalid
    );
    if !is_told {
        return problem;
    }
    let from = PauseName::agent_caller(&action.client_address);
    let mut record = action.record(kind.status(), kind.code());
    record.stage = STAGE.to_owned();
    record.cluster.clone_from(&named.cluster);
    record.tenant.clone_from(&named.tenant);
    refuse_and_audit(&state.store, &state.metrics.refused_clusters, from, record, problem).await
}

/// Lets on whoever has a certificate that is good now, and tells handlers whose it is.
pub(super) async fn by_certificate(
    State(state): State<AgentsState>,
    mut request: Request,
    next: Next,
) -> Response {
    // The body of a request can be looked at by one thread alone, so it is not held while this waits.
    let peer = request.extensions().get::<ConnectionPeer>().and_then(|peer| peer.0.clone());
    match proved(&state, called(&request), peer).await {
        Ok(proved) => {
            request.extensions_mut().insert(proved);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn proved(state: &AgentsState, action: AuditEvent, peer: Option<Peer>) -> Result<Proved, Problem> {
    let Some(peer) = peer else {
        let told = "this call needs the certificate that joining gave: show it in the TLS handshake";
        let problem = Problem::new(ProblemKind::CertificateMissing, told);
        return Err(refuse(state, action, &Named::default(), problem).await);
    };
    let serial = peer.serial.clone();
    let problem = match state.enrolment.holder(&peer).await {
        Ok(cluster) => return Ok(Proved { cluster, serial }),
        Err(StoreError::Refused(Refused::CertificateUnknown)) => unknown(),
        Err(error) => error.into(),
    };
    let action = AuditEvent { by: RecordedCaller::Agent { key_id: serial.clone() }, ..action };
    let cluster = state.store.cluster_of_certificate(serial).await?;
    Err(refuse(state, action, &Named::of(cluster), problem).await)
}
