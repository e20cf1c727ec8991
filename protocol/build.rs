//! Generates the messages from the published `.proto` files, without `protoc`.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use prost_types::{DescriptorProto, FileDescriptorSet};

const FILES: [&str; 3] =
    ["portcullis/mesh/v1/audit.proto", "portcullis/mesh/v1/mesh.proto", "portcullis/mesh/v1/snapshot.proto"];

/// Messages that hold secrets, or bytes that nobody can read: `src/wire.rs` says what a log may show.
const SECRET: [&str; 4] = ["IdentitySigner", "IntrospectionRequest", "Record", "SignedMessage"];

/// Messages that filters write field by field.
const WRITTEN_BY_HAND: [&str; 2] = ["AuditBatch", "AuditRecord"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("tags.rs"), tags(&descriptors)?)?;
    let mut config = prost_build::Config::new();
    config.skip_debug(SECRET.map(|name| format!(".portcullis.mesh.v1.{name}")));
    config.compile_fds(descriptors)?;
    Ok(())
}

/// A module of constants for each message that filters write field by field.
fn tags(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    for name in WRITTEN_BY_HAND {
        let mut messages = descriptors.file.iter().flat_map(|file| &file.message_type);
        let message = messages.find(|m| m.name() == name).ok_or(format!("no message {name}"))?;
        module(message, &mut code)?;
    }
    Ok(code)
}

fn module(message: &DescriptorProto, code: &mut String) -> std::fmt::Result {
    writeln!(code, "/// Numbers of the fields of `{}`.", message.name())?;
    writeln!(code, "pub mod {} {{", snake_case(message.name()))?;
    for field in &message.field {
        writeln!(code, "/// `{}`.", field.name())?;
        writeln!(code, "pub const {}: u32 = {};", field.name().to_uppercase(), field.number())?;
    }
    writeln!(code, "}}")
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
