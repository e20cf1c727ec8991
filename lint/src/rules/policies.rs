//! `AuthorizationPolicy`: what a whole rule or policy does.

use std::net::IpAddr;

use crate::node::Node;
use crate::resource::Resource;
use crate::rule::{Found, Level, Rule};
use crate::world::World;

/// Attributes that Istio knows without a part in brackets.
const PLAIN: [&str; 11] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];
/// Attributes that Istio knows with one.
const BRACKETED: [&str; 3] = ["request.headers[", "request.auth.claims[", "experimental.envoy.filters."];
const ADDRESSES: [&str; 4] = ["ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"];

/// The policies, each with its action.
pub(super) fn policies(world: &World) -> impl Iterator<Item = (&Resource, &str)> {
    world.of("AuthorizationPolicy").map(|policy| match policy.node.text_at("spec.action") {
        "" => (policy, "ALLOW"),
        action => (policy, action),
    })
}

/// Lists of a rule's sources and operations, by the name of the field.
pub(super) fn lists<'a>(rule: &'a Node, fields: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a Node)> {
    let sources = rule.list_at("from").iter().filter_map(|from| from.get("source"));
    let operations = rule.list_at("to").iter().filter_map(|to| to.get("operation"));
    sources
        .chain(operations)
        .flat_map(move |node| fields.iter().filter_map(|name| Some((*name, node.get(name)?))))
}

/// A rule that Istio leaves out.
pub(super) const RULE_SKIPPED: Rule = Rule {
    code: "PL301",
    name: "rule-skipped",
    level: Level::Error,
    why: "istiod logs a rule that it cannot read and leaves it out. Of a DENY policy nothing remains that denies.",
    fix: "Write an attribute, address, port or path that Istio knows.",
    check: |world, found| {
        for (policy, _) in policies(world) {
            for rule in policy.node.list_at("spec.rules") {
                rule.list_at("when")
                    .iter()
                    .for_each(|condition| condition_is_known(policy, condition, found));
                for (name, list) in lists(rule, &ADDRESSES) {
                    list.items().iter().for_each(|item| address(policy, name, item, found));
                }
                for (name, list) in lists(rule, &["ports", "notPorts"]) {
                    list.items().iter().for_each(|item| port(policy, name, item, found));
                }
                for (name, list) in lists(rule, &["paths", "notPaths"]) {
                    list.items().iter().for_each(|item| template(policy, name, item, found));
                }
            }
        }
    },
};

fn condition_is_known(policy: &Resource, condition: &Node, found: &mut Found) {
    let key = condition.text_at("key");
    let bracketed = BRACKETED.iter().any(|start| key.starts_with(start))
        && key.find('[').is_some_and(|open| key.ends_with(']') && open + 2 < key.len());
    if !PLAIN.contains(&key) && !bracketed {
        found.on(
            policy,
            condition.line_of("key"),
            format!("{key:?} is no attribute of Istio, the rule is left out"),
        );
    }
    if condition.list_at("values").is_empty() && condition.list_at("notValues").is_empty() {
        found.on(policy, condition.line, format!("{key}: neither values nor notValues"));
    }
    for item in condition.list_at("values").iter().chain(condition.list_at("notValues")) {
        match key {
            "source.ip" | "remote.ip" | "destination.ip" => address(policy, key, item, found),
            "destination.port" => port(policy, key, item, found),
            _ => (),
        }
    }
}

fn address(policy: &Resource, field: &str, item: &Node, found: &mut Found) {
    let text = item.text().unwrap_or_default();
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let most = address.parse::<IpAddr>().map(|ip| if ip.is_ipv4() { 32_u8 } else { 128 });
    let good =
        most.is_ok_and(|most| bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most)));
    if !good {
        found.at(policy, item, format!("{field}: {text:?} is no IP address and no CIDR block"));
    }
}

fn port(policy: &Resource, field: &str, item: &Node, found: &mut Found) {
    let text = item.text().unwrap_or_default();
    if text.parse::<u16>().is_err() {
        let told = item.json();
        found.at(
            policy,
            item,
            format!("{field}: {told} is no port; write it in quotes, from \"1\" to \"65535\""),
        );
    }
}

fn template(policy: &Resource, field: &str, item: &Node, found: &mut Found) {
    let text = item.text().unwrap_or_default();
    let mut segments = text.trim_matches('/').split('/').peekable();
    while let Some(segment) = segments.next() {
        let braces = segment.contains(['{', '}']);
        let known = segment == "{*}" || segment == "{**}" && segments.peek().is_none();
        if braces && !known {
            found.at(
                policy,
                item,
                format!("{field}: {text:?}: a template is a whole segment {{*}}, or {{**}} at the end"),
            );
            return;
        }
    }
}

/// A condition that whoever says nothing fulfils.
pub(super) const MISSING_VALUE: Rule = Rule {
    code: "PL302",
    name: "missing-value-allows",
    level: Level::Error,
    why: "`notValues`, `notPrincipals` and their like hold when there is no value at all. In an ALLOW rule they let those \
          through who leave the header out, have no certificate or no token; `notPaths` and `notHosts` allow whatever their \
          author did not think of.",
    fix: "Allow by values that must be there, and put exceptions into a DENY policy.",
    check: |world, found| {
        const NOT: [&str; 6] = [
            "notPrincipals",
            "notRequestPrincipals",
            "notNamespaces",
            "notServiceAccounts",
            "notPaths",
            "notHosts",
        ];
        let allow = policies(world).filter(|(_, action)| *action == "ALLOW");
        for (policy, rule) in
            allow.flat_map(|(p, _)| p.node.list_at("spec.rules").iter().map(move |r| (p, r)))
        {
            for condition in rule.list_at("when") {
                let key = condition.text_at("key");
                let only_not =
                    condition.list_at("values").is_empty() && !condition.list_at("notValues").is_empty();
                if only_not && !key.ends_with(".ip") && key != "destination.port" {
                    let message = format!("{key}: holds, and allows, where there is no value at all");
                    found.on(policy, condition.line_of("notValues"), message);
                }
            }
            for (name, list) in lists(rule, &NOT).filter(|(_, list)| !list.items().is_empty()) {
                let positive = positive(name);
                if lists(rule, &[&positive]).all(|(_, list)| list.items().is_empty()) {
                    found.at(
                        policy,
                        list,
                        format!("{name} without {positive} allows everything that is not listed"),
                    );
                }
            }
        }
    },
};

/// `paths` of `notPaths`.
fn positive(name: &str) -> String {
    let rest = name.trim_start_matches("not");
    let (first, others) = rest.split_at(rest.chars().next().map_or(0, char::len_utf8));
    first.to_lowercase() + others
}

/// An ALLOW rule that asks for nothing.
pub(super) const ALLOWS_EVERYBODY: Rule = Rule {
    code: "PL303",
    name: "allows-everybody",
    level: Level::Error,
    why: "ALLOW policies add up: one rule that holds for everybody undoes default deny for all workloads that its policy \
          selects, whatever the others say.",
    fix: "Say in the rule who may do what; for one path name it in `to`.",
    check: |world, found| {
        for (policy, _) in policies(world).filter(|(_, action)| *action == "ALLOW") {
            for rule in policy.node.list_at("spec.rules").iter().filter(|rule| asks_for_nothing(rule)) {
                found.at(policy, rule, "this rule holds for every request");
            }
        }
    },
};

fn asks_for_nothing(rule: &Node) -> bool {
    let open = |outer: &str, inner: &str| {
        let items = rule.list_at(outer);
        items.is_empty() || items.iter().any(|item| item.get(inner).is_none_or(only_stars))
    };
    rule.list_at("when").is_empty() && open("from", "source") && open("to", "operation")
}

/// What holds for everything.
const STARS: [&str; 5] = ["*", "/*", "/{**}", "0.0.0.0/0", "::/0"];
/// Fields that say neither who nor what: a port, and exceptions of which [`MISSING_VALUE`] does not speak.
const NOTHING_SAID: [&str; 5] = ["ports", "notPorts", "notMethods", "notIpBlocks", "notRemoteIpBlocks"];

/// Whether its fields hold for everything; one that asks for any principal still asks for one.
fn only_stars(node: &Node) -> bool {
    const WHO: [&str; 3] = ["principals", "requestPrincipals", "serviceAccounts"];
    let star = |list: &Node| list.items().iter().filter_map(Node::text).any(|item| STARS.contains(&item));
    node.members().iter().all(|entry| {
        let key = entry.key.as_str();
        NOTHING_SAID.contains(&key) || star(&entry.node) && !WHO.contains(&key)
    })
}

/// A DENY by role that roles which were left out get round.
pub(super) const ROLES_INCOMPLETE: Rule = Rule {
    code: "PL304",
    name: "deny-by-role-ignores-incomplete-roles",
    level: Level::Error,
    why: "Roles that a provider writes and that are no roles here are left out, and `x-portcullis-roles-incomplete` says \
          so. A policy that denies by a role lets those pass whose role was left out.",
    fix: "Add a rule with `key: request.headers[x-portcullis-roles-incomplete]`, `values: [\"true\"]` to the DENY policy.",
    check: |world, found| {
        for (policy, _) in policies(world).filter(|(_, action)| *action == "DENY") {
            let selector = world.selector(policy);
            let heeded = policies(world).any(|(other, action)| {
                action == "DENY"
                    && world.selector(other).covers(&selector)
                    && conditions(other).any(is_incomplete)
            });
            for condition in conditions(policy).filter(|condition| is_role(condition) && !heeded) {
                found.at(policy, condition, "denies by a role, and lets pass whose roles are incomplete");
            }
        }
    },
};

pub(super) fn conditions(policy: &Resource) -> impl Iterator<Item = &Node> {
    policy.node.list_at("spec.rules").iter().flat_map(|rule| rule.list_at("when"))
}

fn is_role(condition: &Node) -> bool {
    let key = condition.text_at("key").to_lowercase();
    let roles = ["request.headers[x-portcullis-roles]", "request.auth.claims[roles]"];
    roles.contains(&key.as_str()) && !condition.list_at("values").is_empty()
}

fn is_incomplete(condition: &Node) -> bool {
    let key = condition.text_at("key").to_lowercase();
    let names = ["request.headers[x-portcullis-roles-incomplete]", "request.auth.claims[roles_incomplete]"];
    names.contains(&key.as_str())
        && condition.list_at("values").iter().any(|value| matches!(value.text(), Some("true" | "*")))
}

/// A policy for a workload that is not there.
pub(super) const NO_WORKLOAD: Rule = Rule {
    code: "PL305",
    name: "no-such-workload",
    level: Level::Error,
    why: "Istio takes a selector that selects nothing. What was meant to be guarded is not.",
    fix: "Write labels that the pods of that namespace have.",
    check: |world, found| {
        const KINDS: [&str; 6] = [
            "AuthorizationPolicy",
            "RequestAuthentication",
            "PeerAuthentication",
            "WasmPlugin",
            "TrafficExtension",
            "EnvoyFilter",
        ];
        for resource in world.all().filter(|resource| KINDS.contains(&resource.kind())) {
            let selector = world.selector(resource);
            let known = world
                .workloads()
                .iter()
                .any(|workload| workload.namespace.is_some() && selector.is_of(&workload.namespace));
            let selected = world.workloads().iter().any(|workload| selector.selects(workload));
            if known && !selected && !selector.labels.is_empty() {
                found.path(
                    resource,
                    "spec.selector.matchLabels",
                    "no workload of these manifests has these labels",
                );
            }
        }
    },
};
