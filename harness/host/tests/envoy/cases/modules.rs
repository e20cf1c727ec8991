//! Modules as people write them, with an SDK.

use crate::envoy::case::{Case, Probe, Sent, Setup};

fn sdk(name: &'static str, probe: Probe, cluster: &str, requests: Vec<Sent>) -> Case {
    Case::new(name, Setup::named(name).plugin(cluster).probe(probe), requests)
}

pub(super) fn cases() -> Vec<Case> {
    let body = || Sent::chunks("/up", &["a", "b"], &[("x-t", "1")]);
    vec![
        sdk("rust-sdk-lets-through", Probe::RustSdk, "upstream", vec![Sent::get("/up"), body()]),
        sdk("rust-sdk-no-service", Probe::RustSdk, "nowhere", vec![Sent::get("/up")]),
        sdk("rust-sdk-refuses", Probe::RustSdk, "refused", vec![Sent::get("/up"), body()]),
        // One request only: Envoy strands what is paused in a VM that dies.
        sdk(
            "rust-sdk-panics",
            Probe::RustSdk,
            "upstream",
            vec![Sent::get("/up"), Sent::get("/up").header("x-odd", "1")],
        ),
        sdk("go-sdk-refuses", Probe::GoSdk, "upstream", vec![Sent::get("/up"), body()]),
        sdk(
            "go-sdk-no-service",
            Probe::GoSdk,
            "nowhere",
            vec![Sent::get("/up"), Sent::get("/up").header("x-raw", b"\xff")],
        ),
    ]
}
