//! Which workloads a resource of Istio speaks of.

use std::collections::BTreeMap;

use crate::node::Node;
use crate::resource::Resource;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Labels that are written as a mapping.
#[must_use]
pub fn labels(node: Option<&Node>) -> Labels {
    let members = node.map(Node::members).unwrap_or_default();
    let pair = |key: &str, node: &Node| Some((key.to_owned(), node.text()?.to_owned()));
    members.iter().filter_map(|entry| pair(&entry.key, &entry.node)).collect()
}

/// Whether all of the few labels are among the many.
fn within(few: &Labels, many: &Labels) -> bool {
    few.iter().all(|(key, value)| many.get(key) == Some(value))
}

/// Something with labels that runs.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Where; `None` where a resource speaks of any namespace.
    pub namespace: Option<String>,
    /// Its labels.
    pub labels: Labels,
}

/// The workloads that a resource of Istio speaks of.
#[derive(Clone, Debug)]
pub struct Selector {
    /// `None`: those of every namespace.
    pub namespace: Option<String>,
    /// None of them: all workloads.
    pub labels: Labels,
}

impl Selector {
    /// That of a resource: `spec.selector.matchLabels`, or `workloadSelector.labels` in its older form. One of the
    /// mesh's root namespace speaks of all of them.
    #[must_use]
    pub fn of(resource: &Resource, root_namespace: &str) -> Self {
        let paths = ["spec.selector.matchLabels", "spec.workloadSelector.labels"];
        let labels = labels(paths.iter().find_map(|path| resource.node.at(path)));
        let namespace = (resource.namespace() != root_namespace).then(|| resource.namespace().to_owned());
        Self { namespace, labels }
    }

    /// Whether it speaks of this workload.
    #[must_use]
    pub fn selects(&self, workload: &Workload) -> bool {
        self.is_of(&workload.namespace) && within(&self.labels, &workload.labels)
    }

    /// Whether it may speak of what runs in this namespace; `None`: in any.
    #[must_use]
    pub fn is_of(&self, namespace: &Option<String>) -> bool {
        self.namespace.is_none() || namespace.is_none() || self.namespace == *namespace
    }

    /// Whether both may speak of the same workload: neither asks for a label that the other asks for with another value,
    /// and all that one asks for is asked for by the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let alike = within(&self.labels, &other.labels) || within(&other.labels, &self.labels);
        self.is_of(&other.namespace) && alike
    }

    /// Whether whatever the other speaks of is spoken of here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let place = self.namespace.is_none() || self.namespace == other.namespace;
        place && within(&self.labels, &other.labels)
    }
}
