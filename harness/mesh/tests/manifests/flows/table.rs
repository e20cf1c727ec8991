//! `istio-manifests/flows.yaml`, and what it says of one overlay.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ports::Ports;
use super::range::{self, Range};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) overlays: Vec<Overlay>,
    pub(crate) ranges: BTreeMap<String, (u16, u16)>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) proxies: Vec<Port>,
    pub(crate) addresses: Vec<Addresses>,
    pub(crate) groups: Vec<Group>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) closed: Vec<Closed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Overlay {
    pub(crate) path: String,
    has: Vec<String>,
    data_cluster: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Workload {
    pub(crate) name: String,
    r#in: Vec<String>,
    namespace: String,
    #[serde(default)]
    pub(crate) namespace_labels: BTreeMap<String, String>,
    /// The resource that makes its pods, and says their labels.
    pub(crate) deployed: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Why nothing in the manifests makes them.
    pub(crate) why: Option<String>,
    pub(crate) listens: Vec<Port>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    pub(crate) port: u16,
    pub(crate) name: String,
    pub(crate) range: Option<String>,
    #[serde(default)]
    pub(crate) apart: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Addresses {
    pub(crate) name: String,
    #[serde(default)]
    r#in: Vec<String>,
    cidr: Option<String>,
    #[serde(default)]
    except: Vec<String>,
    /// The setting of the overlay that says them.
    setting: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: String,
    of: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Flow {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) ports: Vec<u16>,
    #[serde(default)]
    pub(crate) udp: Vec<u16>,
    pub(crate) r#for: String,
    pub(crate) remark: Option<String>,
    /// The setting of a component that leaves its addresses alone of what is outside.
    pub(crate) narrowed_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closed {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) r#for: String,
}

/// One end of a connection in an overlay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Pods(String),
    Addresses(Vec<Range>),
}

impl Table {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let table: Self = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let errors = table.errors();
        if errors.is_empty() { Ok(table) } else { Err(errors.join("\n")) }
    }

    /// All that is wrong with it by itself.
    fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        let workloads = self.workloads.iter().map(|one| &one.name);
        let addresses = self.addresses.iter().map(|one| &one.name);
        for name in workloads.chain(addresses).chain(self.groups.iter().map(|one| &one.name)) {
            if !names.insert(name) {
                errors.push(format!("`{name}` stands there twice"));
            }
        }
        let ends = self.flows.iter().flat_map(|flow| [&flow.from, &flow.to]);
        let closed = self.closed.iter().flat_map(|row| [&row.from, &row.to]);
        for name in ends.chain(closed).filter(|name| !names.contains(name)) {
            errors.push(format!("`{name}` is no workload, addresses or group of the table"));
        }
        for (at, group) in self.groups.iter().enumerate() {
            let below: BTreeSet<_> = self.groups[at..].iter().map(|group| &group.name).collect();
            for name in group.of.iter().filter(|name| !names.contains(name) || below.contains(name)) {
                errors
                    .push(format!("`{}`: `{name}` is no workload, addresses or group above it", group.name));
            }
        }
        let incomplete = self.workloads.iter().filter(|one| {
            one.why.is_some() == one.labels.is_empty() || one.why.is_none() && one.deployed.is_none()
        });
        errors.extend(
            incomplete.map(|one| format!("`{}`: either `deployed`, or `labels` and `why`, or all", one.name)),
        );
        let places = self.addresses.iter().filter(|one| one.cidr.is_some() == one.setting.is_some());
        errors.extend(places.map(|one| format!("`{}`: either `cidr` or `setting`", one.name)));
        errors.extend(self.flows.iter().filter_map(|flow| self.unheard(flow)));
        errors
    }

    /// A port at which nobody listens.
    fn unheard(&self, flow: &Flow) -> Option<String> {
        let members = self.members(&flow.to);
        let workloads: Vec<_> =
            self.workloads.iter().filter(|one| members.contains(&one.name.as_str())).collect();
        if workloads.is_empty() {
            return None;
        }
        let mut heard =
            workloads.iter().flat_map(|one| &one.listens).chain(&self.proxies).map(|one| one.port);
        let heard: BTreeSet<u16> = heard.by_ref().collect();
        let unheard: Vec<_> =
            flow.ports.iter().chain(&flow.udp).filter(|port| !heard.contains(port)).collect();
        (!unheard.is_empty()).then(|| format!("`{}` does not listen at {unheard:?}", flow.to))
    }

    /// The workloads and addresses of a name, through all groups.
    pub(crate) fn members<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        Self::members_by(&self.groups, name)
    }

    /// A group may have groups above it as members, so nothing turns in a circle.
    fn members_by<'a>(groups: &'a [Group], name: &'a str) -> Vec<&'a str> {
        match groups.iter().position(|group| group.name == name) {
            None => vec![name],
            Some(at) => {
                groups[at].of.iter().flat_map(|member| Self::members_by(&groups[..at], member)).collect()
            }
        }
    }

    pub(crate) fn overlay(&self, path: &str) -> &Overlay {
        self.overlays
            .iter()
            .find(|one| one.path == path)
            .unwrap_or_else(|| panic!("{path} is not in the table"))
    }

    pub(crate) fn workloads_of<'a>(&'a self, overlay: &'a Overlay) -> impl Iterator<Item = &'a Workload> {
        self.workloads.iter().filter(|one| one.r#in.iter().any(|part| overlay.has.contains(part)))
    }

    /// What a name means in an overlay, whose settings are asked for by name.
    pub(crate) fn ends(&self, name: &str, overlay: &Overlay, setting: &dyn Fn(&str) -> String) -> Vec<End> {
        let mut ends = Vec::new();
        for member in self.members(name) {
            if self.workloads_of(overlay).any(|one| one.name == member) {
                ends.push(End::Pods(member.to_owned()));
            }
            let has = |one: &&Addresses| {
                one.name == member
                    && (one.r#in.is_empty() || one.r#in.iter().any(|part| overlay.has.contains(part)))
            };
            if let Some(addresses) = self.addresses.iter().find(has) {
                ends.push(End::Addresses(addresses.ranges(setting)));
            }
        }
        ends
    }
}

impl Workload {
    pub(crate) fn namespace<'a>(&'a self, overlay: &'a Overlay) -> &'a str {
        match &overlay.data_cluster {
            Some(cluster) if self.namespace == "data-cluster" => cluster,
            _ => &self.namespace,
        }
    }
}

impl Addresses {
    fn ranges(&self, setting: &dyn Fn(&str) -> String) -> Vec<Range> {
        let cidr = self.cidr.clone().or_else(|| self.setting.as_deref().map(setting)).unwrap();
        range::without(Range::of_cidr(&cidr), &self.except)
    }
}

impl Flow {
    pub(crate) fn open(&self) -> Ports {
        Ports::of(&self.ports, &self.udp)
    }

    /// One of its sides, where a component with this setting and these addresses is added.
    pub(crate) fn narrowed(&self, ends: Vec<End>, added: Option<(&str, Range)>) -> Vec<End> {
        match added {
            Some((setting, addresses))
                if self.narrowed_by.as_deref() == Some(setting)
                    && ends.iter().any(|end| matches!(end, End::Addresses(_))) =>
            {
                vec![End::Addresses(vec![addresses])]
            }
            _ => ends,
        }
    }
}
