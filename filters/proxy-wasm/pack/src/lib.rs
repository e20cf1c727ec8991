//! What of the built Wasm module ships.
//!
//! An optimiser of Wasm takes an eighth off what the compiler writes ([`optimised`]); tests run what it made.
//!
//! The names of functions are more than a tenth of the rest. Proxies need them for nothing but the trace of a trap, so
//! they stand in a file beside the module. The code and where it stands in the file stay as they are, so what was
//! tested is what ships.
//!
//! Envoy prints a trace only for modules with names. So the functions that proxies call keep theirs; of the others the
//! trace has the index and the place, which the file of names tells.

mod optimise;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use sha2::{Digest, Sha256};
use wasmparser::{BinaryReaderError, ExternalKind, KnownCustom, Name, Parser, Payload, TypeRef};

pub use crate::optimise::{OptimiseError, optimised};

/// A module as it ships, and what traces of it are read with.
pub struct Packed {
    /// The module.
    pub module: Vec<u8>,
    /// A line for each function: its index, the place of its code in the module, its name.
    pub names: String,
}

/// Why a module cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is no module.
    #[error("not a Wasm module: {0}")]
    Malformed(#[from] BinaryReaderError),
    /// There is nothing to read traces with.
    #[error("the module has no names of functions; build it with `strip = \"debuginfo\"`")]
    Nameless,
}

/// What is read of a module.
#[derive(Default)]
struct Read {
    /// How many functions it imports: the first indices are theirs.
    imported: u32,
    /// Where the code of its own functions is, in order.
    bodies: Vec<Range<usize>>,
    /// Its exported functions.
    exported: BTreeMap<u32, String>,
    names: BTreeMap<u32, String>,
    /// Where the section with the names is.
    section: Option<Range<usize>>,
}

/// Takes the names out of a module.
///
/// # Errors
/// [`PackError`] when it is no module, or has no names.
pub fn pack(module: &[u8]) -> Result<Packed, PackError> {
    let read = Read::of(module)?;
    let section = read.section.clone().filter(|_| !read.names.is_empty()).ok_or(PackError::Nameless)?;
    let mut packed = Vec::with_capacity(module.len());
    packed.extend(module.iter().take(section.start));
    packed.extend(name_section(&read.exported));
    packed.extend(module.iter().skip(section.end));
    let names = read.lines(&packed);
    Ok(Packed { module: packed, names })
}

impl Read {
    fn of(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut read = Self::default();
        // Where the section before this one ends: the header of a section is no part of its range.
        let mut end = 0;
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            match &payload {
                Payload::ImportSection(imports) => {
                    for import in imports.clone().into_imports() {
                        let is_function = matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                        read.imported = read.imported.saturating_add(u32::from(is_function));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports.clone() {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            read.exported.entry(export.index).or_insert_with(|| export.name.to_owned());
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => read.bodies.push(body.range()),
                Payload::CustomSection(custom) => {
                    if let KnownCustom::Name(names) = custom.as_known() {
                        read.section = Some(end..custom.range().end);
                        read.take_names(names)?;
                    }
                }
                _ => {}
            }
            end = payload.as_section().map_or(end, |(_, range)| range.end);
        }
        Ok(read)
    }

    fn take_names(&mut self, names: wasmparser::NameSectionReader<'_>) -> Result<(), BinaryReaderError> {
        for part in names {
            if let Name::Function(functions) = part? {
                for naming in functions {
                    let naming = naming?;
                    let name = format!("{:#}", rustc_demangle::demangle(naming.name));
                    self.names.insert(naming.index, name);
                }
            }
        }
        Ok(())
    }

    fn lines(&self, packed: &[u8]) -> String {
        let digest: String = Sha256::digest(packed).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut text =
            format!("# portcullis.wasm, SHA-256 {digest}: index, place and name of its functions\n");
        let own = (self.imported..).zip(&self.bodies);
        for (index, body) in own {
            let name = self.names.get(&index).map_or("", String::as_str);
            let _ = writeln!(text, "{index} {:#x}-{:#x} {name}", body.start, body.end);
        }
        text
    }
}

/// A section with these names alone.
fn name_section(names: &BTreeMap<u32, String>) -> Vec<u8> {
    const FUNCTIONS: u8 = 1;
    const CUSTOM: u8 = 0;
    let mut list = leb(names.len());
    for (index, name) in names {
        list.extend(leb(*index as usize));
        list.extend(text(name));
    }
    let content = [text("name"), vec![FUNCTIONS], leb(list.len()), list].concat();
    [vec![CUSTOM], leb(content.len()), content].concat()
}

fn text(text: &str) -> Vec<u8> {
    [leb(text.len()), text.as_bytes().to_vec()].concat()
}

/// An unsigned number in LEB128.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
