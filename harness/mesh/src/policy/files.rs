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

/// Manifests that can be tried.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// The folder with `overlays/local`, which is run.
    pub folder: PathBuf,
    /// The overlay for a cluster whose policies and plugins are run in the place of its own.
    pub policies_of: Option<PathBuf>,
}

impl Manifests {
    /// The manifests that are meant by a folder: like istio-manifests, or an overlay in such a one.
    ///
    /// # Errors
    /// A folder that is neither, with what to give in its place.
    pub fn find(path: &Path) -> Result<Self, PolicyError> {
        let path = std::fs::canonicalize(path).map_err(unreadable(path))?;
        let runs = |folder: &Path| folder.join("overlays/local/kustomization.yaml").is_file();
        if runs(&path) {
            return Ok(Self { folder: path, policies_of: None });
        }
        let above = path.ancestors().nth(2).filter(|above| runs(above)).map(Path::to_owned);
        match above.filter(|above| path.parent() == Some(&above.join("overlays"))) {
            Some(folder) if path.ends_with("local") => Ok(Self { folder, policies_of: None }),
            Some(folder) => Ok(Self { folder, policies_of: Some(path) }),
            None => {
                let problem = "has no overlays/local: give istio-manifests, an edited copy of it, or an overlay of either";
                Err(PolicyError::Manifests { path, problem: problem.to_owned() })
            }
        }
    }
}
