//! Who may open a connection to whom: `istio-manifests/flows.yaml` against the rendered policies, both ways.

#[cfg(feature = "slow")]
mod analyzer;
mod evaluate;
#[cfg(feature = "slow")]
mod in_force;
mod matrix;
mod page;
mod ports;
mod range;
mod table;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use portcullis_mesh::paths;
use serde_json::{Value, json};

use crate::network::{COMPONENTS, with};
use crate::rendered::{OVERLAYS, built, kind_and_name, manifests, setting};
use matrix::{Connections, differences, found, listed};
use range::Range;
use table::{End, Table};
use world::{Side, World};

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let text = std::fs::read_to_string(manifests().join("flows.yaml")).unwrap();
    Table::read(&text).unwrap_or_else(|errors| panic!("flows.yaml: {errors}"))
});

fn world(overlay: &str) -> World {
    World::new(&TABLE, TABLE.overlay(overlay), built(overlay))
}

fn expected(overlay: &str, world: &World) -> Connections {
    listed(&TABLE, TABLE.overlay(overlay), world, &|key| setting(overlay, key), None)
}

#[test]
fn what_the_table_lists_is_open_and_nothing_else() {
    for overlay in OVERLAYS {
        let world = world(overlay);
        let told = differences(&expected(overlay, &world), &found(&world));
        assert!(told.is_empty(), "{overlay}:\n{}", told.join("\n"));
    }
}

/// What an overlay may take in beside narrows a way to somebody outside, or leaves the table as it is.
#[test]
fn the_table_holds_with_each_component_that_may_be_added() {
    let asked: BTreeSet<_> = COMPONENTS.iter().map(|(_, _, setting)| *setting).collect();
    for narrowed_by in TABLE.flows.iter().filter_map(|flow| flow.narrowed_by.as_deref()) {
        assert!(asked.contains(narrowed_by), "no component asks for {narrowed_by}");
    }
    for (overlay, component, asked_for) in COMPONENTS {
        let known = TABLE.overlay(overlay);
        let world = World::new(&TABLE, known, &with(component));
        let added = Some((asked_for, Range::of_cidr("192.0.2.0/28")));
        let expected = listed(&TABLE, known, &world, &|key| setting(overlay, key), added);
        let told = differences(&expected, &found(&world));
        assert!(told.is_empty(), "{overlay} with {component}:\n{}", told.join("\n"));
    }
}

/// The comparison above sees what it is for.
#[test]
fn a_flow_too_many_and_a_flow_too_few_are_both_told() {
    let overlay = "overlays/prod";
    let mut world = world(overlay);
    let expected = expected(overlay, &world);
    let policy = |world: &mut World, name: &str| {
        world.policies.iter().position(|policy| policy["metadata"]["name"] == name).unwrap()
    };
    let at = policy(&mut world, "allow-redis");
    let kept = world.policies[at].clone();
    world.policies[at]["spec"]["ingress"][0]["from"][0]["podSelector"] = json!({});
    world.policies[at]["spec"]["ingress"][0]["ports"][0]["port"] = json!(6380);
    let told = differences(&expected, &found(&world));
    assert_eq!(told, ["core services that use Redis → Redis: listed, and not open: TCP 6379"], "{told:#?}");

    world.policies[at] = kept;
    world.policies[at]["spec"]["ingress"][0]["from"] =
        json!([{"podSelector": {"matchLabels": {"tier": "core"}}}]);
    let told = differences(&expected, &found(&world));
    assert_eq!(told.len(), 5, "{told:#?}");
    assert!(told.contains(&"core services → Redis: open, and not listed: TCP 6379".to_owned()), "{told:#?}");

    let at = policy(&mut world, "allow-identity-provider");
    world.policies[at]["spec"]["egress"][0]["to"][0]["ipBlock"]["except"] = json!(["10.0.0.0/8"]);
    let told = differences(&expected, &found(&world)).join("\n");
    assert!(
        told.contains("control service → 169.254.0.0-169.254.255.255: open, and not listed: TCP 443"),
        "{told}"
    );
}

#[test]
fn what_requirements_forbid_is_not_listed() {
    let mut looked_at = BTreeSet::new();
    for overlay in OVERLAYS {
        let (world, table) = (world(overlay), &TABLE);
        let expected = expected(overlay, &world);
        let ends = |name: &str| table.ends(name, table.overlay(overlay), &|key| setting(overlay, key));
        for row in &table.closed {
            let (sources, destinations) = (ends(&row.from), ends(&row.to));
            for (from, to) in sources.iter().flat_map(|from| destinations.iter().map(move |to| (from, to))) {
                let End::Pods(name) = to else { panic!("{} is no workload", row.to) };
                let workload = table.workloads.iter().find(|one| one.name == *name).unwrap();
                for port in workload.listens.iter().map(|port| port.port) {
                    let open = expected.is_open("TCP", from, to, port);
                    assert!(!open, "{overlay}, {}: {} → {name} at {port} is listed", row.r#for, row.from);
                }
                looked_at.insert((&row.from, &row.to));
            }
        }
    }
    assert_eq!(looked_at.len(), TABLE.closed.len(), "every row is about something: {looked_at:#?}");
}

/// What selects nobody guards nobody, and a way for nobody is a mistake. Some overlays have policies for clusters to come; one
/// overlay has a cluster.
#[test]
fn every_policy_and_every_peer_of_it_is_somebody_of_the_table() {
    let (mut errors, mut nobody) = (Vec::new(), BTreeMap::new());
    for overlay in OVERLAYS {
        let world = world(overlay);
        for policy in &world.policies {
            let name = kind_and_name(policy);
            let own = json!({"podSelector": policy["spec"]["podSelector"]});
            if world.pods_of(policy, &own).next().is_none() {
                errors.push(format!("{overlay}: {name} selects nobody"));
            }
            for (side, rule) in
                Side::BOTH.iter().flat_map(|side| side.rules(policy).iter().map(move |rule| (side, rule)))
            {
                for peer in
                    side.peers(rule).unwrap_or_default().iter().filter(|peer| peer["ipBlock"].is_null())
                {
                    let is_nobody = world.pods_of(policy, peer).next().is_none();
                    *nobody.entry(format!("{name}: nobody is {peer}")).or_insert(true) &= is_nobody;
                }
                let ports = rule["ports"].as_array().into_iter().flatten();
                errors.extend(ports.filter(|port| port["port"].is_string()).map(|port| {
                    format!("{name}: {port}: a name means other ports at other pods, write the number")
                }));
            }
        }
    }
    errors.extend(nobody.into_iter().filter(|(_, is_nobody)| *is_nobody).map(|(error, _)| error));
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A new Deployment has its row, and its ports are those of the row.
#[test]
fn every_pod_of_the_manifests_is_in_the_table_with_its_ports() {
    let mut seen = 0;
    for overlay in OVERLAYS {
        for resource in built(overlay).resources().iter().filter(|one| world::template(one).is_some()) {
            let name = format!(
                "{}/{}",
                resource["kind"].as_str().unwrap(),
                resource["metadata"]["name"].as_str().unwrap()
            );
            let workload =
                TABLE.workloads_of(TABLE.overlay(overlay)).find(|one| one.deployed.as_ref() == Some(&name));
            let workload = workload.unwrap_or_else(|| panic!("{overlay}: {name} is not in flows.yaml"));
            let known: BTreeSet<u16> = workload.listens.iter().map(|port| port.port).collect();
            for port in container_ports(resource) {
                assert!(
                    known.contains(&port),
                    "{overlay}: {name} listens at {port}, which flows.yaml does not say"
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "only {seen}");
}

fn container_ports(resource: &Value) -> Vec<u16> {
    let containers = crate::rendered::pods(resource).and_then(|pod| pod["containers"].as_array());
    let ports =
        containers.into_iter().flatten().flat_map(|one| one["ports"].as_array().into_iter().flatten());
    ports.map(|port| u16::try_from(port["containerPort"].as_u64().unwrap()).unwrap()).collect()
}

/// B21, B22.
#[test]
fn every_port_is_in_its_range_or_is_one_that_stands_apart() {
    let mut checked = 0;
    for (workload, port) in
        TABLE.workloads.iter().flat_map(|one| one.listens.iter().map(move |port| (one, port)))
    {
        let Some(range) = &port.range else {
            assert!(!port.apart, "{}: {} is apart of nothing", workload.name, port.port);
            continue;
        };
        let (first, last) = TABLE.ranges[range];
        let within = (first..=last).contains(&port.port);
        assert_ne!(within, port.apart, "{}: {} in {range}", workload.name, port.port);
        checked += 1;
    }
    assert!(checked >= 18, "only {checked}");
}

#[test]
fn the_page_has_the_table() {
    let page = std::fs::read_to_string(paths::root().join("docs/install.md")).unwrap();
    let table = page::of(&TABLE);
    assert!(page.contains(&table), "docs/install.md, \"What is open\", has to have:\n{table}");
}

/// The table of flows is read as strictly as what it speaks of.
#[test]
fn a_table_that_says_nothing_is_refused_with_all_that_is_wrong() {
    let text = std::fs::read_to_string(manifests().join("flows.yaml")).unwrap();
    let wrong = [
        ("to: mail catcher, ports: [1025]", "to: mail cacher, ports: [1025]", "`mail cacher` is no workload"),
        ("to: Redis, ports: [6379]", "to: Redis, ports: [6380]", "`Redis` does not listen at [6380]"),
        ("- {name: all stores,", "- {name: Redis,", "`Redis` stands there twice"),
        ("  why: of Istio's own chart\n", "", "`istiod`: either `deployed`, or `labels` and `why`"),
    ];
    let mut all = text.clone();
    for (from, to, _) in wrong {
        assert!(text.contains(from), "{from}");
        all = all.replacen(from, to, 1);
    }
    let told = Table::read(&all).err().unwrap();
    for (_, _, error) in wrong {
        assert!(told.contains(error), "{error}: {told}");
    }
    let told = Table::read(&text.replacen("remark:", "remarks:", 1)).err().unwrap();
    assert!(told.contains("remarks"), "{told}");
}
