//! What `overlays/dev` has of a hosted cluster, in the local mesh's gateway.

use portcullis_mesh::http::Request;
use portcullis_mesh::overlay::Overlay;
use portcullis_mesh::{HOSTED, Mesh};
use serde_json::{Value, json};

use crate::rendered::built;

const ROUTE: &str = "hosted-route.yaml";
const CONNECTIONS: &str = "hosted-connections.yaml";

/// The route, and the connections behind it.
#[derive(Clone)]
pub(crate) struct Hosted {
    pub(crate) route: Value,
    pub(crate) connections: Value,
}

impl Hosted {
    /// As in the overlay, but for the namespace of the gateway.
    pub(crate) fn of_the_overlay() -> Self {
        let rendered = built("overlays/dev");
        let mut route = rendered.named("VirtualService", HOSTED);
        route["metadata"]["namespace"] = "istio-system".into();
        let mut connections = rendered.named("DestinationRule", "data-api");
        connections["spec"]["exportTo"] = json!(["istio-system"]);
        Self { route, connections }
    }

    fn write(&self, mesh: &Mesh) {
        let overlay = Overlay::local(mesh.manifests());
        overlay.write(ROUTE, &self.route).unwrap();
        overlay.write(CONNECTIONS, &self.connections).unwrap();
    }

    /// Puts it in the place of the local mesh's own route. `endpoints` edits the endpoints of the service (RFC 6902).
    pub(crate) async fn apply(&self, mesh: &Mesh, endpoints: &Value) {
        self.write(mesh);
        let overlay = Overlay::local(mesh.manifests());
        overlay.edit_list("resources", |list| list.extend([ROUTE.into(), CONNECTIONS.into()])).unwrap();
        let own = json!([{"op": "remove", "path": "/spec/http/0"}]);
        overlay
            .edit_list("patches", |patches| {
                let routes = json!({"kind": "VirtualService", "name": "data-clusters"});
                patches.push(json!({"target": routes, "patch": own.to_string()}));
                let service = json!({"kind": "ServiceEntry", "name": "data-api", "namespace": HOSTED});
                patches.push(json!({"target": service, "patch": endpoints.to_string()}));
            })
            .unwrap();
        mesh.apply().await.unwrap();
    }

    /// The same with other connections, once it was applied.
    pub(crate) async fn apply_again(&self, mesh: &Mesh) {
        self.write(mesh);
        mesh.apply().await.unwrap();
    }
}

/// A request as the filter would have let it on.
pub(crate) fn placed(mesh: &Mesh) -> Request {
    mesh.get("/tables").header("x-portcullis-cluster", HOSTED).header("x-portcullis-source-type", "human")
}
