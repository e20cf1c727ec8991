//! A module made with `entry!` exports what it lists and nothing else: each export is a crossing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-wasip1";

/// What `examples/abi_probe.rs` must export, whatever the dependencies bring along.
const EXPECTED: [&str; 15] = [
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_http_call_response",
    "proxy_on_log",
    "proxy_on_memory_allocate",
    "proxy_on_queue_ready",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

/// Modules that Envoy's WASI layer and Proxy-Wasm provide.
const IMPORTABLE: [&str; 2] = ["env", "wasi_snapshot_preview1"];

#[test]
fn the_probe_exports_its_list_and_imports_what_envoy_has() {
    let module = build_probe();
    let (exports, imports) = names(&module).expect("a well-formed module");
    let expected: BTreeSet<String> = EXPECTED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(exports, expected);
    for import in imports {
        assert!(IMPORTABLE.contains(&import.as_str()), "imports {import}");
    }
}

fn build_probe() -> Vec<u8> {
    // A folder of its own: cargo holds a lock on the usual one while other builds run.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi_probe");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "abi_probe"])
        .args(["--package", "portcullis-proxy-wasm-abi", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "no build: rustup target add {TARGET}");
    let module = folder.join(TARGET).join("debug/examples/abi_probe.wasm");
    std::fs::read(module).expect("the module just built")
}

/// Names of exports and modules of imports.
fn names(module: &[u8]) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut exports, mut imports) = (BTreeSet::new(), BTreeSet::new());
    let mut sections = module.strip_prefix(b"\0asm\x01\0\0\0")?;
    while !sections.is_empty() {
        let (&id, rest) = sections.split_first()?;
        sections = rest;
        let size = number(&mut sections)?;
        let (mut section, rest) = sections.split_at_checked(size)?;
        sections = rest;
        match id {
            2 => {
                for _ in 0..number(&mut section)? {
                    imports.insert(name(&mut section)?);
                    name(&mut section)?;
                    // Only functions are imported: a kind byte of 0 and a type index.
                    section = section.strip_prefix(b"\0")?;
                    number(&mut section)?;
                }
            }
            7 => {
                for _ in 0..number(&mut section)? {
                    exports.insert(name(&mut section)?);
                    section = section.get(1..)?;
                    number(&mut section)?;
                }
            }
            _ => {}
        }
    }
    Some((exports, imports))
}

/// An unsigned LEB128 number.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte < 0x80 {
            return Some(value);
        }
    }
}

fn name(bytes: &mut &[u8]) -> Option<String> {
    let size = number(bytes)?;
    let (name, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    String::from_utf8(name.to_vec()).ok()
}
