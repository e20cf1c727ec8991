//! PgBouncer before a server: the real one, where it is installed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::{OWNER, Postgres, command};
use crate::error::{MeshError, Result};
use crate::process::Process;
use crate::wait::{Seen, until};

/// When PgBouncer gives a session of the server's to another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// When a client leaves.
    Session,
    /// After each transaction.
    Transaction,
    /// After each statement.
    Statement,
}

impl PoolMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

/// A running PgBouncer.
#[derive(Debug)]
pub struct Pool {
    port: u16,
    /// It runs for as long as this is held.
    _process: Process,
}

impl Pool {
    /// Starts PgBouncer in a folder, before a server.
    ///
    /// # Errors
    /// When it is not installed, or does not start; the message shows its log.
    pub async fn start(folder: &Path, server: &Postgres, mode: PoolMode) -> Result<Self> {
        let program = installed()?;
        fs::create_dir_all(folder).map_err(MeshError::io("create", folder))?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(MeshError::io("find a free port of", "127.0.0.1"))?.port();
        let (config, users, log) =
            (folder.join("pgbouncer.ini"), folder.join("users"), folder.join("pool-log"));
        let upstream = server.setup.port.map(|port| format!(" port={port}")).unwrap_or_default();
        let text = format!(
            "[databases]\npooled = user={OWNER} host={}{upstream}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\nauth_file = {}\npool_mode = {}\n",
            server.folder.display(),
            users.display(),
            mode.as_str()
        );
        fs::write(&config, text).map_err(MeshError::io("write", &config))?;
        fs::write(&users, "").map_err(MeshError::io("write", &users))?;
        let (parent, name) =
            (program.parent().unwrap_or(Path::new("/")), program.file_name().unwrap_or_default());
        let mut pool = command(parent, &name.to_string_lossy());
        pool.arg(&config);
        let mut process = Process::start("pgbouncer", pool, &log)?;
        until("PgBouncer", &log, async || {
            process.check()?;
            let there = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            Ok(there.map_or_else(|error| Seen::NotYet(error.to_string()), |_| Seen::Done(())))
        })
        .await?;
        Ok(Self { port, _process: process })
    }

    /// Where it listens: `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of the server's database `pooled` through the pool.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://{OWNER}@{}/pooled?sslmode=disable", self.address())
    }
}

/// Where PgBouncer is.
fn installed() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
    found.ok_or(MeshError::ToolMissing {
        tool: "pgbouncer",
        purpose: "see that a pool which gives sessions away is refused",
        install: "Install PgBouncer (Debian: `apt install pgbouncer`)",
    })
}
