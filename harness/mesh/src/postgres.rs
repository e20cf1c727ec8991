//! A PostgreSQL server of a test's own: real, durable, reached through a socket in its folder, and, where a test asks for
//! it, over TCP.

mod pool;

use std::ffi::OsString;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Command;

use crate::error::{MeshError, Result};
use crate::pki::LeafFiles;
use crate::process::Process;
use crate::wait::{Seen, until};
use crate::{paths, tools};
pub use pool::{Pool, PoolMode};

/// The user who owns everything in the server. Nobody but this user's processes can reach the socket.
const OWNER: &str = "postgres";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    setup: Setup,
    folder: PathBuf,
    process: Process,
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The folder of the server's programs.
    pub programs: PathBuf,
    /// The folder of the programs that speak to it, which may be newer.
    pub clients: PathBuf,
    /// A port of 127.0.0.1; without one there is the socket alone.
    pub port: Option<u16>,
    /// The server's certificate for TLS at that port.
    pub tls: Option<LeafFiles>,
    /// Who is let in over TCP: lines of `pg_hba.conf`. Through the socket everybody is.
    pub admits: Vec<String>,
}

impl Setup {
    /// The pinned server, behind a socket. `PORTCULLIS_POSTGRES` names another one, so that the same tests run on it: the
    /// folder of its programs, or the major version of one that `portcullis-mesh tools --postgres` has installed.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (`make tools`).
    pub fn new() -> Result<Self> {
        let clients = tools::installed_postgres(&paths::root())?;
        let programs = match std::env::var_os("PORTCULLIS_POSTGRES") {
            Some(major) if major.to_str().is_some_and(|major| major.parse::<u32>().is_ok()) => {
                tools::installed_postgres_server(&paths::root(), &major.to_string_lossy())?
            }
            Some(programs) => PathBuf::from(programs),
            None => clients.clone(),
        };
        Ok(Self { programs, clients, port: None, tls: None, admits: Vec::new() })
    }

    /// The same with a port of 127.0.0.1 that is free.
    ///
    /// # Errors
    /// When there is none.
    pub fn listening(self) -> Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let free = free.map_err(MeshError::io("find a free port of", "127.0.0.1"))?;
        Ok(Self { port: Some(free.port()), ..self })
    }

    /// What the server is told to do.
    fn arguments(&self, folder: &Path) -> Vec<OsString> {
        let mut settings = vec!["unix_socket_permissions=0700".to_owned()];
        settings.push(
            if self.port.is_some() { "listen_addresses=127.0.0.1" } else { "listen_addresses=" }.to_owned(),
        );
        settings.extend(self.port.map(|port| format!("port={port}")));
        if let Some(LeafFiles { certificate, key }) = &self.tls {
            settings.push("ssl=on".to_owned());
            settings.push(format!("ssl_cert_file={}", certificate.display()));
            settings.push(format!("ssl_key_file={}", key.display()));
        }
        let mut arguments = vec!["-D".into(), folder.join("data").into(), "-k".into(), folder.into()];
        arguments.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]));
        arguments
    }
}

impl Postgres {
    /// Starts a new, empty server in a folder. What stood in the folder before is removed.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (`make tools`), or does not start; the message shows its log.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_as(folder, Setup::new()?).await
    }

    /// The same, set up as a test needs it.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub async fn start_as(folder: &Path, setup: Setup) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(MeshError::io("empty", folder))?;
        }
        fs::create_dir_all(folder).map_err(MeshError::io("create", folder))?;
        let mut initdb = command(&setup.programs, "initdb");
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", OWNER]);
        initdb.arg("--pgdata").arg(folder.join("data"));
        finish(initdb, "Is the disk full?").await?;
        if !setup.admits.is_empty() {
            let hba = folder.join("data/pg_hba.conf");
            let lines = ["local all all trust", &setup.admits.join("\n"), ""].join("\n");
            fs::write(&hba, lines).map_err(MeshError::io("write", &hba))?;
        }
        let process = serve(&setup, folder).await?;
        Ok(Self { setup, folder: folder.to_owned(), process })
    }

    /// Makes an empty database and returns the URL by which it is reached.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(&self, name: &str) -> Result<String> {
        let mut create = self.setup.client("createdb", &self.folder);
        create.args(["--username", OWNER, name]);
        finish(create, "Was a database of this name made before?").await?;
        Ok(self.url(name))
    }

    /// Runs SQL in a database, as the owner of everything.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(&self, database: &str, sql: &str) -> Result<()> {
        let mut psql = self.setup.client("psql", &self.folder);
        psql.args(["--username", OWNER, "--quiet", "--set", "ON_ERROR_STOP=1", "--command", sql, database]);
        finish(psql, "").await
    }

    /// Where it listens: `HOST:PORT`, or nowhere but at its socket.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.setup.port.map(|port| format!("127.0.0.1:{port}"))
    }

    /// The URL of a database (RFC 3986; libpq's form for a socket's folder as host).
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        let port = self.setup.port.map(|port| format!(":{port}")).unwrap_or_default();
        ["postgresql://", OWNER, "@", &folder, &port, "/", database].concat()
    }

    /// Kills the server as a power cut would; what it promised to keep has to be there afterwards.
    ///
    /// Its children would outlive it for a moment, serve on, and keep it from being started again: they are killed, too.
    ///
    /// # Errors
    /// When its children cannot be found, or do not end.
    pub async fn kill(&mut self) -> Result<()> {
        // So that it makes no more of them.
        self.process.pause();
        let children = self.process.id().map_or(Ok(Vec::new()), children)?;
        self.process.kill().await;
        for child in &children {
            // One that has ended already is what is wanted.
            let _ = kill_process(*child, Signal::KILL);
        }
        until("the end of PostgreSQL's children", self.process.log(), async || {
            let left = children.iter().find(|child| test_kill_process(**child).is_ok());
            Ok(left.map_or(Seen::Done(()), |child| Seen::NotYet(format!("{child:?} runs"))))
        })
        .await
    }

    /// Starts it again on what it left.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = serve(&self.setup, &self.folder).await?;
        Ok(())
    }

    /// Stops the server and its children where they are: connections stay, and nobody answers.
    ///
    /// # Errors
    /// When its children cannot be found.
    pub fn pause(&self) -> Result<()> {
        self.process.pause();
        self.signal_children(Signal::STOP)
    }

    /// The ids of the server's process and of its children.
    ///
    /// # Errors
    /// When its children cannot be found.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let Some(server) = self.process.id() else { return Ok(Vec::new()) };
        let all = look_at_children(server)?.into_iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        Ok(all.chain([server]).collect())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When its children cannot be found.
    pub fn unpause(&self) -> Result<()> {
        self.signal_children(Signal::CONT)?;
        self.process.unpause();
        Ok(())
    }

    fn signal_children(&self, signal: Signal) -> Result<()> {
        for child in self.process.id().map_or(Ok(Vec::new()), children)? {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(child, signal);
        }
        Ok(())
    }
}

/// The children of a process that is stopped. The system leaves one out now and then when another one ends just then, so
/// they are counted until two looks agree.
fn children(process: u32) -> Result<Vec<Pid>> {
    let mut seen = look_at_children(process)?;
    loop {
        let again = look_at_children(process)?;
        if again == seen {
            return Ok(seen);
        }
        seen = again;
    }
}

fn look_at_children(process: u32) -> Result<Vec<Pid>> {
    let path = PathBuf::from(format!("/proc/{process}/task/{process}/children"));
    let text = fs::read_to_string(&path).map_err(MeshError::io("read", &path))?;
    Ok(text.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect())
}

impl Setup {
    /// A program that speaks to the server through its socket.
    fn client(&self, program: &str, folder: &Path) -> Command {
        let mut client = command(&self.clients, program);
        client.arg("--host").arg(folder);
        if let Some(port) = self.port {
            client.args(["--port", &port.to_string()]);
        }
        client
    }
}

/// Starts the server on its folder, and waits until it answers.
async fn serve(setup: &Setup, folder: &Path) -> Result<Process> {
    let log = folder.join("log");
    let mut server = command(&setup.programs, "postgres");
    server.args(setup.arguments(folder));
    let mut process = Process::start("postgres", server, &log)?;
    until("PostgreSQL", &log, async || {
        process.check()?;
        let mut ask = setup.client("pg_isready", folder);
        let told = ask.output().await.map_err(MeshError::io("run", setup.clients.join("pg_isready")))?;
        Ok(if told.status.success() {
            Seen::Done(())
        } else {
            Seen::NotYet(String::from_utf8_lossy(&told.stdout).trim().to_owned())
        })
    })
    .await?;
    Ok(process)
}

/// One of PostgreSQL's programs, or of those that go with it. They refuse to run as root; in a user namespace where this user has another number it is
/// not root, and its files stay this user's.
fn command(programs: &Path, program: &str) -> Command {
    let path = programs.join(program);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-user=1000", "--"]).arg(path);
        unshare
    } else {
        Command::new(path)
    };
    command.env_remove("PGDATA").env_remove("PGHOST").env_remove("PGPORT").env_remove("PGUSER");
    command.kill_on_drop(true);
    command
}

/// Runs a program to its end.
async fn finish(mut command: Command, hint: &str) -> Result<()> {
    let words = std::iter::once(command.as_std().get_program()).chain(command.as_std().get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = command.output().await.map_err(MeshError::io("start", command.as_std().get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(MeshError::Command {
        command: line,
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        hint: [hint, " Root needs user namespaces (`unshare` of util-linux); another user does not."]
            .concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_committed_is_there_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Postgres::start(folder.path()).await.unwrap();
        server.database("kept").await.unwrap();
        server.run("kept", "CREATE TABLE kept AS SELECT 1 AS n").await.unwrap();
        server.kill().await.unwrap();
        assert!(server.run("kept", "SELECT 1").await.is_err(), "nobody is there");
        server.restart().await.unwrap();
        server.run("kept", "SELECT 1 / count(*) FROM kept").await.unwrap();
        let gone = server.run("kept", "SELECT 1 FROM lost").await.unwrap_err().to_string();
        assert!(gone.contains("lost"), "{gone}");
    }
}
