//! Where the hosts are known to differ: each case names its row in `docs/differences.md`. A difference
//! that is gone fails the test, so that the list stays true.

use crate::common::signatures;
use crate::envoy::case::{Case, Sent, Setup};

/// One request, and what this host's plugin logs: the lines without level, tag and event.
fn differs(name: &'static str, row: &'static str, script: &str, here: &[&str]) -> Case {
    let line = |line: &&str| format!("info [{name}-0] request_headers {line}");
    Case::plain(name, Sent::get("/").script(script)).differs(row, here.iter().map(line).collect())
}

pub(super) fn cases() -> Vec<Case> {
    let long = "abcabcabd-abcabdabe-".repeat(20);
    vec![
        differs(
            "differs-request-id",
            "`x-request-id`",
            "request_headers: get 0 x-request-id",
            &["0 get -> 0 0d83b3e2-9a21-487a-94c4-4c79f1fe9d67"],
        ),
        differs(
            "differs-connection",
            "properties of the connection, listener, cluster and node",
            "request_headers: property source|address; request_headers: property destination|port",
            &["0 property -> 0 127.0.0.1:50000", "1 property -> 0 %90%1f%00%00%00%00%00%00"],
        ),
        differs(
            "differs-route-name",
            "route",
            "request_headers: property xds|virtual_host_name; request_headers: property xds|route_name",
            &["0 property -> 1 ", "1 property -> 0 "],
        ),
        differs(
            "differs-filter-state",
            "`set_envoy_filter_state`",
            // envoy.network.transport_socket.original_dst_address
            "request_headers: foreign set_envoy_filter_state \
             %0a%33envoy.network.transport_socket.original_dst_address%12%0b127.0.0.1:1",
            &["0 foreign -> 1 "],
        ),
        differs(
            "differs-foreign-functions",
            "foreign functions `sign`, `expr_*`, `declare_property`",
            "request_headers: foreign expr_create request.path; request_headers: foreign declare_property; \
             request_headers: foreign sign",
            &["0 foreign -> 1 ", "1 foreign -> 1 ", "2 foreign -> 1 "],
        ),
        differs(
            "differs-compress",
            "`compress`",
            &format!("request_headers: foreign compress {long}"),
            &[
                "0 foreign -> 0 x%9c%ed%88A%09%00%00%08%c4%12%19j%a7%f6%af r!%fc%08%83%8d%a1d%a9%b0P%bb%fe%9d%bc%01%da%b3%91)",
            ],
        ),
        differs(
            "differs-p224",
            "`verify_signature` with P-224",
            &format!("request_headers: {}", signatures::named("p224").call()),
            &["0 foreign -> 0 %12#Failed to initialize digest verify."],
        ),
        Case::new(
            "differs-http2-buffer",
            Setup::http2(),
            vec![Sent::post("/", &"x".repeat(1_200_000)).impatient().script(
                "request_part: return 1; request_end: return 1; log: property response|code_details",
            )],
        )
        .differs(
            "room for a request's body over HTTP/2",
            vec!["info [differs-http2-buffer-0] log 2 property -> 0 request_payload_too_large".to_owned()],
        ),
        differs(
            "differs-grpc-stream",
            "streaming gRPC callouts",
            "request_headers: grpc_stream grpc acme.Ok Check",
            &["0 grpc_stream -> 12 0"],
        ),
    ]
}
