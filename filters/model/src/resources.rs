//! What single data clusters say of themselves as protected resources (RFC 9728), and ask of callers: one document
//! of the snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_identity::ClusterId;
use portcullis_identity::ids::Scope;
use serde::{Deserialize, Serialize};

use crate::browser::{BrowserRules, CorsPolicy};

/// The document. Older filters pass over fields that they do not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesDocument {
    /// What is said of whom; no cluster twice.
    pub resources: Vec<ClusterResource>,
}

/// What is said of some clusters. What is absent is as the plugin's configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterResource {
    /// The clusters.
    pub clusters: Vec<ClusterId>,
    /// What is said to browsers.
    pub browser: BrowserRules,
    /// Their own authorization servers, in order. Whoever asks is told, and so learns that there are the clusters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_servers: Vec<String>,
    /// Scopes that every request to one of them needs besides those of the plugin's configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_scopes: Vec<Scope>,
}

/// The document as a filter holds it.
#[derive(Debug, Default)]
pub struct Resources {
    all: Vec<Arc<ClusterResource>>,
    by_cluster: HashMap<ClusterId, Arc<ClusterResource>>,
    has_cors: bool,
    /// True when anything is asked of callers of any cluster, or nobody knows what.
    asks: bool,
    unreadable: bool,
}

impl Resources {
    /// What stands in the place of a document that cannot be read: nobody knows what it asks of callers.
    #[must_use]
    pub fn unreadable() -> Self {
        Self { asks: true, unreadable: true, ..Self::default() }
    }

    /// What is said of a cluster.
    #[inline]
    #[must_use]
    pub fn of(&self, cluster: &ClusterId) -> Option<&ClusterResource> {
        self.by_cluster.get(cluster).map(|resource| &**resource)
    }

    /// The CORS policy of a cluster: its own, and without one that of the plugin.
    #[inline]
    #[must_use]
    pub fn cors_of<'a>(&'a self, cluster: &ClusterId, plugin: &'a BrowserRules) -> Option<&'a CorsPolicy> {
        let own = self.of(cluster).and_then(|resource| resource.browser.cors.as_ref());
        own.or(plugin.cors.as_ref())
    }

    /// Whether anything is asked of callers of any cluster, or nobody knows what.
    #[inline]
    #[must_use]
    pub fn ask(&self) -> bool {
        self.asks
    }

    /// The scopes that a cluster asks for; `None` when nobody knows.
    #[inline]
    #[must_use]
    pub fn required_scopes(&self, cluster: &ClusterId) -> Option<&[Scope]> {
        (!self.unreadable).then(|| self.of(cluster).map_or(&[][..], |resource| &resource.required_scopes))
    }

    /// Whether any cluster has a CORS policy of its own.
    #[inline]
    #[must_use]
    pub fn has_cors(&self) -> bool {
        self.has_cors
    }

    /// The CORS policies of all clusters, whosesoever they are.
    pub fn cors_policies(&self) -> impl Iterator<Item = &CorsPolicy> {
        self.all.iter().filter_map(|resource| resource.browser.cors.as_ref())
    }
}

impl From<ResourcesDocument> for Resources {
    fn from(document: ResourcesDocument) -> Self {
        let all: Vec<_> = document.resources.into_iter().map(Arc::new).collect();
        let named = |resource: &Arc<ClusterResource>| {
            let resource = Arc::clone(resource);
            let clusters = resource.clusters.clone();
            clusters.into_iter().map(move |cluster| (cluster, Arc::clone(&resource)))
        };
        let by_cluster = all.iter().flat_map(named).collect();
        let has_cors = all.iter().any(|resource| resource.browser.cors.is_some());
        let asks = all.iter().any(|resource| !resource.required_scopes.is_empty());
        Self { all, by_cluster, has_cors, asks, unreadable: false }
    }
}
