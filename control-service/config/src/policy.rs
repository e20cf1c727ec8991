//! The part of `control.yaml` that can be reloaded: principals, issuers, providers of opaque tokens,
//! workloads and source rules.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use portcullis_control_domain::audit::Sender;
use portcullis_control_domain::limits::{Made, TenantLimits};
use portcullis_control_snapshot::View;
use portcullis_control_snapshot::entries::{Entries, EntryError, OfKind, json};
use portcullis_identity::SourceType;
use portcullis_identity::ids::{ClusterId, IssuerId, SpiffeId};
use portcullis_model::policy::{
    ClaimCondition, Jwks, SourceConditions, SourceRule, SourceRulesDocument, WorkloadsDocument,
};
use portcullis_model::resources::ResourcesDocument;
use portcullis_protocol::snapshot::MAX_VALUE;
use portcullis_protocol::wire::RecordKind;

use super::introspection::{self, IntrospectionConfig};
use super::issuer::{self, IssuerConfig};
use super::keys::KeySource;
use super::platform_callers::{self, PlatformCallers};
use super::resources;
use super::section::Section;

/// Bytes of an issuer without its keys, at most: a key set that is fetched has room beside it.
const MAX_ISSUER: usize = 96 * 1024;

/// What can change while the service runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who may read which view.
    pub principals: Principals,
    /// Issuers of JSON Web Tokens.
    pub issuers: Vec<IssuerConfig>,
    /// Whose people may call the platform API.
    pub platform_callers: Vec<PlatformCallers>,
    /// How much a tenant's own administrators may make.
    pub tenant_limits: TenantLimits,
    /// Providers of opaque access tokens.
    pub introspection: Vec<IntrospectionConfig>,
    /// Workloads whose mutual-TLS identity is a credential.
    pub workloads: WorkloadsDocument,
    /// Source rules.
    pub source_rules: SourceRulesDocument,
    /// What single clusters say of themselves, and ask of callers.
    pub resources: ResourcesDocument,
    /// How often keys are fetched.
    pub jwks_refresh: Duration,
}

impl Policy {
    /// What filters get of it, but for the issuers and their keys.
    ///
    /// # Errors
    /// [`EntryError`] when something cannot be written as JSON.
    pub fn entries(&self) -> Result<Entries, EntryError> {
        let one = |value| BTreeMap::from([(Vec::new(), value)]);
        let provider =
            |p: &IntrospectionConfig| Ok((p.document.name.as_bytes().to_vec(), json(&p.document)?));
        let providers = self.introspection.iter().map(provider).collect::<Result<_, EntryError>>()?;
        // Where nothing is said there is no entry: services of before know none of this kind.
        let said = !self.resources.resources.is_empty();
        let resources = if said { one(json(&self.resources)?) } else { BTreeMap::new() };
        Ok(vec![
            (RecordKind::IssuerSecret, self.issuer_secrets()),
            (RecordKind::Introspection, providers),
            (RecordKind::Workloads, one(json(&self.workloads)?)),
            (RecordKind::Resources, resources),
            (RecordKind::SourceRules, one(json(&self.source_rules)?)),
        ])
    }

    /// The shared secrets of the issuers that have one.
    #[must_use]
    pub fn issuer_secrets(&self) -> OfKind {
        let secret = |keys: &KeySource| match keys {
            KeySource::Shared(secret) => Some(secret.reveal().to_vec()),
            _ => None,
        };
        let named = |name: &str| name.as_bytes().to_vec();
        self.issuers.iter().filter_map(|i| Some((named(i.issuer.as_str()), secret(&i.keys)?))).collect()
    }
}

/// Which SPIFFE id may read which view of the snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Principals {
    gateways: HashSet<SpiffeId>,
    sidecars: HashMap<SpiffeId, HashSet<ClusterId>>,
    tunnel_gateways: HashSet<SpiffeId>,
}

impl Principals {
    /// Whether there is a gateway.
    pub(crate) fn have_gateways(&self) -> bool {
        !self.gateways.is_empty()
    }

    /// True when the principal may speak to the mesh API at all.
    #[must_use]
    pub fn knows(&self, principal: &SpiffeId) -> bool {
        self.gateways.contains(principal)
            || self.sidecars.contains_key(principal)
            || self.tunnel_gateways.contains(principal)
    }

    /// True when the principal may know by what agents are verified.
    #[must_use]
    pub fn is_tunnel_gateway(&self, principal: &SpiffeId) -> bool {
        self.tunnel_gateways.contains(principal)
    }

    /// Whose audit records a principal's are; `None` when it may not speak to the mesh API.
    #[must_use]
    pub fn sender(&self, principal: &SpiffeId) -> Option<Sender> {
        if self.gateways.contains(principal) {
            return Some(Sender::gateway(principal));
        }
        self.sidecars.get(principal).map(|clusters| Sender::sidecar(principal, clusters.iter().cloned()))
    }

    /// True when the principal may read the view.
    #[must_use]
    pub fn may_read(&self, principal: &SpiffeId, view: &View) -> bool {
        match view {
            View::Gateway => self.gateways.contains(principal),
            View::Public(cluster) => self.sidecars.get(principal).is_some_and(|own| own.contains(cluster)),
        }
    }
}

pub(crate) fn principals(mesh: &mut Section<'_>) -> Principals {
    let gateways: Vec<SpiffeId> = mesh.optional("gateways").unwrap_or_default();
    let mut sidecars: HashMap<SpiffeId, HashSet<ClusterId>> = HashMap::new();
    for mut entry in mesh.list("sidecars") {
        let cluster: Option<ClusterId> = entry.required("cluster", "the id of the data cluster");
        let ids: Option<Vec<SpiffeId>> = entry.required("principals", "the SPIFFE ids of its sidecars");
        if let (Some(cluster), Some(ids)) = (cluster, ids) {
            for id in ids {
                if gateways.contains(&id) {
                    entry.error("principals", format!("{id} is a gateway too; a sidecar needs its own"));
                }
                sidecars.entry(id).or_default().insert(cluster.clone());
            }
        }
        entry.finish();
    }
    let tunnel_gateways: Vec<SpiffeId> = mesh.optional("tunnelGateways").unwrap_or_default();
    Principals {
        gateways: gateways.into_iter().collect(),
        sidecars,
        tunnel_gateways: tunnel_gateways.into_iter().collect(),
    }
}

pub(crate) fn read(folder: &Path, root: &mut Section<'_>, principals: Principals) -> Policy {
    let refresh = root.number("jwksRefreshSeconds", 60, 1, 3600);
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for section in root.list("issuers") {
        let (name, max_stale) = (section.name("issuer"), section.name("maxStaleSeconds"));
        let Some(read) = issuer::read(folder, section) else { continue };
        // Which issuer a token is of must never be a choice: no `iss` may name two.
        let taken: Vec<IssuerId> = issuers.iter().flat_map(IssuerConfig::names).collect();
        if let Some(twice) = read.names().into_iter().find(|name| taken.contains(name)) {
            root.error(&name, format!("{twice} is configured twice, by name, alias or template"));
        }
        // One failed fetch must not be enough to refuse an issuer's tokens.
        if read.keys.remote().is_some() && read.max_stale < Duration::from_secs(2) * refresh {
            root.error(&max_stale, "must be at least twice jwksRefreshSeconds");
        }
        issuers.push(read);
    }
    let rules = source_rules(root);
    let introspection = introspection::providers(folder, root);
    let known = |name: &String| introspection.iter().any(|provider| provider.document.name == *name);
    for (issuer, name) in issuers.iter().filter_map(|i| Some((&i.issuer, i.introspection.as_ref()?))) {
        if !known(name) {
            root.error(
                "issuers",
                format!("{issuer}: `introspection` names {name:?}, and no provider has that name"),
            );
        }
    }
    let policy = Policy {
        principals,
        platform_callers: platform_callers::read(root, &issuers),
        tenant_limits: tenant_limits(root.section("tenantLimits")),
        issuers,
        introspection,
        workloads: introspection::workloads(root),
        source_rules: SourceRulesDocument { rules },
        resources: resources::resources(root),
        jwks_refresh: Duration::from_secs(refresh.into()),
    };
    too_long(&policy).into_iter().for_each(|(name, problem)| root.error(name, problem));
    policy
}

fn tenant_limits(mut section: Section<'_>) -> TenantLimits {
    let usual = TenantLimits::default();
    let mut bound = |what: Made| section.number(what.as_str(), usual.of(what), 0, 1_000_000);
    let limits = TenantLimits {
        clusters: bound(Made::Clusters),
        api_keys: bound(Made::ApiKeys),
        service_clients: bound(Made::ServiceClients),
        administrators: bound(Made::Administrators),
        revocations: bound(Made::Revocations),
    };
    section.finish();
    limits
}

/// Parts that filters could not read: each is one record of the snapshot, and one that fits on no page would stop
/// what comes behind it, revocations included.
fn too_long(policy: &Policy) -> Vec<(&'static str, String)> {
    fn length(document: &impl serde::Serialize) -> usize {
        serde_json::to_vec(document).map_or(usize::MAX, |text| text.len())
    }
    let issuers = policy.issuers.iter().map(|issuer| {
        let (bound, keys) = match &issuer.keys {
            KeySource::Inline(jwks) => (MAX_VALUE, jwks.clone()),
            _ => (MAX_ISSUER, Jwks::default()),
        };
        ("issuers", issuer.issuer.to_string(), length(&issuer.document(keys, false)), bound)
    });
    let providers = policy.introspection.iter().map(|provider| {
        ("introspection", provider.document.name.clone(), length(&provider.document), MAX_VALUE)
    });
    let others = [
        ("workloads", length(&policy.workloads)),
        ("sourceRules", length(&policy.source_rules)),
        ("resources", length(&policy.resources)),
    ];
    let others = others.map(|(name, bytes)| (name, name.to_owned(), bytes, MAX_VALUE));
    let all = issuers.chain(providers).chain(others);
    let long = all.filter(|(_, _, bytes, bound)| bytes > bound);
    long.map(|(name, what, bytes, bound)| {
        let problem =
            format!("{what} takes {bytes} bytes as filters get it, and {bound} are the most; name fewer");
        (name, problem)
    })
    .collect()
}

fn source_rules(root: &mut Section<'_>) -> Vec<SourceRule> {
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for mut section in root.list("sourceRules") {
        let name: Option<String> = section.required("name", "a name for `portcullis explain`");
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            section.error("name", "is that of another rule too; names must differ");
        }
        let source_type: Option<SourceType> = section.required("sourceType", "human, worker or mcp_agent");
        let when = conditions(section.section("when"));
        section.finish();
        if let (Some(name), Some(source_type)) = (name, source_type) {
            rules.push(SourceRule { name, source_type, when });
        }
    }
    rules
}

fn conditions(mut when: Section<'_>) -> SourceConditions {
    let conditions = SourceConditions {
        credential: when.filled("credential"),
        issuer: when.filled("issuer"),
        client_id: when.filled("clientId"),
        spiffe_id: when.filled("spiffeId"),
        role: when.filled("role"),
        scope: when.filled("scope"),
        claims: when.filled("claims"),
        delegated: when.filled("delegated"),
    };
    let says_nothing = |c: &ClaimCondition| c.claim.is_empty() || c.any_of.is_empty();
    if conditions.claims.iter().flatten().any(says_nothing) {
        when.error("claims", "each needs `claim`, a path of member names, and `anyOf`, the accepted values");
    }
    when.finish();
    conditions
}
