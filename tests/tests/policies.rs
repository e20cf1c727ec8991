//! Every rule of our policies is held by a case of `istio-manifests/cases`: without the rule somebody who should be let through
//! is refused, and with everybody let in somebody is let through who should not be.
#![cfg(feature = "slow")]

use portcullis_lint::resource::Resource;
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::paths::root;
use portcullis_mesh::policy::{Case, Runner, Tried, Verdict, changes, load, options};
use portcullis_mesh::{Mesh, Options};
use serde_json::{Value, json};

/// Edits that no case can notice as long as the filter is there: it answers, or refuses, before a policy is asked. What these
/// rules do without it, `no_filter.rs` and the mesh's own tests tell.
const BEHIND_THE_FILTER: [&str; 4] = [
    "istio-system/platform-api lets everybody in",
    "istio-system/platform-endpoints lets everybody in",
    "istio-system/tagged-callers without rule 0",
    "istio-system/tagged-callers lets everybody in",
];

/// An `AuthorizationPolicy`, and how many rules it has.
struct Policy {
    namespace: String,
    name: String,
    rules: usize,
}

impl Policy {
    /// All of `overlays/local`.
    fn all(mesh: &Mesh) -> Vec<Self> {
        let overlay = mesh.manifests().join("overlays/local");
        let built =
            std::process::Command::new(&mesh.tools().kustomize).arg("build").arg(overlay).output().unwrap();
        let resources = Resource::read("overlays/local", &String::from_utf8(built.stdout).unwrap()).unwrap();
        let policies = resources.iter().filter(|resource| resource.kind() == "AuthorizationPolicy");
        let read = |resource: &Resource| Self {
            namespace: resource.namespace().to_owned(),
            name: resource.name().to_owned(),
            rules: resource.node.list_at("spec.rules").len(),
        };
        policies.map(read).collect()
    }

    /// A patch of kustomize.
    fn patch(&self, operation: &Value) -> Value {
        let target = json!({"kind": "AuthorizationPolicy", "namespace": self.namespace, "name": self.name});
        json!({"target": target, "patch": json!([operation]).to_string()})
    }
}

/// An edit that opens or closes one thing, and the cases that must notice.
struct Edit {
    what: String,
    patch: Value,
    /// Whether somebody is refused by it who was let through before, or the other way round.
    closes: bool,
}

impl Edit {
    fn all(policies: &[Policy]) -> Vec<Self> {
        let mut edits = Vec::new();
        for policy in policies {
            let name = format!("{}/{}", policy.namespace, policy.name);
            for rule in 0..policy.rules {
                let patch = policy.patch(&json!({"op": "remove", "path": format!("/spec/rules/{rule}")}));
                edits.push(Self { what: format!("{name} without rule {rule}"), patch, closes: true });
            }
            let patch = policy.patch(&json!({"op": "add", "path": "/spec/rules", "value": [{}]}));
            edits.push(Self { what: format!("{name} lets everybody in"), patch, closes: false });
        }
        edits
    }

    /// Whether a case noticed.
    fn is_seen(&self, before: &[Tried], after: &[Tried]) -> bool {
        let allowed = |tried: &Tried| matches!(tried.outcome.verdict, Verdict::Allowed(_));
        let changed = changes(before, after);
        changed
            .iter()
            .any(|change| allowed(change.before) == self.closes && allowed(change.after) != self.closes)
    }
}

#[tokio::test]
async fn every_rule_is_held_by_a_case() {
    let mut cases = load(&[root().join("istio-manifests/cases")]).unwrap();
    cases.retain(|case: &Case| case.clusters.is_empty());
    let start = Options { private_manifests: true, ..options() };
    let mut runner = Runner::new(Mesh::start(start, &mut |line| eprintln!("{line}")).await.unwrap());
    let before = runner.run(&cases).await.unwrap();
    assert!(before.iter().all(Tried::ok), "{}", portcullis_mesh::policy::text(&before));
    let manifests = runner.mesh().manifests().to_owned();
    let (overlay, policies) = (Overlay::local(&manifests), Policy::all(runner.mesh()));
    assert!(policies.len() >= 8, "only {} policies", policies.len());
    let mut unseen = Vec::new();
    for edit in Edit::all(&policies) {
        overlay.edit_list("patches", |patches| patches.push(edit.patch.clone())).unwrap();
        runner.mesh().change_manifests(&manifests, None).await.unwrap();
        let after = runner.run(&cases).await.unwrap();
        eprintln!("{}: {} cases change", edit.what, changes(&before, &after).len());
        if !edit.is_seen(&before, &after) {
            unseen.push(edit.what.clone());
        }
        overlay.edit_list("patches", |patches| patches.retain(|patch| *patch != edit.patch)).unwrap();
    }
    runner.into_mesh().stop().await;
    assert_eq!(unseen, BEHIND_THE_FILTER);
}
