//! `policy`: what manifests let in, tried before they are live.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_mesh::policy::{
    Case, Manifests, PolicyError, Runner, Tried, changes, diff_json, diff_text, json, junit, load, options,
    text,
};
use portcullis_mesh::{Mesh, MeshError, Options, Target, paths, process};

use super::choice::Choice;
use super::console::{interrupted, say};

/// Something came out otherwise than expected, or changes.
const DIFFERS: u8 = 1;
/// It could not be tried.
const FAILED: u8 = 2;

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Try cases on manifests. Exit codes: 0 all as expected; 1 some are not; 2 they could not be tried.
    Test {
        /// Files of cases, or folders with `*.yaml` of them.
        #[arg(required = true, value_name = "FILE")]
        cases: Vec<PathBuf>,
        /// The manifests: a folder like istio-manifests, or one of its overlays. Of one for a cluster the policies and plugins are
        /// run in the place of those of overlays/local. Those of this source tree if none is given.
        #[arg(long, value_name = "DIR")]
        manifests: Option<PathBuf>,
        /// The form of what is written.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Leave the mesh up after the last case, until Ctrl-C, and print curl lines.
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        on: On,
    },
    /// Show of which cases a second version of the manifests makes something else. Exit codes: 0 of none; 1 of some; 2 they
    /// could not be tried.
    Diff {
        /// The first version: a folder like istio-manifests, or one of its overlays.
        before: PathBuf,
        /// The second one.
        after: PathBuf,
        /// Files of cases, or folders with `*.yaml` of them.
        #[arg(long, required = true, value_name = "FILE")]
        cases: Vec<PathBuf>,
        /// The form of what is written.
        #[arg(long, value_enum, default_value_t)]
        format: DiffFormat,
        #[command(flatten)]
        on: On,
    },
}

/// On what mesh.
#[derive(Debug, Args)]
pub(crate) struct On {
    /// The loopback block 127.N.0.0/16 to listen in, or `any` for one that is free.
    #[arg(long, default_value_t = Choice(None))]
    block: Choice,
    /// Envoy version, instead of the pinned default.
    #[arg(long, env = "PORTCULLIS_ENVOY")]
    envoy: Option<String>,
    /// End when the program ends that started this one, however it ends.
    #[arg(long)]
    with_parent: bool,
    /// Guard the ingress gateway by the native module, libportcullis.so.
    #[arg(long)]
    native: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// JUnit's XML.
    Junit,
}

/// How changes are written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum DiffFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

impl On {
    fn options(self, manifests: Manifests) -> Result<Options, PolicyError> {
        let Self { block, envoy, with_parent, native } = self;
        if with_parent {
            process::end_with_parent()?;
        }
        let gateway = if native { Target::Native } else { Target::Wasm };
        let Manifests { folder, policies_of } = manifests;
        Ok(Options { block: block.0, envoy, gateway, manifests: Some(folder), policies_of, ..options() })
    }
}

/// Tries them.
pub(crate) async fn run(policy: Policy) -> ExitCode {
    let ended = async {
        let tried = async {
            match policy {
                Policy::Test { cases, manifests, format, keep, on } => {
                    test(cases, manifests, format, keep, on).await
                }
                Policy::Diff { before, after, cases, format, on } => {
                    diff(before, after, cases, format, on).await.map(|code| (code, None))
                }
            }
        };
        let (code, kept) = tokio::select! {
            tried = tried => tried?,
            // What was started dies with its handles.
            interrupted = interrupted() => interrupted.map(|()| (FAILED, None))?,
        };
        if let Some(mesh) = kept {
            interrupted().await?;
            mesh.stop().await;
        }
        Ok::<u8, PolicyError>(code)
    };
    ExitCode::from(ended.await.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        FAILED
    }))
}

/// The exit code, and the mesh if it is to be kept.
async fn test(
    cases: Vec<PathBuf>,
    dir: Option<PathBuf>,
    format: Format,
    keep: bool,
    on: On,
) -> Result<(u8, Option<Mesh>), PolicyError> {
    let cases = load(&cases)?;
    let dir = Manifests::find(&dir.unwrap_or_else(|| paths::root().join("istio-manifests")))?;
    let mut runner = start(on, dir, &cases).await?;
    let tried = runner.run(&cases).await?;
    match format {
        Format::Text => print!("{}", text(&tried)),
        Format::Json => println!("{:#}", json(&tried)),
        Format::Junit => println!("{}", junit(&tried).map_err(unwritten)?),
    }
    let code = if tried.iter().all(Tried::ok) { 0 } else { DIFFERS };
    let mesh = runner.into_mesh();
    if !keep {
        mesh.stop().await;
        return Ok((code, None));
    }
    if matches!(format, Format::Text) {
        super::curl::print(&mesh).await?;
    }
    say(&format!("the mesh stays up at {}: Ctrl-C stops it", mesh.plan().ingress()));
    Ok((code, Some(mesh)))
}

async fn diff(
    before: PathBuf,
    after: PathBuf,
    cases: Vec<PathBuf>,
    format: DiffFormat,
    on: On,
) -> Result<u8, PolicyError> {
    let cases = load(&cases)?;
    let (before, after) = (Manifests::find(&before)?, Manifests::find(&after)?);
    let mut runner = start(on, before, &cases).await?;
    let first = runner.run(&cases).await?;
    say("changing to the second version");
    runner.mesh().change_manifests(&after.folder, after.policies_of).await?;
    runner.mesh().warnings().iter().for_each(|warning| say(&format!("warning: {warning}")));
    let second = runner.run(&cases).await?;
    let changed = changes(&first, &second);
    match format {
        DiffFormat::Text => print!("{}", diff_text(&changed, cases.len())),
        DiffFormat::Json => println!("{:#}", diff_json(&changed, cases.len())),
    }
    runner.into_mesh().stop().await;
    Ok(if changed.is_empty() { 0 } else { DIFFERS })
}

async fn start(on: On, manifests: Manifests, cases: &[Case]) -> Result<Runner, PolicyError> {
    say(&format!(
        "{} cases on {}",
        cases.len(),
        manifests.policies_of.as_ref().unwrap_or(&manifests.folder).display()
    ));
    Ok(Runner::new(Mesh::start(on.options(manifests)?, &mut say).await?))
}

fn unwritten(error: impl std::error::Error + Send + Sync + 'static) -> MeshError {
    MeshError::Io { action: "write", path: "the report".into(), source: std::io::Error::other(error) }
}
