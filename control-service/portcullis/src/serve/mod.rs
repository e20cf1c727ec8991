//! `portcullis serve`: the listeners, what runs beside them, and how all of it ends.

mod assemble;
mod error;
mod lead;
mod opening;
mod reload;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portcullis_control_api::{self as api, listen};
use portcullis_control_config::{Config, Listeners};
use portcullis_control_domain::outage_log::OutageLog;
use portcullis_control_store::{FolderLock, Store, StoreError};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use assemble::Running;
pub use error::ServeError;
use error::Unbound;
use reload::reload;

/// How often last uses of API keys are written and ended revocations removed.
const TIDY: Duration = Duration::from_secs(5);
/// How long requests under way may take once the service stops.
const DRAIN: Duration = Duration::from_secs(10);

/// The addresses that were bound.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bound {
    /// Mesh API.
    pub mesh: SocketAddr,
    /// Platform API.
    pub platform: SocketAddr,
    /// Operations.
    pub operations: SocketAddr,
    /// Agents of data clusters, where they are listened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<SocketAddr>,
}

/// Serves until SIGTERM or SIGINT. `ready_file` gets the bound addresses as JSON when they are bound.
///
/// # Errors
/// [`ServeError`] when it cannot begin.
pub async fn serve(config: Config, ready_file: Option<&Path>) -> Result<(), ServeError> {
    let _lock = FolderLock::take(&config.data_dir)?;
    let Listening { mesh, platform, operations, agents } = bind(&config.listeners)?;
    let system = |what| move |source| ServeError::System { what, source };
    let mut hangup = signal(SignalKind::hangup()).map_err(system("a handler for SIGHUP"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("a handler for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("a handler for SIGINT"))?;
    let (stop, stopping) = watch::channel(false);
    let opening = opening::opened(&config, [&mesh, &platform, &operations], stopping.clone());
    let (service, states) = tokio::select! {
        opened = opening => opened?,
        _ = terminate.recv() => return stopped("SIGTERM"),
        _ = interrupt.recv() => return stopped("SIGINT"),
    };
    let address = |listener: &TcpListener| listener.local_addr().map_err(system("an address"));
    let bound = Bound {
        mesh: address(&mesh)?,
        platform: address(&platform)?,
        operations: address(&operations)?,
        agents: agents.as_ref().map(&address).transpose()?,
    };
    let led = lead::begin(&service).await;
    let mut servers = JoinSet::new();
    let limits = config.listeners.limits;
    servers.spawn(listen::serve(mesh, api::mesh(states.mesh), limits, stopping.clone()));
    servers.spawn(listen::serve(platform, api::platform(states.platform), limits, stopping.clone()));
    servers.spawn(listen::serve(operations, api::operations(states.operations), limits, stopping.clone()));
    if let (Some(listener), Some(state), Some(enrolment)) = (agents, states.agents, &service.enrolment) {
        let tls = listen::Tls::new(enrolment.trust());
        servers.spawn(listen::serve_tls(listener, api::agents(state), tls, limits, stopping));
    }
    if let Some(path) = ready_file {
        write_ready(path, &bound)
            .map_err(|source| ServeError::ReadyFile { path: path.to_owned(), source })?;
    }
    tracing::info!(mesh = %bound.mesh, platform = %bound.platform, operations = %bound.operations,
        data_dir = %config.data_dir.display(), "serving");
    let mut lost = None;
    tokio::select! {
        () = service.presence.keep(&service.store) => {}
        () = service.signing.keep() => {}
        () = enrolled(&service) => {}
        () = service.replicas.keep() => {}
        () = service.rollout.keep() => {}
        () = tidy(&service.store) => {}
        () = service.store.recover() => {}
        () = recovered(&service) => {}
        () = lead::lead(&service, led) => {}
        // What this process has in memory is no longer what is so, and must not be handed out as fresh.
        error = service.store.until_unfit() => lost = Some(error),
        () = reload(&service, &mut hangup) => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    stop.send_replace(true);
    end(&service, servers).await;
    tracing::info!("stopped");
    lost.map_or(Ok(()), |error| Err(error.into()))
}

/// Ends before anything was served.
fn stopped(signal: &str) -> Result<(), ServeError> {
    tracing::info!("{signal}: stopped before there was a database");
    Ok(())
}

/// Lets requests under way end, and writes what waits.
async fn end(service: &Running, mut servers: JoinSet<()>) {
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
}

/// The addresses that were taken.
struct Listening {
    mesh: TcpListener,
    platform: TcpListener,
    operations: TcpListener,
    agents: Option<TcpListener>,
}

/// Takes the addresses; of those that cannot be had all are told.
fn bind(listeners: &Listeners) -> Result<Listening, ServeError> {
    let of = |name, address| listen::bind(address).map_err(|source| Unbound { name, address, source });
    let Listeners { mesh, platform, operations, agents, .. } = *listeners;
    let agents = agents.map(|address| of("agents", address)).transpose();
    match (of("mesh", mesh), of("platform", platform), of("operations", operations), agents) {
        (Ok(mesh), Ok(platform), Ok(operations), Ok(agents)) => {
            Ok(Listening { mesh, platform, operations, agents })
        }
        (mesh, platform, operations, agents) => {
            let unbound = [mesh.err(), platform.err(), operations.err(), agents.err()];
            Err(ServeError::Bind(unbound.into_iter().flatten().collect()))
        }
    }
}

/// Keeps up to date which certificates of agents are good, until it is dropped.
async fn enrolled(service: &Running) {
    match &service.enrolment {
        Some(enrolment) => enrolment.keep().await,
        None => std::future::pending().await,
    }
}

fn write_ready(path: &Path, bound: &Bound) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(bound)?)?;
    std::fs::rename(&temporary, path)
}

/// Waits until a restored store has recovered, until it is dropped.
async fn recovered(service: &Running) {
    if service.store.recovery().is_some() {
        service.store.recovered().await;
    }
    std::future::pending().await
}

/// Writes and removes what is late without harm, until it is dropped.
async fn tidy(store: &Store) {
    let mut uses =
        OutageLog::new("times of API keys could not be written", "times of API keys are written again");
    let mut ends =
        OutageLog::new("ended revocations could not be removed", "ended revocations are removed again");
    loop {
        tokio::time::sleep(TIDY).await;
        match store.write_usage().await {
            Ok(true) => uses.worked(),
            // There were none, so nothing is known of the database.
            Ok(false) => {}
            Err(error) => uses.failed(&error),
        }
        let Some(term) = store.term() else { continue };
        match store.remove_ended_revocations(term).await {
            Err(StoreError::Superseded) => {}
            Ok(removed) => {
                ends.worked();
                if removed > 0 {
                    tracing::info!(removed, "revocations that have ended are removed");
                }
            }
            Err(error) => ends.failed(&error),
        }
    }
}
