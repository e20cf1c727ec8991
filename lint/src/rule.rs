//! What a rule is, and what it finds.

use crate::node::Node;
use crate::resource::Resource;
use crate::world::World;

/// One thing that Istio takes although it should not stand there.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `PL` and three digits; never given to another rule.
    pub code: &'static str,
    /// Its name in words with hyphens.
    pub name: &'static str,
    /// Whether it opens a hole, or only does nothing.
    pub level: Level,
    /// What is wrong, why Istio takes it, and what comes of it.
    pub why: &'static str,
    /// What to write instead.
    pub fix: &'static str,
    /// Looks for it.
    pub check: fn(&World, &mut Found),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Somebody gets through who must not, or nobody does.
    Error,
    /// It has no effect, or will be trouble.
    Warning,
}

/// A place where a rule holds.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file's name as it was given.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// `KIND NAMESPACE/NAME`.
    pub resource: String,
    /// What stands there.
    pub message: String,
}

/// What one rule found, but for what is silenced.
#[derive(Debug)]
pub struct Found {
    code: &'static str,
    pub(crate) places: Vec<Place>,
}

impl Found {
    pub(crate) const fn by(rule: &Rule) -> Self {
        Self { code: rule.code, places: Vec::new() }
    }

    /// At a node of a resource.
    pub fn at(&mut self, resource: &Resource, node: &Node, message: impl Into<String>) {
        self.on(resource, node.line, message);
    }

    /// At a line of a resource.
    pub fn on(&mut self, resource: &Resource, line: usize, message: impl Into<String>) {
        if !resource.silences(self.code) {
            let (file, title) = (resource.file.to_string(), resource.title());
            self.places.push(Place { file, line, resource: title, message: message.into() });
        }
    }

    /// At the deepest member of a path that is there.
    pub fn path(&mut self, resource: &Resource, path: &str, message: impl Into<String>) {
        self.on(resource, resource.node.line_of(path), message);
    }
}
