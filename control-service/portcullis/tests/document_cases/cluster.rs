//! A Kubernetes API server that has what the pages take for granted: an installed platform.

use portcullis_mesh::block::Block;
use portcullis_mesh::kubernetes::{Istio, Kubectl, Kubernetes, Programs};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::scripts::filled_overlays;

pub(crate) struct Cluster {
    kubernetes: Kubernetes,
    _folder: TempDir,
    // Last: it is free again when everything in it has ended.
    _block: Block,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let programs = Programs::install(Istio::Pinned, &mut |line| eprintln!("{line}")).unwrap();
        let (block, folder) = (Block::take_any().unwrap(), tempfile::tempdir().unwrap());
        let kubernetes =
            Kubernetes::start(&programs, block.plan(), &folder.path().join("kubernetes")).await.unwrap();
        let cluster = Self { kubernetes, _folder: folder, _block: block };
        cluster.install();
        cluster
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        self.kubernetes.kubectl()
    }

    /// What others have made before, and the platform.
    fn install(&self) {
        for namespace in ["cert-manager", "observability"] {
            self.kubectl().run(["create", "namespace", namespace]).unwrap().or_failed("create").unwrap();
        }
        let manifests = tempfile::tempdir().unwrap();
        filled_overlays(manifests.path());
        let prod = manifests.path().join("overlays/prod");
        let apply = ["apply", "-k", &prod.to_string_lossy()];
        self.kubectl().run(apply).unwrap().or_failed("apply").unwrap();
        // Which cert-manager has made.
        let secret = ["create", "secret", "generic", "tunnel-agent-acme-onprem", "-n", "portcullis"];
        let with = ["--from-literal=tls.crt=", "--from-literal=tls.key=", "--from-literal=ca.crt="];
        self.kubectl().run(secret.into_iter().chain(with)).unwrap().or_failed("create").unwrap();
    }

    /// A pod of each Deployment, as its controller would make it. None starts, and what is deleted stays so.
    pub(crate) fn make_pods(&self) {
        let deployments = self.kubectl().get(["deployments", "-A"]).unwrap();
        let pods: String = deployments["items"].as_array().unwrap().iter().map(pod).collect();
        self.kubectl().apply(&pods).unwrap().or_failed("apply").unwrap();
    }
}

fn pod(deployment: &Value) -> String {
    let (metadata, template) = (&deployment["metadata"], &deployment["spec"]["template"]);
    let named = json!({"name": metadata["name"], "namespace": metadata["namespace"],
        "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": template["spec"]});
    ["---\n", &pod.to_string(), "\n"].concat()
}
