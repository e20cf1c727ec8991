//! `control.yaml`: read raw, checked once, and typed from then on.
//!
//! Everything that is wrong is reported at once, each problem with the name of its field. The part that
//! can change while the service runs is [`Policy`]; the rest needs a restart, and [`Config::pending`] says so.

mod agents;
mod clusters;
mod difference;
mod error;
mod files;
mod fingerprint;
mod introspection;
mod issuer;
mod keys;
mod listeners;
mod log;
mod mesh_token;
mod platform_callers;
mod policy;
mod resources;
mod schema;
mod sealing_key;
mod section;
mod signing;
mod warnings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_control_domain::configuration::{Difference, Effect};
use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_control_domain::text_file;
use portcullis_control_snapshot::Settings;
use portcullis_control_snapshot::entries::EntryError;
use portcullis_model::errors::FieldErrors;
use serde::Deserialize;

pub use agents::{Agents, Tunnel};
pub use clusters::ClustersConfig;
pub use difference::{Document, differences};
pub use error::LoadError;
pub use files::{Authorities, Remote, is_trustworthy};
pub use fingerprint::Fingerprint;
pub use introspection::{ClientAuth, IntrospectionConfig};
pub use issuer::IssuerConfig;
pub use keys::KeySource;
pub use listeners::{Limits, Listeners};
pub use log::LogConfig;
pub use platform_callers::{AccessTokens, PlatformCallers, RoleRule};
pub use policy::{Policy, Principals};
pub use schema::SCHEMA;
use section::Section;
pub use signing::{IdentityConfig, ServiceTokens};

/// Which database it must be. Without it, `DATABASE_URL` alone decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The SQLite file in the data folder.
    Sqlite,
    /// The PostgreSQL database that `DATABASE_URL` names.
    Postgresql,
}

/// The checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from, for reloads.
    pub file: PathBuf,
    /// Listeners.
    pub listeners: Listeners,
    /// Folder of the database and the lock.
    pub data_dir: PathBuf,
    /// Where the sealing key comes from.
    pub sealing_key: SealingKeySource,
    /// Which database it must be, if that is said.
    pub backend: Option<Backend>,
    /// SHA-256 of the mesh token; the token itself is not kept.
    pub mesh_token_digest: [u8; 32],
    /// A worker that has not polled for so long no longer counts.
    pub worker_forget: Duration,
    /// Identity tokens.
    pub identity: IdentityConfig,
    /// Service tokens; `None` when the service gives out none.
    pub service_tokens: Option<ServiceTokens>,
    /// How data clusters are watched.
    pub clusters: ClustersConfig,
    /// What agents of data clusters are given and told, if there is a listener for them.
    pub agents: Option<Agents>,
    /// The log.
    pub log: LogConfig,
    /// What can change without a restart.
    pub policy: Policy,
    /// All of it as it is written, with defaults.
    pub document: Document,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        let text = text_file::read(file)
            .map_err(|source| LoadError::Unreadable { path: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    /// Checks a text; `file` names it in errors, and relative paths are relative to its folder.
    ///
    /// # Errors
    /// [`LoadError`] with everything that is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, LoadError> {
        let not_yaml = |problem: String| LoadError::NotYaml { path: file.to_owned(), problem };
        let value = serde_norway::from_str(text).map_err(|e| not_yaml(e.to_string()))?;
        let document = Document::new(&value).map_err(|e| not_yaml(e.to_string()))?;
        let errors = FieldErrors::default();
        let config = read(file, Section::root(value, &errors), document);
        let errors = errors.into_list();
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(LoadError::Invalid { path: file.to_owned(), errors }),
        }
    }

    /// What of it becomes entries of the snapshot before anything is served.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            identity_issuer: self.identity.issuer.clone(),
            identity_lifetime_s: self.identity.lifetime_s,
            issuer_secrets: self.policy.issuer_secrets(),
        }
    }

    /// A name for each part of it. `key` is the service's own, so that nobody who reads a name can try out what leads to it.
    ///
    /// # Errors
    /// [`EntryError`] when something cannot be written as JSON.
    pub fn fingerprint(&self, key: &[u8; 32]) -> Result<Fingerprint, EntryError> {
        Fingerprint::of(&self.document, &self.policy.issuers, &self.mesh_token_digest, key)
    }

    /// What of a new file is not in use until a restart. Empty when nothing would change by one.
    #[must_use]
    pub fn pending(&self, new: &Self) -> Vec<Difference> {
        if !self.needs_restart(new) {
            return Vec::new();
        }
        let mut pending = differences(&self.document, &new.document);
        pending.retain(|difference| difference.effect == Effect::Restart);
        if self.mesh_token_digest != new.mesh_token_digest {
            pending.extend(self.document.same_name(&new.document, &["mesh.tokenFile", "mesh.tokenEnv"]));
        }
        pending
    }

    /// What is in use once a service that runs with this one has read a new file: its policy, and the rest as it was.
    ///
    /// # Errors
    /// [`LoadError`] when the new policy does not go with the rest that stays.
    pub fn reloaded(&self, new: Self) -> Result<Self, LoadError> {
        if !self.needs_restart(&new) {
            return Ok(new);
        }
        let errors = FieldErrors::default();
        check_issuers(&errors, &new.policy, Some(&self.identity), self.service_tokens.as_ref());
        let errors = errors.into_list();
        if !errors.is_empty() {
            return Err(LoadError::Unfit { path: self.file.clone(), errors });
        }
        let document = self.document.with_live_fields_of(&new.document);
        Ok(Self { policy: new.policy, document, ..self.clone() })
    }

    fn needs_restart(&self, new: &Self) -> bool {
        let (policy, document) = (self.policy.clone(), self.document.clone());
        Self { policy, document, ..new.clone() } != *self
    }
}

/// `None` only with errors noted.
fn read(file: &Path, mut root: Section<'_>, document: Document) -> Option<Config> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let listeners = listeners::read(root.section("listeners"));
    let mut store = root.section("store");
    let data_dir = store.required::<PathBuf>("dataDir", "the folder for the database and its sealing key");
    let data_dir = data_dir.map(|data_dir| folder.join(data_dir));
    let sealing_key = sealing_key::read(folder, data_dir.as_deref(), &mut store);
    let backend = store.optional::<Backend>("backend");
    store.finish();
    let mut mesh = root.section("mesh");
    let mesh_token_digest = mesh_token::read(folder, &mut mesh);
    let principals = policy::principals(&mut mesh);
    let forget = mesh.number("workerForgetSeconds", 15, 1, 3600);
    mesh.finish();
    let identity = signing::identity(root.section("identity"));
    let service_tokens = signing::service_tokens(&mut root);
    let clusters = clusters::read(root.section("clusters"));
    let agents = agents::read(folder, &mut root, listeners.as_ref());
    let log = log::read(root.section("log"));
    let policy = policy::read(folder, &mut root, principals);
    check_issuers(root.errors(), &policy, identity.as_ref(), service_tokens.as_ref());
    root.finish();
    Some(Config {
        file: file.to_owned(),
        listeners: listeners?,
        sealing_key: sealing_key?,
        data_dir: data_dir?,
        backend,
        mesh_token_digest: mesh_token_digest?,
        worker_forget: Duration::from_secs(forget.into()),
        identity: identity?,
        service_tokens,
        clusters,
        agents,
        log,
        policy,
        document,
    })
}

/// No two of the service's issuers and of those that it believes may be the same: one would pass for the other.
fn check_issuers(
    errors: &FieldErrors,
    policy: &Policy,
    identity: Option<&IdentityConfig>,
    service_tokens: Option<&ServiceTokens>,
) {
    let tokens = service_tokens.map(|t| t.issuer.as_str());
    let is_issuer =
        |name: &str| policy.issuers.iter().flat_map(IssuerConfig::names).any(|i| i.as_str() == name);
    if identity.is_some_and(|i| is_issuer(&i.issuer) || tokens == Some(i.issuer.as_str())) {
        errors.add(
            "identity.issuer",
            "is also the issuer of a credential; identity tokens need an issuer of their own",
        );
    }
    if tokens.is_some_and(is_issuer) {
        errors
            .add("serviceTokens.issuer", "is one of `issuers` too; the service publishes its own by itself");
    }
    let own = [tokens, identity.map(|identity| identity.issuer.as_str())];
    for provider in policy.introspection.iter().map(|provider| &provider.document) {
        if own.contains(&Some(provider.issuer.as_str())) {
            errors.add(
                "introspection",
                format!(
                    "{}: `issuer` is an issuer of this service, so the provider's word would pass for its own; write the provider's",
                    provider.name
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
