//! What a command says, and how it is interrupted.

use portcullis_mesh::{MeshError, Result};

/// A line of progress.
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let handler = |kind| {
        signal(kind).map_err(|source| MeshError::Io { action: "listen for", path: "signals".into(), source })
    };
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
