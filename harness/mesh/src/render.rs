//! From `istio-manifests/overlays/local` to the folder that istiod watches: built, put into the run's loopback
//! block, validated, and only then moved into place in one piece.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_plugin_check as check;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access_log::AccessLog;
use crate::block::{DEFAULT_BLOCK, Plan};
use crate::bootstrap::Shown;
use crate::cluster_policies;
use crate::error::{MeshError, Result};
use crate::kubernetes::{Kubectl, hand_over};
use crate::process::die_with_parent;
use crate::target::{self, Target};
use crate::tools::Tools;

/// The names of the files with the certificate that clients see: what a `credentialName` of the manifests says.
pub(crate) const CLIENT_TLS: &str = "client-tls";

/// Where the gateway of a cluster has the Secrets that are its volumes.
const VOLUMES: &str = "/etc/portcullis/";

/// The annotation with the bounds of histograms.
const BUCKETS: &str = "sidecar.istio.io/statsHistogramBuckets";

/// The `WasmPlugin`s of a run.
#[derive(Debug, Clone)]
pub struct Plugins {
    /// The Wasm module that every `WasmPlugin` loads.
    pub module: PathBuf,
    /// The control service's Ed25519 public key, which signs snapshots.
    pub snapshot_key: [u8; 32],
    /// Overrides `staleAfterSeconds`.
    pub stale_after_s: Option<u32>,
    /// What the ingress gateway runs. Sidecars run the Wasm module.
    pub gateway: Target,
}

/// Renders manifests for one run.
#[derive(Debug, Clone)]
pub struct Renderer {
    /// The folder with `overlays/local`.
    pub manifests: PathBuf,
    /// The addresses of the run.
    pub plan: Plan,
    /// What the `WasmPlugin`s load; without it they are left out, with what goes with them.
    pub plugins: Option<Plugins>,
    /// The run's folder.
    pub run_dir: PathBuf,
    /// The overlay for a cluster whose policies and plugins are run in the place of those of `overlays/local`.
    pub policies_of: Option<PathBuf>,
    /// The access log in place of that of the manifests.
    pub access_log: Option<AccessLog>,
    /// The API server that istiod reads from, in place of a folder.
    pub kubectl: Option<Kubectl>,
}

/// What was rendered.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// Istio resources, in the order of the build.
    pub resources: Vec<Value>,
    /// Istio's mesh configuration.
    pub mesh: Value,
    /// What is allowed and does nothing beside the plugins.
    pub warnings: Vec<String>,
}

/// What became of manifests that were applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Whether the configuration is another one than before.
    pub changed: bool,
    /// What is allowed in them and does nothing.
    pub warnings: Vec<String>,
}

impl Renderer {
    /// The folder that istiod watches.
    #[must_use]
    pub fn watched(&self) -> PathBuf {
        self.run_dir.join("config")
    }

    /// istiod's `--meshConfig` file.
    #[must_use]
    pub fn mesh_file(&self) -> PathBuf {
        self.run_dir.join("mesh.yaml")
    }

    /// Builds, validates and applies `overlays/local`. On an error nothing is changed.
    ///
    /// # Errors
    /// [`MeshError::Manifest`] with what kustomize or Istio's validation says.
    pub fn apply(&self, tools: &Tools) -> Result<Applied> {
        let rendered = self.render(tools)?;
        let read = |one: &&Value| self.kubectl.is_some() || !is_of_the_api_server(one);
        let given: Vec<Value> = rendered.resources.iter().filter(read).cloned().collect();
        let resources = to_yaml(&given)?;
        let candidate = self.run_dir.join("candidate.yaml");
        fs::write(&candidate, &resources).map_err(MeshError::io("write", &candidate))?;
        self.validate(tools, &candidate)?;
        let watched = self.watched();
        fs::create_dir_all(&watched).map_err(MeshError::io("create", &watched))?;
        let target = watched.join("mesh.yaml");
        let before = fs::read_to_string(&target).unwrap_or_default();
        let changed = before != resources;
        if let (true, Some(kubectl)) = (changed, &self.kubectl) {
            let overlay = self.manifests.join("overlays/local");
            let refused = |error: MeshError| refused(&overlay, &error);
            hand_over(kubectl, &given, &documents(&before, &overlay)?).map_err(refused)?;
        }
        // Only now: what the API server refuses changes nothing, the mesh configuration neither.
        self.write_mesh(&rendered.mesh)?;
        if changed {
            fs::rename(&candidate, &target).map_err(MeshError::io("move into place", &target))?;
        }
        Ok(Applied { changed, warnings: rendered.warnings })
    }

    /// Writes istiod's `--meshConfig` file alone.
    ///
    /// # Errors
    /// [`MeshError::Manifest`] as for [`Renderer::apply`].
    pub fn write_mesh_config(&self, tools: &Tools) -> Result<()> {
        self.write_mesh(&self.render(tools)?.mesh)
    }

    /// What proxies show of their metrics: by the applied mesh configuration, and for histograms as the gateway's Deployment
    /// says.
    ///
    /// # Errors
    /// When a file cannot be read: [`Renderer::write_mesh_config`] writes the first.
    pub fn shown(&self) -> Result<Shown> {
        let mesh: Value = read_yaml(&self.mesh_file())?;
        let deployment = self.manifests.join("components/gateway/deployment.yaml");
        // An older release has none, and no bounds of its own.
        let read = deployment.is_file().then(|| read_yaml(&deployment)).transpose()?.unwrap_or_default();
        let buckets = &read["spec"]["template"]["metadata"]["annotations"][BUCKETS];
        Shown::new(&mesh["defaultConfig"], buckets.as_str()).map_err(|error| refused(&deployment, &error))
    }

    fn write_mesh(&self, mesh: &Value) -> Result<()> {
        let target = self.mesh_file();
        let text = to_yaml(std::slice::from_ref(mesh))?;
        if fs::read(&target).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        replace(&self.run_dir.join("mesh.yaml.new"), &target, &text)
    }

    /// The resources of a folder.
    fn built(&self, tools: &Tools, folder: &Path) -> Result<Vec<Value>> {
        let mut build = Command::new(&tools.kustomize);
        build.arg("build").arg(folder);
        let text = self.run(&mut build, folder)?;
        let documents = serde_norway::Deserializer::from_str(&text).map(Value::deserialize);
        documents.map(|document| document.map_err(|error| refused(folder, &error))).collect()
    }

    /// Builds `overlays/local` and puts it into this run's block.
    ///
    /// # Errors
    /// [`MeshError::Manifest`] when kustomize refuses it or a resource cannot be read.
    pub fn render(&self, tools: &Tools) -> Result<Rendered> {
        let overlay = self.manifests.join("overlays/local");
        let mut resources = self.built(tools, &overlay)?;
        let mut warnings = Vec::new();
        if let Some(other) = &self.policies_of {
            let replaced = cluster_policies::replace(resources, self.built(tools, other)?, self.plan)
                .map_err(|problem| refused(other, &problem))?;
            (resources, warnings) = (replaced.resources, replaced.told);
        }
        let mut mesh = json!({});
        resources.retain(|resource| {
            if resource["kind"] == "ConfigMap" && resource["metadata"]["name"] == "istio" {
                mesh = resource["data"]["mesh"].clone();
                return false;
            }
            self.plugins.is_some() || !is_of_the_filter(resource)
        });
        for resource in &mut resources {
            self.localise(resource);
            check_plugin(resource, &overlay)?;
            if self.plugins.is_some() {
                warnings.extend(check::warnings(resource));
            }
            self.replace_by_native(resource);
        }
        let mesh =
            serde_norway::from_str(mesh.as_str().unwrap_or("{}")).map_err(|e| refused(&overlay, &e))?;
        Ok(Rendered { resources, mesh: self.mesh_config(mesh), warnings })
    }

    fn mesh_config(&self, mut mesh: Value) -> Value {
        if self.kubectl.is_none() {
            mesh["configSources"] = json!([{"address": format!("fs://{}", self.watched().display())}]);
        }
        mesh["defaultConfig"]["discoveryAddress"] = self.plan.istiod_xds().to_string().into();
        if let Some(log) = &self.access_log {
            log.ask_for(&mut mesh);
        }
        mesh
    }

    fn localise(&self, resource: &mut Value) {
        if let (Some(plugins), true) = (&self.plugins, check::loads_module(resource)) {
            let spec = module(resource);
            spec["url"] = format!("file://{}", plugins.module.display()).into();
            if spec["pluginConfig"]["snapshot"].is_object() {
                let snapshot = &mut spec["pluginConfig"]["snapshot"];
                snapshot["key"] = STANDARD.encode(plugins.snapshot_key).into();
                if let Some(seconds) = plugins.stale_after_s {
                    snapshot["staleAfterSeconds"] = seconds.into();
                    // Polls must complete well before what they brought is stale.
                    snapshot["pollSeconds"] = (seconds / 4).max(1).into();
                }
            }
        }
        if resource["kind"] == "Gateway" {
            for server in resource["spec"]["servers"].as_array_mut().into_iter().flatten() {
                server.get_mut("tls").into_iter().for_each(|tls| self.certificate_from_files(tls));
            }
        }
        if self.plan.number() != DEFAULT_BLOCK {
            move_block(resource, &format!("127.{DEFAULT_BLOCK}."), &self.plan.prefix());
        }
    }

    /// Without Kubernetes there is no Secret that a `credentialName` could name or a volume show: the certificate is in files.
    fn certificate_from_files(&self, tls: &mut Value) {
        let Some(tls) = tls.as_object_mut() else { return };
        let volume = |path: &Value| {
            let rest = path.as_str()?.strip_prefix(VOLUMES)?;
            Some(rest.strip_suffix("/tls.crt")?.to_owned())
        };
        let of_volume = tls.get("serverCertificate").and_then(volume);
        let named = tls.remove("credentialName").and_then(|name| name.as_str().map(ToOwned::to_owned));
        if let Some(name) = named.or(of_volume) {
            let path = |extension| self.run_dir.join("pki").join([name.as_str(), extension].concat());
            tls.insert("serverCertificate".to_owned(), path(".pem").to_string_lossy().into());
            tls.insert("privateKey".to_owned(), path(".key").to_string_lossy().into());
        }
    }

    fn replace_by_native(&self, resource: &mut Value) {
        let native = self.plugins.as_ref().is_some_and(|plugins| plugins.gateway == Target::Native);
        if native && resource["kind"] == "WasmPlugin" && target::is_gateway_plugin(resource) {
            *resource = target::native(resource);
        }
    }

    fn validate(&self, tools: &Tools, file: &Path) -> Result<()> {
        let mut validate = Command::new(&tools.istioctl);
        validate.args(["validate", "-f"]).arg(file);
        self.run(&mut validate, &self.manifests.join("overlays/local")).map(drop)
    }

    fn run(&self, command: &mut Command, about: &Path) -> Result<String> {
        die_with_parent(command);
        let program = PathBuf::from(command.get_program());
        let output = command.stdin(Stdio::null()).output().map_err(MeshError::io("start", program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = [output.stderr, output.stdout].concat();
        Err(refused(about, &String::from_utf8_lossy(&text).trim()))
    }
}

/// The documents of a text.
fn documents(text: &str, path: &Path) -> Result<Vec<Value>> {
    let all = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    all.filter(|one| !matches!(one, Ok(Value::Null))).map(|one| one.map_err(|e| refused(path, &e))).collect()
}

/// Whether the API server reads a resource, and istiod does not.
fn is_of_the_api_server(resource: &Value) -> bool {
    resource["apiVersion"]
        .as_str()
        .is_some_and(|version| version.starts_with("admissionregistration.k8s.io/"))
}

/// Whether a resource makes no sense without the filter: its plugins, and what takes away the headers that the
/// filter writes. Tests of the mesh on its own write these themselves.
fn is_of_the_filter(resource: &Value) -> bool {
    check::loads_module(resource) || resource["metadata"]["name"] == "gateway-connections"
}

/// What a plugin says of its module.
fn module(plugin: &mut Value) -> &mut Value {
    match plugin["kind"] == "WasmPlugin" {
        true => &mut plugin["spec"],
        false => &mut plugin["spec"]["wasm"],
    }
}

/// Istio takes any `pluginConfig`; the filter would refuse every request by one with a mistake.
fn check_plugin(resource: &Value, overlay: &Path) -> Result<()> {
    if !check::is_plugin(resource) {
        return Ok(());
    }
    let errors: Vec<String> = check::errors(resource).iter().map(ToString::to_string).collect();
    if errors.is_empty() {
        return Ok(());
    }
    let kind = resource["kind"].as_str().unwrap_or_default();
    let message = format!("{kind} {}:\n  {}", check::name(resource), errors.join("\n  "));
    Err(refused(overlay, &message))
}

fn read_yaml(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(MeshError::io("read", path))?;
    serde_norway::from_str(&text).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, message: &dyn std::fmt::Display) -> MeshError {
    MeshError::Manifest { path: path.to_owned(), message: message.to_string() }
}

fn replace(temporary: &Path, target: &Path, text: &str) -> Result<()> {
    fs::write(temporary, text).map_err(MeshError::io("write", temporary))?;
    fs::rename(temporary, target).map_err(MeshError::io("move into place", target))
}

fn move_block(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        Value::Array(items) => items.iter_mut().for_each(|item| move_block(item, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|field| move_block(field, from, to)),
        _ => {}
    }
}

fn to_yaml(documents: &[impl Serialize]) -> Result<String> {
    let texts: std::result::Result<Vec<_>, _> = documents.iter().map(serde_norway::to_string).collect();
    texts
        .map(|texts| texts.join("---\n"))
        .map_err(|e| MeshError::io("write as YAML", "mesh.yaml")(std::io::Error::other(e)))
}
