//! Modules from other tool chains, and bytes that are no module at all.

mod common;

use std::time::Duration;

use portcullis_testhost::{
    AbiVersion, Answer, FailureKind, Host, HostBuilder, Limits, LoadError, LogLevel, Module, Plugin, Request,
    StartError,
};

/// A module with these lines between its markers and its memory.
fn wat(lines: &str) -> String {
    format!(
        r#"(module {lines} (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#
    )
}

fn load(text: &str) -> Result<Module, LoadError> {
    Module::from_bytes("test.wasm", text.as_bytes())
}

fn start(lines: &str) -> Result<Host, StartError> {
    host(lines).start()
}

fn host(lines: &str) -> HostBuilder {
    Host::builder().plugin(Plugin::new(&load(&wat(lines)).expect("it loads")).name("test"))
}

/// A big module takes the compiler half a minute. This one does not compile at all, and is refused for its marker.
#[test]
fn the_marker_is_looked_for_before_the_code_is() {
    let error = load("(module (func (export \"run\") (result i32)))").expect_err("neither marker nor result");
    assert!(matches!(&error, LoadError::Abi { found, .. } if found == "none"), "{error}");
}

#[test]
fn a_plugin_of_the_rust_sdk_runs() {
    let module = Module::from_file(common::probe_path("rust-sdk")).unwrap();
    assert_eq!(module.abi(), AbiVersion::V0_2_1);
    let mut host = Host::builder()
        .plugin(Plugin::new(&module).config("authz"))
        .cluster("authz", Answer::ok().body("fine").after(Duration::from_millis(5)))
        .start()
        .unwrap();
    let exchange = host.request(Request::get("/secret"));
    exchange.assert_paused();
    host.advance(Duration::from_millis(5));
    exchange.assert_status(200).assert_upstream_header("x-verdict", "fine");
    assert_eq!(host.shared_data("", "verdict").unwrap().0, b"fine");
    host.set_cluster("authz", Answer::status(500));
    let seen = host.request(Request::get("/secret")).assert_refused(403);
    assert_eq!((seen.text().as_str(), seen.header("x-denied-by")), ("denied", Some("rust-sdk")));
    host.advance(Duration::from_secs(5));
    host.assert_logged("tick, last verdict");
    host.assert_logged("logged 403");
}

/// The Rust SDK (0.2.5) panics on a header value that is not UTF-8: a denial of service that a filter's
/// tests should find.
#[test]
fn a_panic_of_the_rust_sdk_shows_its_place() {
    let module = Module::from_file(common::probe_path("rust-sdk")).unwrap();
    let mut host = Host::builder()
        .plugin(Plugin::new(&module).config("authz"))
        .cluster("authz", Answer::ok())
        .start()
        .unwrap();
    let raw = Request::exact([(&b":method"[..], &b"GET"[..]), (b":path", b"/\xff"), (b":authority", b"a")]);
    host.request(raw).assert_status(503);
    let failure = host.vms().into_iter().find_map(|vm| vm.failure).unwrap();
    assert_eq!(failure.kind, FailureKind::Trap);
    assert!(failure.message.contains("proxy_on_request_headers"), "{failure}");
}

#[test]
fn a_plugin_in_standard_go_runs() {
    let module = Module::from_file(common::go_probe_path("go")).unwrap();
    let mut host =
        Host::builder().plugin(Plugin::new(&module).config("hello").env("PROBE", "present")).start().unwrap();
    host.assert_logged("configured with hello, present");
    for _ in 0..200 {
        host.request(Request::get("/")).assert_status(200).assert_upstream_header("x-greeting", "hello 64");
    }
    host.request(Request::get("/forbidden")).assert_refused(403);
    assert_eq!(host.metrics().counter("go_requests"), 201);
    host.advance(Duration::from_secs(1));
    host.assert_logged("tick from go");
}

/// The Go SDK exports every callback, TCP's too, and speaks ABI 0.2.0.
#[test]
fn a_plugin_of_the_go_sdk_runs() {
    let module = Module::from_file(common::go_probe_path("go-sdk")).unwrap();
    assert_eq!(module.abi(), AbiVersion::V0_2_0);
    let mut host = Host::builder()
        .plugin(Plugin::new(&module).config("authz"))
        .cluster("authz", Answer::ok().body("fine").after(Duration::from_millis(5)))
        .upstream(Answer::ok().chunk("hello").chunk(", you"))
        .start()
        .unwrap();
    let exchange = host.request(Request::get("/"));
    exchange.assert_paused();
    assert_eq!(host.pending_calls("authz")[0].request.headers.get("x-headers"), Some("6"));
    host.advance(Duration::from_millis(5));
    exchange.assert_status(200).assert_upstream_header("x-verdict", "fine");
    exchange.assert_response_body("hello, you and bye");
    assert_eq!(exchange.filter_state("wasm.verdict"), Some(b"fine".to_vec()));
    host.set_cluster("authz", Answer::never());
    let late = host.request(Request::get("/"));
    host.advance(Duration::from_millis(100));
    assert_eq!(late.assert_refused(403).header("x-denied-by"), Some("go-sdk"));
    host.advance(Duration::from_secs(1));
    host.assert_logged("tick: fine, 1, <nil>");
    host.assert_logged("done with 403, <nil>");
    assert_eq!(host.metrics().counter("go_sdk_requests"), 2);
    // Go's values are text in any encoding: no panic on bytes that are not UTF-8.
    host.set_cluster("authz", Answer::ok().body("fine"));
    host.request(Request::get("/").header("x-raw", b"\xff")).assert_status(200);
}

#[test]
fn a_filter_is_built_by_cargo() {
    let folder = tempfile::tempdir().unwrap();
    let crate_of = |name: &str, lib: &str, code: &str| {
        let root = folder.path().join(name);
        std::fs::create_dir_all(root.join("src")).unwrap();
        let manifest =
            format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[lib]\n{lib}\n[workspace]\n");
        std::fs::write(root.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(root.join("src/lib.rs"), code).unwrap();
        root.join("Cargo.toml")
    };
    let code = r#"
        #[unsafe(no_mangle)] pub extern "C" fn proxy_abi_version_0_2_1() {}
        #[unsafe(no_mangle)] pub extern "C" fn proxy_on_memory_allocate(_: usize) -> usize { 1024 }
        #[unsafe(no_mangle)] pub extern "C" fn proxy_on_configure(_: u32, size: u32) -> u32 { u32::from(size == 2) }
    "#;
    let module = Module::from_cargo(crate_of("good-filter", "crate-type = [\"cdylib\"]", code)).unwrap();
    assert_eq!(module.name(), "good_filter.wasm");
    Host::builder().plugin(Plugin::new(&module).config("{}")).start().unwrap();
    let broken = Module::from_cargo(crate_of("broken", "crate-type = [\"cdylib\"]", "fn x( {")).unwrap_err();
    assert!(matches!(&broken, LoadError::Build { reason, .. } if reason.contains("error: ")), "{broken}");
    let rlib = Module::from_cargo(crate_of("no-module", "", "")).unwrap_err();
    assert!(rlib.to_string().contains("crate-type"), "{rlib}");
    let nowhere = Module::from_cargo(folder.path().join("nowhere/Cargo.toml")).unwrap_err();
    assert!(matches!(nowhere, LoadError::Build { .. }), "{nowhere}");
}

#[test]
fn bytes_that_are_no_module() {
    let good = wat::parse_str(wat("")).unwrap();
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("text", b"not wasm at all"),
        ("magic only", &good[..4]),
        ("truncated", &good[..good.len() - 3]),
        ("garbage after the magic", b"\0asm\x01\0\0\0\xff\xff\xff\xff"),
    ] {
        let error = Module::from_bytes("bad.wasm", bytes).unwrap_err();
        assert!(matches!(error, LoadError::NotWasm { .. }), "{what}: {error}");
    }
    for cut in 8..good.len() {
        // Some prefixes are modules, with other faults; none may panic.
        let _ = Module::from_bytes_uncached("cut.wasm", &good[..cut]).map(|module| module.abi());
    }
    let component = Module::from_bytes("c.wasm", b"\0asm\x0d\0\x01\0").unwrap_err();
    assert!(matches!(component, LoadError::Component { .. }), "{component}");
    let missing = Module::from_file("/nowhere/there-is-none.wasm").unwrap_err();
    assert!(missing.to_string().contains("/nowhere/there-is-none.wasm"), "{missing}");
}

#[test]
fn modules_that_are_not_for_this_host() {
    let none = load(r#"(module (memory (export "memory") 1))"#).unwrap_err();
    assert!(matches!(&none, LoadError::Abi { found, .. } if found == "none"), "{none}");
    let old = load(r#"(module (func (export "proxy_abi_version_0_1_0")))"#).unwrap_err();
    assert!(matches!(&old, LoadError::Abi { found, .. } if found == "proxy_abi_version_0_1_0"), "{old}");
    let no_memory = load(r#"(module (func (export "proxy_abi_version_0_2_0")))"#).unwrap_err();
    assert!(matches!(no_memory, LoadError::MissingExport { export: "memory", .. }), "{no_memory}");
    let no_malloc =
        load(r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_0")))"#)
            .unwrap_err();
    assert!(
        matches!(no_malloc, LoadError::MissingExport { export: "proxy_on_memory_allocate", .. }),
        "{no_malloc}"
    );
}

#[test]
fn missing_imports_are_all_named() {
    let lines =
        r#"(import "env" "proxy_teleport" (func)) (import "wasi_snapshot_preview1" "sock_open" (func))"#;
    let error = load(&wat(lines)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.wasm imports what no Proxy-Wasm host offers: env.proxy_teleport, wasi_snapshot_preview1.sock_open"
    );
}

#[test]
fn imports_and_exports_of_the_wrong_type() {
    let error = load(&wat(r#"(import "env" "proxy_log" (func (param i64)))"#)).unwrap_err();
    assert!(matches!(&error, LoadError::ImportType { import, .. } if import == "env.proxy_log"), "{error}");
    let error = load(&wat(r#"(func (export "proxy_on_tick") (param i64))"#)).unwrap_err();
    assert!(matches!(error, LoadError::ExportType { export: "proxy_on_tick", .. }), "{error}");
}

#[test]
fn a_module_of_abi_0_2_0_runs() {
    let text = wat("").replace("0_2_1", "0_2_0");
    let module = load(&text).unwrap();
    assert_eq!(module.abi(), AbiVersion::V0_2_0);
    let mut host = Host::builder().plugin(Plugin::new(&module)).start().unwrap();
    host.request(Request::get("/")).assert_status(200);
}

#[test]
fn an_endless_loop_ends_with_the_fuel() {
    let error = host(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (loop (br 0)) (i32.const 1))"#,
    )
    .limits(Limits { fuel_per_callback: 1_000_000, ..Limits::default() })
    .start()
    .err()
    .unwrap();
    let StartError::Trapped { failure, .. } = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::OutOfFuel);
    assert!(failure.to_string().starts_with("out of fuel in proxy_on_configure (context 1)"), "{failure}");
}

#[test]
fn an_endless_recursion_is_a_stack_overflow() {
    let error = start(r#"(func $f (call $f)) (func (export "_initialize") (call $f))"#).err().unwrap();
    let StartError::Trapped { failure, .. } = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::StackOverflow);
}

#[test]
fn four_gibibytes_of_memory_are_refused() {
    let text = wat("").replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 65536)");
    let module = load(&text).unwrap();
    let error = Host::builder().plugin(Plugin::new(&module)).start().err().unwrap();
    assert!(matches!(error, StartError::Memory { limit: 0x4000_0000, .. }), "{error}");
}

#[test]
fn refusals_of_the_configuration_say_what_the_module_said() {
    let lines = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (data (i32.const 8) "no issuer")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $log (i32.const 4) (i32.const 8) (i32.const 9))) (i32.const 0))"#;
    assert_eq!(
        start(lines).err().unwrap().to_string(),
        "canary of test: proxy_on_configure returned false; its last log line: no issuer"
    );
    let error = start(r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 0))"#);
    assert!(matches!(error, Err(StartError::VmStartRefused { .. })));
}

#[test]
fn hostcalls_are_restricted_while_the_module_starts() {
    let lines = r#"(import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        (func (export "_initialize") (drop (call $tick (i32.const 1))))"#;
    let StartError::Trapped { failure, .. } = start(lines).err().unwrap() else { panic!() };
    assert_eq!(failure.kind, FailureKind::Restricted);
}

/// An allocator that returns nonsense, and callbacks that return any number.
#[test]
fn a_module_that_breaks_every_promise_does_no_harm() {
    for allocated in [0_u32, 3, 65_530, 0xffff_fff0] {
        for returned in [-1, 2, 5, 99] {
            let lines = format!(
                r#"(import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
                (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const {allocated}))
                (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                    (drop (call $pairs (i32.const 0) (i32.const 0) (i32.const 4))) (i32.const {returned}))
                (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const {returned}))"#
            );
            let text = wat(&lines)
                .replace(r#"(func (export "malloc") (param i32) (result i32) (i32.const 1024))"#, "");
            let mut host = Host::builder().plugin(Plugin::new(&load(&text).unwrap())).start().unwrap();
            host.request(Request::post("/").body("x"));
        }
    }
}

#[test]
fn a_log_level_hides_what_is_less_severe() {
    let lines = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (data (i32.const 8) "text")
        (func (export "proxy_on_log") (param i32)
            (drop (call $log (i32.const 1) (i32.const 8) (i32.const 4)))
            (drop (call $log (i32.const 3) (i32.const 8) (i32.const 4))))"#;
    let mut host = host(lines).log_level(LogLevel::Warn).start().unwrap();
    host.request(Request::get("/"));
    let levels: Vec<_> = host.logs().iter().map(|line| line.level).collect();
    assert_eq!(levels, [LogLevel::Warn]);
}

#[test]
fn hosts_run_side_by_side() {
    let module = common::script_module();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let module = module.clone();
            std::thread::spawn(move || {
                for i in 0..25 {
                    let script = format!("request_headers: add 0 x-n {n}-{i}; request_headers: shared_get k; request_headers: shared_set k {n}");
                    let mut host = Host::builder().plugin(Plugin::new(&module).config(script)).start().unwrap();
                    let exchange = host.request(Request::get("/"));
                    exchange.assert_status(200).assert_upstream_header("x-n", format!("{n}-{i}"));
                    host.assert_logged("shared_get -> 1");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no host disturbs another");
    }
}
