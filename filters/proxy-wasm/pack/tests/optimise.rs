//! A module comes smaller out of the optimiser, does what it did, and keeps the names that traces are read with.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_pack::{OptimiseError, optimised, pack};

/// An exported function that adds two constants by way of another, which nobody needs then.
const MODULE: &str = r#"(module
    (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func $outer (export "proxy_on_tick") (result i32) (call $add (i32.const 40) (i32.const 2))))"#;

fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// A file of this name in the folder of tests.
fn written(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_module_is_optimised_once_and_keeps_its_names() {
    let module = wat::parse_str(MODULE).unwrap();
    let built = written("optimise_probe.wasm", &module);
    let first = optimised(&built, &target()).unwrap();
    let made = fs::metadata(&first).unwrap().modified().unwrap();
    let packed = pack(&fs::read(&first).unwrap()).unwrap();
    assert!(packed.module.len() < pack(&module).unwrap().module.len());
    assert!(packed.names.ends_with(" outer\n"), "{}", packed.names);
    assert_eq!(optimised(&built, &target()).unwrap(), first);
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made, "it was made once");
    let changed = written("optimise_probe.wasm", &wat::parse_str(MODULE.replace("40", "41")).unwrap());
    assert_ne!(optimised(&changed, &target()).unwrap(), first);
    assert!(!first.exists(), "what an earlier build gave is not kept");
}

#[test]
fn what_is_no_module_is_an_error_that_says_so() {
    let built = written("optimise_none.wasm", b"no module");
    match optimised(&built, &target()) {
        Err(OptimiseError::Failed { program: "node", said }) => assert!(!said.is_empty()),
        other => panic!("{other:?}"),
    }
}
