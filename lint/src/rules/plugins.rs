//! `WasmPlugin`s.

use portcullis_plugin_check as plugin_check;

use crate::node::Node;
use crate::resource::Resource;
use crate::rule::{Level, Rule};
use crate::world::{Ours, World, ports};

/// A plugin without a priority.
pub(super) const WITHOUT_PRIORITY: Rule = Rule {
    code: "PL101",
    name: "plugin-without-priority",
    level: Level::Error,
    why: "Within a phase the plugin with the higher priority runs first, and one without a priority runs last: after plugins \
          that read what it should have checked or removed.",
    fix: "Write `spec.priority`.",
    check: |world, found| {
        for plugin in world.plugins().iter().filter(|plugin| plugin.node.at("spec.priority").is_none()) {
            found.path(
                plugin,
                "spec",
                "names no priority, and so runs after every plugin of its phase that does",
            );
        }
    },
};

/// A plugin of ours that lets requests through when it fails.
pub(super) const FAILS_OPEN: Rule = Rule {
    code: "PL102",
    name: "plugin-fails-open",
    level: Level::Error,
    why: "With `FAIL_OPEN` every request passes unchecked while the module cannot be fetched, compiled or run.",
    fix: "Write `failStrategy: FAIL_RELOAD`.",
    check: |world, found| {
        let strategy = |ours: &Ours| ours.resource.node.text_at("spec.failStrategy") == "FAIL_OPEN";
        for ours in world.ours().iter().filter(|ours| strategy(ours)) {
            found.path(
                &ours.resource,
                "spec.failStrategy",
                "lets every request through while the module fails",
            );
        }
    },
};

/// A plugin of ours that stays closed for ever after a trap.
pub(super) const DOES_NOT_RELOAD: Rule = Rule {
    code: "PL103",
    name: "plugin-does-not-reload",
    level: Level::Warning,
    why: "With `FAIL_CLOSE`, which is also what holds when nothing is written, a worker whose VM has failed refuses every \
          request until the proxy is started anew.",
    fix: "Write `failStrategy: FAIL_RELOAD` (Istio 1.27 or newer).",
    check: |world, found| {
        // The native module has no machine that would have to be started anew.
        for ours in world.ours().iter().filter(|ours| ours.resource.kind() != "EnvoyFilter") {
            let strategy = ours.resource.node.text_at("spec.failStrategy");
            if !matches!(strategy, "FAIL_RELOAD" | "FAIL_OPEN") {
                let message = "stays closed after a failure until the proxy is started anew";
                found.path(&ours.resource, "spec.failStrategy", message);
            }
        }
    },
};

/// Two plugins whose order nobody has said.
pub(super) const SAME_PRIORITY: Rule = Rule {
    code: "PL104",
    name: "same-phase-and-priority",
    level: Level::Error,
    why: "Of two plugins of one phase with the same priority at the same port, either may run first: Istio goes by name and \
          age.",
    fix: "Give each of them a priority of its own; the higher one runs first.",
    check: |world, found| {
        let plugins = world.plugins();
        for (i, plugin) in plugins.iter().enumerate() {
            for other in plugins.iter().take(i).filter(|other| collide(world, plugin, other)) {
                let message = format!("has phase and priority of {}", other.title());
                found.path(plugin, "spec.priority", message);
            }
        }
    },
};

fn collide(world: &World, one: &Resource, other: &Resource) -> bool {
    let priority = |plugin: &Resource| plugin.node.at("spec.priority").and_then(Node::int);
    let same = one.node.text_at("spec.phase") == other.node.text_at("spec.phase")
        && priority(one).is_some()
        && priority(one) == priority(other);
    let (ports, others) = (ports(one), ports(other));
    let meet = ports.is_empty() || others.is_empty() || ports.iter().any(|port| others.contains(port));
    same && meet && world.selector(one).overlaps(&world.selector(other))
}

/// A `pluginConfig` that the filter refuses.
pub(super) const CONFIGURATION: Rule = Rule {
    code: "PL105",
    name: "plugin-configuration",
    level: Level::Error,
    why: "Istio takes any `pluginConfig`. The filter refuses every request while its configuration has a mistake.",
    fix: "Mend the named field; docs/reference.md, \"pluginConfig\", has all of them.",
    check: |world, found| {
        for ours in world.ours() {
            let errors = plugin_check::errors(&ours.resource.node.json());
            for error in errors.iter().filter(|error| !error.field.ends_with(".failStrategy")) {
                found.path(&ours.resource, &error.field, format!("{}: {}", error.field, error.problem));
            }
        }
    },
};

/// A stage in a phase in which it does not work.
pub(super) const WRONG_PHASE: Rule = Rule {
    code: "PL106",
    name: "plugin-phase",
    level: Level::Error,
    why: "Istio's policies read what the stages have established, so these run before them (`AUTHN`); `audit` runs after \
          them (`STATS`), so that it sees what they refused. In another phase a header that a client wrote reaches policies \
          before it is removed.",
    fix: "Write `phase: AUTHN`, or for `audit` alone `phase: STATS`.",
    check: |world, found| {
        for ours in world.ours() {
            let wanted = if ours.root == "audit" { "STATS" } else { "AUTHN" };
            let phase = ours.resource.node.text_at("spec.phase");
            if phase != wanted {
                let told = if phase.is_empty() { "no phase" } else { phase };
                let message = format!("{:?} in {told} instead of {wanted}", ours.root);
                found.path(&ours.resource, "spec.phase", message);
            }
        }
    },
};

/// A plugin that never runs.
pub(super) const MATCHES_NOTHING: Rule = Rule {
    code: "PL107",
    name: "plugin-matches-nothing",
    level: Level::Error,
    why: "A gateway's listeners count as `CLIENT`, so a match on `SERVER` never holds there; a port that no server of the \
          gateway has holds nothing either. Istio takes the plugin, and it does not run.",
    fix: "At gateways write `mode: CLIENT_AND_SERVER`, and a port number of a `Gateway`'s server.",
    check: |world, found| {
        for ours in world.ours().iter().filter(|ours| world.is_gateway(&ours.selector)) {
            let servers: Vec<i64> = servers_of(world, ours).filter_map(|(_, port)| port).collect();
            for entry in ours.resource.node.list_at("spec.match") {
                if entry.text_at("mode") == "SERVER" {
                    found.on(&ours.resource, entry.line_of("mode"), "mode SERVER never holds at a gateway");
                }
                let ports =
                    entry.list_at("ports").iter().filter_map(|port| Some((port, port.at("number")?.int()?)));
                for (node, port) in ports.filter(|(_, port)| !servers.contains(port)) {
                    found.at(&ours.resource, node, format!("no server of the gateway has port {port}"));
                }
            }
        }
    },
};

/// Servers of the gateways at which a plugin runs, with their ports.
fn servers_of<'a>(world: &'a World, ours: &'a Ours) -> impl Iterator<Item = (&'a Node, Option<i64>)> {
    let gateways =
        world.guarded_gateways().filter(|gateway| World::gateway_selector(gateway).overlaps(&ours.selector));
    gateways.flat_map(|gateway| gateway.node.list_at("spec.servers")).map(|server| (server, port_of(server)))
}

fn port_of(server: &Node) -> Option<i64> {
    server.at("port.number")?.int()
}

/// A port of a guarded gateway that no plugin of ours guards.
pub(super) const PORT_WITHOUT_FILTER: Rule = Rule {
    code: "PL108",
    name: "port-without-filter",
    level: Level::Error,
    why: "A server of a gateway whose port no authenticating plugin names lets requests to routes and policies that trust \
          headers which nobody has written. What is not HTTP (TCP, TLS passed through) no filter ever sees.",
    fix: "Add the port to `match.ports` of the plugin, or take the server away.",
    check: |world, found| {
        for server in world.guarded_servers() {
            let Some(port) = port_of(server.node) else { continue };
            let protocol = server.node.text_at("port.protocol").to_uppercase();
            // A proxy in front can say that the client came by TLS: then nothing is redirected.
            let redirects = server.node.at("tls.httpsRedirect").is_some_and(|n| n.json() == true)
                && !world.has_routes(server.gateway);
            let passed = server.node.text_at("tls.mode").ends_with("PASSTHROUGH");
            if matches!(protocol.as_str(), "TCP" | "TLS" | "MONGO" | "MYSQL" | "REDIS") || passed {
                let message = format!("port {port} carries {protocol} past the filter");
                found.on(server.gateway, server.node.line_of("port"), message);
            } else if !redirects && !world.guards_port(server.gateway, port) {
                let message = format!("no plugin that authenticates runs at port {port} of every pod");
                found.on(server.gateway, server.node.line_of("port"), message);
            }
        }
    },
};

/// A cluster of Envoy that Istio leaves out of the gateway.
pub(super) const CALLOUT_CLUSTER: Rule = Rule {
    code: "PL109",
    name: "callout-cluster-dropped",
    level: Level::Error,
    why: "With `PILOT_FILTER_GATEWAY_CLUSTER_CONFIG` istiod gives a gateway only the clusters that its routes use. The one \
          by which the filter asks the control service is used by no route, so the filter never gets its snapshot.",
    fix: "Set PILOT_FILTER_GATEWAY_CLUSTER_CONFIG to \"false\" at istiod.",
    check: |world, found| {
        let at_gateway = world.ours().iter().any(|ours| world.is_gateway(&ours.selector));
        for istiod in world.of("Deployment").filter(|_| at_gateway) {
            for container in istiod.node.list_at("spec.template.spec.containers") {
                for variable in container.list_at("env") {
                    let on = variable.text_at("value") == "true";
                    if on && variable.text_at("name") == "PILOT_FILTER_GATEWAY_CLUSTER_CONFIG" {
                        found.at(
                            istiod,
                            variable,
                            "takes the cluster of the control service away from gateways",
                        );
                    }
                }
            }
        }
    },
};

/// A plugin of ours that refuses nobody.
pub(super) const NOT_ENFORCED: Rule = Rule {
    code: "PL110",
    name: "plugin-does-not-enforce",
    level: Level::Warning,
    why: "With `mode: dry-run` a plugin decides and records, and lets every request on. Meant for the days on which somebody \
          looks at what would be refused, it is easily forgotten, and nothing else tells: the requests go through.",
    fix: "Write `mode: enforce`, or silence the finding with the reason and the day on which it ends.",
    check: |world, found| {
        for ours in world.ours() {
            if ours.resource.node.text_at("spec.pluginConfig.mode") == "dry-run" {
                found.path(&ours.resource, "spec.pluginConfig.mode", "refuses nobody: mode dry-run");
            }
        }
    },
};
