//! The mesh API: snapshot polls and audit batches of filters.
//!
//! A filter proves itself twice: by the mutual-TLS identity that the service's own sidecar saw, and by the
//! mesh token, since an application shares its sidecar's identity.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_core::audit::unhex;
use portcullis_core::ids::SpiffeId;
use portcullis_core::snapshot::NONCE_LEN;
use portcullis_core::wire::AuditBatch;
use prost::Message;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Service;
use super::extract::{Parameters, bearer, read};
use super::problem::{Fault, Problem};
use crate::clock::now_ms;
use crate::snapshot::{Ask, Poll, View};
use crate::xfcc::{self, XfccError};

/// Bytes of an audit batch at most, and records in it.
const MAX_BATCH: usize = 4 * 1024 * 1024;
const MAX_RECORDS: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/mesh/v1/snapshot", get(snapshot))
        .route("/mesh/v1/audit", post(audit).layer(DefaultBodyLimit::max(MAX_BATCH)))
}

/// Who calls; checked before anything else of the request is read.
fn authenticate(service: &Service, headers: &HeaderMap) -> Result<SpiffeId, Problem> {
    let digest: [u8; 32] = Sha256::digest(bearer(headers).unwrap_or_default().as_bytes()).into();
    if !bool::from(digest.ct_eq(&service.mesh_token_digest)) {
        return Err(Problem::new(
            Fault::MeshTokenInvalid,
            "send Authorization: Bearer with the token of mesh.tokenFile",
        ));
    }
    let missing = |e: XfccError| Problem::new(Fault::PrincipalMissing, e.to_string());
    let mut values = headers.get_all("x-forwarded-client-cert").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing(XfccError::NotOnce));
    };
    let principal = xfcc::principal(value.as_bytes()).map_err(missing)?;
    if !service.principals.get().knows(&principal) {
        let detail = [principal.as_str(), " is in neither mesh.gateways nor mesh.sidecars"].concat();
        return Err(Problem::new(Fault::PrincipalUnknown, detail));
    }
    Ok(principal)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PollQuery {
    view: String,
    generation: String,
    revision: u64,
    cursor: String,
    nonce: String,
    wait: u64,
    worker: String,
    proxy: String,
}

fn malformed(name: &str, problem: &str) -> Problem {
    Problem::new(Fault::PollInvalid, [name, ": ", problem].concat())
}

impl PollQuery {
    fn check(&self) -> Result<Poll, Problem> {
        let view: View =
            self.view.parse().map_err(|e: crate::snapshot::UnknownView| malformed("view", &e.to_string()))?;
        let bytes = |name, text: &str, max: usize| {
            let read = unhex(text).filter(|b| b.len() <= max);
            read.ok_or_else(|| malformed(name, "must be hexadecimal and not longer than a page said"))
        };
        let nonce = bytes("nonce", &self.nonce, NONCE_LEN)?;
        if nonce.len() != NONCE_LEN {
            return Err(malformed("nonce", "must be 16 bytes in hexadecimal"));
        }
        let worker = unhex(&self.worker).is_some_and(|w| (1..=32).contains(&w.len()));
        if !worker || self.proxy.len() > 256 || self.wait > 60 {
            return Err(malformed(
                "worker, proxy, wait",
                "must be up to 32 bytes in hexadecimal, up to 256 characters, up to 60 seconds",
            ));
        }
        let generation = bytes("generation", &self.generation, 16)?;
        let cursor = bytes("cursor", &self.cursor, 1024)?;
        let ask = Ask { view, generation, revision: self.revision, cursor };
        Ok(Poll { ask, nonce, wait: Duration::from_secs(self.wait) })
    }
}

async fn snapshot(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    Parameters(query): Parameters<PollQuery>,
) -> Result<Response, Problem> {
    let principal = authenticate(&service, &headers)?;
    let poll = query.check()?;
    if !service.principals.get().may_read(&principal, &poll.ask.view) {
        let detail = [principal.as_str(), " may not read view ", &query.view].concat();
        return Err(Problem::new(Fault::ViewForbidden, detail));
    }
    let hub = service.store.hub();
    let known = poll.ask.generation == hub.generation() && poll.ask.cursor.is_empty();
    let acknowledged = known.then_some(poll.ask.revision);
    let polling = service.workers.polls(&query.worker, &query.proxy, &poll.ask.view, acknowledged);
    let page = hub.poll(poll, service.stopping.clone(), now_ms).await;
    drop(polling);
    service.metrics.polls.add(1);
    service.metrics.page_bytes.add(u64::try_from(page.len()).unwrap_or(u64::MAX));
    Ok(protobuf(page))
}

async fn audit(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Problem> {
    authenticate(&service, request.headers())?;
    let body = read(request, &()).await?;
    let batch = AuditBatch::decode(body).map_err(|e| Problem::new(Fault::BatchInvalid, e.to_string()))?;
    if batch.records.len() > MAX_RECORDS {
        return Err(Problem::new(Fault::BatchInvalid, "a batch holds at most 10,000 records"));
    }
    let ack = service.store.ingest(batch).await?;
    service.metrics.audit_stored.add(ack.stored);
    service.metrics.audit_duplicates.add(ack.duplicates);
    service.metrics.audit_rejected.add(ack.rejected);
    Ok(protobuf(ack.encode_to_vec()))
}

fn protobuf(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-protobuf"), (header::CACHE_CONTROL, "no-store")], bytes)
        .into_response()
}
