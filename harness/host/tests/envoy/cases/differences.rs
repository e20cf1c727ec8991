//! Where the hosts are known to differ: each case names its row in `docs/differences.md`. A difference
//! that is gone fails the test, so that the list stays true.

use crate::envoy::case::{Case, Sent};

fn differs(name: &'static str, row: &'static str, script: &str) -> Case {
    Case::plain(name, Sent::get("/").script(script)).differs(row)
}

pub(super) fn cases() -> Vec<Case> {
    let long = "abcabcabd-abcabdabe-".repeat(20);
    vec![
        differs("differs-request-id", "`x-request-id`", "request_headers: get 0 x-request-id"),
        differs(
            "differs-connection",
            "properties of the connection, listener, cluster and node",
            "request_headers: property source|address",
        ),
        differs("differs-route-name", "route", "request_headers: property xds|virtual_host_name"),
        differs(
            "differs-filter-state",
            "`set_envoy_filter_state`",
            // envoy.network.transport_socket.original_dst_address
            "request_headers: foreign set_envoy_filter_state \
             %0a%33envoy.network.transport_socket.original_dst_address%12%0b127.0.0.1:1",
        ),
        differs(
            "differs-foreign-functions",
            "foreign functions `sign`, `expr_*`, `declare_property`",
            "request_headers: foreign expr_create request.path; request_headers: foreign declare_property; \
             request_headers: foreign sign",
        ),
        differs("differs-compress", "`compress`", &format!("request_headers: foreign compress {long}")),
        differs(
            "differs-grpc-stream",
            "streaming gRPC callouts",
            "request_headers: grpc_stream grpc acme.Ok Check",
        ),
    ]
}
