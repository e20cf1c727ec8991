//! Taking over changes of the configuration while the service runs, and telling what is not taken over.

use std::sync::Arc;
use std::time::Duration;

use portcullis_control_config::{Config, LoadError, Policy, differences};
use portcullis_control_domain::configuration::{Difference, Effect, RunningConfiguration};
use portcullis_control_domain::text_file;
use portcullis_control_services::introspection::Providers;
use portcullis_control_store::StoreError;
use tokio::signal::unix::Signal;

use super::assemble::Running;

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("the configuration cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReloadError {
    /// What of the file is at fault.
    fn fields(&self) -> Vec<String> {
        let named = match self {
            Self::Load(error) => error.fields(),
            Self::Unreadable(_) | Self::Store(_) => Vec::new(),
        };
        if named.is_empty() { vec!["(the whole file)".to_owned()] } else { named }
    }
}

/// Takes over changes of the policy when the file changes or on SIGHUP; a bad file changes nothing.
pub(super) async fn reload(service: &Running, hangup: &mut Signal) {
    // The file may have changed since the service was started by it, so the first look is at all of it.
    let mut seen = None;
    let mut told = None;
    // What was taken over in part is taken over whole, also where the file says again what it did before.
    let mut half = false;
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let config = service.config.get();
        let text = text_file::read(&config.file);
        if !asked && text.as_ref().is_ok_and(|text| seen.as_ref() == Some(text)) {
            continue;
        }
        let wanted = text.as_ref().ok().cloned();
        match take_over(&config, text, service, asked || half).await {
            Ok(new) => {
                service.config.set(new);
                (seen, told, half) = (wanted, None, false);
            }
            Err(error) => {
                // What the database did not take is tried again with the next look.
                let again = matches!(error, ReloadError::Store(_));
                half |= again;
                seen = wanted.filter(|_| !again);
                refuse(&error, service, asked, &mut told);
            }
        }
    }
}

/// Says once why a file is not used.
fn refuse(error: &ReloadError, service: &Running, asked: bool, told: &mut Option<String>) {
    let text = error.to_string();
    if asked || told.as_ref() != Some(&text) {
        match error {
            ReloadError::Store(_) => tracing::error!(
                %error,
                "the new configuration cannot be published and is tried again; who may call, and limits, count already"
            ),
            ReloadError::Load(_) | ReloadError::Unreadable(_) => {
                tracing::error!(%error, "the new configuration is not used; the old one stays");
            }
        }
    }
    *told = Some(text);
    let now = service.configuration.get();
    service.configuration.set(RunningConfiguration { refused: error.fields(), ..(*now).clone() });
}

async fn take_over(
    config: &Config,
    text: std::io::Result<String>,
    service: &Running,
    asked: bool,
) -> Result<Config, ReloadError> {
    let wanted = Config::parse(&config.file, &text?)?;
    let pending = config.pending(&wanted);
    let new = config.reloaded(wanted)?;
    if asked || new.policy != config.policy {
        apply(config, &new, service).await?;
        let mut live = differences(&config.document, &new.document);
        live.retain(|difference| difference.effect == Effect::Live);
        let revision = service.store.hub().revision();
        tracing::info!(revision, fields = names(&live), "configuration reloaded");
    }
    let before = service.configuration.get();
    if !pending.is_empty() && (asked || pending != before.pending) {
        tracing::warn!(
            fields = names(&pending),
            "these fields of the file are not in use and will not be before a restart: restart the service, or take the change back"
        );
    } else if pending.is_empty() && !before.pending.is_empty() {
        tracing::info!("the file says what is in use again: no restart is pending");
    }
    let settings = new.document.value().clone();
    service.configuration.set(RunningConfiguration { settings, pending, refused: Vec::new() });
    Ok(new)
}

async fn apply(config: &Config, new: &Config, service: &Running) -> Result<(), StoreError> {
    // Who may call and how much needs nothing of the database, and waits for nothing: it may close something.
    service.principals.set(new.policy.principals.clone());
    service.people.set(new.policy.platform_callers.clone());
    service.store.limit_tenants(new.policy.tenant_limits);
    // The providers before the issuers: what the old ones say must not be kept by filters as the new ones' word.
    let providers = |policy: &Policy| {
        let replicas = Some(Arc::clone(&service.replicas));
        service.providers.set(Providers::new(&policy.introspection, replicas));
    };
    providers(&new.policy);
    if let Err(error) = service.issuers.apply(&new.policy).await {
        providers(&config.policy);
        return Err(error);
    }
    Ok(())
}

fn names(differences: &[Difference]) -> String {
    differences.iter().map(|difference| difference.field.as_str()).collect::<Vec<_>>().join(", ")
}
