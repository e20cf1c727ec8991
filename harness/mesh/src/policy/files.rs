//! The files that are tried: cases, and the manifests that they are tried on.

use std::path::{Path, PathBuf};

use super::case::Case;
use super::error::PolicyError;
use super::parse::cases;
use super::reader::Mistake;

/// The cases of files, and of all `*.yaml` in folders.
///
/// # Errors
/// What cannot be read; every mistake in all of them; that there is no case.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Case>, PolicyError> {
    let (mut found, mut mistakes): (Vec<Case>, Vec<Mistake>) = (Vec::new(), Vec::new());
    for path in paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file).map_err(unreadable(&file))?;
            match cases(&file.display().to_string(), &text) {
                Ok(cases) => found.extend(cases),
                Err(more) => mistakes.extend(more),
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(PolicyError::Mistakes(mistakes));
    }
    if found.is_empty() { Err(PolicyError::Nothing(paths.to_owned())) } else { Ok(found) }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> PolicyError {
    let path = path.to_owned();
    move |source| PolicyError::Unreadable { path, source }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
        let file = entry.map_err(unreadable(path))?.path();
        if file.extension().is_some_and(|end| end == "yaml") {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// The folder with `overlays/local` that is meant by a folder: itself, or the one that this overlay belongs to.
///
/// # Errors
/// A folder that the local mesh cannot run, with what to give in its place.
pub fn manifests(path: &Path) -> Result<PathBuf, PolicyError> {
    let path = std::fs::canonicalize(path).map_err(unreadable(path))?;
    let runs = |folder: &Path| folder.join("overlays/local/kustomization.yaml").is_file();
    if runs(&path) {
        return Ok(path);
    }
    let above = path.ancestors().nth(2).filter(|above| runs(above));
    match above {
        Some(above) if path.ends_with("overlays/local") => Ok(above.to_owned()),
        Some(above) => {
            let problem = format!(
                "is for a cluster: its addresses, ports and names are not those of the local mesh. Give {}: cases run on \
                 its overlays/local, which is built from the same base and components. Put a policy of this overlay alone \
                 among the resources of a copy of overlays/local, with the names that the gateway has there",
                above.display()
            );
            Err(PolicyError::Manifests { path, problem })
        }
        None => {
            let problem = "has no overlays/local: give istio-manifests, or an edited copy of it".to_owned();
            Err(PolicyError::Manifests { path, problem })
        }
    }
}
