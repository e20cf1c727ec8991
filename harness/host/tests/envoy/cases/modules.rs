//! Modules as people write them, with an SDK.

use crate::envoy::case::{Case, Policy, Probe, Sent, Setup};

fn sdk(name: &'static str, probe: Probe, cluster: &str, requests: Vec<Sent>) -> Case {
    Case::new(name, Setup::named(name).plugin_of(probe, cluster), requests)
}

pub(super) fn cases() -> Vec<Case> {
    let body = || Sent::chunks("/up", &["a", "b"], &[("x-t", "1")]);
    vec![
        // Two modules in one chain, three plugins: the outer two share a VM, and so a counter.
        Case::new(
            "two-modules",
            Setup::named("two-modules")
                .plugin(
                    "request_headers: count seen; request_headers: counted seen; request_headers: get 0 x-verdict; response_headers: counted seen; \
                     response_headers: get 2 x-third; log: counted seen",
                )
                .plugin_of(Probe::RustSdk, "upstream")
                .plugin(
                    "request_headers: count seen; request_headers: counted seen; request_headers: get 0 x-verdict; response_headers: counted seen; \
                     response_headers: add 2 x-third 1; log: counted seen",
                ),
            vec![Sent::get("/up"), Sent::get("/up")],
        ),
        // The death of one module's VM is none of the other's.
        Case::new(
            "two-modules-one-dies",
            Setup::named("two-modules-one-dies")
                .plugin("request_headers: note; response_headers: note; log: note")
                .plugin_of(Probe::RustSdk, "upstream")
                .policies(&[Policy::Open, Policy::Closed]),
            vec![Sent::get("/up").script("request_headers: trap"), Sent::get("/up")],
        ),
        sdk("rust-sdk-lets-through", Probe::RustSdk, "upstream", vec![Sent::get("/up"), body()]),
        sdk("rust-sdk-no-service", Probe::RustSdk, "nowhere", vec![Sent::get("/up")]),
        sdk("rust-sdk-refuses", Probe::RustSdk, "refused", vec![Sent::get("/up"), body()]),
        // One request at a time: Envoy strands what is paused in a VM that dies.
        sdk(
            "rust-sdk-panics",
            Probe::RustSdk,
            "upstream",
            vec![
                Sent::get("/up").header("x-odd", "1"),
                Sent::get("/up").header("x-odd", b"\xff"),
                Sent::get("/up"),
            ],
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
