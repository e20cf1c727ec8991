//! Overlays of `istio-manifests`, built by the pinned kustomize from a copy whose settings are filled in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

use portcullis_mesh::tools::{self, Tools};
use portcullis_mesh::{overlay, paths};
use serde::Deserialize;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// All that is applied to a cluster.
pub(crate) const OVERLAYS: [&str; 4] =
    ["overlays/dev", "overlays/staging", "overlays/prod", "data-cluster/on-premises"];

static TOOLS: LazyLock<Tools> =
    LazyLock::new(|| tools::install(&paths::root(), None, &mut |line| eprintln!("{line}")).unwrap());

/// One of the pinned programs.
pub(crate) fn tool(which: impl FnOnce(&'static Tools) -> &'static PathBuf) -> Command {
    Command::new(which(&TOOLS))
}

pub(crate) fn manifests() -> PathBuf {
    paths::root().join("istio-manifests")
}

/// The YAML files of the manifests, by their paths within.
pub(crate) fn files() -> Vec<String> {
    let mut found = Vec::new();
    list(&manifests(), &mut found);
    found.retain(|file| file.ends_with(".yaml"));
    assert!(found.len() > 40, "only {} files", found.len());
    found
}

fn list(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            list(&entry.path(), found);
        } else {
            found.push(entry.path().strip_prefix(manifests()).unwrap().to_string_lossy().into_owned());
        }
    }
}

pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all = serde_norway::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap());
    all.filter(|one| one["kind"].is_string()).collect()
}

pub(crate) fn kind_and_name(resource: &Value) -> String {
    let metadata = &resource["metadata"];
    format!("{} {}/{}", resource["kind"], metadata["namespace"], metadata["name"])
}

/// The pods that a resource makes.
pub(crate) fn pods(resource: &Value) -> Option<&Value> {
    let spec = resource["spec"].pointer("/jobTemplate/spec").unwrap_or(&resource["spec"]);
    spec.pointer("/template/spec").filter(|pod| pod["containers"].is_array())
}

/// The settings of an overlay, in a copy of the manifests.
pub(crate) struct Settings {
    copy: TempDir,
    overlay: String,
}

impl Settings {
    /// With every example taken in, as an operator would who has decided.
    pub(crate) fn filled(overlay: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        overlay::copy(&manifests(), copy.path()).unwrap();
        let settings = Self { copy, overlay: overlay.to_owned() };
        settings.edit(|text| overlay::with_examples(&text));
        settings
    }

    /// What the overlay leaves open.
    pub(crate) fn undecided(overlay: &str) -> Vec<String> {
        let text = std::fs::read_to_string(manifests().join(overlay).join("settings.yaml")).unwrap();
        let filled = overlay::with_examples(&text);
        let open = text.lines().zip(filled.lines()).filter(|(line, filled)| line != filled);
        open.map(|(_, filled)| filled.trim().split(':').next().unwrap().to_owned()).collect()
    }

    pub(crate) fn without(self, key: &str) -> Self {
        let line = format!("  {key}: ");
        self.edit(|text| text.lines().filter(|one| !one.starts_with(&line)).collect::<Vec<_>>().join("\n"));
        self
    }

    /// Decides what only an added component asks for.
    pub(crate) fn with(self, key: &str, value: &str) -> Self {
        self.edit(|text| format!("{text}\n  {key}: {value}\n"));
        self
    }

    pub(crate) fn with_domain(self, domain: &str) -> Self {
        self.edit(|text| text.replace("alfred-platform.example.com", domain));
        self
    }

    /// That of the local mesh, whatever the environment's is.
    pub(crate) fn in_the_usual_domain(self) -> Self {
        self.edit(|text| text.replace("staging.alfred-platform.example.com", "alfred-platform.example.com"));
        self
    }

    /// With the data clusters of `overlays/dev`, as the page tells operators to take them in, and what they ask for.
    pub(crate) fn with_clusters(mut self) -> Self {
        let clusters = manifests().join("overlays/dev/clusters");
        overlay::copy(&clusters, &self.folder().join("clusters")).unwrap();
        self.edit_file("kustomization.yaml", |text| {
            let clusters = "- settings.yaml\n- clusters/acme-hosted\n- clusters/acme-onprem\n";
            let text = text.replacen("- settings.yaml\n", clusters, 1);
            let last = "- ../../components/settings\n";
            text.replacen(last, &format!("{last}- ../../data-cluster/settings\n"), 1)
        });
        for key in ["dataApiImage", "pipelineImage", "apiServerCidr"] {
            self = self.with(key, &setting("overlays/dev", key));
        }
        self
    }

    pub(crate) fn with_component(self, name: &str) -> Self {
        let beside = if self.overlay.starts_with("overlays/") { "../../components/" } else { "../" };
        let last = format!("- {beside}settings\n");
        self.edit_file("kustomization.yaml", |text| {
            assert!(text.contains(&last), "{text}");
            text.replace(&last, &format!("- {beside}{name}\n{last}"))
        });
        self
    }

    /// One that takes over what the settings have made.
    pub(crate) fn with_last_component(self, name: &str) -> Self {
        self.edit_file("kustomization.yaml", |text| {
            let (settings, last) = ("- ../../components/settings\n", format!("- ../../components/{name}\n"));
            let data = "- ../../data-cluster/settings\n";
            let at = if text.contains(data) { data } else { settings };
            assert!(text.contains(at), "{text}");
            text.replace(at, &format!("{at}{last}"))
        });
        self
    }

    /// A kustomization of its own over the overlay, with a component.
    pub(crate) fn below(mut self, component: &str) -> Self {
        let finished = std::mem::replace(&mut self.overlay, "overlays/over".to_owned());
        std::fs::create_dir_all(self.folder()).unwrap();
        let over = format!("resources: [../../{finished}]\ncomponents: [../../components/{component}]\n");
        std::fs::write(self.folder().join("kustomization.yaml"), over).unwrap();
        self
    }

    /// One more entry of `patches`, the last list of an overlay.
    pub(crate) fn with_patch(self, entry: &str) -> Self {
        self.edit_file("kustomization.yaml", |text| format!("{text}{entry}"));
        self
    }

    /// The overlay in the copy.
    pub(crate) fn folder(&self) -> PathBuf {
        self.copy.path().join(&self.overlay)
    }

    fn edit(&self, edit: impl FnOnce(String) -> String) {
        self.edit_file("settings.yaml", edit);
    }

    fn edit_file(&self, name: &str, edit: impl FnOnce(String) -> String) {
        let file = self.folder().join(name);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, edit(text)).unwrap();
    }

    /// As `kubectl apply -k` would build it.
    pub(crate) fn build(self) -> Result<Rendered, String> {
        let built = tool(|tools| &tools.kustomize).arg("build").arg(self.folder()).output().unwrap();
        if !built.status.success() {
            return Err(String::from_utf8(built.stderr).unwrap());
        }
        Ok(Rendered::new(String::from_utf8(built.stdout).unwrap()))
    }
}

/// What an overlay's example says.
pub(crate) fn setting(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(manifests().join(path).join("settings.yaml")).unwrap();
    let start = format!("  {key}: ");
    let filled = overlay::with_examples(&text);
    let value = filled.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("{path} has no setting {key}")).to_owned()
}

/// An overlay as an operator has it who has decided what is open; built once.
pub(crate) fn built(overlay: &str) -> &'static Rendered {
    static BUILT: [OnceLock<Rendered>; OVERLAYS.len()] = [const { OnceLock::new() }; OVERLAYS.len()];
    let at = OVERLAYS.iter().position(|one| *one == overlay).unwrap();
    BUILT[at].get_or_init(|| {
        Settings::filled(overlay).build().unwrap_or_else(|error| panic!("{overlay}: {error}"))
    })
}

/// What kustomize has built.
#[derive(Debug)]
pub(crate) struct Rendered {
    text: String,
    resources: Vec<Value>,
}

impl Rendered {
    fn new(text: String) -> Self {
        let resources = documents(&text);
        Self { text, resources }
    }

    /// A file of it, for programs.
    pub(crate) fn file(&self) -> NamedTempFile {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(&file, &self.text).unwrap();
        file
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn resources(&self) -> &[Value] {
        &self.resources
    }

    pub(crate) fn all(&self, kind: &str, name: &str) -> Vec<&Value> {
        let fits = |one: &&Value| one["kind"] == kind && one["metadata"]["name"] == name;
        self.resources.iter().filter(fits).collect()
    }

    pub(crate) fn named(&self, kind: &str, name: &str) -> Value {
        let all = self.all(kind, name);
        assert_eq!(all.len(), 1, "{kind} {name}");
        all[0].clone()
    }

    pub(crate) fn edited(&self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{from}");
        Self::new(self.text.replace(from, to))
    }

    /// What kubeconform says by the schemas of `harness/schemas`.
    pub(crate) fn conform(&self) -> Result<String, String> {
        let schemas = paths::root().join("harness/schemas");
        let place = |name: &str| schemas.join(name).to_string_lossy().into_owned();
        let file = self.file();
        let said = tool(|tools| &tools.kubeconform)
            .args(["-strict", "-summary", "-output", "json"])
            .args(["-schema-location", &place("kubernetes/{{.ResourceKind}}{{.KindSuffix}}.json")])
            .args([
                "-schema-location",
                &place("crds/{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"),
            ])
            .arg(file.path())
            .output()
            .unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        if said.status.success() { Ok(text) } else { Err(text) }
    }
}
