//! A certificate is replaced long before its end. The old one stays in use until the platform has taken the new one.

use std::time::Duration;

use portcullis_control_domain::clock::now_ms;

use super::heartbeat::heartbeat;
use super::life::Life;
use super::options::TokenError;
use super::status::Task;
use crate::backoff::Backoff;
use crate::call::CallError;
use crate::connect::AddressError;
use crate::credential::{Credential, CredentialError};
use crate::folder::FolderError;
use crate::join::{JoinError, Joined, join, keep, request};
use crate::state::Issued;

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(300);
/// How often it is looked whether it is time: clocks jump, and sleep through a suspended machine.
const LOOK: Duration = Duration::from_secs(30);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "the platform takes this agent's certificate no more: ask for a join token (portcullis clusters join-token CLUSTER)"
    )]
    Ended,
    #[error("the platform does not take the new certificate ({0}); the old one stays in use")]
    NotTaken(CallError),
}

/// Joins where the agent has not, and replaces the certificate whenever it is time.
pub(crate) async fn renew(life: &Life) {
    let mut backoff = Backoff::default();
    loop {
        let held = life.credential();
        let task = if held.is_none() { Task::Join } else { Task::Renewal };
        if let Some(held) = &held
            && !life.was_refused()
            && !is_due(life, &held.issued)
        {
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(until(held.issued.renew_after_ms))) => {}
                () = life.look.notified() => {}
            }
            continue;
        }
        let done = match &held {
            None => first(life).await,
            Some(held) => replace(life, held).await,
        };
        let pause = match done {
            Ok(credential) => {
                tracing::info!(serial = credential.issued.serial, "a new certificate is in use");
                life.has(credential);
                life.good(task);
                backoff.reset();
                continue;
            }
            Err(error) => {
                life.bad(task, &error);
                let asked = match &error {
                    RenewalError::Call(error) | RenewalError::Join(JoinError::Call(error)) => {
                        error.retry_after()
                    }
                    _ => None,
                };
                backoff.next(asked, LONGEST)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn until(ms: u64) -> Duration {
    Duration::from_millis(ms.saturating_sub(now_ms())).max(Duration::from_millis(50))
}

fn is_due(life: &Life, issued: &Issued) -> bool {
    let before = life.folder.configuration().ok().flatten().and_then(|told| told.renew_issued_before_ms);
    now_ms() >= issued.renew_after_ms || before.is_some_and(|before| issued.issued_at_ms < before)
}

/// The first certificate, by the join token.
async fn first(life: &Life) -> Result<Credential, RenewalError> {
    let Some(joining) = &life.options.joining else { return Err(RenewalError::Ended) };
    let token = joining.token()?;
    let proxy = life.proxy(&joining.server)?;
    let joined = join(&life.folder, &joining.server, proxy, &token, now_ms()).await?;
    if let Joined::Now(issued) = &joined {
        tracing::info!(cluster = %issued.cluster, "joined");
    }
    life.folder.credential()?.ok_or(RenewalError::Ended)
}

/// A new certificate in the place of this one.
async fn replace(life: &Life, held: &Credential) -> Result<Credential, RenewalError> {
    let fresh = match life.folder.next_credential()? {
        Some(next) => next,
        None => {
            let platform = life.platform(held)?;
            let asked = platform.renew(&request(&life.folder)?).await;
            life.compare_clocks(&platform);
            match asked {
                Ok(answer) => {
                    let issued = Issued::of(&answer, &held.issued.server, &held.issued.token, now_ms());
                    keep(&life.folder, &answer, &issued)?
                }
                Err(error) if error.is_about_the_certificate() => return again(life, held).await,
                Err(error) => return Err(error.into()),
            }
        }
    };
    // It is used for good only if the platform takes it.
    match life.platform(&fresh)?.heartbeat(&heartbeat()).await {
        Ok(_) => {
            life.folder.use_next()?;
            Ok(fresh)
        }
        Err(error) if error.is_about_the_certificate() => {
            life.folder.forget_next()?;
            Err(RenewalError::NotTaken(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// The certificate is good no more: only another join token helps.
async fn again(life: &Life, held: &Credential) -> Result<Credential, RenewalError> {
    let token = life.options.joining.as_ref().and_then(|joining| joining.token().ok());
    if token.is_none_or(|token| token.id() == held.issued.token) {
        return Err(RenewalError::Ended);
    }
    first(life).await
}
