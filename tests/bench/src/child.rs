//! Children: pinned to their cores, dead with this process.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

use crate::error::{BenchError, Result};

/// The nice value of a run that goes first, see sched(7).
const FIRST: i32 = -15;

/// The nice value of this session, where the kernel has one.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Which processor does what. The proxy has one to itself; everything else shares the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// The proxy's.
    pub proxy: usize,
    /// That of the load generator and of the mesh API.
    pub load: usize,
}

impl Cores {
    /// The first two processors that this process may use.
    ///
    /// # Errors
    /// When there is only one: load and proxy would take turns, and nothing measured would mean anything.
    pub(crate) fn choose() -> Result<Self> {
        match usable()?.as_slice() {
            [proxy, load, ..] => Ok(Self { proxy: *proxy, load: *load }),
            _ => Err(BenchError::Missing {
                what: "a second processor".into(),
                remedy: "run the benchmark where at least two processors are allowed (taskset -p $$)".into(),
            }),
        }
    }

    /// Pins this process, and what it starts without a place of its own, to the load's core. Call it
    /// before any thread is started.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn pin_self(self) -> Result<()> {
        rustix::thread::sched_setaffinity(None, &set(&[self.load]))
            .map_err(|e| BenchError::io("pin to its core", "this process")(e.into()))
    }
}

/// The processors that this process may use.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn usable() -> Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_err(|e| BenchError::io("read the processors of", "this process")(e.into()))?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

/// Runs this process, and all that it starts from now on, before almost everything else on the machine.
///
/// # Errors
/// When the kernel does not allow it.
pub(crate) fn go_first() -> Result<()> {
    rustix::process::setpriority_process(None, FIRST)
        .map_err(|e| BenchError::io("raise the priority (as root) of", "this process")(e.into()))?;
    // Where the kernel groups processes by session, a nice value counts within its session only, and the
    // group has a nice value of its own (sched(7), autogroups).
    match std::fs::write(AUTOGROUP, FIRST.to_string()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BenchError::io("raise the priority in", AUTOGROUP)(error))
        }
        _ => Ok(()),
    }
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    set
}

/// Makes a command run on these cores and die with this process. Spawn it from the main thread: the
/// kernel's signal comes when the thread that spawned ends.
#[allow(
    unsafe_code,
    reason = "pre_exec is the only way to run code between fork and exec; the closure makes three \
              async-signal-safe system calls and allocates nothing"
)]
pub(crate) fn tie(command: &mut Command, cores: &[usize]) {
    let parent = rustix::process::getpid();
    let cores = set(cores);
    let before_exec = move || {
        rustix::thread::sched_setaffinity(None, &cores)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the call above: then no signal would ever come.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: see the reason above; the closure captures plain data.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// A program that runs in the background, killed when dropped.
#[derive(Debug)]
pub(crate) struct Background {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts a program whose output goes to a log file.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub(crate) fn start(name: &str, mut command: Command, cores: &[usize], log: &Path) -> Result<Self> {
        let out = std::fs::File::create(log).map_err(BenchError::io("create the log", log))?;
        let err = out.try_clone().map_err(BenchError::io("create the log", log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        tie(&mut command, cores);
        let program = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(BenchError::io("start", program))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// With the end of its log, when it does not.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(BenchError::program(&self.name, format!("ended ({status})"), &self.log)),
            Err(error) => Err(BenchError::io("wait for", &self.name)(error)),
        }
    }

    /// A failure of this program, with the end of its log.
    pub(crate) fn failure(&self, what: impl Into<String>) -> BenchError {
        BenchError::program(&self.name, what, &self.log)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
            && matches!(self.child.try_wait(), Ok(None))
        {
            // It may have ended in this very moment; then there is nothing to kill.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
