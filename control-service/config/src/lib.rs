//! `control.yaml`: read raw, checked once, and typed from then on.
//!
//! Everything that is wrong is reported at once, each problem with the name of its field. The part that
//! can change while the service runs is [`Policy`]; the rest needs a restart, and [`Config::pending`] says so.

mod difference;
mod files;
mod introspection;
mod issuer;
mod keys;
mod platform_callers;
mod policy;
mod resources;
mod section;
mod signing;
mod warnings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_control_domain::configuration::{Difference, Effect};
use portcullis_control_domain::text_file;
use portcullis_control_snapshot::Settings;
use portcullis_model::errors::{FieldError, FieldErrors};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tracing_subscriber::filter::LevelFilter;

pub use difference::{Document, differences};
pub use files::{Authorities, Remote, is_trustworthy};
pub use introspection::{ClientAuth, IntrospectionConfig};
pub use issuer::IssuerConfig;
pub use keys::KeySource;
pub use platform_callers::{PlatformCallers, RoleRule};
pub use policy::{Policy, Principals};
use section::Section;
pub use signing::{IdentityConfig, ServiceTokens};

/// The JSON schema of `control.yaml`.
pub const SCHEMA: &str = include_str!("../../control.schema.json");

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; name the file with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{path} is not YAML: {problem}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        problem: String,
    },
    /// The file says something that cannot be.
    #[error("{path} has {n} error(s):\n{list}", n = errors.len(), list = bullets(errors))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them.
        errors: Vec<FieldError>,
    },
    /// What of the file would be taken over does not go with what stays as it is until a restart.
    #[error("{path} does not go with what is in use until a restart; restart the service to use the file:\n{list}", list = bullets(errors))]
    Unfit {
        /// The file.
        path: PathBuf,
        /// All of what does not fit.
        errors: Vec<FieldError>,
    },
}

impl LoadError {
    /// The fields at fault; empty where the file could not be read at all.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        match self {
            Self::Invalid { errors, .. } | Self::Unfit { errors, .. } => {
                errors.iter().map(|error| error.field.clone()).collect()
            }
            Self::Unreadable { .. } | Self::NotYaml { .. } => Vec::new(),
        }
    }
}

fn bullets(errors: &[FieldError]) -> String {
    errors.iter().map(|e| format!("  - {e}")).collect::<Vec<_>>().join("\n")
}

/// What a listener bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Time for the head of a request, from when the connection is ready for it.
    pub header_time: Duration,
}

/// The three listeners, and what each bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    /// Mesh API, for filters, behind the service's own sidecar.
    pub mesh: SocketAddr,
    /// Platform API, for operators and data clusters.
    pub platform: SocketAddr,
    /// Health and metrics.
    pub operations: SocketAddr,
    /// What each of them bears.
    pub limits: Limits,
}

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// A `tracing` filter, for example `info` or `portcullis_control=debug`.
    pub level: String,
}

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
    /// The file of the sealing key.
    pub sealing_key: PathBuf,
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
    /// Without a heartbeat for so long, a cluster is offline.
    pub offline_after: Duration,
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
    let listeners = listeners(root.section("listeners"));
    let mut store = root.section("store");
    let data_dir = store.required::<PathBuf>("dataDir", "the folder for the database and its sealing key");
    let sealing_key = store.optional::<PathBuf>("sealingKeyFile");
    let backend = store.optional::<Backend>("backend");
    store.finish();
    let mut mesh = root.section("mesh");
    let mesh_token_digest = mesh_token(folder, &mut mesh);
    let principals = policy::principals(&mut mesh);
    let forget = mesh.number("workerForgetSeconds", 15, 1, 3600);
    mesh.finish();
    let identity = signing::identity(root.section("identity"));
    let service_tokens = signing::service_tokens(&mut root);
    let mut clusters = root.section("clusters");
    let offline_after = clusters.number("offlineAfterSeconds", 90, 1, 3600);
    clusters.finish();
    let log = log(root.section("log"));
    let policy = policy::read(folder, &mut root, principals);
    check_issuers(root.errors(), &policy, identity.as_ref(), service_tokens.as_ref());
    root.finish();
    let data_dir = folder.join(data_dir?);
    Some(Config {
        file: file.to_owned(),
        listeners: listeners?,
        sealing_key: sealing_key.map_or_else(|| data_dir.join("sealing.key"), |file| folder.join(file)),
        data_dir,
        backend,
        mesh_token_digest: mesh_token_digest?,
        worker_forget: Duration::from_secs(forget.into()),
        identity: identity?,
        service_tokens,
        offline_after: Duration::from_secs(offline_after.into()),
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

fn listeners(mut section: Section<'_>) -> Option<Listeners> {
    let hint = "address:port, for example 127.0.0.1:9700";
    let mut address = |field| -> Option<SocketAddr> {
        let text: String = section.required(field, hint)?;
        text.parse()
            .map_err(|_| section.error(field, format!("{text:?} is not an IP address with a port; {hint}")))
            .ok()
    };
    let (mesh, platform, operations) = (address("mesh"), address("platform"), address("operations"));
    let all = [("mesh", mesh), ("platform", platform), ("operations", operations)];
    for (at, (field, found)) in all.iter().enumerate() {
        let taken = found.is_some_and(|a| a.port() != 0) && all.iter().take(at).any(|(_, b)| b == found);
        if taken {
            section.error(field, "is the address of another listener too");
        }
    }
    let connections = section.number("maxConnections", 10_000, 8, 100_000);
    let header_time = section.number("headerSeconds", 30, 1, 300);
    section.finish();
    let limits = Limits {
        connections: usize::try_from(connections).unwrap_or(8),
        header_time: Duration::from_secs(header_time.into()),
    };
    Some(Listeners { mesh: mesh?, platform: platform?, operations: operations?, limits })
}

fn mesh_token(folder: &Path, mesh: &mut Section<'_>) -> Option<[u8; 32]> {
    let file = mesh.optional::<PathBuf>("tokenFile");
    let variable = mesh.optional::<String>("tokenEnv");
    let (field, text) = match (file, variable) {
        (Some(file), None) => {
            let path = folder.join(file);
            let text = text_file::read(&path)
                .map_err(|e| mesh.error("tokenFile", format!("cannot read {}: {e}", path.display())));
            ("tokenFile", text.ok()?)
        }
        (None, Some(name)) => {
            let text = std::env::var(&name)
                .map_err(|_| mesh.error("tokenEnv", format!("the environment has no variable {name}")));
            ("tokenEnv", text.ok()?)
        }
        _ => {
            mesh.error("tokenFile", "give either tokenFile or tokenEnv: the secret shared with the filters");
            return None;
        }
    };
    let token = text.trim_end_matches(['\r', '\n']);
    if !(16..=512).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        mesh.error(field, "the token must be 16 to 512 visible ASCII characters");
        return None;
    }
    Some(Sha256::digest(token.as_bytes()).into())
}

fn log(mut section: Section<'_>) -> LogConfig {
    let format: String = section.optional("format").unwrap_or_else(|| "text".to_owned());
    let level: String = section.optional("level").unwrap_or_else(|| "info".to_owned());
    if !matches!(format.as_str(), "text" | "json") {
        section.error("format", format!("{format:?} is not a log format; write text or json"));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&level) {
        section.error("level", format!("is not a log filter: {error}; write for example info"));
    }
    // A bare word would be taken for a target, and leave everything else silent.
    let is_word = |part: &&str| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err();
    if let Some(word) = level.split(',').find(is_word) {
        section.error(
            "level",
            format!("{word:?} is no level; write error, warn, info, debug or trace, or TARGET=LEVEL"),
        );
    }
    section.finish();
    LogConfig { json: format == "json", level }
}

#[cfg(test)]
mod tests;
