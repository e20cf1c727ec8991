//! The way from a replica to its database, which can be cut.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What a PostgreSQL server calls its socket.
const SOCKET: &str = ".s.PGSQL.5432";

/// Carries connections to a server until it is cut. Then they stay, and nothing comes through: what is sent waits, as in a
/// network that has lost its way.
pub(crate) struct Wire {
    folder: TempDir,
    is_cut: watch::Sender<bool>,
}

impl Wire {
    /// To the server whose socket lies in a folder.
    pub(crate) fn to(server: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let is_cut = watch::Sender::new(false);
        tokio::spawn(accept(listener, server.join(SOCKET), is_cut.clone()));
        Self { folder, is_cut }
    }

    /// The URL of a database of the server, by this way.
    pub(crate) fn url(&self, database: &str) -> String {
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        ["postgresql://postgres@", &folder, "/", database].concat()
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn accept(listener: UnixListener, server: PathBuf, is_cut: watch::Sender<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        let (server, is_cut) = (server.clone(), is_cut.subscribe());
        tokio::spawn(async move {
            let Ok(far) = UnixStream::connect(server).await else { return };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::join!(carry(near_in, far_out, is_cut.clone()), carry(far_in, near_out, is_cut));
        });
    }
}

/// Carries what is sent one way; also the end of it comes through only while it is not cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        let whole = is_cut.wait_for(|is_cut| !is_cut).await.is_ok();
        if read == 0 || !whole || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
