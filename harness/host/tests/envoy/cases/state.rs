//! Properties, shared data, queues, metrics, foreign functions, configuration, environment.

use crate::common::signatures::{self, Signed};
use crate::envoy::case::{Case, Sent, Setup};

fn plain(name: &'static str, script: &str) -> Case {
    Case::plain(name, Sent::get("/").script(script))
}

/// What Envoy says of a signature: as it is, spoilt, over another text, and under other hashes.
fn signature(signed: &Signed) -> Case {
    let name: &'static str = Box::leak(format!("verify-{}", signed.name).into_boxed_str());
    let mut calls = vec![signed.clone(), signed.clone().spoilt(), signed.clone().text("other text")];
    let hashes = ["sha1", "sha224", "sha256", "sha384", "sha512", "SHA256", "sha-256", "md5", ""];
    calls.extend(hashes.map(|hash| signed.clone().hash(hash)));
    calls.push(Signed { signature: Vec::new(), ..signed.clone() });
    calls.push(Signed { signature: signed.signature[1..].to_vec(), ..signed.clone() });
    calls.push(Signed { signature: [&signed.signature[..], &[0]].concat(), ..signed.clone() });
    calls.push(Signed { text: String::new(), ..signed.clone() });
    calls.push(Signed { key: signed.key[..signed.key.len() - 1].to_vec(), ..signed.clone() });
    calls.push(Signed { key: [&signed.key[..], &[0]].concat(), ..signed.clone() });
    calls.push(Signed { key: Vec::new(), ..signed.clone() });
    calls.push(Signed { key: vec![b'k'; 99], ..signed.clone() });
    let lines: Vec<_> = calls.iter().map(|call| format!("request_headers: {}", call.call())).collect();
    // Too long for a header.
    Case::new(name, Setup::named(name).plugin(&lines.join("; ")), vec![Sent::get("/")])
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = plugins();
    all.extend(signatures::all().iter().map(signature));
    all.extend(signatures::unknown().iter().filter(|signed| signed.name != "p224").map(signature));
    all
}

fn plugins() -> Vec<Case> {
    vec![
        plain("property-set", "request_headers: set_property mine value; request_headers: property mine; response_headers: property mine; log: property mine; response_headers: property filter_state|wasm.mine"),
        plain("property-path-set", "request_headers: set_property a|b v; request_headers: property a|b; request_headers: property a"),
        plain("property-request", "request_headers: property request|path; request_headers: property request|method; request_headers: property request|host; request_headers: property request|scheme; request_headers: property request|protocol; request_headers: property request|headers|x-case; request_headers: property request|headers|x-none; request_headers: property request|useragent; request_headers: property request|nothing; request_headers: property nothing; request_headers: property request|id|x"),
        plain("property-sizes", "log: property request|size; log: property response|size; log: has_property request|total_size; log: has_property response|total_size; log: has_property request|duration; log: has_property request|time; request_headers: has_property request|duration; request_headers: property request|size; request_headers: has_property request|time"),
        Case::plain("property-sizes-body", Sent::post("/", "12345").script("log: property request|size; request_headers: property request|size; response_headers: property request|size")),
        Case::plain("property-sizes-chunked", Sent::chunks("/", &["123", "45"], &[]).script("log: property request|size")),
        plain("property-response", "request_headers: property response|code; response_headers: property response|code; log: property response|code; log: property response|headers|x-from; log: property response|code_details; log: property response|flags; log: property response|grpc_status; response_headers: property response|code_details"),
        plain("property-connection", "request_headers: has_property source|address; request_headers: has_property source|port; request_headers: has_property destination|port; request_headers: property connection|mtls; request_headers: has_property connection|id; request_headers: has_property connection_id; request_headers: property connection|tls_version; request_headers: property connection|uri_san_peer_certificate; request_headers: property connection|requested_server_name"),
        plain("property-upstream", "request_headers: property upstream|address; log: has_property upstream|port; response_headers: has_property upstream|port; log: property upstream|tls_version"),
        plain("property-plugin", "request_headers: property plugin_root_id; request_headers: property plugin_name; request_headers: property plugin_vm_id; request_headers: property node|id; request_headers: property xds|node|id; request_headers: property xds|node|cluster; request_headers: property xds|listener_direction"),
        plain("property-route", "request_headers: property xds|cluster_name; request_headers: property route_name; log: property xds|cluster_name; request_headers: property cluster_name"),
        plain("shared-data", "request_headers: shared_get sd-none; request_headers: shared_set sd-a one 0; request_headers: shared_get sd-a; request_headers: shared_swap sd-a two 0; request_headers: shared_swap sd-a three 1; request_headers: shared_get sd-a; request_headers: shared_set sd-new x 77; request_headers: shared_set sd-empty; request_headers: shared_get sd-empty"),
        plain("queue", "request_headers: queue q-1; request_headers: dequeue q-1; request_headers: enqueue q-1 a; request_headers: enqueue q-1 b; request_headers: dequeue q-1; request_headers: dequeue q-1; request_headers: dequeue q-1; request_headers: enqueue q-none x; request_headers: resolve vm-plain q-1; request_headers: resolve vm-plain q-none; request_headers: resolve other q-1"),
        plain("metrics", "request_headers: metric 0 dm_counter; request_headers: increment dm_counter 2; request_headers: increment dm_counter 0; request_headers: increment dm_counter -1; request_headers: record dm_counter 5; request_headers: metric_value dm_counter; request_headers: metric 1 dm_gauge; request_headers: record dm_gauge 10; request_headers: increment dm_gauge -3; request_headers: metric_value dm_gauge; request_headers: increment dm_gauge 0").metrics("dm_"),
        plain("metrics-histogram", "request_headers: metric 2 dh_histogram; request_headers: record dh_histogram 5; request_headers: increment dh_histogram 5; request_headers: metric_value dh_histogram"),
        plain("metrics-twice", "request_headers: metric 0 dt_counter; request_headers: increment dt_counter 2; request_headers: metric 0 dt_counter; request_headers: increment dt_counter 2; request_headers: metric_value dt_counter").metrics("dt_"),
        plain("metrics-negative-gauge", "request_headers: metric 1 dn_gauge; request_headers: record dn_gauge 5; request_headers: increment dn_gauge -2; request_headers: metric_value dn_gauge").metrics("dn_"),
        plain("wild-pointers", "request_headers: wild 0; request_headers: wild 1; request_headers: wild 2; request_headers: wild 3; request_headers: wild 4; request_headers: wild 5; request_headers: wild 6; request_headers: wild 7; request_headers: wild 8; request_headers: wild 9; request_headers: wild 10; request_headers: wild 11; request_headers: wild 12"),
        plain("levels", "request_headers: log 0 a; request_headers: log 5 b; request_headers: log_level; request_headers: time"),
        plain("log-levels", "request_headers: log 0 [log-levels-x]trace; request_headers: log 1 [log-levels-x]debug; request_headers: log 3 [log-levels-x]warn; request_headers: log 4 [log-levels-x]error; request_headers: log 5 [log-levels-x]critical; request_headers: stdout [log-levels-x]out"),
        plain("environment", "request_headers: env PROBE; request_headers: env NONE"),
        plain("foreign-unknown", "request_headers: foreign nothing x; request_headers: foreign clear_route_cache"),
        plain("foreign-verify-garbage", "request_headers: foreign verify_signature x; request_headers: foreign verify_signature; request_headers: foreign verify_signature %0a%06sha256"),
        plain("foreign-uncompress", "request_headers: foreign uncompress x%9cK%04%00%00b%00b; request_headers: foreign uncompress garbage; request_headers: foreign uncompress; request_headers: foreign uncompress x%9cK%04%00%00b%00; request_headers: foreign uncompress x%9cK%04%00%00b%00bmore; request_headers: foreign uncompress x%9cK%04%00%00b%00c; request_headers: foreign uncompress K%04%00"),
        plain("foreign-filter-state-seen", "request_headers: foreign set_envoy_filter_state %0a%0cenvoy.string%12%05hello; request_headers: property filter_state|envoy.string; response_headers: property filter_state|envoy.string; request_headers: property envoy.string; log: property filter_state|envoy.string; request_headers: foreign set_envoy_filter_state %0a%0cenvoy.string%12%05other; request_headers: property filter_state|envoy.string"),
        plain("foreign-filter-state", "request_headers: foreign set_envoy_filter_state garbage; request_headers: foreign set_envoy_filter_state %0a%07nothing%12%01v"),
        plain("from-root", "request_headers: effective 1; request_headers: set_property a b; request_headers: get 0 :path; request_headers: continue 0; request_headers: property request|path; request_headers: effective"),
        plain("done-uncalled", "request_headers: done; log: done"),
        Case::new("configuration", Setup::named("configuration").plugin("configure: body 7 0 14; configure: body 6 0 99; request_headers: body 7 0 9; request_headers: body 6 0 9").vm_config("vm_start: body 6 0 8"), vec![Sent::get("/")]),
        Case::new("two-roots-share-memory", Setup::named("shared-memory").plugin("request_headers: metric 0 ds_shared; request_headers: increment ds_shared 3").plugin("request_headers: metric_value ds_shared; request_headers: property plugin_root_id; request_headers: property plugin_name"), vec![Sent::get("/")]).metrics("ds_"),
        Case::new("property-between-plugins", Setup::named("property-between").plugin("request_headers: set_property handle 42").plugin("request_headers: property handle; response_headers: set_property back 43; log: property handle"), vec![Sent::get("/")]),
        Case::new("large-grow", Setup::named("grow").plugin(""), vec![Sent::get("/").script("request_headers: grow 1000; request_headers: grow 20000; request_headers: get 0 :path")]),
    ]
}
