//! The scenario file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_testhost::{FailurePolicy, Host, HostBuilder, LoadError, Module, Plugin, Request, StartError};
use serde::Deserialize;
use serde_norway::Value;

use crate::answers::{AnswerEntry, Unanswered, script};

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("cannot read the scenario {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the scenario {path} is not valid: {source}")]
    Parse { path: PathBuf, source: serde_norway::Error },
    #[error("the scenario {path} names no module for {plugin}; add `module:` to either, or give --module")]
    NoModule { path: PathBuf, plugin: String },
    #[error("the configuration of plugin {plugin} cannot be written as JSON: {source}")]
    Config { plugin: String, source: serde_json::Error },
    #[error("step {step} of {path} does nothing: it needs one of request, advanceMs, reconfigure, drain")]
    EmptyStep { path: PathBuf, step: usize },
    #[error("step {step} of {path} is for worker {worker}, but there are only {workers} (from 0 on)")]
    NoWorker { path: PathBuf, step: usize, worker: usize, workers: usize },
    #[error("step {step} of {path} expects a refusal (expectRefused) and has no `reconfigure`")]
    NothingToRefuse { path: PathBuf, step: usize },
    #[error("step {step} of {path} reconfigures the plugin {name:?}, which there is not")]
    NoPlugin { path: PathBuf, step: usize, name: String },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the plugins do not start: {0}")]
    Start(#[from] StartError),
}

/// A world, and what happens in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Scenario {
    /// The module of the plugins that name none; relative to the scenario file.
    pub(crate) module: Option<PathBuf>,
    pub(crate) plugins: Vec<PluginEntry>,
    #[serde(default = "one")]
    workers: usize,
    #[serde(default)]
    seed: u64,
    /// Properties of all requests, by dotted path.
    #[serde(default)]
    properties: BTreeMap<String, Scalar>,
    /// Services that plugins call: of the answers that fit a request one after the other, the last one repeated.
    #[serde(default)]
    clusters: BTreeMap<String, Vec<AnswerEntry>>,
    /// The service behind the route.
    #[serde(default)]
    upstream: Vec<AnswerEntry>,
    /// Whether misuse of the ABI is accepted.
    #[serde(default)]
    pub(crate) allow_misuse: bool,
    pub(crate) steps: Vec<Step>,
}

fn one() -> usize {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PluginEntry {
    #[serde(default)]
    name: Option<String>,
    /// Relative to the scenario file.
    pub(crate) module: Option<PathBuf>,
    #[serde(default)]
    root_id: String,
    #[serde(default)]
    vm_id: String,
    /// Text as it is; anything else as JSON.
    #[serde(default)]
    config: Value,
    #[serde(default)]
    vm_config: Value,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    on_failure: OnFailure,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OnFailure {
    #[default]
    Closed,
    Open,
    Reload,
}

/// A property's value; the kinds of YAML scalars that the ABI can carry.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
enum Scalar {
    Text(String),
    Int(i64),
    Bool(bool),
}

impl TryFrom<Value> for Scalar {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Bool(yes) => Ok(Self::Bool(yes)),
            Value::Number(number) => {
                number.as_i64().map(Self::Int).ok_or_else(|| format!("{number} is no whole number"))
            }
            other => Err(format!("a property is a text, a number or a boolean, not {other:?}")),
        }
    }
}

impl Scalar {
    fn value(&self) -> portcullis_testhost::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Int(number) => (*number).into(),
            Self::Bool(yes) => (*yes).into(),
        }
    }
}

/// Exactly one of the first four.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) request: Option<RequestEntry>,
    pub(crate) advance_ms: Option<u64>,
    pub(crate) reconfigure: Option<Value>,
    /// The name of the plugin to reconfigure; the first one if absent.
    plugin: Option<String>,
    #[serde(default)]
    pub(crate) drain: bool,
    /// What must be true of the last request after this step.
    pub(crate) expect: Option<Expect>,
    /// A text that some log line must contain by now.
    pub(crate) expect_log: Option<String>,
    /// What metrics must be by now: a number, the recorded values of a histogram, or null for one that there is not.
    #[serde(default)]
    pub(crate) expect_metrics: BTreeMap<String, Option<MetricValue>>,
    /// The new configuration must be refused, with a message that contains this.
    pub(crate) expect_refused: Option<String>,
}

/// The value of a metric.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum MetricValue {
    One(u64),
    Recorded(Vec<u64>),
}

impl TryFrom<Value> for MetricValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let wrong = || "a metric is a whole number, or a list of them".to_owned();
        match value {
            Value::Number(number) => number.as_u64().map(Self::One).ok_or_else(wrong),
            Value::Sequence(all) => {
                let numbers: Option<Vec<u64>> = all.iter().map(Value::as_u64).collect();
                numbers.map(Self::Recorded).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RequestEntry {
    #[serde(default = "get")]
    method: String,
    #[serde(default = "slash")]
    path: String,
    authority: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    #[serde(default)]
    chunks: Vec<String>,
    #[serde(default)]
    trailers: Vec<(String, String)>,
    peer: Option<String>,
    /// A filter in front of the plugins refuses the request with this status.
    refused_before: Option<u16>,
    /// What comes is no HTTP/1.1: the codec refuses it.
    #[serde(default)]
    malformed: bool,
    #[serde(default)]
    http2: bool,
    #[serde(default)]
    properties: BTreeMap<String, Scalar>,
    #[serde(default)]
    worker: usize,
}

fn get() -> String {
    "GET".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Expect {
    pub(crate) status: Option<u16>,
    /// Whether the request reached the upstream.
    pub(crate) forwarded: Option<bool>,
    /// Whether the exchange still waits.
    pub(crate) waiting: Option<bool>,
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(crate) upstream_headers: BTreeMap<String, Option<String>>,
    /// A part of the body that the client saw.
    pub(crate) body_contains: Option<String>,
}

impl Scenario {
    pub(crate) fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        // Some editors begin a file with a byte order mark.
        let scenario: Self = serde_norway::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text))
            .map_err(|source| ScenarioError::Parse { path: path.to_owned(), source })?;
        for (at, step) in scenario.steps.iter().enumerate() {
            let does =
                [step.request.is_some(), step.advance_ms.is_some(), step.reconfigure.is_some(), step.drain];
            let (path, number) = (path.to_owned(), at + 1);
            if !does.contains(&true) {
                return Err(ScenarioError::EmptyStep { path, step: number });
            }
            let worker = step.request.as_ref().map_or(0, |request| request.worker);
            if worker >= scenario.workers.max(1) {
                let workers = scenario.workers;
                return Err(ScenarioError::NoWorker { path, step: number, worker, workers });
            }
            if step.expect_refused.is_some() && step.reconfigure.is_none() {
                return Err(ScenarioError::NothingToRefuse { path, step: number });
            }
            if let Some(name) = &step.plugin
                && scenario.plugin_named(name).is_none()
            {
                return Err(ScenarioError::NoPlugin { path, step: number, name: name.clone() });
            }
        }
        Ok(scenario)
    }

    /// The place of a plugin in the chain.
    fn plugin_named(&self, name: &str) -> Option<usize> {
        self.plugins.iter().position(|plugin| plugin.name.as_deref() == Some(name))
    }

    /// The plugin that a step reconfigures.
    pub(crate) fn plugin_of(&self, step: &Step) -> usize {
        step.plugin.as_deref().and_then(|name| self.plugin_named(name)).unwrap_or(0)
    }

    /// The world of the scenario, not started; each plugin with its module. What comes to a service that has no answer
    /// for it is noted in `unanswered`.
    pub(crate) fn world(
        &self,
        modules: &[Module],
        unanswered: &Unanswered,
    ) -> Result<HostBuilder, ScenarioError> {
        let mut builder = Host::builder().workers(self.workers).seed(self.seed).allow_misuse();
        for (at, (entry, module)) in self.plugins.iter().zip(modules).enumerate() {
            let name = entry.name(at);
            let mut plugin = Plugin::new(module)
                .root_id(&entry.root_id)
                .vm_id(&entry.vm_id)
                .config(text(&name, &entry.config)?)
                .vm_config(text(&name, &entry.vm_config)?)
                .name(name)
                .on_failure(match entry.on_failure {
                    OnFailure::Closed => FailurePolicy::Closed,
                    OnFailure::Open => FailurePolicy::Open,
                    OnFailure::Reload => FailurePolicy::reload(),
                });
            for (name, value) in &entry.env {
                plugin = plugin.env(name, value);
            }
            builder = builder.plugin(plugin);
        }
        for (path, value) in &self.properties {
            builder = builder.property(path.as_str(), value.value());
        }
        for (name, answers) in &self.clusters {
            builder = builder.cluster(name, script(name, answers, unanswered));
        }
        if !self.upstream.is_empty() {
            builder = builder.upstream(script("upstream", &self.upstream, unanswered));
        }
        Ok(builder)
    }
}

impl PluginEntry {
    /// Its name, else its place in the chain.
    pub(crate) fn name(&self, at: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("plugin {at}"))
    }
}

/// Configuration as a module reads it: text as it is, anything else as JSON.
pub(crate) fn text(plugin: &str, config: &Value) -> Result<String, ScenarioError> {
    match config {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => serde_json::to_string(other)
            .map_err(|source| ScenarioError::Config { plugin: plugin.to_owned(), source }),
    }
}

impl RequestEntry {
    pub(crate) fn request(&self) -> Request {
        let mut request = Request::new(&self.method, &self.path).on_worker(self.worker);
        if let Some(authority) = &self.authority {
            request = request.authority(authority);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body);
        }
        for chunk in &self.chunks {
            request = request.chunk(chunk);
        }
        for (name, value) in &self.trailers {
            request = request.trailer(name, value);
        }
        if let Some(peer) = &self.peer {
            request = request.peer(peer);
        }
        if let Some(status) = self.refused_before {
            request = request.refused_before_plugins(status);
        }
        if self.malformed {
            request = request.malformed();
        }
        if self.http2 {
            request = request.http2();
        }
        for (path, value) in &self.properties {
            request = request.property(path.as_str(), value.value());
        }
        request
    }
}
