//! The first steps of control-service/README.md, as they are printed.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const README: &str = include_str!("../../README.md");

/// The first block of this language in the section.
fn block(language: &str) -> String {
    let section = &README[README.find("## First steps").unwrap()..];
    let begin = section.find(&["```", language].concat()).unwrap();
    let from = begin + section[begin..].find('\n').unwrap() + 1;
    section[from..from + section[from..].find("```").unwrap()].to_owned()
}

/// The same with ports that are free here.
fn with_free_ports(text: String) -> String {
    static PORTS: std::sync::LazyLock<[String; 3]> = std::sync::LazyLock::new(|| {
        let taken = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        taken.map(|listener| listener.local_addr().unwrap().to_string())
    });
    let printed = ["127.0.0.1:9700", "127.0.0.1:9701", "127.0.0.1:9702"];
    printed.into_iter().zip(&*PORTS).fold(text, |text, (printed, free)| text.replace(printed, free))
}

fn run(folder: &Path, steps: &str) -> Output {
    // Whatever happens, nothing goes on in the background.
    let script = ["set -euo pipefail\ntrap 'kill $(jobs -p); wait' EXIT\n", steps].concat();
    let program = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
    let path = [program.to_str().unwrap(), ":", &std::env::var("PATH").unwrap()].concat();
    let mut bash = Command::new("bash");
    for name in ["PORTCULLIS_TOKEN", "PORTCULLIS_SERVER", "DATABASE_URL"] {
        bash.env_remove(name);
    }
    bash.args(["-c", &script]).current_dir(folder).env("PATH", path).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_first_steps_work_as_they_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("control.yaml"), with_free_ports(block("yaml"))).unwrap();
    let output = run(folder.path(), &with_free_ports(block("sh")));
    let [told, beside] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{told}\n{beside}");
    for wanted in ["the configuration is good", "role: administrator", "token: pcc_", "key: pck_"] {
        assert!(told.contains(wanted), "{wanted}: {told}\n{beside}");
    }
    let warnings: Vec<&str> = beside.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(matches!(warnings[..], [issuers] if issuers.contains("neither `issuers`")), "{warnings:?}");
}
