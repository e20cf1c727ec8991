//! What the module gets a pointer to.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_testhost::MetricKind;
use portcullis_testhost::native::{PluginHandle, StreamHandle, StreamWaker};

/// A filter configuration.
pub(crate) struct Config {
    pub(crate) handle: PluginHandle,
    pub(crate) metrics: Rc<Metrics>,
}

/// Metrics by the numbers that the module was given.
#[derive(Default)]
pub(crate) struct Metrics(RefCell<Vec<(MetricKind, String)>>);

impl Metrics {
    /// Makes a metric known, and answers its number.
    pub(crate) fn define(&self, handle: &PluginHandle, kind: MetricKind, name: String) -> usize {
        handle.define_metric(kind, &name);
        let mut known = self.0.borrow_mut();
        known.push((kind, name));
        known.len() - 1
    }

    /// Changes a metric; Envoy's number for success or for "no such metric".
    pub(crate) fn change(
        &self,
        id: usize,
        kind: MetricKind,
        change: impl FnOnce(&str) -> Result<(), portcullis_testhost::Status>,
    ) -> u32 {
        let known = self.0.borrow();
        let found = known.get(id).filter(|(known, _)| *known == kind);
        u32::from(found.is_none_or(|(_, name)| change(name).is_err()))
    }
}

/// A stream in a filter.
pub(crate) struct Stream {
    pub(crate) handle: StreamHandle,
    pub(crate) metrics: Rc<Metrics>,
    /// What the module was shown and may read until its hook returns.
    pub(crate) shown: RefCell<Vec<Vec<u8>>>,
}

/// What a scheduler wakes.
pub(crate) enum Scheduler {
    Stream(StreamWaker),
    Config(PluginHandle),
}

impl Config {
    /// The plugin.
    pub(crate) fn plugin(&self) -> &PluginHandle {
        &self.handle
    }
}

impl Stream {
    /// The plugin of the filter.
    pub(crate) fn plugin(&self) -> &PluginHandle {
        self.handle.plugin()
    }
}
