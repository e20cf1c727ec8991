//! A connection to the platform: by the network or through an HTTP proxy.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::{Proxy, authority};
use super::error::ConnectError;

/// How long each step of a connection may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a proxy's answer at most.
const MOST: usize = 8192;

/// Connects to a host, through the proxy if there is one.
///
/// # Errors
/// [`ConnectError`].
pub async fn dial(host: &str, port: u16, proxy: Option<&Proxy>) -> Result<TcpStream, ConnectError> {
    let Some(proxy) = proxy else { return direct(host, port).await };
    let unreachable = |why: String| ConnectError::Proxy { proxy: proxy.to_string(), why };
    let stream = direct(&proxy.host, proxy.port).await.map_err(|error| match error {
        ConnectError::Dns { why, .. } => unreachable(format!("its name is not found: {why}")),
        ConnectError::Unreachable { source, .. } => unreachable(source.to_string()),
        other => unreachable(other.to_string()),
    })?;
    let asked = tokio::time::timeout(PATIENCE, ask(stream, proxy, &authority(host, port))).await;
    asked.map_err(|_| unreachable(format!("it did not answer within {} s", PATIENCE.as_secs())))?
}

async fn direct(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let silent = |_| ConnectError::Silent { host: host.to_owned(), port, seconds: PATIENCE.as_secs() };
    let not_found = |why: String| ConnectError::Dns { host: host.to_owned(), why };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| not_found(format!("no answer within {} s", PATIENCE.as_secs())))?;
    let addresses: Vec<_> = found.map_err(|error| not_found(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(not_found("it has no address".to_owned()));
    }
    let connected =
        tokio::time::timeout(PATIENCE, TcpStream::connect(addresses.as_slice())).await.map_err(silent)?;
    let stream =
        connected.map_err(|source| ConnectError::Unreachable { host: host.to_owned(), port, source })?;
    // Small messages, each of which somebody waits for. Without it they come later, that is all.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Asks a proxy for a connection (RFC 9110, section 9.3.6).
async fn ask(mut stream: TcpStream, proxy: &Proxy, target: &str) -> Result<TcpStream, ConnectError> {
    let broken = |why: String| ConnectError::Proxy { proxy: proxy.to_string(), why };
    let mut asked = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        asked.extend(["Proxy-Authorization: ", authorization.as_str(), "\r\n"]);
    }
    asked.push_str("\r\n");
    let asked = zeroize::Zeroizing::new(asked);
    stream.write_all(asked.as_bytes()).await.map_err(|error| broken(error.to_string()))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // One at a time: what follows the head is TLS already.
        let byte = stream.read_u8().await.map_err(|error| broken(format!("it hung up: {error}")))?;
        answer.push(byte);
        if answer.len() > MOST {
            return Err(broken("its answer has no end".to_owned()));
        }
    }
    let head = String::from_utf8_lossy(&answer);
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    match status.ok_or_else(|| broken("it does not speak HTTP".to_owned()))? {
        200..=299 => Ok(stream),
        407 => Err(ConnectError::ProxyCredentials { proxy: proxy.to_string() }),
        status => {
            Err(ConnectError::ProxyRefused { proxy: proxy.to_string(), target: target.to_owned(), status })
        }
    }
}
