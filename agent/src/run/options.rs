//! How an agent runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_control_contract::agents::JoinSecret;

use crate::configuration::Shared;
use crate::connect::Server;
use crate::tunnel::Wiring;

/// How it joins by itself, where it has not, or where its certificate is good no more.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The platform.
    pub server: Server,
    /// The file with the join token.
    pub token_file: PathBuf,
}

impl Joining {
    /// The token that is in the file now.
    ///
    /// # Errors
    /// That it cannot be read.
    pub fn token(&self) -> Result<JoinSecret, TokenError> {
        let text = portcullis_control_domain::text_file::read_named(&self.token_file);
        let text = zeroize::Zeroizing::new(
            text.map_err(|source| TokenError::Unreadable { path: self.token_file.clone(), source })?,
        );
        JoinSecret::parse(text.trim()).ok_or(TokenError::None)
    }
}

/// Why there is no join token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("the join token in {path} cannot be read: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("this is no join token (pcj_…), or a part of it is missing: copy it anew")]
    None,
}

/// How an agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// How it joins by itself.
    pub joining: Option<Joining>,
    /// The HTTP proxy; that of the surroundings unless given.
    pub proxy: Option<String>,
    /// Where its health page and metrics are.
    pub listen: SocketAddr,
    /// Files for others.
    pub shared: Shared,
    /// What the tunnel leads to, and where its parts listen.
    pub wiring: Wiring,
    /// The Envoy that it runs as a child; none where one runs beside.
    pub envoy: Option<PathBuf>,
}
