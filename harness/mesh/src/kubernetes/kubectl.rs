//! `kubectl`, as an operator uses it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{MeshError, Result};
use crate::pki::write_private;
use crate::process::die_with_parent;
use crate::wait::PATIENCE;

/// How soon definitions are looked at again.
const AGAIN: Duration = Duration::from_millis(200);

/// `kubectl` with the configuration of one user.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    config: PathBuf,
    cache: PathBuf,
}

/// What `kubectl` said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Whether it did all that it was asked for.
    pub done: bool,
    /// What it did, or what it was asked for.
    pub text: String,
    /// Warnings, and why something was refused.
    pub complaints: String,
}

impl Kubectl {
    pub(super) fn new(program: PathBuf, folder: &Path, user: &str, config: &Value) -> Result<Self> {
        let file = folder.join(user).with_extension("kubeconfig");
        let text = serde_norway::to_string(config)
            .map_err(|error| MeshError::io("write", &file)(std::io::Error::other(error)))?;
        write_private(&file, &text)?;
        Ok(Self { program, config: file, cache: folder.join("kubectl") })
    }

    /// The file that `KUBECONFIG` names.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The program itself, alone in its folder.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What its surroundings say. What `kubectl` has learned of another server at this address would be taken for this one's,
    /// so it has a folder of its own for that.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("KUBECONFIG", &self.config), ("KUBECACHEDIR", &self.cache)]
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started. What it refuses is in [`Said`].
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Said> {
        self.finish(self.command(arguments), "")
    }

    /// Applies resources, of which those are told apart that somebody else has changed since: server-side, unknown fields
    /// refused.
    ///
    /// # Errors
    /// As of [`Self::run`].
    pub fn apply(&self, yaml: &str) -> Result<Said> {
        self.finish(self.command(["apply", "--server-side", "--validate=strict", "-f", "-"]), yaml)
    }

    /// Asks the API server what it would say to them, and changes nothing.
    ///
    /// # Errors
    /// As of [`Self::run`].
    pub fn dry_run(&self, yaml: &str) -> Result<Said> {
        let words = ["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"];
        self.finish(self.command(words), yaml)
    }

    /// Deletes resources; those that are not there are deleted already.
    ///
    /// # Errors
    /// As of [`Self::run`].
    pub fn delete(&self, yaml: &str) -> Result<Said> {
        self.finish(self.command(["delete", "--ignore-not-found", "-f", "-"]), yaml)
    }

    /// Applies a folder with a `kustomization.yaml`.
    ///
    /// # Errors
    /// As of [`Self::run`].
    pub fn apply_folder(&self, folder: &Path) -> Result<Said> {
        self.run(["apply", "--server-side", "--validate=strict", "-k", &folder.to_string_lossy()])
    }

    /// Resources as JSON: what `kubectl get` is told.
    ///
    /// # Errors
    /// [`MeshError::Command`] when they are not there.
    pub fn get<'a>(&self, what: impl IntoIterator<Item = &'a str>) -> Result<Value> {
        let said = self.run(["get", "-o", "json"].into_iter().chain(what))?.or_failed("kubectl get")?;
        serde_json::from_str(&said.text).map_err(|error| MeshError::io("read", "kubectl get")(error.into()))
    }

    /// Gives the API server definitions of custom resources, and waits until it serves them.
    pub(super) fn define(&self, sources: &[PathBuf]) -> Result<()> {
        let mut apply = self.command(["apply", "--server-side"]);
        for source in sources {
            apply.arg("-f").arg(source);
        }
        self.finish(apply, "")?.or_failed("kubectl apply")?;
        let served = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        let begun = Instant::now();
        loop {
            let said = self.run(served)?;
            // On a busy machine the API server has said nothing of one yet, and that is an error to `kubectl`.
            if said.done || begun.elapsed() >= PATIENCE {
                return said.or_failed("kubectl wait").map(drop);
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.environment());
        command
    }

    fn finish(&self, mut command: Command, input: &str) -> Result<Said> {
        die_with_parent(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = |error| MeshError::io("run", &self.program)(error);
        let mut child = command.spawn().map_err(started)?;
        let writer = child.stdin.take().map(|mut stdin| {
            let input = input.to_owned();
            // It may end before it has read all: what it says then tells why.
            std::thread::spawn(move || stdin.write_all(input.as_bytes()))
        });
        let output = child.wait_with_output().map_err(started)?;
        drop(writer);
        Ok(Said::from(output))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { done: output.status.success(), text: text(&output.stdout), complaints: text(&output.stderr) }
    }
}

impl Said {
    /// What was not done is an error.
    ///
    /// # Errors
    /// [`MeshError::Command`] with what it complained of.
    pub fn or_failed(self, command: &str) -> Result<Self> {
        if self.done {
            return Ok(self);
        }
        let (command, output) = (command.to_owned(), self.complaints);
        let hint = "Nothing else was changed.".to_owned();
        Err(MeshError::Command { command, status: "refused".to_owned(), output, hint })
    }
}
