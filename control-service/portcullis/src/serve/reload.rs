//! Taking over changes of the configuration while the service runs.

use std::time::Duration;

use portcullis_control_config::{Config, LoadError};
use portcullis_control_domain::text_file;
use portcullis_control_services::introspection::Providers;
use portcullis_control_store::StoreError;
use tokio::signal::unix::Signal;

use super::assemble::Running;

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Takes over changes of the policy when the file changes or on SIGHUP; a bad file changes nothing.
pub(super) async fn reload(mut config: Config, service: &Running, hangup: &mut Signal) {
    let mut seen = text_file::read(&config.file).unwrap_or_default();
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let text = match text_file::read(&config.file) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(file = %config.file.display(), %error, "the configuration cannot be read; the old one stays");
                continue;
            }
        };
        if !asked && text == seen {
            continue;
        }
        seen.clone_from(&text);
        match take_over(&config, &text, service).await {
            Ok(new) => config = new,
            Err(error) => tracing::error!(%error, "the new configuration is not used; the old one stays"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn take_over(config: &Config, text: &str, service: &Running) -> Result<Config, ReloadError> {
    let new = Config::parse(&config.file, text)?;
    if config.needs_restart(&new) {
        tracing::warn!(
            "only mesh.gateways, mesh.sidecars, issuers, introspection, workloads, sourceRules, resources and jwksRefreshSeconds are reloaded; the rest of the change needs a restart"
        );
    }
    // The providers first: what the old ones say must not be kept by filters as the new ones' word.
    service.providers.set(Providers::new(&new.policy.introspection));
    if let Err(error) = service.issuers.apply(&new.policy).await {
        service.providers.set(Providers::new(&config.policy.introspection));
        return Err(error.into());
    }
    service.principals.set(new.policy.principals.clone());
    tracing::info!(revision = service.store.hub().revision(), "configuration reloaded");
    Ok(Config { policy: new.policy, ..config.clone() })
}
