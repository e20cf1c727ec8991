//! What ships of a module, and that its traces can be read.

use portcullis_pack::{PackError, pack};
use wasmparser::{KnownCustom, Name, Parser, Payload};

/// An import, an exported function, and one that only the module calls; the text names all of them.
const MODULE: &str = r#"(module
    (import "env" "log" (func $log))
    (func $_ZN3one3two17h0123456789abcdefE unreachable)
    (func $outer (export "proxy_on_tick") (call $log) (call $_ZN3one3two17h0123456789abcdefE)))"#;

type Section = (usize, Vec<u8>);

fn built() -> Vec<u8> {
    let mut module = wat::parse_str(MODULE).unwrap();
    // A section behind the names, as compilers write it: "producers", no fields.
    module.extend(b"\0\x0b\x09producers\0");
    module
}

/// Where the code section is and its bytes, and the names of functions.
fn parts(module: &[u8]) -> (Section, Vec<(u32, String)>) {
    let mut code = (0, Vec::new());
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::CodeSectionStart { range, .. } => code = (range.start, module[range].to_vec()),
            Payload::CustomSection(custom) => {
                let KnownCustom::Name(read) = custom.as_known() else { continue };
                for part in read {
                    let Name::Function(functions) = part.unwrap() else { continue };
                    names.extend(
                        functions.into_iter().map(|n| n.unwrap()).map(|n| (n.index, n.name.to_owned())),
                    );
                }
            }
            _ => {}
        }
    }
    (code, names)
}

#[test]
fn the_code_stays_where_it_is_and_only_what_proxies_call_is_named() {
    let built = built();
    let packed = pack(&built).unwrap().module;
    assert!(packed.len() < built.len());
    assert_eq!(parts(&packed).0, parts(&built).0);
    assert_eq!(parts(&built).1.len(), 3);
    assert_eq!(parts(&packed).1, [(2, "proxy_on_tick".to_owned())]);
    assert!(packed.ends_with(b"producers\0"), "what stands behind the names stays");
}

#[test]
fn the_file_of_names_tells_every_function_by_its_index_and_its_place() {
    let packed = pack(&built()).unwrap();
    let lines: Vec<_> = packed.names.lines().collect();
    assert!(lines[0].starts_with("# portcullis.wasm, SHA-256 "));
    let (start, code) = parts(&packed.module).0;
    let inner = lines[1].split(' ').collect::<Vec<_>>();
    assert_eq!((inner[0], inner[2]), ("1", "one::two"));
    let at = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let (from, to) = inner[1].split_once('-').map(|(from, to)| (at(from), at(to))).unwrap();
    // No locals, `unreachable`, `end`.
    assert_eq!(packed.module[from..to], [0, 0x00, 0x0b]);
    assert!(from > start && to <= start + code.len());
    assert!(lines[2].starts_with("2 ") && lines[2].ends_with(" outer"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn what_traces_could_not_be_read_of_is_an_error() {
    assert!(matches!(pack(&wat::parse_str("(module (func))").unwrap()), Err(PackError::Nameless)));
    assert!(matches!(pack(b"no module"), Err(PackError::Malformed(_))));
}
