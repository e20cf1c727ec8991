//! What all tasks of a running agent share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_control_domain::clock::{millis, now_ms};
use tokio::sync::{Notify, watch};

use super::options::Options;
use super::status::{Progress, STATUS, Status, Task};
use crate::call::{CallError, Platform};
use crate::connect::{AddressError, Proxy, Server};
use crate::credential::Credential;
use crate::folder::OwnFolder;

/// A running agent.
pub(crate) struct Life {
    pub(crate) folder: OwnFolder,
    pub(crate) options: Options,
    status: Mutex<Status>,
    credential: watch::Sender<Option<Arc<Credential>>>,
    /// The platform does not take the certificate.
    refused: AtomicBool,
    /// Told when it may be time for another certificate.
    pub(crate) look: Notify,
    /// Told when the platform has told something new.
    pub(crate) configured: Notify,
}

impl Life {
    pub(crate) fn new(folder: OwnFolder, options: Options, credential: Option<Credential>) -> Self {
        let life = Self {
            folder,
            options,
            status: Mutex::default(),
            credential: watch::Sender::default(),
            refused: AtomicBool::new(false),
            look: Notify::new(),
            configured: Notify::new(),
        };
        if let Some(credential) = credential {
            life.has(credential);
        }
        life
    }

    /// The agent has a certificate from now on, or another one.
    pub(crate) fn has(&self, credential: Credential) {
        let issued = &credential.issued;
        self.note(|status| {
            status.cluster = Some(issued.cluster.clone());
            status.tenant = Some(issued.tenant.clone());
            status.serial = Some(issued.serial.clone());
            status.not_after_ms = Some(issued.not_after_ms);
            status.renew_after_ms = Some(issued.renew_after_ms);
        });
        self.refused.store(false, Ordering::Relaxed);
        self.credential.send_replace(Some(Arc::new(credential)));
    }

    /// Follows the certificate.
    pub(crate) fn follow(&self) -> watch::Receiver<Option<Arc<Credential>>> {
        self.credential.subscribe()
    }

    /// The certificate in use.
    pub(crate) fn credential(&self) -> Option<Arc<Credential>> {
        self.credential.borrow().clone()
    }

    /// The proxy to a server.
    pub(crate) fn proxy(&self, server: &Server) -> Result<Option<Proxy>, AddressError> {
        proxy(server, self.options.proxy.as_deref())
    }

    /// The platform, to somebody with this certificate.
    pub(crate) fn platform(&self, credential: &Credential) -> Result<Platform, AddressError> {
        let server: Server = credential.issued.server.parse()?;
        let proxy = self.proxy(&server)?;
        Ok(Platform::new(server, proxy, credential.trust(), Some(credential.clone())))
    }

    /// The platform, to somebody with the certificate of now, once there is one; none when there will be no other. A pause
    /// is made where its address cannot be used.
    pub(crate) async fn platform_now(
        &self,
        follow: &mut watch::Receiver<Option<Arc<Credential>>>,
        task: Task,
        pause: Duration,
    ) -> Option<Platform> {
        loop {
            let Some(credential) = follow.borrow_and_update().clone() else {
                follow.changed().await.ok()?;
                continue;
            };
            match self.platform(&credential) {
                Ok(platform) => return Some(platform),
                Err(error) => {
                    self.bad(task, &error);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the status, and writes it down for those who ask from outside.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Status)) {
        let status = {
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut status);
            status.written_ms = now_ms();
            status.clone()
        };
        if let Err(error) = self.folder.write_json(STATUS, &status) {
            tracing::warn!("the status cannot be written: {error}");
        }
    }

    pub(crate) fn good(&self, task: Task) {
        let recovered = self.progress(task, |progress| {
            progress.last_good_ms = Some(now_ms());
            progress.good += 1;
            progress.failure.take()
        });
        if recovered.flatten().is_some() {
            tracing::info!(task = task.as_str(), "goes well again");
        }
    }

    pub(crate) fn bad(&self, task: Task, error: &dyn std::fmt::Display) {
        let told = error.to_string();
        let before = self.progress(task, |progress| {
            progress.bad += 1;
            progress.failure.replace(told.clone())
        });
        // The same again and again is told once.
        if before.flatten().as_ref() != Some(&told) {
            tracing::warn!(task = task.as_str(), "{told}");
        }
    }

    fn progress<T>(&self, task: Task, change: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        let mut out = None;
        self.note(|status| out = Some(change(status.tasks.entry(task).or_default())));
        out
    }

    /// Remembers by how much the clocks differ.
    pub(crate) fn compare_clocks(&self, platform: &Platform) {
        if let Some(ahead) = platform.date().map(ahead_s) {
            self.note(|status| status.clock_ahead_s = Some(ahead));
        }
    }

    /// Whether the platform did not take the certificate since this was last asked.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    /// What follows from a failed call: a certificate that is not taken is to be replaced.
    pub(crate) fn judge(&self, error: &CallError) -> Option<Duration> {
        if error.is_about_the_certificate() {
            self.refused.store(true, Ordering::Relaxed);
            self.look.notify_one();
        }
        error.retry_after()
    }
}

/// By how many seconds a time is ahead of this machine's clock. A header tells whole seconds.
pub(crate) fn ahead_s(date: SystemTime) -> i64 {
    let date = date.duration_since(UNIX_EPOCH).map(millis).unwrap_or_default();
    let whole = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    whole(date) - whole(now_ms())
}

/// The proxy to a server: the one that was named, or that of the surroundings.
///
/// # Errors
/// [`AddressError`].
pub fn proxy(server: &Server, named: Option<&str>) -> Result<Option<Proxy>, AddressError> {
    match named {
        Some(named) => named.parse().map(Some),
        None => Proxy::of_surroundings(&server.host, |name| std::env::var(name).ok()),
    }
}
