//! Modules that fuzzing found, and the good examples, through the fuzz target.

mod fuzz;

use std::path::Path;

use portcullis_testhost::{Answer, Host, Module, Plugin, Request};

#[test]
fn what_fuzzing_found_stays_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz-inputs");
    for entry in std::fs::read_dir(&folder).expect("the folder of inputs").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let input = std::fs::read(entry.path()).expect("the input");
        if let Err(broken) = fuzz::check(&input) {
            panic!("{name}: {broken}");
        }
    }
    for input in fuzz::examples() {
        fuzz::check(&input).expect("a good example");
    }
}

/// What the fuzzer changes must be worth changing: the busy module pauses, calls out, and lets through.
#[test]
fn the_busy_module_is_busy() {
    let module = Module::from_bytes("busy.wat", include_bytes!("fuzz/busy.wat")).expect("it loads");
    let mut host = Host::builder()
        .plugin(Plugin::new(&module))
        .cluster("up", Answer::ok().body("answer"))
        .upstream(Answer::ok().body("hello"))
        .allow_misuse()
        .start()
        .expect("it starts");
    let exchange = host.request(Request::post("/").body("body"));
    exchange.assert_status(200).assert_upstream_body("upbody");
    assert_eq!(exchange.trace().count("proxy_continue_stream"), 1, "{exchange}");
}
