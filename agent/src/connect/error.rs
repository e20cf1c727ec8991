//! Why the platform cannot be reached, in words that say what to do.

use std::io;

/// What is wrong with the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// It ends in another root.
    #[error(
        "the certificate that came for {host} was issued by {issuer}, and not by the platform: something on the way opens TLS \
         connections. Have it leave {host} alone (no TLS inspection), or check the server's name"
    )]
    Inspected {
        /// The server.
        host: String,
        /// Who issued what came.
        issuer: String,
    },
    /// It is not good yet.
    #[error(
        "the certificate of {host} is good from {from} on, and this machine's clock says {now}: set the clock; if it is right, the \
         platform has to renew its certificate"
    )]
    NotYet {
        /// The server.
        host: String,
        /// The begin.
        from: String,
        /// The own clock.
        now: String,
    },
    /// It is good no longer.
    #[error(
        "the certificate of {host} was good until {to}, and this machine's clock says {now}: set the clock; if it is right, the \
         platform has to renew its certificate"
    )]
    Over {
        /// The server.
        host: String,
        /// The end.
        to: String,
        /// The own clock.
        now: String,
    },
    /// It is for another name.
    #[error("the certificate that came for {host} is for another name: check the server's name")]
    Name {
        /// The server.
        host: String,
    },
    /// It is not sound.
    #[error("the certificate of {host} cannot be verified: {why}")]
    Other {
        /// The server.
        host: String,
        /// What the library says.
        why: String,
    },
}

/// Why a connection to the platform did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name is not known.
    #[error(
        "the name {host} is not found ({why}): ask who runs the DNS of this network, or go by a proxy (--proxy, HTTPS_PROXY)"
    )]
    Dns {
        /// The name.
        host: String,
        /// What the system says.
        why: String,
    },
    /// Nobody takes the connection.
    #[error(
        "no connection to {host}:{port} ({source}): a firewall has to let this machine out to it, or go by a proxy (--proxy)"
    )]
    Unreachable {
        /// The server.
        host: String,
        /// Its port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The HTTP proxy is not there.
    #[error("the proxy {proxy} cannot be reached ({why}): check --proxy, or HTTPS_PROXY")]
    Proxy {
        /// The proxy, without what it asks for.
        proxy: String,
        /// Why.
        why: String,
    },
    /// The HTTP proxy wants credentials.
    #[error(
        "the proxy {proxy} asks for a name and a password, or does not take those given: --proxy http://NAME:PASSWORD@HOST:PORT"
    )]
    ProxyCredentials {
        /// The proxy.
        proxy: String,
    },
    /// The HTTP proxy does not let the connection through.
    #[error(
        "the proxy {proxy} does not let this machine connect to {target} (HTTP {status}): have it allow CONNECT to it"
    )]
    ProxyRefused {
        /// The proxy.
        proxy: String,
        /// Where to.
        target: String,
        /// What it answered.
        status: u16,
    },
    /// The server is not the platform.
    #[error(transparent)]
    Server(#[from] TlsFault),
    /// The server does not take this agent's certificate.
    #[error(
        "the platform does not take this agent's certificate ({0}): it was revoked, or its time is over. Ask for a join token"
    )]
    Refused(String),
    /// TLS failed otherwise.
    #[error("no TLS connection to {host}: {source}")]
    Tls {
        /// The server.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Own certificate or key cannot be used.
    #[error("the agent's own certificate cannot be used: {0}")]
    Own(String),
    /// It took too long.
    #[error(
        "{host}:{port} did not answer within {seconds} s: a firewall on the way may drop what this machine sends"
    )]
    Silent {
        /// The server.
        host: String,
        /// Its port.
        port: u16,
        /// For how long it was waited.
        seconds: u64,
    },
}
