//! A first story: `cargo run -p portcullis-testhost --example first_story`.

use std::time::Duration;

use portcullis_testhost::{Answer, FailurePolicy, Fault, Host, Module, Plugin, Request, VmId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Given a plugin and a world …
    let module = Module::from_file(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stamp.wat"))?;
    let mut host = Host::builder()
        .plugin(Plugin::new(&module).name("stamp").on_failure(FailurePolicy::reload()))
        .workers(2)
        .upstream(Answer::ok().body("hello").after(Duration::from_millis(20)))
        .start()?;

    // … when a request comes, then it waits for its upstream, with the plugin's header.
    let exchange = host.request(Request::get("/orders"));
    exchange.assert_paused().assert_upstream_header("x-stamp", "seen");
    host.advance(Duration::from_millis(20));
    exchange.assert_status(200).assert_response_body("hello");
    println!("{exchange}");

    // When the module traps, then that client gets 503, and the VM is reloaded for the next one.
    host.advance(Duration::from_secs(1));
    host.inject(Fault::trap().on("proxy_add_header_map_value").in_vm(VmId::Worker(1)));
    let trapped = host.request(Request::get("/orders").on_worker(1));
    trapped.assert_status(503);
    println!("{trapped}");
    let next = host.request(Request::get("/orders").on_worker(1));
    next.assert_upstream_header("x-stamp", "seen");
    Ok(())
}
