//! From what is wanted to resources.

mod cluster_side;
mod connections;
mod hosted;
mod reverse;
mod skupper;
mod ways;

use std::collections::BTreeMap;

use portcullis_identity::ids::ClusterId;

use crate::error::{Invalid, Problems};
use crate::resource::{Resource, ResourceId};
use crate::settings::{Provider, Settings};
use crate::wanted::{Placement, State, Wanted};

pub use cluster_side::{Grant, cluster_side};

/// So many bytes of ids may a route leave out, since a proxy bounds its expressions.
const MOST_LEFT_OUT: usize = 24 * 1024;

/// All routes, in the order of their names. The same is wanted: the same comes out, in whatever order it was wanted.
///
/// # Errors
/// [`Invalid`]: everything for which there are no routes, and why.
pub fn render(settings: &Settings, clusters: &[Wanted]) -> Result<Vec<Resource>, Invalid> {
    let mut problems = Problems::default();
    let mut all: BTreeMap<ResourceId, Resource> = BTreeMap::new();
    let mut placed: BTreeMap<&ClusterId, Way> = BTreeMap::new();
    let mut taken: BTreeMap<String, &ClusterId> = BTreeMap::new();
    for one in clusters {
        let way = Way::of(settings, one);
        if placed.insert(&one.id, way).is_some() {
            problems.add(one.id.as_str(), "is there twice");
        }
        if one.state == State::Retired {
            continue;
        }
        let namespace = way.namespace(settings, &one.id);
        if let Some(problem) = wrong_namespace(settings, &namespace) {
            problems.add(one.id.as_str(), problem);
        }
        if way != Way::Reverse
            && let Some(other) = taken.insert(namespace.clone(), &one.id)
        {
            problems
                .add(one.id.as_str(), format!("its namespace {namespace} is that of cluster {other}, too"));
        }
        let resources = match way {
            Way::Hosted => hosted::render(settings, &one.id, &namespace),
            Way::Skupper => skupper::render(settings, &one.id, &namespace),
            Way::Reverse => Vec::new(),
        };
        all.extend(resources.into_iter().map(|resource| (resource.id.clone(), resource)));
    }
    let of = |reverse: bool| placed.iter().filter(move |(_, way)| (**way == Way::Reverse) == reverse);
    if of(true).next().is_some() {
        let left_out: Vec<&str> = of(false).map(|(id, _)| id.as_str()).collect();
        let bytes: usize = left_out.iter().map(|id| id.len() + 1).sum();
        if bytes > MOST_LEFT_OUT {
            let told = "the route into tunnels leaves out every cluster with a way of its own, and these are too many: \
                        run them on another gateway, or use one provider for all";
            problems.add("", format!("{told} ({bytes} of {MOST_LEFT_OUT} bytes)"));
        }
        let shared = reverse::render(settings, &left_out);
        all.insert(shared.id.clone(), shared);
    }
    problems.or(all.into_values().collect())
}

/// Why a cluster cannot have this namespace. Whoever may choose an id must not choose with it what holds elsewhere: a policy
/// in the mesh's root namespace holds in all of them.
fn wrong_namespace(settings: &Settings, namespace: &str) -> Option<String> {
    const OTHERS: [&str; 3] = ["default", "istio-system", "observability"];
    let tunnels = settings.tunnel_gateway.host.split('.').nth(1);
    let is_ours = namespace == settings.gateway.namespace || tunnels == Some(namespace);
    if is_ours || OTHERS.contains(&namespace) || namespace.starts_with("kube-") {
        return Some(format!("its namespace would be {namespace}, which is none of a cluster"));
    }
    (namespace.len() > 63).then(|| format!("its namespace {namespace} would have more than 63 characters"))
}

/// How a cluster is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Hosted,
    Skupper,
    Reverse,
}

impl Way {
    fn of(settings: &Settings, cluster: &Wanted) -> Self {
        match (cluster.placement, settings.provider_of(&cluster.id)) {
            (Placement::Hosted, _) => Self::Hosted,
            (Placement::OnPremises, Provider::Skupper) => Self::Skupper,
            (Placement::OnPremises, Provider::EnvoyReverse) => Self::Reverse,
        }
    }

    fn namespace(self, settings: &Settings, cluster: &ClusterId) -> String {
        match self {
            Self::Hosted => settings.hosted_namespace.of(cluster),
            Self::Skupper => settings.skupper.namespace.of(cluster),
            Self::Reverse => String::new(),
        }
    }
}
