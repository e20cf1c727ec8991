//! From what is wanted to resources, and what has to be done: golden files, and what holds for every input.

use std::collections::BTreeSet;

use portcullis_control_routing::{
    Kind, Placement, Plan, Present, Resource, Settings, State, Wanted, plan, read, render, write,
};
use portcullis_identity::ids::ClusterId;
use proptest::prelude::*;

const SETTINGS: &str = include_str!("settings.yaml");

fn settings(text: &str) -> Settings {
    Settings::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn wanted(id: &str, placement: Placement) -> Wanted {
    Wanted { id: ClusterId::new(id).unwrap(), placement, state: State::Kept }
}

fn clusters() -> Vec<Wanted> {
    vec![
        wanted("acme-hosted", Placement::Hosted),
        wanted("acme-outside", Placement::Hosted),
        wanted("acme-onprem", Placement::OnPremises),
        wanted("globex-onprem", Placement::OnPremises),
        Wanted { state: State::Retired, ..wanted("gone", Placement::Hosted) },
    ]
}

fn of<'a>(all: &'a [Resource], cluster: Option<&'a str>) -> impl Iterator<Item = &'a Resource> {
    all.iter().filter(move |one| one.cluster.as_ref().map(ClusterId::as_str) == cluster)
}

/// `PORTCULLIS_GOLDEN=write` writes them anew; what has changed is then for a person to read.
#[test]
fn what_is_rendered_is_what_the_golden_files_say() {
    let all = render(&settings(SETTINGS), &clusters()).unwrap();
    let files = [
        ("hosted", Some("acme-hosted")),
        ("outside", Some("acme-outside")),
        ("skupper", Some("globex-onprem")),
        ("tunnels", None),
    ];
    let mut seen = 0;
    for (name, cluster) in files {
        let resources: Vec<_> = of(&all, cluster).collect();
        seen += resources.len();
        let text = write(resources).unwrap();
        let path = format!("{}/tests/golden/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("PORTCULLIS_GOLDEN").is_ok_and(|what| what == "write") {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
    }
    assert_eq!(seen, all.len(), "a cluster behind a reverse tunnel has nothing of its own");
}

#[test]
fn a_retired_cluster_has_no_route_and_no_other_one_leads_there() {
    let settings = settings(SETTINGS);
    let mut all = clusters();
    for one in &mut all {
        one.state = State::Retired;
    }
    let rendered = render(&settings, &all).unwrap();
    assert!(rendered.iter().all(|one| one.cluster.is_none()), "{rendered:?}");
    let tunnels = write(&rendered).unwrap();
    assert!(tunnels.contains("acme-hosted|acme-outside|globex-onprem|gone"), "{tunnels}");
}

#[test]
fn with_reverse_tunnels_the_number_of_resources_does_not_grow_and_none_changes() {
    let settings = settings(SETTINGS);
    let onprem = |count: usize| {
        (0..count).map(|n| wanted(&format!("c{n}"), Placement::OnPremises)).collect::<Vec<_>>()
    };
    let one = render(&settings, &onprem(1)).unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(render(&settings, &onprem(10_000)).unwrap(), one);
}

#[test]
fn with_skupper_each_cluster_has_a_namespace_and_so_a_network_of_its_own() {
    let text = SETTINGS.replace("provider: envoy-reverse", "provider: skupper");
    let all: Vec<_> = (0..100).map(|n| wanted(&format!("c{n}"), Placement::OnPremises)).collect();
    let rendered = render(&settings(&text), &all).unwrap();
    assert_eq!(rendered.len(), 700, "seven each");
    let sites = rendered.iter().filter(|one| one.id.kind == Kind::Site);
    let namespaces: BTreeSet<_> = sites.map(|one| one.id.namespace.clone()).collect();
    assert_eq!(namespaces.len(), 100);
}

#[test]
fn the_route_into_tunnels_leaves_out_so_many_clusters_and_no_more() {
    let mut all = vec![wanted("tunnelled", Placement::OnPremises)];
    all.extend((0..500).map(|n| wanted(&format!("{n:-<62}x",), Placement::Hosted)));
    let said = render(&settings(SETTINGS), &all).unwrap_err().to_string();
    assert!(said.contains("these are too many") && said.contains("of 24576 bytes"), "{said}");
    all.remove(0);
    render(&settings(SETTINGS), &all).unwrap();
}

#[test]
fn all_that_is_wrong_with_settings_is_told_at_once() {
    let text = "
gateway: {namespace: Alfred, name: ingress, principal: 'cluster.local/*'}
provider: skupper
hosted: {namespace: fixed}
tunnelGateway: {host: tunnels, port: 0}
skupper: {namespace: '{cluster}-', grantMinutes: 0}
services:
- {name: a, port: 1, path: /x/}
- {name: a, port: 1, path: /../y}
- {name: b, port: 1}
- {name: c, port: 1, versions: [1, 1]}
clusters:
  Bad: {}
  good: {services: []}
";
    let said = Settings::parse(text).unwrap_err().to_string();
    for place in [
        "gateway.namespace",
        "gateway.principal",
        "hosted.namespace",
        "tunnelGateway.host",
        "tunnelGateway.port",
        "skupper.namespace",
        "skupper.grantMinutes",
        "services[0].path",
        "services[1].name",
        "services[1].path",
        "services[3].path",
        "services[3].versions",
        "clusters.Bad",
        "clusters.good.services",
    ] {
        assert!(said.lines().any(|line| line.starts_with(&format!("{place}: "))), "{place}: {said}");
    }
    for (wrong, named) in [("provider: other", "provider"), ("provider: skupper\nx: 1", "x")] {
        let said =
            Settings::parse(&SETTINGS.replace("provider: envoy-reverse", wrong)).unwrap_err().to_string();
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn a_cluster_that_is_there_twice_or_has_too_long_a_name_is_named() {
    let long = "x".repeat(62);
    let text = SETTINGS.replace("provider: envoy-reverse", "provider: skupper");
    let all = [
        wanted("acme", Placement::Hosted),
        wanted("acme", Placement::Hosted),
        wanted(&long, Placement::OnPremises),
    ];
    let said = render(&settings(&text), &all).unwrap_err().to_string();
    assert!(said.contains("acme: is there twice") && said.contains("more than 63"), "{said}");
}

/// Or who registers the one would get the requests of the other.
#[test]
fn no_two_clusters_share_a_namespace_and_none_has_one_of_the_platform() {
    let text = SETTINGS.replace("provider: envoy-reverse", "provider: skupper");
    let settings = settings(&text);
    let said = |all: &[Wanted]| render(&settings, all).unwrap_err().to_string();
    let (one, other) = (wanted("dc-acme", Placement::Hosted), wanted("acme", Placement::OnPremises));
    let both = said(&[one.clone(), other.clone()]);
    assert_eq!(both, "acme: its namespace dc-acme is that of cluster dc-acme, too");
    assert!(
        said(&[other, one.clone()]).starts_with("dc-acme: its namespace dc-acme is that of cluster acme")
    );
    render(&settings, &[one]).unwrap();
    for reserved in
        ["default", "istio-system", "kube-system", "alfred-platform", "portcullis", "observability"]
    {
        let told = said(&[wanted(reserved, Placement::Hosted)]);
        assert!(told.contains("which is none of a cluster"), "{reserved}: {told}");
    }
}

fn present(resources: &[Resource]) -> Vec<Present> {
    resources.iter().map(|one| Present { id: one.id.clone(), body: one.body.clone() }).collect()
}

#[test]
fn a_plan_tells_what_is_missing_what_differs_and_what_is_not_wanted() {
    let all = render(&settings(SETTINGS), &clusters()).unwrap();
    let mut there = present(&all);
    assert_eq!(plan(&all, &there), Plan { same: all.len(), ..Plan::default() });
    there[0].body["spec"]["surplus"] = 1.into();
    there[0].body["metadata"]["labels"]["of-others"] = "stays".into();
    there[1].body["metadata"]["labels"]["portcullis.dev/cluster"] = "another".into();
    let last = there.pop().unwrap();
    let plan = plan(&all[1..], &there);
    assert_eq!((plan.create.len(), &plan.create[0].id), (1, &last.id));
    assert_eq!(plan.delete, [all[0].id.clone()]);
    assert_eq!(plan.change.len(), 1);
    assert_eq!(plan.change[0].fields, ["metadata.labels.portcullis.dev/cluster"]);
}

fn some_clusters() -> impl Strategy<Value = Vec<Wanted>> {
    let one =
        ("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", any::<bool>(), 0..4_u8).prop_map(|(id, hosted, state)| {
            let placement = if hosted { Placement::Hosted } else { Placement::OnPremises };
            let state = if state == 0 { State::Retired } else { State::Kept };
            Wanted { state, ..wanted(&id, placement) }
        });
    proptest::collection::vec(one, 0..40).prop_map(|mut all| {
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.dedup_by(|one, other| one.id == other.id);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_is_wanted_and_the_same_comes_out_whatever_the_order(all in some_clusters(), skupper in any::<bool>()) {
        let text = if skupper { SETTINGS.replace("envoy-reverse", "skupper") } else { SETTINGS.to_owned() };
        let settings = settings(&text);
        let rendered = render(&settings, &all).unwrap();
        let mut turned = all.clone();
        turned.reverse();
        prop_assert_eq!(&render(&settings, &turned).unwrap(), &rendered);
        let ids: BTreeSet<_> = rendered.iter().map(|one| &one.id).collect();
        prop_assert_eq!(ids.len(), rendered.len());
        let back = read(&write(&rendered).unwrap()).unwrap();
        prop_assert_eq!(back, rendered.iter().map(|one| (one.id.clone(), one.body.clone())).collect::<Vec<_>>());
    }

    /// Whatever was there, what a plan does to it is what is wanted.
    #[test]
    fn a_plan_leads_to_what_is_wanted(before in some_clusters(), after in some_clusters()) {
        let settings = settings(SETTINGS);
        let (before, after) = (render(&settings, &before).unwrap(), render(&settings, &after).unwrap());
        let plan = plan(&after, &present(&before));
        let mut there: std::collections::BTreeMap<_, _> = before.into_iter().map(|one| (one.id.clone(), one)).collect();
        for id in &plan.delete {
            there.remove(id);
        }
        for one in plan.create.into_iter().chain(plan.change.into_iter().map(|change| change.resource)) {
            there.insert(one.id.clone(), one);
        }
        prop_assert_eq!(there.into_values().collect::<Vec<_>>(), after);
    }
}

#[test]
fn a_file_of_somebody_else_is_none_of_ours() {
    assert_eq!(read("").unwrap(), [], "an empty one has nothing");
    for text in [
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a, labels: {app.kubernetes.io/managed-by: portcullis, \
         app.kubernetes.io/component: routes}}\n",
        "{",
        "just words",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}
