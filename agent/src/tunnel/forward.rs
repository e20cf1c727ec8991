//! The tunnel's way through an HTTP proxy: Envoy dials this machine, and what it says goes through the proxy, which sees TLS.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::bootstrap::Target;
use crate::connect::{Proxy, dial};

/// Connections at a time: tunnels, and what tries to become one.
const MOST: usize = 256;

/// Takes connections of this machine to the end of the tunnel, until it is dropped.
pub(crate) async fn forward(listener: TcpListener, target: Target, proxy: Proxy) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Files or memory are short for a moment.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (target, proxy) = (target.clone(), proxy.clone());
        under_way.spawn(async move {
            if let Err(error) = through(stream, &target, &proxy).await {
                tracing::warn!("the tunnel's way through the proxy: {error}");
            }
            drop(place);
        });
        while under_way.try_join_next().is_some() {}
    }
}

async fn through(
    mut stream: TcpStream,
    target: &Target,
    proxy: &Proxy,
) -> Result<(), crate::connect::ConnectError> {
    let mut far = dial(&target.address.host, target.address.port, Some(proxy)).await?;
    // Either end may cut it, and Envoy dials anew.
    let _ = copy_bidirectional(&mut stream, &mut far).await;
    Ok(())
}
