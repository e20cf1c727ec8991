//! Keeps the tunnel: its files, the way through the proxy, and the Envoy that runs as a child.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::life::Life;
use super::status::Task;
use crate::accesses;
use crate::backoff::Backoff;
use crate::connect::Server;
use crate::tunnel::{BOOTSTRAP, Child, TUNNEL, Target, TunnelError, connected, forward, quit, reopen, write};

/// How often the tunnel is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The longest pause before Envoy is started again.
const LONGEST: Duration = Duration::from_secs(30);

/// What runs for a tunnel.
#[derive(Default)]
struct Running {
    child: Option<Child>,
    target: Option<Target>,
    way: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(way) = &self.way {
            way.abort();
        }
    }
}

/// Keeps the tunnel until it is dropped; Envoy goes with it.
pub(crate) async fn keep(life: &Life) {
    let mut running = Running::default();
    let mut backoff = Backoff::default();
    loop {
        match step(life, &mut running).await {
            Ok(()) => {
                backoff.reset();
                life.good(Task::Tunnel);
            }
            Err(error) => life.bad(Task::Tunnel, &error),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = life.configured.notified() => {}
            Some(status) = ended(&mut running.child) => {
                running.child = None;
                life.bad(Task::Tunnel, &TunnelError::Ended(status));
                tokio::time::sleep(backoff.next(None, LONGEST)).await;
            }
        }
    }
}

async fn ended(child: &mut Option<Child>) -> Option<String> {
    match child {
        None => std::future::pending().await,
        Some(child) => {
            Some(child.ended().await.map_or_else(|error| error.to_string(), |status| status.to_string()))
        }
    }
}

async fn step(life: &Life, running: &mut Running) -> Result<(), TunnelError> {
    let told = life.folder.configuration()?.and_then(|told| told.tunnel);
    let (Some(credential), Some(told)) = (life.credential(), told) else {
        // Not joined yet, or the platform has no tunnels of this kind.
        *running = Running::default();
        return Ok(());
    };
    let target = Target::of(&told)?;
    let server = Server { host: target.address.host.clone(), port: target.address.port };
    let proxy = life.proxy(&server).map_err(|error| TunnelError::Address(error.to_string()))?;
    let wiring = &life.options.wiring;
    let is_new = write(&life.folder, credential.issued.cluster.as_str(), &target, wiring, proxy.is_some())?;
    if running.target.as_ref() != Some(&target) {
        if let Some(way) = running.way.take() {
            way.abort();
            // What it listened on is free once it has ended.
            let _ = way.await;
        }
        if let Some(proxy) = proxy {
            let listener = TcpListener::bind(wiring.forward).await;
            let what = format!("cannot listen on {} for the tunnel's way through the proxy", wiring.forward);
            let listener = listener.map_err(|source| TunnelError::Io { what, source })?;
            running.way = Some(tokio::spawn(forward(listener, target.clone(), proxy)));
        }
        running.target = Some(target);
    }
    if is_new {
        match (&mut running.child, &life.options.envoy) {
            (Some(child), _) => {
                child.stop().await;
                running.child = None;
            }
            // One that is not there yet starts with it.
            (None, None) => drop(quit(wiring.admin).await),
            (None, Some(_)) => {}
        }
    }
    if let (None, Some(envoy)) = (&running.child, &life.options.envoy) {
        let bootstrap = life.folder.file(TUNNEL).join(BOOTSTRAP);
        running.child = Some(Child::start(envoy, &bootstrap)?);
    }
    if accesses::rotate(&life.folder)? {
        // Until Envoy answers it writes on where it did.
        drop(reopen(wiring.admin).await);
    }
    match connected(wiring.admin).await {
        Err(_) => Err(TunnelError::NoEnvoy(wiring.admin)),
        Ok(0) => Err(TunnelError::NoTunnel),
        Ok(_) => Ok(()),
    }
}
