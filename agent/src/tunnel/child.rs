//! Envoy as a child that dies with its parent.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::bootstrap::TunnelError;

/// How long Envoy may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running Envoy.
#[derive(Debug)]
pub struct Child(tokio::process::Child);

impl Child {
    /// Starts it. The kernel ends it with the thread that starts it, so that has to live as long as the process: the main one
    /// of a runtime of one thread.
    ///
    /// # Errors
    /// [`TunnelError::Io`].
    pub fn start(envoy: &Path, bootstrap: &Path) -> Result<Self, TunnelError> {
        let mut command = Command::new(envoy);
        command.arg("-c").arg(bootstrap).args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ]);
        // A group of its own, so that Ctrl-C reaches the agent alone, which ends it in order.
        command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        command.process_group(0).kill_on_drop(true);
        // Secrets of the surroundings, such as the proxy's password, are none of its business.
        command.env_clear();
        die_with_parent(command.as_std_mut());
        let started = command.spawn();
        let what = format!("cannot start {}", envoy.display());
        started.map(Self).map_err(|source| TunnelError::Io { what, source })
    }

    /// Waits for its end, which nobody asked for.
    ///
    /// # Errors
    /// What the system says.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.0.id()
    }

    /// Ends it.
    pub async fn stop(&mut self) {
        if let Some(pid) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(PATIENCE, self.0.wait()).await.is_err() {
            let _ = self.0.kill().await;
        }
    }
}

/// Lets a command die with this process: `PR_SET_PDEATHSIG`, see prctl(2).
#[allow(
    unsafe_code,
    reason = "pre_exec is the only way to run code between fork and exec; the closure makes two \
              async-signal-safe system calls and allocates nothing"
)]
fn die_with_parent(command: &mut std::process::Command) {
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
