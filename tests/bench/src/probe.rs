//! What a hostcall costs on this Envoy: modules that do one call many times per request, beside one that
//! does none.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::{BenchError, Result};
use crate::world::{Algorithm, World};

/// A hostcall to be timed.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// The listener's name.
    pub name: &'static str,
    /// What is timed: the hostcall, as it is named in Envoy's trace, or what it is asked to do.
    pub label: &'static str,
    /// Calls per request.
    pub repeat: u32,
    /// The hostcall's name; empty for the module that calls nothing.
    call: &'static str,
    import: &'static str,
    body: String,
    /// Bytes from address [`ARGUMENT`] on.
    argument: Vec<u8>,
    /// What the request headers are answered with.
    action: Action,
}

/// `proxy_on_request_headers`' answer.
#[derive(Debug, Clone, Copy)]
enum Action {
    Continue = 0,
    Pause = 1,
}

/// Text that the probes pass, at address 0: a header's name, a property's path, a function's name, a key.
const DATA: &str = r"x-probe-headersource\00addressclear_route_cacheprobe.keyverify_signature:path";

/// Where a probe's own argument stands.
const ARGUMENT: usize = 4096;

fn probe(
    name: &'static str,
    call: &'static str,
    repeat: u32,
    import: &'static str,
    body: &'static str,
) -> Probe {
    let (body, argument) = (body.to_owned(), Vec::new());
    Probe { name, label: call, repeat, call, import, body, argument, action: Action::Continue }
}

/// The arguments of Envoy's foreign function `verify_signature`.
#[derive(Clone, PartialEq, Message)]
struct VerifySignature {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

/// All probes; the first calls nothing.
///
/// # Errors
/// When no token can be signed.
pub(crate) fn probes(world: &World) -> Result<Vec<Probe>> {
    let mut probes = Vec::from(plain());
    probes.push(reply());
    for (name, label, algorithm) in [
        ("probe-verify-rs256", "verify_signature RS256", Algorithm::Rs256),
        ("probe-verify-es256", "verify_signature ES256", Algorithm::Es256),
    ] {
        probes.push(verify(name, label, world, algorithm)?);
    }
    Ok(probes)
}

/// A refusal, with status 200, since the load generator takes no other.
fn reply() -> Probe {
    let name = "proxy_send_local_response";
    let import = "(param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
    let body = "(i32.const 200) (i32.const 0) (i32.const 0) (i32.const 2048) (i32.const 200) (i32.const 0) \
                (i32.const 0) (i32.const -1)";
    Probe { action: Action::Pause, ..probe("probe-reply", name, 1, import, body) }
}

/// One signature of a token, verified again and again.
fn verify(name: &'static str, label: &'static str, world: &World, algorithm: Algorithm) -> Result<Probe> {
    let signed = world.signed(algorithm)?;
    let argument = VerifySignature {
        hash: "sha256".into(),
        public_key: signed.public_key,
        signature: signed.signature,
        text: signed.text,
    };
    let argument = argument.encode_to_vec();
    let body = format!(
        "(i32.const 54) (i32.const 16) (i32.const {ARGUMENT}) (i32.const {}) (i32.const 1024) (i32.const 1028)",
        argument.len()
    );
    let import = "(param i32 i32 i32 i32 i32 i32) (result i32)";
    Ok(Probe { label, body, argument, ..probe(name, "proxy_call_foreign_function", 5, import, "") })
}

/// The probes that need nothing but [`DATA`]. Results go to addresses from 1024 on, what the host allocates
/// from 65,536 on.
fn plain() -> [Probe; 12] {
    [
        probe("probe-nothing", "", 0, "", ""),
        probe(
            "probe-pairs",
            "proxy_get_header_map_pairs",
            20,
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 1024) (i32.const 1028)",
        ),
        probe(
            "probe-get",
            "proxy_get_header_map_value",
            20,
            "(param i32 i32 i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 70) (i32.const 5) (i32.const 1024) (i32.const 1028)",
        ),
        probe(
            "probe-add",
            "proxy_add_header_map_value",
            6,
            "(param i32 i32 i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 0) (i32.const 14) (i32.const 2048) (i32.const 20)",
        ),
        probe(
            "probe-replace",
            "proxy_replace_header_map_value",
            20,
            "(param i32 i32 i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 0) (i32.const 14) (i32.const 2048) (i32.const 20)",
        ),
        probe(
            "probe-remove",
            "proxy_remove_header_map_value",
            20,
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0) (i32.const 0) (i32.const 14)",
        ),
        probe(
            "probe-property",
            "proxy_get_property",
            20,
            "(param i32 i32 i32 i32) (result i32)",
            "(i32.const 14) (i32.const 14) (i32.const 1024) (i32.const 1028)",
        ),
        probe(
            "probe-set-property",
            "proxy_set_property",
            20,
            "(param i32 i32 i32 i32) (result i32)",
            "(i32.const 45) (i32.const 9) (i32.const 2048) (i32.const 16)",
        ),
        probe(
            "probe-shared-data",
            "proxy_set_shared_data",
            20,
            "(param i32 i32 i32 i32 i32) (result i32)",
            "(i32.const 45) (i32.const 9) (i32.const 2048) (i32.const 400) (i32.const 0)",
        ),
        probe(
            "probe-foreign",
            "proxy_call_foreign_function",
            20,
            "(param i32 i32 i32 i32 i32 i32) (result i32)",
            "(i32.const 28) (i32.const 17) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1028)",
        ),
        probe(
            "probe-clock",
            "proxy_get_current_time_nanoseconds",
            20,
            "(param i32) (result i32)",
            "(i32.const 1024)",
        ),
        probe(
            "probe-wasi-clock",
            "clock_time_get",
            20,
            "(param i32 i64 i32) (result i32)",
            "(i32.const 0) (i64.const 1) (i32.const 1024)",
        ),
    ]
}

impl Probe {
    /// Assembles the module into a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(format!("{}.wasm", self.name));
        let bytes = wat::parse_str(self.text())
            .map_err(|e| BenchError::invalid(self.name, format!("its module does not assemble: {e}")))?;
        std::fs::write(&path, bytes).map_err(BenchError::io("write", &path))?;
        Ok(path)
    }

    fn text(&self) -> String {
        let space = if self.call.starts_with("proxy_") { "env" } else { "wasi_snapshot_preview1" };
        let import = match self.call {
            "" => String::new(),
            call => format!("(import \"{space}\" \"{call}\" (func $call {}))", self.import),
        };
        // A call that fails would be timed as a fast one: the module traps, and the round is refused.
        let calls =
            format!("(if (call $call {}) (then unreachable))", self.body).repeat(self.repeat as usize);
        let argument = self.argument.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\{byte:02x}");
            text
        });
        let action = self.action as u8;
        format!(
            r#"(module {import}
            (memory (export "memory") 4)
            (data (i32.const 0) "{DATA}")
            (data (i32.const {ARGUMENT}) "{argument}")
            (global $heap (mut i32) (i32.const 65536))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) (local $at i32)
              (local.set $at (global.get $heap))
              (global.set $heap (i32.add (global.get $heap) (local.get $size)))
              (local.get $at))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (global.set $heap (i32.const 65536))
              {calls}
              (i32.const {action})))"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_assembles() {
        for probe in probes(&World::new().unwrap()).unwrap() {
            wat::parse_str(probe.text()).unwrap_or_else(|e| panic!("{}: {e}", probe.name));
        }
    }

    #[test]
    fn the_addresses_point_at_the_texts() {
        let data = DATA.replace("\\00", "\0");
        let text = |at: usize, length: usize| &data[at..at + length];
        assert_eq!(text(0, 14), "x-probe-header");
        assert_eq!(text(14, 14), "source\0address");
        assert_eq!(text(28, 17), "clear_route_cache");
        assert_eq!(text(45, 9), "probe.key");
        assert_eq!(text(54, 16), "verify_signature");
        assert_eq!(text(70, 5), ":path");
    }
}
