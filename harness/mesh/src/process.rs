//! Children: started so that none outlives the harness, watched, and stopped.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use crate::error::{MeshError, Result};
use crate::wait::{self, STOP, Seen};

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 15;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a child whose output is appended to a log file.
    ///
    /// The child gets SIGKILL when the harness dies, however it dies, and a process group of its own, so that
    /// Ctrl-C reaches the harness alone.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let out = open().map_err(MeshError::io("open the log", log))?;
        let err = out.try_clone().map_err(MeshError::io("open the log", log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).kill_on_drop(true);
        die_with_parent(command.as_std_mut());
        let program = PathBuf::from(command.as_std().get_program());
        let child = spawn(command).map_err(MeshError::io("start", program))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The child's name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The child's log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Checks that the child still runs.
    ///
    /// # Errors
    /// [`MeshError::Died`] with its status and the end of its log.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.died(&status.to_string())),
            Err(error) => Err(self.died(&error.to_string())),
        }
    }

    /// Waits until something is so that the child is needed for, as long as it lives.
    ///
    /// # Errors
    /// As of [`wait::until`], and [`MeshError::Died`] as soon as the child has ended: nothing comes any more then.
    pub async fn until<T>(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Seen<T>>,
    ) -> Result<T> {
        let log = self.log.clone();
        wait::until(what, &log, async || {
            self.check()?;
            look().await
        })
        .await
    }

    /// Asks the child to end, waits, and kills it when it does not.
    pub async fn stop(&mut self) {
        self.stop_within(STOP).await;
    }

    async fn stop_within(&mut self, patience: Duration) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills the child at once.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        // Waiting fails only when the child was already reaped, which is what is wanted.
        let _ = self.child.wait().await;
    }

    /// Stops the child where it is: its connections stay, and nobody answers on them.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn unpause(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // A child that ended meanwhile is not an error.
            let _ = kill_process(pid, signal);
        }
    }

    fn died(&self, status: &str) -> MeshError {
        MeshError::Died {
            name: self.name.clone(),
            status: status.to_owned(),
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

/// The last lines of a log file.
#[must_use]
pub fn tail(log: &Path) -> String {
    let Ok(file) = std::fs::File::open(log) else { return "(no log)".to_owned() };
    let mut lines = VecDeque::with_capacity(TAIL_LINES);
    for line in BufReader::new(file).split(b'\n').map_while(std::result::Result::ok) {
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(format!("  {}", String::from_utf8_lossy(&line)));
    }
    Vec::from(lines).join("\n")
}

/// Lets a command die with this process: `PR_SET_PDEATHSIG`, see prctl(2).
#[allow(
    unsafe_code,
    reason = "pre_exec is the only way to run code between fork and exec; the closure makes two \
              async-signal-safe system calls and allocates nothing"
)]
pub(crate) fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let parent = rustix::process::getpid();
    let set = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the call above: then no signal would ever come.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: see the reason above; the closure captures one integer.
    unsafe {
        command.pre_exec(set);
    }
}

/// Lets this process get SIGTERM when the program ends that started it, so that it stops in order.
///
/// # Errors
/// When the kernel refuses.
pub fn end_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| MeshError::io("follow the end of", "the parent process")(error.into()))
}

/// Starts a child from a thread that lives as long as the process: the kernel sends the parent-death signal
/// when the *thread* that forked ends, and a runtime's worker may end long before the process does.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Job = (Command, Handle, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let gone = || std::io::Error::other("the thread that starts children is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, runtime, reply) in jobs {
                let _guard = runtime.enter();
                // Nobody to answer means that the caller gave up; the child dies with its handle.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = channel();
    spawner.send((command, Handle::current(), reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{PATIENCE, until};

    #[tokio::test]
    async fn a_child_that_dies_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("child.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut child = Process::start("child", command, &log).unwrap();
        child.child.wait().await.unwrap();
        let text = child.check().unwrap_err().to_string();
        assert!(text.contains("exit status: 3") && text.contains("the reason"), "{text}");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_a_dead_child_was_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such rule; exit 2"]);
        let mut child = Process::start("child", command, &dir.path().join("log")).unwrap();
        let waits = child.until("an answer", async || Ok(Seen::<()>::NotYet("nothing".to_owned())));
        let ended = tokio::time::timeout(PATIENCE / 6, waits).await.expect("it is told before patience ends");
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("exit status: 2") && text.contains("no such rule"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]);
        let log = dir.path().join("log");
        let mut child = Process::start("stubborn", command, &log).unwrap();
        let deaf = async || {
            let said = tail(&log);
            Ok(if said.contains("deaf") { Seen::Done(()) } else { Seen::NotYet(said) })
        };
        until("the child", &log, deaf).await.unwrap();
        assert!(child.check().is_ok());
        child.stop_within(Duration::from_millis(100)).await;
        assert!(child.check().unwrap_err().to_string().contains("signal: 9"));
    }
}
