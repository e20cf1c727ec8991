//! How the platform is laid out, as far as routes need it: read raw, checked once, and typed from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portcullis_identity::ids::ClusterId;
use serde::{Deserialize, Serialize};

use crate::error::{Invalid, Problem, Problems};

/// Bounds of what a file can make grow, each far above what a cluster has.
const MOST_SERVICES: usize = 16;
const MOST_ENDPOINTS: usize = 64;
const MOST_VERSIONS: usize = 8;
/// Where a namespace takes a cluster's id.
const PLACE: &str = "{cluster}";

/// What carries the requests of clusters on customers' premises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Reverse tunnels of Envoy, which end in the tunnel gateway.
    EnvoyReverse,
    /// Skupper v2, with a site of its own for each cluster.
    Skupper,
}

/// How a site of Skupper lets links in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are Skupper's own values")]
pub enum LinkAccess {
    Default,
    Route,
    Loadbalancer,
    Nodeport,
    Gateway,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) gateway: Gateway,
    pub(crate) provider: Provider,
    pub(crate) hosted_namespace: Pattern,
    pub(crate) tunnel_gateway: Tunnels,
    pub(crate) skupper: Skupper,
    pub(crate) services: Vec<Service>,
    pub(crate) clusters: BTreeMap<ClusterId, Particular>,
}

/// The guarded gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// As which it comes to a cluster.
    pub(crate) principal: String,
}

/// A namespace with the cluster's id in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    before: String,
    after: String,
}

impl Pattern {
    pub(crate) fn of(&self, cluster: &ClusterId) -> String {
        [&self.before, cluster.as_str(), &self.after].concat()
    }
}

/// Where tunnels of Envoy end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tunnels {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What sites of Skupper are made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skupper {
    pub(crate) namespace: Pattern,
    pub(crate) link_access: LinkAccess,
    pub(crate) grant_minutes: u16,
}

/// A service of a cluster that may be reached. No other one may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) port: u16,
    /// The beginning of its paths; without one it takes what no other service takes.
    pub(crate) path: Option<String>,
    /// The versions that run beside each other, the first for whoever asks for none.
    pub(crate) versions: Vec<u16>,
}

/// What one cluster has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Particular {
    pub(crate) provider: Option<Provider>,
    pub(crate) services: Option<Vec<Service>>,
    pub(crate) endpoints: Vec<IpAddr>,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Invalid`]: everything that is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let raw: Raw = serde_path_to_error::deserialize(serde_norway::Deserializer::from_str(text))
            .map_err(|error| Invalid(vec![unreadable(&error)]))?;
        let mut problems = Problems::default();
        let settings = raw.check(&mut problems);
        problems.or(settings)
    }

    pub(crate) fn provider_of(&self, cluster: &ClusterId) -> Provider {
        self.clusters.get(cluster).and_then(|one| one.provider).unwrap_or(self.provider)
    }

    pub(crate) fn services_of(&self, cluster: &ClusterId) -> &[Service] {
        let own = self.clusters.get(cluster).and_then(|one| one.services.as_ref());
        own.unwrap_or(&self.services)
    }

    pub(crate) fn endpoints_of(&self, cluster: &ClusterId) -> &[IpAddr] {
        self.clusters.get(cluster).map_or(&[], |one| &one.endpoints)
    }
}

fn unreadable(error: &serde_path_to_error::Error<serde_norway::Error>) -> Problem {
    let place = error.path().to_string();
    Problem { place: if place == "." { String::new() } else { place }, problem: error.inner().to_string() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    gateway: RawGateway,
    provider: Provider,
    #[serde(default)]
    hosted: RawHosted,
    #[serde(default)]
    tunnel_gateway: RawTunnels,
    #[serde(default)]
    skupper: RawSkupper,
    #[serde(default = "data_api")]
    services: Vec<RawService>,
    #[serde(default)]
    clusters: BTreeMap<String, RawParticular>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGateway {
    namespace: String,
    name: String,
    principal: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHosted {
    namespace: String,
}

impl Default for RawHosted {
    fn default() -> Self {
        Self { namespace: PLACE.to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTunnels {
    host: String,
    port: u16,
}

impl Default for RawTunnels {
    fn default() -> Self {
        Self { host: "tunnel-gateway.portcullis.svc.cluster.local".to_owned(), port: 8080 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct RawSkupper {
    namespace: String,
    link_access: LinkAccess,
    grant_minutes: u16,
}

impl Default for RawSkupper {
    fn default() -> Self {
        let namespace = ["dc-", PLACE].concat();
        Self { namespace, link_access: LinkAccess::Default, grant_minutes: 15 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    name: String,
    port: u16,
    path: Option<String>,
    #[serde(default)]
    versions: Vec<u16>,
}

fn data_api() -> Vec<RawService> {
    vec![RawService { name: "data-api".to_owned(), port: 8080, path: None, versions: Vec::new() }]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParticular {
    provider: Option<Provider>,
    services: Option<Vec<RawService>>,
    #[serde(default)]
    endpoints: Vec<IpAddr>,
}

impl Raw {
    fn check(self, problems: &mut Problems) -> Settings {
        let RawGateway { namespace, name, principal } = self.gateway;
        label(problems, "gateway.namespace", &namespace);
        label(problems, "gateway.name", &name);
        if !is_principal(&principal) {
            let form = "write who the gateway is in the mesh in full: TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
            problems.add("gateway.principal", form);
        }
        if !is_host(&self.tunnel_gateway.host) {
            problems.add("tunnelGateway.host", "write the name of a service in full, in lower case");
        }
        port(problems, "tunnelGateway.port", self.tunnel_gateway.port);
        if !(1..=1440).contains(&self.skupper.grant_minutes) {
            problems.add("skupper.grantMinutes", "write 1 to 1440");
        }
        let hosted_namespace = pattern(problems, "hosted.namespace", &self.hosted.namespace);
        let skupper_namespace = pattern(problems, "skupper.namespace", &self.skupper.namespace);
        if hosted_namespace == skupper_namespace {
            problems.add(
                "skupper.namespace",
                "is that of hosted clusters, whose namespaces are not ours to delete",
            );
        }
        Settings {
            gateway: Gateway { namespace, name, principal },
            provider: self.provider,
            hosted_namespace,
            tunnel_gateway: Tunnels { host: self.tunnel_gateway.host, port: self.tunnel_gateway.port },
            skupper: Skupper {
                namespace: skupper_namespace,
                link_access: self.skupper.link_access,
                grant_minutes: self.skupper.grant_minutes,
            },
            services: services(problems, "services", self.services),
            clusters: self.clusters.into_iter().filter_map(|(id, one)| one.check(problems, &id)).collect(),
        }
    }
}

impl RawParticular {
    fn check(self, problems: &mut Problems, id: &str) -> Option<(ClusterId, Particular)> {
        let place = ["clusters.", id].concat();
        if self.endpoints.len() > MOST_ENDPOINTS {
            problems
                .add([&place, ".endpoints"].concat(), format!("has more than {MOST_ENDPOINTS} addresses"));
        }
        let own = self.services.map(|all| services(problems, &[&place, ".services"].concat(), all));
        let particular = Particular { provider: self.provider, services: own, endpoints: self.endpoints };
        match ClusterId::new(id) {
            Ok(id) => Some((id, particular)),
            Err(error) => {
                problems.add(place, error.rule);
                None
            }
        }
    }
}

fn services(problems: &mut Problems, place: &str, all: Vec<RawService>) -> Vec<Service> {
    if all.is_empty() || all.len() > MOST_SERVICES {
        problems.add(place, format!("name 1 to {MOST_SERVICES} services"));
    }
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (at, one) in all.iter().enumerate() {
        let place = format!("{place}[{at}]");
        label(problems, &format!("{place}.name"), &one.name);
        // A listener of Skupper is called `http-NAME`.
        if one.name.len() > 58 {
            problems.add(format!("{place}.name"), "write 58 characters at most");
        }
        port(problems, &format!("{place}.port"), one.port);
        if one.path.as_deref().is_some_and(|path| !is_path(path)) {
            let form =
                "write a path such as /mcp: of A-Z, a-z, 0-9, '-', '_', '.' and '/', without one at the end";
            problems.add(format!("{place}.path"), form);
        }
        if !names.insert(&one.name) {
            problems.add(format!("{place}.name"), "names a service for the second time");
        }
        if !paths.insert(&one.path) {
            problems.add(format!("{place}.path"), "is that of another service, too; one alone may have none");
        }
        let versions: BTreeSet<_> = one.versions.iter().collect();
        if versions.len() != one.versions.len() || versions.len() > MOST_VERSIONS {
            problems.add(format!("{place}.versions"), format!("write up to {MOST_VERSIONS}, each once"));
        }
    }
    let service = |RawService { name, port, path, versions }| Service { name, port, path, versions };
    all.into_iter().map(service).collect()
}

fn pattern(problems: &mut Problems, place: &str, text: &str) -> Pattern {
    let (before, after) = text.split_once(PLACE).unwrap_or_else(|| {
        problems.add(place, "write {cluster} where the cluster's id stands: each has a namespace of its own");
        (text, "")
    });
    let spared = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let whole = !before.starts_with('-') && !after.ends_with('-');
    if !whole || !before.chars().chain(after.chars()).all(spared) || before.len() + after.len() > 32 {
        problems.add(place, "beside {cluster} use up to 32 characters of a-z, 0-9 and '-'");
    }
    Pattern { before: before.to_owned(), after: after.to_owned() }
}

fn label(problems: &mut Problems, place: &str, text: &str) {
    // The rule of a cluster's id is that of a DNS label.
    if let Err(error) = ClusterId::new(text) {
        problems.add(place, error.rule);
    }
}

fn port(problems: &mut Problems, place: &str, port: u16) {
    if port == 0 {
        problems.add(place, "write 1 to 65535");
    }
}

fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').count() > 1
        && text.split('.').all(|part| ClusterId::new(part).is_ok())
}

/// Without a `*`, which would let in others.
fn is_principal(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let [domain, "ns", namespace, "sa", account] = parts.as_slice() else { return false };
    let named = |text: &str| text.split('.').all(|part| ClusterId::new(part).is_ok());
    named(domain) && ClusterId::new(namespace).is_ok() && named(account)
}

fn is_path(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && part != "." && part != ".." && part.chars().all(plain)
    };
    text.len() <= 128 && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}
