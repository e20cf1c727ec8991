//! `portcullis-mesh` as a process: started, listened to, signalled.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portcullis_mesh::wait::PATIENCE;
use tempfile::TempDir;

/// How often a process is looked at while its end is waited for.
const POLL: Duration = Duration::from_millis(20);

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_portcullis-mesh"))
}

/// `portcullis-mesh up` in a loopback block of its own.
pub(crate) struct Mesh {
    block: String,
    manifests: PathBuf,
    running: Option<(process::Child, Receiver<String>)>,
    said: Vec<String>,
}

impl Mesh {
    fn prepare(manifests: &TempDir, block: &str) -> Self {
        let (block, manifests) = (block.to_owned(), manifests.path().to_owned());
        Self { block, manifests, running: None, said: Vec::new() }
    }

    /// In any block: it chooses by itself, so nobody can take the block meanwhile.
    pub(crate) fn up(manifests: &TempDir) -> Self {
        Self::up_in("any", manifests)
    }

    /// In the block of this number.
    pub(crate) fn up_in(block: &str, manifests: &TempDir) -> Self {
        let mut mesh = Self::prepare(manifests, block);
        let mut command = program();
        command.args(["up", "--block", &mesh.block, "--manifests"]).arg(&mesh.manifests);
        mesh.spawn(command);
        mesh
    }

    /// As the child of another program, which waits for it.
    pub(crate) fn up_under(shell: &str, manifests: &TempDir) -> Self {
        let mut mesh = Self::prepare(manifests, "any");
        let mut command = Command::new(shell);
        command.args(["-c", "\"$0\" up --with-parent --block \"$1\" --manifests \"$2\"; true"]);
        command.arg(env!("CARGO_BIN_EXE_portcullis-mesh")).arg(&mesh.block).arg(&mesh.manifests);
        mesh.spawn(command);
        mesh
    }

    fn spawn(&mut self, mut command: Command) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
            });
        }
        self.running = Some((child, lines));
    }

    /// What it prints up to a line that contains a text.
    pub(crate) fn until(&mut self, text: &str) -> Vec<String> {
        let (_, lines) = self.running.as_ref().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).unwrap_or_else(|e| panic!("no {text:?} ({e}): {found:#?}"));
            self.said.push(line.clone());
            found.push(line);
            if found.last().is_some_and(|line| line.contains(text)) {
                return found;
            }
        }
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, name: &str) {
        kill(self.running.as_ref().unwrap().0.id(), name);
    }

    /// Waits for its end; `None` when a signal ended it.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let (child, lines) = self.running.as_mut().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it still runs");
            std::thread::sleep(POLL);
        };
        self.said.extend(lines.iter());
        status.code()
    }

    /// Everything that it has said.
    pub(crate) fn said(&self) -> String {
        self.said.join("\n")
    }

    /// The processes that it has started.
    pub(crate) fn children(&self) -> Vec<Child> {
        children(self.running.as_ref().unwrap().0.id())
    }
}

fn children(parent: u32) -> Vec<Child> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| Child::read(entry.file_name().to_str()?.parse().ok()?, parent)).collect()
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.running {
            // A failed test must not leave a mesh behind; one that has ended is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process that the mesh started.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) name: String,
    started: String,
}

impl Child {
    /// The process, if it is a child of `parent`. See proc_pid_stat(5): the name stands in parentheses, then
    /// come the state, the parent, and as the 20th the start time.
    fn read(pid: u32, parent: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let name = head.split_once('(')?.1.to_owned();
        (fields.get(1)?.parse() == Ok(parent))
            .then(|| Some(Self { pid, name, started: (*fields.get(19)?).to_owned() }))?
    }

    /// The processes that it has started.
    pub(crate) fn children(&self) -> Vec<Self> {
        children(self.pid)
    }

    fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // A zombie that nobody has reaped yet does not run, and a process id may be in use again.
        fields.first() != Some(&"Z") && fields.get(19) == Some(&self.started.as_str())
    }

    pub(crate) fn assert_ended(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.runs() {
            assert!(Instant::now() < deadline, "{} (pid {}) is still there", self.name, self.pid);
            std::thread::sleep(POLL);
        }
    }
}

/// Sends a signal.
pub(crate) fn kill(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{signal} {pid}");
}

/// `portcullis-mesh tools` with an empty cache.
pub(crate) struct Tool {
    command: Command,
    _cache: TempDir,
}

impl Tool {
    pub(crate) fn install() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let mut command = program();
        command.arg("tools").env("PORTCULLIS_CACHE", cache.path());
        Self { command, _cache: cache }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it says on stderr when it fails, as it must.
    pub(crate) fn fails(mut self) -> String {
        let output = self.command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }
}
