//! The configuration is asked for again and again; the answer comes when there is something new.

use std::time::Duration;

use portcullis_control_contract::agents::AgentConfiguration;

use super::life::Life;
use super::status::Task;
use crate::backoff::Backoff;
use crate::call::{CallError, Platform};
use crate::configuration::take_over;
use crate::credential::CredentialError;
use crate::folder::FolderError;

/// Seconds for which the platform may wait with its answer.
const WAIT: u64 = 60;
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// Why the configuration of before stays in force.
#[derive(Debug, thiserror::Error)]
enum ConfigurationError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// Follows the configuration.
pub(crate) async fn follow(life: &Life) {
    let mut credential = life.follow();
    let mut backoff = Backoff::default();
    while let Some(platform) = life.platform_now(&mut credential, Task::Configuration, LONGEST).await {
        let mut tag = None;
        while !credential.has_changed().unwrap_or(true) {
            let asked = tokio::select! {
                asked = once(life, &platform, &mut tag) => asked,
                _ = credential.changed() => { credential.mark_changed(); continue }
            };
            match asked {
                Ok(()) => {
                    backoff.reset();
                    life.good(Task::Configuration);
                }
                Err(error) => {
                    life.bad(Task::Configuration, &error);
                    let asked =
                        if let ConfigurationError::Call(error) = &error { life.judge(error) } else { None };
                    tokio::time::sleep(backoff.next(asked, LONGEST)).await;
                }
            }
        }
    }
}

async fn once(life: &Life, platform: &Platform, tag: &mut Option<String>) -> Result<(), ConfigurationError> {
    // The first answer comes at once, whatever is there: it may be that of another service.
    let wait = if tag.is_some() { WAIT } else { 0 };
    let Some(told) = platform.configuration(tag.as_deref(), wait).await? else { return Ok(()) };
    apply(life, &told.configuration)?;
    if told.tag.is_none() {
        // Nothing would hold the next answer back.
        tokio::time::sleep(LONGEST).await;
    }
    *tag = told.tag;
    Ok(())
}

fn apply(life: &Life, told: &AgentConfiguration) -> Result<(), ConfigurationError> {
    if let Some(credential) = life.folder.trust_from_now_on(&told.trust_bundle)? {
        tracing::info!("the platform has told other authorities");
        life.has(credential);
    }
    take_over(&life.folder, told, &life.options.shared)?;
    life.configured.notify_one();
    life.look.notify_one();
    Ok(())
}
