//! A PostgreSQL server of a test's own: real, durable, reached through a socket in its folder alone.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Command;

use crate::error::{MeshError, Result};
use crate::process::Process;
use crate::wait::{Seen, until};
use crate::{paths, tools};

/// The user who owns everything in the server. Nobody but this user's processes can reach the socket.
const OWNER: &str = "postgres";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    process: Process,
}

impl Postgres {
    /// Starts a new, empty server in a folder. What stood in the folder before is removed.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (`make tools`), or does not start; the message shows its log.
    pub async fn start(folder: &Path) -> Result<Self> {
        let programs = tools::installed_postgres(&paths::root())?;
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(MeshError::io("empty", folder))?;
        }
        fs::create_dir_all(folder).map_err(MeshError::io("create", folder))?;
        let mut initdb = command(&programs, "initdb");
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", OWNER]);
        initdb.arg("--pgdata").arg(folder.join("data"));
        finish(initdb, "Is the disk full?").await?;
        let process = serve(&programs, folder).await?;
        Ok(Self { programs, folder: folder.to_owned(), process })
    }

    /// Makes an empty database and returns the URL by which it is reached.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(&self, name: &str) -> Result<String> {
        let mut create = command(&self.programs, "createdb");
        create.arg("--host").arg(&self.folder).args(["--username", OWNER, name]);
        finish(create, "Was a database of this name made before?").await?;
        Ok(self.url(name))
    }

    /// The URL of a database (RFC 3986; libpq's form for a socket's folder as host).
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        ["postgresql://", OWNER, "@", &folder, "/", database].concat()
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
        self.process = serve(&self.programs, &self.folder).await?;
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

/// Starts the server on its folder, and waits until it answers.
async fn serve(programs: &Path, folder: &Path) -> Result<Process> {
    let log = folder.join("log");
    let mut server = command(programs, "postgres");
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    server.args(["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]);
    let mut process = Process::start("postgres", server, &log)?;
    until("PostgreSQL", &log, async || {
        process.check()?;
        let mut ask = command(programs, "pg_isready");
        ask.arg("--host").arg(folder);
        let told = ask.output().await.map_err(MeshError::io("run", programs.join("pg_isready")))?;
        Ok(if told.status.success() {
            Seen::Done(())
        } else {
            Seen::NotYet(String::from_utf8_lossy(&told.stdout).trim().to_owned())
        })
    })
    .await?;
    Ok(process)
}

/// One of PostgreSQL's programs. It refuses to run as root; in a user namespace where this user has another number it is
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

    async fn psql(server: &Postgres, url: &str, sql: &str) -> Result<()> {
        let mut psql = command(&server.programs, "psql");
        psql.args([url, "--quiet", "--set", "ON_ERROR_STOP=1", "--command", sql]);
        finish(psql, "").await
    }

    #[tokio::test]
    async fn what_is_committed_is_there_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Postgres::start(folder.path()).await.unwrap();
        let url = server.database("kept").await.unwrap();
        psql(&server, &url, "CREATE TABLE kept AS SELECT 1 AS n").await.unwrap();
        server.kill().await.unwrap();
        assert!(psql(&server, &url, "SELECT 1").await.is_err(), "nobody is there");
        server.restart().await.unwrap();
        psql(&server, &url, "SELECT 1 / count(*) FROM kept").await.unwrap();
        let gone = psql(&server, &url, "SELECT 1 FROM lost").await.unwrap_err().to_string();
        assert!(gone.contains("lost"), "{gone}");
    }
}
