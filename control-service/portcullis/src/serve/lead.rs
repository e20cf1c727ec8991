//! Publishing the configuration of whoever leads, and noticing where another replica's differs.

use std::time::Duration;

use portcullis_control_config::Fingerprint;
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_services::standing::{Agreement, Standing};
use portcullis_control_store::{Leadership, StoreError, Term};

use super::assemble::Running;

/// How often the configuration is compared with the one that is published.
const LOOK: Duration = Duration::from_secs(2);

/// What this replica has published as the leader, and what is told of that.
pub(super) struct Led {
    published: Option<(Term, Option<Fingerprint>)>,
    outage: OutageLog,
}

/// Looks once, before anything is served.
pub(super) async fn begin(service: &Running) -> Led {
    let outage = OutageLog::new(
        "what the leader publishes is not up to date",
        "what the leader publishes is up to date again",
    );
    let mut led = Led { published: service.led.map(|term| (term, None)), outage };
    look(service, &mut led).await;
    led
}

/// Publishes this replica's configuration when it begins to lead, and compares it while another one does, until it is
/// dropped.
pub(super) async fn lead(service: &Running, mut led: Led) {
    let mut terms = service.store.terms();
    loop {
        tokio::select! {
            Ok(()) = terms.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        look(service, &mut led).await;
    }
}

async fn look(service: &Running, led: &mut Led) {
    match step(service, &mut led.published).await {
        Ok(()) | Err(StoreError::Superseded) => led.outage.worked(),
        Err(error) => led.outage.failed(&error),
    }
}

async fn step(
    service: &Running,
    published: &mut Option<(Term, Option<Fingerprint>)>,
) -> Result<(), StoreError> {
    let store = &service.store;
    let own = service.config.get().fingerprint(&service.pepper.0)?;
    let Some(term) = store.term() else {
        if published.take().is_some() {
            service.issuers.rest().await;
        }
        return compare(service, &own).await;
    };
    if published.as_ref().is_none_or(|(led, _)| led.epoch() != term.epoch()) {
        store.publish_settings(term).await?;
        service.issuers.lead().await?;
        *published = Some((term, None));
    }
    if let Some((_, named)) = published.as_mut().filter(|(_, named)| named.as_ref() != Some(&own)) {
        store.publish_configuration(term, own.to_text()).await?;
        *named = Some(own.clone());
    }
    compare(service, &own).await
}

/// Takes note of how this replica stands, and tells what an operator should look at once.
async fn compare(service: &Running, own: &Fingerprint) -> Result<(), StoreError> {
    let Leadership { leader, configuration } = service.store.leadership().await?;
    let configuration = agreement(own, &configuration);
    let now = Standing { leader, configuration };
    let before = service.standing.get();
    if *before == now {
        return Ok(());
    }
    if let Agreement::Differs(parts) = &now.configuration
        && before.configuration != now.configuration
    {
        tracing::warn!(
            leader = now.leader,
            parts = parts.join(", "),
            "the leader has another configuration, and what it says counts; give all replicas the same"
        );
    }
    service.standing.set(now);
    Ok(())
}

fn agreement(own: &Fingerprint, published: &str) -> Agreement {
    if published.is_empty() {
        return Agreement::Unpublished;
    }
    // What cannot be read is another version's.
    let parts = own.differing(&Fingerprint::read(published).unwrap_or_default());
    if parts.is_empty() { Agreement::Agrees } else { Agreement::Differs(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_counts() {
        let of = |text: &str| Fingerprint::read(text).unwrap();
        let own = of(r#"{"issuers":"a","identity":"b"}"#);
        let stands = |published: &str| agreement(&own, published);
        assert_eq!(stands(""), Agreement::Unpublished);
        assert_eq!(stands(r#"{"identity":"b","issuers":"a"}"#), Agreement::Agrees);
        let differs =
            |parts: &[&str]| Agreement::Differs(parts.iter().map(|part| (*part).to_owned()).collect());
        assert_eq!(stands(r#"{"identity":"b","issuers":"c"}"#), differs(&["issuers"]));
        assert_eq!(stands("another version's"), differs(&["identity", "issuers"]));
    }
}
