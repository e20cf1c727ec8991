//! The cluster-status stage: whether the cluster that a request names may be reached with the scopes that its
//! credential grants, and the identity token that goes there with it.
//!
//! Which cluster is named is a fact of the request ([`portcullis_engine::head::cluster`]). Ownership is checked
//! first: another tenant's cluster is unknown, whatever its state ([`portcullis_model::Permit`]).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod name;
mod pages;
mod scopes;

use std::borrow::Cow;

use portcullis_engine::head::cluster::{id, named};
use portcullis_engine::stage::{Again, Context, Flow, Stage, Unforwarded};
use portcullis_model::config::{PluginConfig, Role};
use portcullis_model::state::Ground;
use portcullis_model::{Permit, Reason, Refusal};

use name::STAGE;

/// The stage that refuses callers without a source type.
const SOURCE_TYPE_STAGE: &str = "source-type";

/// The header by which routes choose the cluster.
pub const ROUTE_HEADER: &str = "x-portcullis-cluster";

/// Checks the cluster, and mints the identity token at the edge.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClusterStatus;

impl Stage for ClusterStatus {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn admits(&self, _config: &PluginConfig) -> bool {
        false
    }

    fn on_request_headers(&self, context: &mut Context<'_>) -> Flow {
        let known = context.exchange.known.as_ref();
        if known.is_none_or(|known| known.identity().is_none()) {
            return Flow::Refuse(Refusal::new(SOURCE_TYPE_STAGE, Reason::SourceTypeUnknown));
        }
        let permit = match permit(context) {
            Ok(permit) => permit,
            Err(reason) => return Flow::Refuse(Refusal::new(STAGE, reason)),
        };
        if let Some(known) = &context.exchange.known
            && let Err(refusal) =
                pages::check(context.exchange, permit.cluster(), context.config, context.snapshot).and_then(
                    |()| scopes::check(known.principal(), permit.cluster(), context.config, context.snapshot),
                )
        {
            context.exchange.cluster = Some(permit.cluster().clone());
            context.exchange.owned = true;
            return Flow::Refuse(refusal);
        }
        context.exchange.permit = Some(permit);
        Flow::Next
    }

    /// A cluster that has gone offline closes nothing: its state is what heartbeats say, and a stream that
    /// still flows knows better.
    fn look_again(&self, again: &mut Again<'_>) -> Result<(), Reason> {
        let (Some(permit), Some(known)) = (&again.exchange.permit, &again.exchange.known) else {
            return Err(Reason::Internal);
        };
        let cluster = permit.cluster().clone();
        let record = again.snapshot.cluster(&cluster).map(|entry| (&*entry.tenant, entry.state));
        match Permit::decide(cluster.clone(), record, &known.principal().tenant) {
            Ok(_) | Err(Reason::ClusterOffline | Reason::ClusterPending) => {}
            Err(reason) => return Err(reason),
        }
        pages::check(again.exchange, &cluster, again.config, again.snapshot)
            .and_then(|()| scopes::check(known.principal(), &cluster, again.config, again.snapshot))
            .map_err(|refusal| refusal.reason)?;
        again.stands_on(Ground::Cluster(cluster));
        again.stands_on(Ground::Resources);
        Ok(())
    }

    fn reason_of_no_answer(&self) -> Option<Reason> {
        Some(Reason::ClusterUnreachable)
    }

    fn forward(&self, context: &mut Context<'_>) -> Result<(), Unforwarded> {
        let exchange = &context.exchange;
        let permit = exchange.permit.as_ref().ok_or(Unforwarded(Reason::Internal))?;
        context.add(ROUTE_HEADER, permit.cluster().as_str())?;
        if context.config.role != Role::Edge {
            return Ok(());
        }
        let minter = context.link.minter(context.snapshot).ok_or(Unforwarded(Reason::SnapshotMissing))?;
        let known = exchange.known.as_ref().ok_or(Unforwarded(Reason::Internal))?;
        let identity = known.identity().ok_or(Unforwarded(Reason::Internal))?;
        let token = known.token(identity, permit.cluster(), &minter, context.now_s);
        context.add(portcullis_identity::HEADER, &token)?;
        Ok(())
    }
}

/// Which cluster is meant, and whether it may be reached.
fn permit(context: &mut Context<'_>) -> Result<Permit, Reason> {
    let name = match &context.config.role {
        Role::Sidecar { cluster } => Cow::Borrowed(cluster.as_str().as_bytes()),
        Role::Edge => named(context.head.selectors(), &context.config.domain)?,
    };
    let (snapshot, known) = (context.snapshot, context.exchange.known.as_ref());
    let known = known.ok_or(Reason::IdentityMissing)?;
    if let Some(permit) = known.permit(&name, snapshot.contents()) {
        return Ok(permit);
    }
    let cluster = id(&name)?;
    let record = snapshot.cluster(&cluster).map(|entry| (&*entry.tenant, entry.state));
    let decided = Permit::decide(cluster.clone(), record, &known.principal().tenant);
    match &decided {
        Ok(permit) => known.remember(permit, snapshot.contents()),
        Err(_) => {
            context.exchange.owned = record.is_some_and(|(tenant, _)| *tenant == known.principal().tenant);
            context.exchange.cluster = Some(cluster);
        }
    }
    decided
}
