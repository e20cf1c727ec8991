//! What the tunnel's Envoy says of itself.

use std::net::SocketAddr;

use hyper::Method;

use crate::plain::ask;

/// How many connections are tunnels now.
///
/// # Errors
/// In words, when Envoy does not answer.
pub async fn connected(admin: SocketAddr) -> Result<u64, String> {
    // What dials is kept by no counter that is always there; what serves a tunnel is.
    let path = "/stats?filter=%5Ehttp%5C.tunnel%5C.downstream_cx_active%24";
    let (status, page) = ask(&admin.ip().to_string(), admin.port(), Method::GET, path).await?;
    let count = page.trim().rsplit_once(": ").and_then(|(_, count)| count.parse().ok());
    count
        .filter(|_| status == 200)
        .ok_or_else(|| format!("its admin page answers {status} without what is asked for"))
}

/// Has an Envoy beside end, so that it is started again with what was written for it.
///
/// # Errors
/// In words, when Envoy does not answer.
pub async fn quit(admin: SocketAddr) -> Result<(), String> {
    ask(&admin.ip().to_string(), admin.port(), Method::POST, "/quitquitquit").await.map(drop)
}

/// Has Envoy open its logs anew.
///
/// # Errors
/// In words, when Envoy does not answer.
pub async fn reopen(admin: SocketAddr) -> Result<(), String> {
    ask(&admin.ip().to_string(), admin.port(), Method::POST, "/reopen_logs").await.map(drop)
}
