//! `portcullis serve`: the three listeners, what runs beside them, and how all of it ends.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_control_api::listen;
use portcullis_control_api::{
    self as api, MeshState, MeshToken, OperationsState, Pepper, PlatformState, Stopping,
};
use portcullis_control_config::{Config, LoadError, Principals};
use portcullis_control_domain::text_file;
use portcullis_control_services::Current;
use portcullis_control_services::introspection::Providers;
use portcullis_control_services::issuers::Issuers;
use portcullis_control_services::metrics::Metrics;
use portcullis_control_services::oauth::{Backoff, TokenEndpoint};
use portcullis_control_services::presence::Presence;
use portcullis_control_services::shares::Shares;
use portcullis_control_services::signing::SigningKeys;
use portcullis_control_snapshot::Workers;
use portcullis_control_store::{Database, Store, StoreError};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::location::{self, LocationError};

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often last uses of API keys are written and ended revocations removed.
const TIDY: Duration = Duration::from_secs(5);
/// How long requests under way may take once the service stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is named wrongly.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// A listener's address cannot be had.
    #[error("listeners.{name} {address} cannot be bound: {source}; stop what uses it, or choose another")]
    Bind {
        /// Which listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ready file cannot be written.
    #[error("the ready file {path} cannot be written: {source}")]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refuses something that every service needs.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The addresses that were bound.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bound {
    /// Mesh API.
    pub mesh: SocketAddr,
    /// Platform API.
    pub platform: SocketAddr,
    /// Operations.
    pub operations: SocketAddr,
}

/// Serves until SIGTERM or SIGINT. `ready_file` gets the bound addresses as JSON when they are bound.
///
/// # Errors
/// [`ServeError`] when it cannot begin.
pub async fn serve(config: Config, ready_file: Option<&Path>) -> Result<(), ServeError> {
    let _lock = lock(&config.data_dir)?;
    let (mesh, platform, operations) = (
        bind("mesh", config.listeners.mesh)?,
        bind("platform", config.listeners.platform)?,
        bind("operations", config.listeners.operations)?,
    );
    let system = |what| move |source| ServeError::System { what, source };
    let mut hangup = signal(SignalKind::hangup()).map_err(system("a handler for SIGHUP"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("a handler for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("a handler for SIGINT"))?;
    let (stop, stopping) = watch::channel(false);
    let (service, states) = assemble(&config, stopping.clone()).await?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(system("an address"));
    let bound =
        Bound { mesh: address(&mesh)?, platform: address(&platform)?, operations: address(&operations)? };
    let mut servers = JoinSet::new();
    let limits = config.listeners.limits;
    servers.spawn(listen::serve(mesh, api::mesh(states.mesh), limits, stopping.clone()));
    servers.spawn(listen::serve(platform, api::platform(states.platform), limits, stopping.clone()));
    servers.spawn(listen::serve(operations, api::operations(states.operations), limits, stopping));
    if let Some(path) = ready_file {
        write_ready(path, &bound)
            .map_err(|source| ServeError::ReadyFile { path: path.to_owned(), source })?;
    }
    tracing::info!(mesh = %bound.mesh, platform = %bound.platform, operations = %bound.operations,
        data_dir = %config.data_dir.display(), "serving");
    tokio::select! {
        () = service.presence.keep(&service.store) => {}
        () = service.signing.keep() => {}
        () = tidy(&service.store) => {}
        () = reload(config, &service, &mut hangup) => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    stop.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, async { while servers.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    service.issuers.stop().await;
    if let Err(error) = service.store.write_usage().await {
        tracing::error!(%error, "times of API keys could not be written");
    }
    if let Err(error) = service.presence.flush(&service.store).await {
        tracing::error!(%error, "heartbeat times could not be written");
    }
    service.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// What runs, and what a reload changes.
struct Running {
    store: Store,
    presence: Arc<Presence>,
    issuers: Arc<Issuers>,
    signing: Arc<SigningKeys>,
    providers: Arc<Current<Providers>>,
    principals: Arc<Current<Principals>>,
}

/// What the handlers of the three listeners use.
struct States {
    mesh: MeshState,
    platform: PlatformState,
    operations: OperationsState,
}

/// Opens everything that the handlers need.
async fn assemble(config: &Config, stopping: watch::Receiver<bool>) -> Result<(Running, States), ServeError> {
    let (store, pepper) = open(config).await?;
    let metrics = Arc::new(Metrics::default());
    let issuers = Issuers::new(store.clone(), Arc::clone(&metrics)).await?;
    let workers = Arc::new(Workers::new(config.worker_forget));
    let signing = SigningKeys::new(store.clone(), Arc::clone(&issuers), Arc::clone(&workers), config).await?;
    issuers.apply(&config.policy).await?;
    let presence = Arc::new(Presence::new(store.known_clusters().await?, config.offline_after));
    let providers = Arc::new(Current::new(Providers::new(&config.policy.introspection)));
    let principals = Arc::new(Current::new(config.policy.principals.clone()));
    let running = Running { store, presence, issuers, signing, providers, principals };
    let states = states(config, &running, Shared { workers, metrics, pepper, stopping: Stopping(stopping) });
    Ok((running, states))
}

/// Opens the database, which blocks.
async fn open(config: &Config) -> Result<(Store, Pepper), ServeError> {
    let (location, settings) = (location::of(config)?, config.settings());
    tracing::info!(database = location.kind(), "opening the database");
    let opening = tokio::task::spawn_blocking(move || {
        let database = Database::open(&location)?;
        let pepper = Pepper(Arc::new(database.secrets().api_key_pepper.clone()));
        Ok::<_, StoreError>((Store::start(database, settings)?, pepper))
    });
    let opened = opening.await.map_err(|error| StoreError::Database(error.to_string()))?;
    Ok(opened?)
}

/// What several listeners use and no reload changes.
struct Shared {
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
    pepper: Pepper,
    stopping: Stopping,
}

fn states(config: &Config, running: &Running, shared: Shared) -> States {
    let Running { store, presence, issuers, signing, providers, principals } = running;
    let Shared { workers, metrics, pepper, stopping } = shared;
    let connections = config.listeners.limits.connections;
    let refused_callers = Arc::new(Backoff::default());
    let tokens = TokenEndpoint::new(
        store.clone(),
        Arc::clone(signing),
        Arc::clone(providers),
        Arc::clone(&refused_callers),
        connections,
    );
    let mesh = MeshState {
        store: store.clone(),
        workers: Arc::clone(&workers),
        metrics: Arc::clone(&metrics),
        token: MeshToken(config.mesh_token_digest),
        principals: Arc::clone(principals),
        providers: Arc::clone(providers),
        complaints: Arc::default(),
        issuers: Arc::clone(issuers),
        shares: Arc::new(Shares::new(connections)),
        stopping: stopping.clone(),
    };
    let platform = PlatformState {
        store: store.clone(),
        workers: Arc::clone(&workers),
        presence: Arc::clone(presence),
        metrics: Arc::clone(&metrics),
        pepper,
        issuers: Arc::clone(issuers),
        signing: Arc::clone(signing),
        tokens: Arc::new(tokens),
        refused_callers,
    };
    let operations =
        OperationsState { store: store.clone(), workers, metrics, issuers: Arc::clone(issuers), stopping };
    States { mesh, platform, operations }
}

/// Two services on one database would each publish revisions that the other does not know.
fn lock(data_dir: &Path) -> Result<File, ServeError> {
    let fail = |e: std::io::Error| StoreError::data_dir(data_dir, e);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(fail)?;
    let file = File::create(data_dir.join("serve.lock")).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(data_dir.to_owned()).into()),
        Err(std::fs::TryLockError::Error(error)) => Err(fail(error).into()),
    }
}

fn bind(name: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    listen::bind(address).map_err(|source| ServeError::Bind { name, address, source })
}

fn write_ready(path: &Path, bound: &Bound) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(bound)?)?;
    std::fs::rename(&temporary, path)
}

/// Writes and removes what is late without harm, until it is dropped.
async fn tidy(store: &Store) {
    loop {
        tokio::time::sleep(TIDY).await;
        if let Err(error) = store.write_usage().await {
            tracing::error!(%error, "times of API keys could not be written");
        }
        match store.remove_ended_revocations().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "revocations that have ended are removed"),
            Err(error) => tracing::error!(%error, "ended revocations could not be removed"),
        }
    }
}

/// Takes over changes of the policy when the file changes or on SIGHUP; a bad file changes nothing.
async fn reload(mut config: Config, service: &Running, hangup: &mut Signal) {
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
