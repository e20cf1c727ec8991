//! The module in a process that is no Envoy that it knows: it says so and does not load, and calls
//! nothing of that process's before.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::envoy::probe;

/// A process that exports these callbacks and, if it tells a version, the module that Envoy
/// carries. It loads the probe and prints what its first hook answers.
fn host(callbacks: &[String], version: Option<&str>) -> String {
    let mut source = String::from("#include <dlfcn.h>\n#include <stdio.h>\n#include <stdlib.h>\n");
    for name in callbacks {
        // A callback that is called ends the process.
        writeln!(source, "void envoy_dynamic_module_callback_{name}(void) {{ abort(); }}").unwrap();
    }
    if let Some(version) = version {
        let init = "hickory_dns_static_envoy_dynamic_module_on_program_init";
        writeln!(source, "const char *{init}(void) {{ return \"{version}\"; }}").unwrap();
    }
    source.push_str(
        "int main(int argc, char **argv) {
           void *module = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
           if (!module) { printf(\"dlopen: %s\\n\", dlerror()); return 1; }
           const char *(*init)(void) = dlsym(module, \"envoy_dynamic_module_on_program_init\");
           const char *answer = init();
           printf(\"answer: %s\\n\", answer ? answer : \"null\");
           return 0;
         }",
    );
    source
}

/// Runs such a process; answers what it printed.
fn load(callbacks: &[String], version: Option<&str>, told: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("host.c"), dir.path().join("host"));
    fs::write(&source, host(callbacks, version)).unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-rdynamic").arg("-o").arg(&program).arg(&source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler, which Rust links with too").success());
    run(&program, told)
}

fn run(program: &Path, told: Option<&str>) -> String {
    let mut command = Command::new(program);
    command.arg(probe()).env_remove("PORTCULLIS_ENVOY_ABI");
    command.envs(told.map(|version| ("PORTCULLIS_ENVOY_ABI", version)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What the module says is missing where everything is.
fn needed() -> Vec<String> {
    let said = load(&[], None, None);
    assert!(said.contains("answer: null") && said.contains("portcullis: the module does not load"), "{said}");
    let names = said.split("that are needed: ").nth(1).unwrap().lines().next().unwrap();
    names.split(", ").map(str::to_owned).collect()
}

#[test]
fn a_module_loads_only_in_an_envoy_that_it_knows() {
    let needed = needed();
    assert!(needed.len() > 30, "{needed:?}");

    let said = load(&needed, Some("v0.2.0"), None);
    assert!(said.contains("answer: v0.2.0"), "{said}");

    let said = load(&needed, Some("v9.9.9"), None);
    assert!(said.contains("answer: null") && said.contains("speaks version \"v9.9.9\""), "{said}");

    let said = load(&needed[1..], Some("v0.2.0"), None);
    let missing = format!("lacks 1 callback(s) that are needed: {}", needed[0]);
    assert!(said.contains("answer: null") && said.contains(&missing), "{said}");
}

#[test]
fn where_the_version_is_not_told_the_operator_has_to_say_it() {
    let needed = needed();
    let said = load(&needed, None, None);
    assert!(said.contains("answer: null") && said.contains("set PORTCULLIS_ENVOY_ABI=v0.2.0"), "{said}");
    assert!(load(&needed, None, Some("v0.2.0")).contains("answer: v0.2.0"));
    assert!(load(&needed, None, Some("v0.1.0")).contains("answer: null"));
    // What Envoy says itself counts more.
    assert!(load(&needed, Some("v9.9.9"), Some("v0.2.0")).contains("answer: null"));
}
