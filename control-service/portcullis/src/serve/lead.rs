//! Publishing the configuration of whoever leads, and noticing where another replica's differs.

use std::time::Duration;

use portcullis_control_config::Config;
use portcullis_control_services::issuers::document_without_fetch;
use portcullis_control_services::standing::Standing;
use portcullis_control_snapshot::entries::{EntryError, OfKind, json};
use portcullis_control_store::{StoreError, Term};
use portcullis_protocol::audit::{hex, keyed_hash};

use super::assemble::Running;

/// How often the configuration is compared with the one that is published.
const LOOK: Duration = Duration::from_secs(2);

/// What this replica has published as the leader.
pub(super) struct Led {
    term: Term,
    configuration: String,
}

/// Looks once, before anything is served.
pub(super) async fn begin(service: &Running) -> Option<Led> {
    let mut led = service.led.map(|term| Led { term, configuration: String::new() });
    look(service, &mut led).await;
    led
}

/// Publishes this replica's configuration when it begins to lead, and compares it while another one does, until it is
/// dropped.
pub(super) async fn lead(service: &Running, mut led: Option<Led>) {
    let mut terms = service.store.terms();
    loop {
        tokio::select! {
            Ok(()) = terms.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        look(service, &mut led).await;
    }
}

async fn look(service: &Running, led: &mut Option<Led>) {
    match step(service, led).await {
        Ok(()) | Err(StoreError::Superseded) => {}
        Err(error) => tracing::error!(%error, "what the leader publishes is not up to date"),
    }
}

async fn step(service: &Running, led: &mut Option<Led>) -> Result<(), StoreError> {
    let (store, config) = (&service.store, service.config.get());
    let own = name(&config, &service.pepper.0)?;
    let Some(term) = store.term() else {
        if led.take().is_some() {
            service.issuers.rest().await;
        }
        compare(service, Standing::of(own, store.published_configuration().await?));
        return Ok(());
    };
    if led.as_ref().is_none_or(|led| led.term.epoch() != term.epoch()) {
        store.publish_settings(term).await?;
        service.issuers.lead().await?;
        *led = Some(Led { term, configuration: String::new() });
    }
    if let Some(led) = led.as_mut().filter(|led| led.configuration != own) {
        store.publish_configuration(term, own.clone()).await?;
        led.configuration.clone_from(&own);
    }
    compare(service, Standing::of(own.clone(), own));
    Ok(())
}

/// Takes note of how this replica stands, and tells what an operator should look at once.
fn compare(service: &Running, now: Standing) {
    if *service.standing.get() == now {
        return;
    }
    if let Standing::Differs { own, leaders } = &now {
        tracing::warn!(
            own,
            leaders,
            "the leader has another configuration, and what it says counts; give all replicas the same"
        );
    }
    service.standing.set(now);
}

/// A name of what filters get by a configuration, and of how often what happens. It tells nothing of the secrets in it:
/// whoever knows the rest could try them out otherwise.
fn name(config: &Config, key: &[u8; 32]) -> Result<String, EntryError> {
    let policy = &config.policy;
    let pairs = |of_kind: OfKind| of_kind.into_iter().collect::<Vec<_>>();
    let entries: Vec<_> =
        policy.entries()?.into_iter().map(|(kind, of_kind)| (kind as i32, pairs(of_kind))).collect();
    let issuers: Vec<_> = policy.issuers.iter().map(document_without_fetch).collect();
    let rest = format!(
        "{:?}",
        (&config.identity, &config.service_tokens, config.offline_after, policy.jwks_refresh)
    );
    let digest = keyed_hash(key, &json(&(entries, issuers, rest))?);
    Ok(hex(digest.first_chunk::<8>().unwrap_or(&[0; 8])))
}
