//! Promises about what an attacker feeds: each target takes bytes, makes an input of them, and panics when a promise
//! is broken.
//!
//! `make fuzz` lets libFuzzer look for inputs that reach further into the code (`runner`); `make test` runs the
//! inputs that were kept (`corpus`).

mod input;
mod introspection;
mod jws;
mod mapping;
mod pairs;
mod places;
mod plugin_config;
mod snapshot;
mod tokens;
mod xfcc;

/// A target: its name, which is that of its folder in `corpus`, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("jws", jws::check),
    ("mapping", mapping::check),
    ("introspection", introspection::check),
    ("places", places::check),
    ("pairs", pairs::check),
    ("snapshot", snapshot::check),
    ("plugin_config", plugin_config::check),
    ("xfcc", xfcc::check),
];

/// Runs the target of this name.
///
/// # Panics
/// When a promise is broken, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    check(data);
}
