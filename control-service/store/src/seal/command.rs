//! Keys that a program prints: the interface to a key management service.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use portcullis_control_domain::sealing::KeyCommand;
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it has printed something, or has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes that it may print: more than the most keys that there may be.
const MOST_BYTES: usize = 4096;

/// Why a program gave no keys. Nothing of what it printed is in it, on whichever stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(
        "it cannot be started: {0}; let store.sealingKeyCommand begin with a program that this user may run"
    )]
    Start(std::io::Error),
    #[error("it did not end within {} s and was stopped", PATIENCE.as_secs())]
    Slow,
    #[error(
        "it printed more than {MOST_BYTES} bytes and was stopped: it has to print the keys and nothing else"
    )]
    Long,
    #[error("it failed ({0}); run it by hand to see why: what it says on standard error is not logged")]
    Failed(ExitStatus),
    #[error("what it prints cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("what it prints is no text")]
    NoText,
}

/// Runs a program, and returns what it prints. It gets the environment of this one, nothing on its standard input, and
/// nobody to listen to its standard error, which may say secrets.
pub(super) fn run(command: &KeyCommand) -> Result<Zeroizing<String>, CommandError> {
    let end = Instant::now() + PATIENCE;
    let child = Command::new(&command.program)
        .args(&command.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // So that what it starts itself can be stopped with it.
        .process_group(0)
        .spawn();
    let mut running = Running { child: child.map_err(CommandError::Start)?, ended: false };
    let mut printed = Zeroizing::new([0; MOST_BYTES + 1]);
    let length = match running.child.stdout.take() {
        Some(mut pipe) => read(&mut pipe, &mut *printed, end)?,
        None => 0,
    };
    if length > MOST_BYTES {
        return Err(CommandError::Long);
    }
    let status = running.wait(end)?;
    if !status.success() {
        return Err(CommandError::Failed(status));
    }
    let text = std::str::from_utf8(printed.get(..length).unwrap_or_default());
    text.map(|text| Zeroizing::new(text.to_owned())).map_err(|_| CommandError::NoText)
}

/// Reads to the end of what is printed, or until there is no room; returns how much it was.
fn read(pipe: &mut ChildStdout, room: &mut [u8], end: Instant) -> Result<usize, CommandError> {
    // A read that waits would wait for whoever holds the other end, which a program that was stopped may have passed on.
    rustix::io::ioctl_fionbio(&*pipe, true).map_err(|error| CommandError::Unreadable(error.into()))?;
    let mut length = 0;
    while let Some(rest) = room.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match pipe.read(rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(end)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(CommandError::Unreadable(error)),
        }
    }
    Ok(length)
}

fn pause(end: Instant) -> Result<(), CommandError> {
    if Instant::now() >= end {
        return Err(CommandError::Slow);
    }
    std::thread::sleep(LOOK);
    Ok(())
}

/// A program that is stopped, with all that it has started, unless it ends by itself.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn wait(&mut self, end: Instant) -> Result<ExitStatus, CommandError> {
        loop {
            if let Some(status) = self.child.try_wait().map_err(CommandError::Unreadable)? {
                self.ended = true;
                return Ok(status);
            }
            pause(end)?;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // Before it is waited for: its number is nobody else's until then. It fails when all have ended.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script; a shell is what a test has at hand.
    fn script(text: &str) -> Result<Zeroizing<String>, CommandError> {
        run(&KeyCommand { program: "/bin/sh".into(), arguments: vec!["-c".to_owned(), text.to_owned()] })
    }

    #[test]
    fn what_is_printed_comes_whole_and_with_the_environment() {
        assert_eq!(script("printf %s \"$CARGO_PKG_NAME\"").unwrap().as_str(), "portcullis-control-store");
        assert_eq!(script("printf a; sleep 0.1; printf b").unwrap().as_str(), "ab");
        assert_eq!(script("cat; printf nothing").unwrap().as_str(), "nothing", "there is no standard input");
        assert_eq!(script("").unwrap().as_str(), "");
        let most = format!("printf '%{MOST_BYTES}s' ''");
        assert_eq!(script(&most).unwrap().len(), MOST_BYTES);
    }

    #[test]
    fn a_program_that_fails_or_says_too_much_gives_nothing_and_its_words_are_not_told() {
        let told = |text: &str| script(text).unwrap_err().to_string();
        let failed = told("echo hunter2; echo hunter2 >&2; exit 3");
        assert!(failed.contains("exit status: 3") && !failed.contains("hunter2"), "{failed}");
        assert!(told("kill -9 $$").contains("signal: 9"));
        for endless in ["yes", "yes & exit 0", &format!("printf '%{}s' ''; sleep 60", MOST_BYTES + 1)] {
            let begun = Instant::now();
            assert!(told(endless).contains("more than 4096 bytes"), "{endless}");
            assert!(begun.elapsed() < PATIENCE, "{endless}");
        }
        assert!(told("printf '\\377'").contains("no text"));
        let nowhere = KeyCommand { program: "/nowhere/kms".into(), arguments: Vec::new() };
        assert!(run(&nowhere).unwrap_err().to_string().contains("cannot be started"));
    }

    #[test]
    fn a_program_that_hangs_is_stopped_with_what_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let late = |name: &str| folder.path().join(name);
        let child = format!("(sleep 14; echo > {}) & sleep 60", late("child").display());
        // Nobody prints any more, and it still does not end.
        let silent = format!("exec >&-; sleep 14; echo > {}", late("silent").display());
        std::thread::scope(|scope| {
            for text in [&child, &silent] {
                scope.spawn(move || {
                    let begun = Instant::now();
                    assert!(matches!(script(text), Err(CommandError::Slow)), "{text}");
                    assert!(begun.elapsed() >= PATIENCE, "{text}");
                });
            }
        });
        std::thread::sleep(Duration::from_secs(6));
        assert!(!late("child").exists() && !late("silent").exists());
    }
}
