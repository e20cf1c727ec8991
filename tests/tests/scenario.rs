//! The whole scenario on the real mesh: what `make demo` shows.

#[cfg(feature = "slow")]
use portcullis_mesh::Target;
#[cfg(feature = "slow")]
use portcullis_mesh::kubernetes::Istio;
use portcullis_mesh::scenario::{Report, Scenario, print_row};
use portcullis_mesh::{Mesh, Options};

fn assert_as_expected(report: &Report) {
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "came out otherwise than expected: {failed:#?}");
    assert!(report.rows.len() >= 40, "only {} rows", report.rows.len());
    assert!(!report.audit.is_empty(), "no audit records");
}

async fn go_through(options: Options) {
    let mut mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let report = Scenario::run(&mut mesh, &mut print_row).await.unwrap();
    mesh.stop().await;
    assert_as_expected(&report);
}

#[tokio::test]
async fn every_row_comes_out_as_expected() {
    go_through(Scenario::options()).await;
}

/// What `make demo NATIVE=1` shows: the gateway runs the native module, sidecars the Wasm module.
#[cfg(feature = "slow")]
#[tokio::test]
async fn every_row_comes_out_as_expected_at_a_native_gateway() {
    go_through(Options { gateway: Target::Native, ..Scenario::options() }).await;
}

/// The Envoy that the pinned Istio release ships.
#[cfg(feature = "slow")]
#[tokio::test]
async fn every_row_comes_out_as_expected_on_envoy_1_37() {
    go_through(Options { envoy: Some("1.37.0".to_owned()), ..Scenario::options() }).await;
}

/// What `make up KUBE=1` starts: istiod reads from a Kubernetes API server.
#[cfg(feature = "slow")]
#[tokio::test]
async fn every_row_comes_out_as_expected_with_kubernetes() {
    go_through(Options { kubernetes: Some(Istio::Pinned), ..Scenario::options() }).await;
}

/// The newest Istio that can be had.
#[cfg(feature = "slow")]
#[tokio::test]
async fn every_row_comes_out_as_expected_with_kubernetes_and_istio_1_31() {
    go_through(Options { kubernetes: Some(Istio::Next), ..Scenario::options() }).await;
}
