//! `portcullis agent run`.

mod configuration;
mod health;
mod heartbeat;
mod life;
mod options;
mod renewal;
mod status;
mod tunnel;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::credential::CredentialError;
use crate::folder::OwnFolder;
use life::Life;
pub(crate) use life::ahead_s;
pub use life::proxy;
pub use options::{Joining, Options, TokenError};
pub use status::{Progress, STATUS, Status, Task};

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its certificate.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It has none, and nothing to join by.
    #[error(
        "this agent has not joined: get a join token (portcullis clusters join-token CLUSTER), and run portcullis agent join, or \
         give --server and --token-file"
    )]
    NotJoined,
    /// Its health page.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// Where.
        at: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs until it is told to stop.
///
/// # Errors
/// [`RunError`]; what goes wrong later is tried again, and told.
pub async fn run(
    folder: OwnFolder,
    options: Options,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    folder.settle()?;
    let held = folder.credential()?;
    if held.is_none() && options.joining.is_none() {
        return Err(RunError::NotJoined);
    }
    let at = options.listen;
    let listen = |source| RunError::Listen { at, source };
    let listener = TcpListener::bind(at).await.map_err(listen)?;
    let life = Arc::new(Life::new(folder, options, held));
    tokio::select! {
        () = stop => Ok(()),
        () = renewal::renew(&life) => Ok(()),
        () = heartbeat::beat(&life) => Ok(()),
        () = configuration::follow(&life) => Ok(()),
        () = tunnel::keep(&life) => Ok(()),
        ended = health::answer(listener, Arc::clone(&life)) => ended.map_err(listen),
    }
}
