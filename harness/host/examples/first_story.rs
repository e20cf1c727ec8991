//! A first story: `cargo run -p portcullis-testhost --example first_story`. README.md shows the same.

use std::time::Duration;

use portcullis_testhost::{Answer, FailurePolicy, Fault, Host, Module, Plugin, Request, VmId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Given a plugin …
    let module = Module::from_bytes("stamp.wat", STAMP.as_bytes())?; // or Module::from_file("my_filter.wasm")
    let plugin = Plugin::new(&module).root_id("stamp").config("{}").on_failure(FailurePolicy::reload());
    // … and a world: two workers, a service that plugins call, one behind the route …
    let mut host = Host::builder()
        .plugin(plugin)
        .workers(2)
        .cluster("authz", Answer::ok().body("yes"))
        .upstream(Answer::ok().body("hello").after(Duration::from_millis(20)))
        .start()?;

    // … when a request comes, then it waits for its upstream, with the plugin's header.
    let exchange = host.request(Request::get("/orders").header("x-user", "ann"));
    exchange.assert_paused().assert_upstream_header("x-stamp", "seen");
    host.advance(Duration::from_millis(20));
    exchange.assert_status(200).assert_response_body("hello");

    // When the module traps, then that client gets 503, and the VM is reloaded for the next one.
    host.advance(Duration::from_secs(1));
    host.inject(Fault::trap().on("proxy_add_header_map_value").in_vm(VmId::Worker(1)));
    host.request(Request::get("/orders").on_worker(1)).assert_status(503);
    let next = host.request(Request::get("/orders").on_worker(1));
    next.assert_upstream_header("x-stamp", "seen");
    println!("{next}");
    Ok(())
}

/// The smallest useful filter: it adds "x-stamp: seen" to every request.
const STAMP: &str = r#"(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-stampseen")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $add (i32.const 0) (i32.const 16) (i32.const 7) (i32.const 23) (i32.const 4)))
    (i32.const 0)))"#;
