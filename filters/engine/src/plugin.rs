//! A plugin: its configuration and its stages, and its place on a worker.

use std::ops::Deref;
use std::sync::Arc;

use portcullis_model::config::{self, PluginConfig, Role};
use portcullis_model::errors::FieldError;
use portcullis_protocol::audit::SIDECAR_HOP;
use portcullis_protocol::record;

use crate::stage::{Root, Stage};
use crate::worker::Worker;

/// A plugin's configuration and its stages: the same on every worker.
pub struct Plugin {
    /// The root id.
    pub name: &'static str,
    /// True when no other plugin of this module shares its requests.
    pub whole: bool,
    /// The configuration.
    pub config: PluginConfig,
    /// The stages, by what they are asked.
    pub stages: Stages,
    /// True when any stage decides by policy.
    pub decides: bool,
    /// True when any stage wants to see the end of requests.
    pub records: bool,
    /// True when any stage may ask for a request's body.
    pub reads_body: bool,
}

/// The stages of a plugin in their order, by what they are asked: a request pays for no call that does nothing.
pub struct Stages {
    /// All of them.
    pub all: Vec<Arc<dyn Stage>>,
    /// Those that may say something before policy is looked at.
    pub admitting: Vec<Arc<dyn Stage>>,
    /// Those that look at the request's headers.
    pub deciding: Vec<Arc<dyn Stage>>,
    /// Those that change what goes upstream.
    pub forwarding: Vec<Arc<dyn Stage>>,
    /// Those that record.
    pub recording: Vec<Arc<dyn Stage>>,
}

impl Stages {
    fn new(all: Vec<Box<dyn Stage>>, config: &PluginConfig) -> Self {
        let all: Vec<Arc<dyn Stage>> = all.into_iter().map(Arc::from).collect();
        let those = |test: &dyn Fn(&dyn Stage) -> bool| -> Vec<_> {
            all.iter().filter(|stage| test(stage.as_ref())).cloned().collect()
        };
        Self {
            admitting: those(&|stage| stage.admits(config)),
            deciding: those(&|stage| stage.decides()),
            forwarding: those(&|stage| stage.forwards()),
            recording: those(&|stage| stage.records()),
            all,
        }
    }
}

impl Plugin {
    /// Reads a `pluginConfig` for a root.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(root: &Root, json: &[u8]) -> Result<Self, Vec<FieldError>> {
        let named = |errors: Vec<FieldError>| {
            errors.into_iter().map(|e| e.within("pluginConfig")).collect::<Vec<_>>()
        };
        let config = config::parse(json).map_err(named)?;
        let stages = Stages::new((root.stages)(), &config);
        let (decides, records) = (!stages.deciding.is_empty(), !stages.recording.is_empty());
        let reads_body = stages.all.iter().any(|stage| stage.reads_body());
        Ok(Self { name: root.id, whole: root.whole, config, stages, decides, records, reads_body })
    }
}

/// A plugin on a worker. Every request has one, so it is one reference.
#[derive(Clone)]
pub struct Instance(Arc<Placed>);

/// What is known of a plugin on a worker.
pub struct Placed {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Its number among the plugins of the worker.
    pub number: u64,
    /// What it shares with others.
    pub worker: Arc<Worker>,
    /// What every audit record of this plugin says, encoded.
    pub hop: Box<[u8]>,
}

impl Deref for Instance {
    type Target = Placed;

    fn deref(&self) -> &Placed {
        &self.0
    }
}

impl Instance {
    /// Puts a plugin on a worker.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, number: u64, worker: Arc<Worker>) -> Self {
        let config = &plugin.config;
        let hop = if config.role == Role::Edge { plugin.name } else { SIDECAR_HOP };
        let hop = record::hop(worker.stream, &worker.source.instance, hop, config.mode.as_str()).into();
        Self(Arc::new(Placed { plugin, number, worker, hop }))
    }
}
