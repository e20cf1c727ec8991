//! An overlay for a cluster as a whole, on the real istiod with real Envoys: every resource of it that is for istiod is given
//! to it, in the namespaces and by the names that it has there, and gateway, sidecars and tunnel gateway do what it says.

mod localised;

use std::collections::BTreeSet;

use portcullis_mesh::data_api::headers_seen;
use portcullis_mesh::http::{Request, Response};
use portcullis_mesh::idp::{Algorithm, claims};
use portcullis_mesh::pki::Workload;
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::tls::Tls;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, FOREIGN, HOSTED, Mesh, ONPREM, Options, TENANT};
use serde_json::{Value, json};

use crate::hello::{ALERT, BEST_OF_1_2, PROTOCOL_VERSION, answer_to};
use crate::rendered::{Rendered, Settings};
use localised::{Localised, redirect, title};

const API: &str = "api.alfred-platform.example.com";
const CLUSTER: &str = "acme-hosted.clusters.alfred-platform.example.com";

/// All that is another than in a cluster.
const CHANGES: [&str; 17] = [
    "AuthorizationPolicy acme-onprem/from-tunnel-agent: added: the customer's side",
    "AuthorizationPolicy alfred-platform/https-redirect: ports",
    "AuthorizationPolicy alfred-platform/platform-api: ports",
    "AuthorizationPolicy alfred-platform/platform-endpoints: ports",
    "AuthorizationPolicy alfred-platform/tagged-callers: ports",
    "Gateway alfred-platform/https-redirect: addresses and ports of servers",
    "Gateway alfred-platform/ingress: addresses and ports of servers",
    "Service acme-hosted/data-api: a ServiceEntry",
    "Service alfred-platform/api-gateway-mesh: a ServiceEntry",
    "Service portcullis/control-operations: a ServiceEntry",
    "Service portcullis/control: a ServiceEntry",
    "Service portcullis/tunnel-gateway: a ServiceEntry",
    "ServiceEntry acme-onprem/data-api: added: the customer's side",
    "Sidecar acme-hosted/data-api: added: where its proxy listens",
    "Sidecar acme-onprem/data-api: added: the customer's side",
    "Sidecar portcullis/control-service: where its proxy listens; it calls nobody",
    "Sidecar portcullis/tunnel-gateway: where its proxy listens; it calls nobody",
];
const PLUGINS: [&str; 2] = [
    "WasmPlugin alfred-platform/portcullis-gateway-mesh: file and key",
    "WasmPlugin alfred-platform/portcullis-gateway: file and key, ports",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prod_guards_as_a_whole_as_it_says() {
    guards("overlays/prod").await;
}

#[cfg(feature = "slow")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staging_guards_as_a_whole_as_it_says() {
    guards("overlays/staging").await;
}

/// With the tunnel gateway and a cluster of each placement, as the page tells operators to take them in.
fn built(overlay: &str) -> Rendered {
    let settings = Settings::filled(overlay).in_the_usual_domain().with_component("tunnel-gateway");
    let settings = settings.with("envoyImage", "registry.test/envoy@sha256:00").with_clusters();
    settings.build().unwrap_or_else(|error| panic!("{overlay}: {error}"))
}

async fn guards(overlay: &str) {
    let localised = Localised::of(&built(overlay));
    let expected: BTreeSet<String> = CHANGES.iter().chain(&PLUGINS).map(|one| (*one).to_owned()).collect();
    assert_eq!(localised.changes, expected, "{overlay}: what is another than in a cluster");
    let folder = tempfile::tempdir().unwrap();
    localised.write(folder.path());
    let options = Options {
        manifests: Some(folder.path().to_owned()),
        ingress: Workload::PLATFORM_INGRESS,
        ..Options::default()
    };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    istiod_has_all_of(&mesh, &localised).await;
    let client = Client::of(&mesh);
    who_is_known_gets_through(&mesh, &client).await;
    who_is_not_is_refused_with_a_reason(&mesh, &client).await;
    the_public_port_speaks_tls_1_3_alone(&mesh).await;
    other_ports_lead_nowhere(&mesh, &client).await;
    inside_only_the_gateway_may_call(&mesh).await;
    callers_of_the_mesh_come_by_their_certificate(&mesh).await;
    mesh.stop().await;
}

/// A resource that istiod passed over would be missing here, whatever else works.
async fn istiod_has_all_of(mesh: &Mesh, localised: &Localised) {
    let page = Request::get(mesh.plan().istiod_http(), "/debug/configz").send().await.unwrap().json();
    let there: BTreeSet<String> = page.as_array().unwrap().iter().map(title).collect();
    let missing: Vec<_> = localised.of_istiod.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "istiod has not taken {missing:#?} of {} resources",
        localised.of_istiod.len()
    );
    println!("istiod has all {} resources of the overlay", localised.of_istiod.len());
}

/// Somebody outside.
struct Client {
    api: Request,
    cluster: Request,
    token: String,
}

impl Client {
    fn of(mesh: &Mesh) -> Self {
        let to = |name: &str| {
            let tls = Tls::to_server(&mesh.clients_root(), name).unwrap();
            Request::get(mesh.plan().ingress_tls(), "/tables").over(&tls).header("host", name)
        };
        let extra = json!({"client_id": CLIENT_PEOPLE});
        let token = mesh.idp().sign(Algorithm::Es256, &claims("ann@acme.example", TENANT, &extra)).unwrap();
        Self { api: to(API), cluster: to(CLUSTER), token }
    }

    fn to(&self, cluster: &str) -> Request {
        self.api.clone().header(SELECTOR, cluster).bearer(&self.token)
    }
}

/// What the control service has on record of a request.
async fn record(mesh: &Mesh, id: &str) -> Value {
    wait::until("its audit record", &mesh.log("control"), async || {
        let mut found = mesh.admin()?.audit(&format!("request_id={id}")).await?;
        Ok(found.pop().map_or_else(|| Seen::NotYet("none".to_owned()), Seen::Done))
    })
    .await
    .unwrap()
}

fn reached(answer: &Response, cluster: &str) {
    assert_eq!(answer.status, 200, "{cluster}: {}", answer.text());
    let identity = &answer.json()["identity"];
    let told = [&identity["cluster"], &identity["subject"], &identity["source_type"]];
    assert_eq!(told, [cluster, "ann@acme.example", "human"], "{}", answer.text());
}

/// A13, B6: by header, host and path; by version; hosted, and through the tunnel. A8: with a record of it.
async fn who_is_known_gets_through(mesh: &Mesh, client: &Client) {
    for (request, cluster) in [
        (client.to(HOSTED), HOSTED),
        (client.to(HOSTED).header("x-api-version", "1"), HOSTED),
        (client.to(ONPREM), ONPREM),
        (client.cluster.clone().bearer(&client.token), HOSTED),
        (client.api.clone().at("/clusters/acme-hosted/tables").bearer(&client.token), HOSTED),
        (client.api.clone().at("/clusters/acme-onprem/tables").bearer(&client.token), ONPREM),
    ] {
        reached(&request.send().await.unwrap(), cluster);
    }
    let second = client.to(HOSTED).header("x-api-version", "2").send().await.unwrap();
    assert_eq!(second.status, 503, "of version 2 there is no replica: {}", second.text());

    let forged =
        client.to(HOSTED).header("x-portcullis-subject", "root").header("x_portcullis_tenant", "globex");
    let answer = forged.send().await.unwrap();
    reached(&answer, HOSTED);
    let seen = headers_seen(&answer);
    assert!(!seen.iter().any(|(_, value)| value == "root" || value == "globex"), "{seen:?}");
    let id = seen.iter().find(|(name, _)| name == "x-request-id").map(|(_, id)| id).unwrap();
    let record = record(mesh, id).await;
    let told = [&record["decision"], &record["subject"], &record["tenant"], &record["cluster"]];
    assert_eq!(told, ["allow", "ann@acme.example", TENANT, HOSTED], "{record}");
}

async fn who_is_not_is_refused_with_a_reason(mesh: &Mesh, client: &Client) {
    let nobody = client.api.clone().header(SELECTOR, HOSTED);
    let forged =
        nobody.clone().header("x-portcullis-source-type", "human").header("x-portcullis-cluster", HOSTED);
    for (request, status, reason) in [
        (nobody, 401, "credential_missing"),
        (forged, 401, "credential_missing"),
        (client.to(FOREIGN), 404, "cluster_unknown"),
        (client.to(HOSTED).header("x-api-key", "another"), 400, "credential_ambiguous"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-portcullis-reason")),
            (status, reason),
            "{}",
            answer.text()
        );
        let record = record(mesh, answer.json()["request_id"].as_str().unwrap()).await;
        assert_eq!([&record["decision"], &record["reason"]], ["refuse", reason], "{record}");
    }
}

/// A14, B25, B32.
async fn the_public_port_speaks_tls_1_3_alone(mesh: &Mesh) {
    let address = mesh.plan().ingress_tls();
    for name in [API, CLUSTER] {
        let answer = answer_to(address, &BEST_OF_1_2, Some(name)).await;
        assert_eq!(answer, (ALERT, PROTOCOL_VERSION), "{name}");
    }
    let other = Tls::to_server(&mesh.clients_root(), "other.alfred-platform.example.com").unwrap();
    let refused = Request::get(address, "/").over(&other).send().await.unwrap_err().to_string();
    assert!(refused.contains("no TLS"), "another name gets no certificate: {refused}");
}

/// At 8080 there is the readiness of the filter alone, and at the port for plain HTTP the redirect alone.
async fn other_ports_lead_nowhere(mesh: &Mesh, client: &Client) {
    let ready = mesh.get("/-/portcullis/ready").send().await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.text());
    let plain = mesh.get("/tables").header(SELECTOR, HOSTED).bearer(&client.token).send().await.unwrap();
    assert_eq!((plain.status, plain.text().as_str()), (403, "RBAC: access denied"));
    let plain = Request::get(redirect(mesh.plan().ingress()), "/tables").header("host", API);
    let plain = plain.header(SELECTOR, HOSTED).bearer(&client.token).send().await.unwrap();
    assert_eq!((plain.status, plain.header("location")), (301, format!("https://{API}/tables").as_str()));
}

/// A11, A12: STRICT mutual TLS and default deny, at every sidecar.
async fn inside_only_the_gateway_may_call(mesh: &Mesh) {
    let plan = mesh.plan();
    for (address, path) in [
        (plan.hosted_sidecar(), "/tables"),
        (plan.tunnel_inbound(), "/tables"),
        (plan.control_sidecar(), "/mesh/v1/none"),
        (plan.platform_sidecar(), "/oauth2/jwks"),
    ] {
        let request = Request::get(address, path).header("x-portcullis-cluster", ONPREM);
        let plain = request.send().await.map(|answer| answer.status);
        assert!(plain.is_err(), "plaintext at {address}: {plain:?}");
        let forged =
            request.clone().over(&mesh.forged_tls_of(Workload::PLATFORM_INGRESS).unwrap()).send().await;
        assert!(forged.is_err(), "a certificate of another authority at {address}");
        let by = async |workload| {
            let answer = request.clone().over(&mesh.tls_of(workload).unwrap()).send().await.unwrap();
            (answer.status, answer.text())
        };
        let (status, text) = by(Workload::PLATFORM_INGRESS).await;
        assert_ne!((status, text.as_str()), (403, "RBAC: access denied"), "the gateway at {address}");
        // The gateway's account of another namespace is another.
        for other in
            [Workload::INGRESS, Workload::CONTROL, Workload::HOSTED, Workload::TUNNEL, Workload::RUNNER]
        {
            let (status, text) = by(other).await;
            assert_eq!((status, text.as_str()), (403, "RBAC: access denied"), "{other:?} at {address}");
        }
    }
    let admin = Request::get(plan.platform_sidecar(), "/metrics");
    let admin = admin.over(&mesh.tls_of(Workload::PLATFORM_INGRESS).unwrap()).send().await.unwrap();
    assert_eq!(
        admin.status,
        403,
        "at that port the gateway reaches what its policies name: {}",
        admin.text()
    );
}

/// A7, B12: the policy knows one workload, and not its neighbour.
async fn callers_of_the_mesh_come_by_their_certificate(mesh: &Mesh) {
    let request = Request::get(mesh.plan().ingress_mesh(), "/tables").header(SELECTOR, HOSTED);
    let by = async |workload| request.clone().over(&mesh.tls_of(workload).unwrap()).send().await.unwrap();
    let runner = by(Workload::RUNNER).await;
    assert_eq!(runner.status, 200, "{}", runner.text());
    assert_eq!(runner.json()["identity"]["credential"], "workload", "{}", runner.text());
    let stranger = by(Workload::STRANGER).await;
    assert_eq!(stranger.status, 401, "{}", stranger.text());
}
