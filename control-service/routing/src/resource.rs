//! A resource of Kubernetes as routes are made of, and by which marks it is known as ours.

use std::fmt;

use portcullis_identity::ids::ClusterId;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The field manager of whoever writes routes.
pub const MANAGER: &str = "portcullis-routes";
/// Label and value by which tools see who manages a resource.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "portcullis");
/// Label and value that tell routes from what else Portcullis may manage.
pub const COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "routes");
/// The label with the id of the cluster that a resource is for.
pub const OF_CLUSTER: &str = "portcullis.dev/cluster";
/// Selects what is ours, and nothing else is ever deleted.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=portcullis,app.kubernetes.io/component=routes";

/// The kinds that routes are made of, in the order in which they are made: a namespace before what stands in it, who may
/// call before the way there. They are deleted the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Of a cluster with a Skupper site.
    Namespace,
    /// Who may call.
    AuthorizationPolicy,
    /// A service outside this Kubernetes.
    ServiceEntry,
    /// How connections are opened.
    DestinationRule,
    /// Skupper's network of one cluster.
    Site,
    /// Lets the cluster's site join, once.
    AccessGrant,
    /// A service of the cluster, as it is called here.
    Listener,
    /// The cluster's side of a listener.
    Connector,
    /// What redeems a grant.
    AccessToken,
    /// The way.
    VirtualService,
}

impl Kind {
    /// Those that a platform may hold.
    pub const PLATFORM: [Self; 8] = [
        Self::Namespace,
        Self::AuthorizationPolicy,
        Self::ServiceEntry,
        Self::DestinationRule,
        Self::Site,
        Self::AccessGrant,
        Self::Listener,
        Self::VirtualService,
    ];

    /// Group (empty for Kubernetes' own), version, kind and the plural in paths.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        const NETWORKING: (&str, &str) = ("networking.istio.io", "v1");
        const SKUPPER: (&str, &str) = ("skupper.io", "v2alpha1");
        let (api, kind, plural) = match self {
            Self::Namespace => (("", "v1"), "Namespace", "namespaces"),
            Self::AuthorizationPolicy => {
                (("security.istio.io", "v1"), "AuthorizationPolicy", "authorizationpolicies")
            }
            Self::ServiceEntry => (NETWORKING, "ServiceEntry", "serviceentries"),
            Self::DestinationRule => (NETWORKING, "DestinationRule", "destinationrules"),
            Self::VirtualService => (NETWORKING, "VirtualService", "virtualservices"),
            Self::Site => (SKUPPER, "Site", "sites"),
            Self::AccessGrant => (SKUPPER, "AccessGrant", "accessgrants"),
            Self::Listener => (SKUPPER, "Listener", "listeners"),
            Self::Connector => (SKUPPER, "Connector", "connectors"),
            Self::AccessToken => (SKUPPER, "AccessToken", "accesstokens"),
        };
        (api.0, api.1, kind, plural)
    }

    /// `GROUP/VERSION`, as a manifest says it.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.names() {
            ("", version, ..) => version.to_owned(),
            (group, version, ..) => [group, version].join("/"),
        }
    }

    /// The kind that a manifest names.
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::PLATFORM.into_iter().find(|one| one.names().2 == kind && one.api_version() == api_version)
    }
}

/// What a resource is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty of a namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.names().2;
        if self.namespace.is_empty() {
            write!(f, "{kind} {}", self.name)
        } else {
            write!(f, "{kind} {}/{}", self.namespace, self.name)
        }
    }
}

/// A resource that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What it is called.
    pub id: ResourceId,
    /// Whose it is; nobody's where all clusters share it.
    pub cluster: Option<ClusterId>,
    /// All of it.
    pub body: Value,
}

/// What a resource is made with beside its kind and its specification.
pub(crate) struct Head<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) cluster: Option<&'a ClusterId>,
}

impl Resource {
    /// A resource with our marks.
    pub(crate) fn new(kind: Kind, head: &Head<'_>, spec: &impl Serialize) -> Self {
        let mut labels = Map::new();
        for (label, value) in [MANAGED_BY, COMPONENT] {
            labels.insert(label.to_owned(), value.into());
        }
        if let Some(cluster) = head.cluster {
            labels.insert(OF_CLUSTER.to_owned(), cluster.as_str().into());
        }
        let mut metadata = json!({"name": head.name, "labels": labels});
        if kind != Kind::Namespace {
            metadata["namespace"] = head.namespace.into();
        }
        let mut body =
            json!({"apiVersion": kind.api_version(), "kind": kind.names().2, "metadata": metadata});
        // Types of this crate, whose maps have texts as keys.
        let spec = serde_json::to_value(spec).unwrap_or_default();
        if !spec.is_null() {
            body["spec"] = spec;
        }
        let (namespace, name) = (head.namespace.to_owned(), head.name.to_owned());
        Self { id: ResourceId { kind, namespace, name }, cluster: head.cluster.cloned(), body }
    }

    /// With one more label or annotation.
    pub(crate) fn with(mut self, what: &str, name: &str, value: &str) -> Self {
        self.body["metadata"][what][name] = value.into();
        self
    }
}
