//! A host of the platform, by which somebody wants to come to something else.

use portcullis_testhost::Request;

use super::{Attack, by};
use crate::world::good;

const ADMIN: &str = "admin.platform.test";

fn at(path: &str) -> Request {
    Request::get(path).authority(ADMIN)
}

pub(crate) fn attacks() -> Vec<Attack> {
    let unknown = |name, path: &str| by(name, at(path), 404, "path_unknown");
    let ambiguous = |name, request| by(name, request, 400, "cluster_ambiguous");
    let other = |name, host: &str| {
        let request = Request::get("/v1/clusters").authority(host);
        by(name, request, 401, "credential_missing")
    };
    vec![
        ambiguous("a cluster's path at a host of the platform", good("acme-1").authority(ADMIN)),
        ambiguous(
            "a cluster's header at a host of the platform",
            at("/v1/a").header("x-target-cluster", "acme-1"),
        ),
        ambiguous(
            "a cluster's path at such a host in capitals",
            good("acme-1").authority("ADMIN.PLATFORM.TEST"),
        ),
        ambiguous(
            "a cluster's path at such a host with a dot",
            good("acme-1").authority("admin.platform.test."),
        ),
        ambiguous(
            "a cluster's path at such a host with a port",
            good("acme-1").authority("admin.platform.test:80"),
        ),
        by("two hosts, the platform's last", good("acme-1").header("host", ADMIN), 400, "header_invalid"),
        by(
            "two hosts, the platform's first",
            at("/v1/a").header("host", "api.platform.test"),
            400,
            "header_invalid",
        ),
        other("a host with a user", "u@admin.platform.test"),
        other("a host below the platform's", "a.admin.platform.test"),
        other("a host that begins as the platform's", "admin.platform.test.evil.test"),
        other("a cluster that is called as the platform's host", "admin.clusters.platform.test"),
        unknown("the mesh API at the platform's host", "/mesh/v1/snapshot"),
        unknown("the metrics at the platform's host", "/metrics"),
        unknown("an encoded slash at the platform's host", "/v1/a%2fb"),
        unknown("encoded dots at the platform's host", "/v1/%252e%252e/metrics"),
        unknown("dots with a parameter at the platform's host", "/v1/..;a/metrics"),
        by(
            "an upgrade at the platform's host",
            at("/v1/a").header("connection", "upgrade").header("upgrade", "websocket"),
            403,
            "upgrade_refused",
        ),
        by(
            "a preflight at the platform's host",
            Request::new("OPTIONS", "/v1/clusters")
                .authority(ADMIN)
                .header("origin", "https://a.test")
                .header("access-control-request-method", "GET"),
            403,
            "preflight_refused",
        ),
    ]
}
