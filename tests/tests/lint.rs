//! `portcullis lint` finds nothing in the manifests of this project, and in those of Istio's own samples only what is meant.

#[cfg(feature = "slow")]
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_lint::lint;
use portcullis_lint::report::text;
use portcullis_lint::resource::Resource;
use portcullis_mesh::paths::root;
use portcullis_mesh::tools;

/// What stands in the manifests until an operator, or the local mesh, puts in the key of a control service.
const PLACEHOLDER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// A public key.
const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn rendered(overlay: &str) -> Vec<Resource> {
    let tools = tools::install(&root(), None, &mut |_| ()).unwrap();
    let folder = root().join("istio-manifests/overlays").join(overlay);
    let output = Command::new(tools.kustomize).arg("build").arg(&folder).output().unwrap();
    assert!(output.status.success(), "{overlay}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap().replace(PLACEHOLDER, KEY);
    Resource::read(overlay, &text).unwrap()
}

#[test]
fn our_own_manifests_have_no_finding() {
    let resources = [rendered("local"), rendered("local/sidecars/acme-hosted")].concat();
    assert!(resources.len() > 20);
    let found = lint(resources);
    assert!(found.list().is_empty(), "{}", text(&found.list()));
}

/// Samples in which something is found rightly, and what.
#[cfg(feature = "slow")]
const MEANT: [(&str, &str); 1] = [("multicluster/expose-istiod-https.yaml", "PL502")];

#[cfg(feature = "slow")]
#[test]
fn samples_of_istio_raise_no_false_alarm() {
    let list = ["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"];
    let tools = root().join("harness/tools");
    let download =
        Command::new("go").args(["mod", "download", "istio.io/istio"]).current_dir(&tools).status();
    assert!(download.unwrap().success());
    let told = Command::new("go").args(list).current_dir(&tools).output().unwrap();
    let samples = Path::new(String::from_utf8(told.stdout).unwrap().trim()).join("samples");
    let mut files = Vec::new();
    yaml_in(&samples, &mut files);
    let mut read = 0;
    for file in &files {
        let name = file.strip_prefix(&samples).unwrap().to_str().unwrap();
        // Templates of charts are no YAML, and one file closes a bracket where YAML 1.2 takes none.
        let Ok(resources) = Resource::read(name, &std::fs::read_to_string(file).unwrap()) else { continue };
        read += 1;
        let found = lint(resources);
        let list = found.list();
        let unmeant: Vec<_> =
            list.into_iter().filter(|found| !MEANT.contains(&(name, found.rule.code))).collect();
        assert!(unmeant.is_empty(), "{name}:\n{}", text(&unmeant));
    }
    assert!(read > 100, "{read} of {}", files.len());
}

#[cfg(feature = "slow")]
fn yaml_in(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            yaml_in(&entry, files);
        } else if entry.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            files.push(entry);
        }
    }
}
