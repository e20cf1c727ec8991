//! What a real API server makes of the manifests: `kubectl apply -k`, as an operator runs it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use portcullis_mesh::block::Block;
use portcullis_mesh::kubernetes::{Istio, Kubectl, Kubernetes, Programs, Said};
use portcullis_mesh::paths;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::rendered::{OVERLAYS, Settings, built, kind_and_name};

/// One server for all tests of this file: it takes seconds to start, and each applies what no other one has.
struct Server {
    cluster: Kubernetes,
    _block: Block,
    runtime: Runtime,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let programs = Programs::install(Istio::Pinned, &mut |line| eprintln!("{line}")).unwrap();
    let block = Block::take_any().unwrap();
    let folder = paths::run_dir(block.plan().number());
    let runtime = Runtime::new().unwrap();
    let cluster = runtime.block_on(Kubernetes::start(&programs, block.plan(), &folder)).unwrap();
    // Which cert-manager has made.
    let made = cluster.kubectl().run(["create", "namespace", "cert-manager"]).unwrap();
    assert!(made.done, "{made:?}");
    Server { cluster, _block: block, runtime }
});

/// What the API server says to a new resource.
pub(crate) fn said_to(collection: &str, resource: &Value) -> Result<(), String> {
    let answer = SERVER.runtime.block_on(SERVER.cluster.api().try_create(collection, resource)).unwrap();
    match answer.status {
        201 => Ok(()),
        _ => Err(answer.json()["message"].as_str().unwrap_or_default().to_owned()),
    }
}

pub(crate) fn kubectl() -> &'static Kubectl {
    SERVER.cluster.kubectl()
}

fn taken_without_a_word(said: &Said, what: &str) {
    assert!(said.done && said.complaints.is_empty(), "{what}: {}", said.complaints);
}

/// With the `resourceVersion` of each, which moves with every change.
fn versions(folder: &str) -> BTreeMap<String, String> {
    let all = kubectl().get(["-k", folder]).unwrap();
    let version = |one: &Value| one["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    all["items"].as_array().unwrap().iter().map(|one| (kind_and_name(one), version(one))).collect()
}

#[test]
fn every_overlay_is_applied_without_a_warning_and_a_second_time_changes_nothing() {
    for overlay in OVERLAYS {
        let settings = Settings::filled(overlay);
        let folder = settings.folder();
        taken_without_a_word(&kubectl().apply_folder(&folder).unwrap(), overlay);
        let first = versions(&folder.to_string_lossy());
        assert_eq!(first.len(), built(overlay).resources().len(), "{overlay}");
        taken_without_a_word(&kubectl().apply_folder(&folder).unwrap(), overlay);
        assert_eq!(versions(&folder.to_string_lossy()), first, "{overlay}");
    }
}

#[test]
fn a_field_that_is_misspelt_is_refused_by_the_api_server() {
    for (right, wrong) in [
        ("terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("renewBeforePercentage", "renewBeforePercent"),
        ("minProtocolVersion", "minimumProtocolVersion"),
        ("policyTypes", "policyType"),
        ("failStrategy", "failureStrategy"),
    ] {
        let text = built("overlays/prod").edited(right, wrong);
        let said = kubectl().dry_run(text.text()).unwrap();
        let named = said.complaints.contains(&format!(".{wrong}"));
        assert!(!said.done && named, "{wrong}: {}", said.complaints);
    }
}
