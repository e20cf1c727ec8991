//! `up`: the mesh stays, and follows what is edited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use portcullis_mesh::{Mesh, Options, Result};

use super::console::{interrupted, say};

/// How often components and manifests are looked at. Polling needs no limit of watches and sees every editor's
/// way of saving.
const EVERY: Duration = Duration::from_millis(300);

/// Runs until Ctrl-C or until a component dies.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let mut say = say;
    let mesh = tokio::select! {
        mesh = Mesh::start(options, &mut say) => mesh?,
        // What was started until then dies with its handles.
        interrupted = interrupted() => return interrupted.map(|()| ExitCode::FAILURE),
    };
    serve(mesh).await
}

async fn serve(mut mesh: Mesh) -> Result<ExitCode> {
    super::curl::print(&mesh).await?;
    println!("logs: {}", mesh.run_dir().join("logs").display());
    if let Some(kubectl) = mesh.kubectl() {
        println!("export KUBECONFIG={}", kubectl.config().display());
        println!("{} get wasmplugins,authorizationpolicies -A", kubectl.program().display());
    }
    println!("edit {} and save: it is applied at once. Ctrl-C stops the mesh.", mesh.manifests().display());
    let outcome = tokio::select! {
        interrupted = interrupted() => interrupted,
        died = follow(&mut mesh) => died,
    };
    say("stopping");
    mesh.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Applies each edit; ends only with the error of a component that died.
async fn follow(mesh: &mut Mesh) -> Result<()> {
    let mut seen = files(mesh.manifests());
    loop {
        tokio::time::sleep(EVERY).await;
        mesh.check()?;
        let now = files(mesh.manifests());
        if now == seen {
            continue;
        }
        let edited = edited(&seen, &now);
        seen = now;
        match mesh.apply().await {
            Ok(took) => {
                println!("{edited}: applied ({} ms)", took.as_millis());
                mesh.warnings().iter().for_each(|warning| println!("warning: {warning}"));
            }
            Err(error) => eprintln!("{edited}: NOT applied\n{error}"),
        }
    }
}

type Files = BTreeMap<PathBuf, (SystemTime, u64)>;

fn edited(before: &Files, after: &Files) -> String {
    let changed =
        after.iter().filter(|(path, stamp)| before.get(*path) != Some(*stamp)).map(|(path, _)| path);
    let removed = before.keys().filter(|path| !after.contains_key(*path));
    changed.chain(removed).map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    collect(dir, &mut found);
    found
}

fn collect(dir: &Path, found: &mut Files) {
    // A folder that vanishes while it is read is seen as removed in the next round.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => collect(&path, found),
            Ok(meta) if path.extension().is_some_and(|e| e == "yaml") => {
                found.insert(path, (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len()));
            }
            _ => {}
        }
    }
}
