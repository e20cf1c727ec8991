//! What Istio takes although it opens a hole, or does nothing: found in rendered manifests before they are applied.
//!
//! Istio's own `validate` and `analyze` say whether resources are well formed; this says what they let in, knowing what the
//! filter of Portcullis removes, writes and checks.

mod native;
pub mod node;
pub mod report;
pub mod resource;
pub mod rule;
pub mod rules;
mod schemas;
pub mod selector;
pub mod world;

use report::Finding;
use resource::Resource;
use rule::{Found, Place, Rule};
use world::World;

/// All that was found, in the order of files and lines.
#[derive(Debug)]
pub struct Findings(Vec<(&'static Rule, Place)>);

impl Findings {
    /// Each of them.
    #[must_use]
    pub fn list(&self) -> Vec<Finding<'_>> {
        self.0.iter().map(|(rule, place)| Finding { rule, place }).collect()
    }
}

/// Looks at resources that are applied together.
#[must_use]
pub fn lint(resources: Vec<Resource>) -> Findings {
    let world = World::new(resources);
    let mut list: Vec<(&'static Rule, Place)> = Vec::new();
    for rule in rules::RULES {
        let mut found = Found::by(rule);
        (rule.check)(&world, &mut found);
        list.extend(found.places.into_iter().map(|place| (rule, place)));
    }
    list.sort_by(|(one, a), (other, b)| (&a.file, a.line, one.code).cmp(&(&b.file, b.line, other.code)));
    list.dedup_by(|(one, a), (other, b)| one.code == other.code && a == b);
    Findings(list)
}
