//! Edits of a kustomize overlay, as an operator would make them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{MeshError, Result};

/// What every overlay is read from.
const NAME: &str = "kustomization.yaml";

/// A folder with a `kustomization.yaml`.
#[derive(Debug, Clone)]
pub struct Overlay(PathBuf);

impl Overlay {
    /// `overlays/local` of a folder of manifests.
    #[must_use]
    pub fn local(manifests: &Path) -> Self {
        Self(manifests.join("overlays/local"))
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a resource.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, resource: &Value) -> Result<()> {
        let path = self.path(name);
        let text = serde_norway::to_string(resource)
            .map_err(|e| MeshError::io("write", &path)(std::io::Error::other(e)))?;
        std::fs::write(&path, text).map_err(MeshError::io("write", &path))
    }

    /// Edits a list of `kustomization.yaml`, such as `resources` or `components`.
    ///
    /// # Errors
    /// When the file cannot be read or written, or has no such list.
    pub fn edit_list(&self, field: &str, edit: impl FnOnce(&mut Vec<Value>)) -> Result<()> {
        let path = self.path(NAME);
        let text = std::fs::read_to_string(&path).map_err(MeshError::io("read", &path))?;
        let mut kustomization: Value = serde_norway::from_str(&text)
            .map_err(|e| MeshError::Manifest { path: path.clone(), message: e.to_string() })?;
        let list = kustomization.get_mut(field).and_then(Value::as_array_mut).ok_or_else(|| {
            MeshError::Manifest { path: path.clone(), message: format!("it has no list {field}") }
        })?;
        edit(list);
        self.write(NAME, &kustomization)
    }

    /// Takes in `components/client-tls`, at the address of the mesh.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is not as it was.
    pub fn open_tls(&self) -> Result<()> {
        const AFTER: [(&str, &str); 2] = [
            ("- ../../components/platform-api\n", "- ../../components/client-tls\n"),
            (
                "      path: /spec/servers/1/bind\n      value: 127.77.1.1\n",
                "    - op: add\n      path: /spec/servers/2/bind\n      value: 127.77.1.1\n",
            ),
        ];
        let path = self.path(NAME);
        let mut text = std::fs::read_to_string(&path).map_err(MeshError::io("read", &path))?;
        for (after, more) in AFTER {
            if !text.contains(after) {
                return Err(MeshError::Manifest { path, message: format!("it does not say {after}") });
            }
            text = text.replacen(after, &[after, more].concat(), 1);
        }
        std::fs::write(&path, text).map_err(MeshError::io("write", &path))
    }
}

/// Copies a folder of manifests with all that is below it, to be edited.
///
/// # Errors
/// When something of it cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(MeshError::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(MeshError::io("list", from))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(MeshError::io("copy", &source))?;
        }
    }
    Ok(())
}

/// The text of a `settings.yaml` with every example taken in, as an operator would who has decided: `  # name: example`
/// without the mark. What has more words is prose.
#[must_use]
pub fn with_examples(settings: &str) -> String {
    let taken_in = |line: &str| {
        let setting = line.strip_prefix("  # ").filter(|rest| {
            let value = rest.split_once(": ").filter(|(name, _)| name.chars().all(char::is_alphanumeric));
            value.is_some_and(|(_, value)| !value.contains(' '))
        });
        setting.map_or_else(|| line.to_owned(), |setting| format!("  {setting}"))
    };
    settings.lines().flat_map(|line| [taken_in(line), "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_of_a_list_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let overlay = Overlay(folder.path().to_owned());
        overlay.write(NAME, &serde_json::json!({"resources": ["a.yaml"], "patches": null})).unwrap();
        overlay.edit_list("resources", |list| list.push("b.yaml".into())).unwrap();
        for field in ["patches", "components"] {
            let told = overlay.edit_list(field, |list| list.push("c.yaml".into())).unwrap_err().to_string();
            assert!(told.contains(&format!("it has no list {field}")), "{told}");
        }
        let text = std::fs::read_to_string(overlay.path(NAME)).unwrap();
        assert!(text.contains("b.yaml") && !text.contains("c.yaml"), "{text}");
    }
}
