//! `portcullis policy`: handed over to the program that has the mesh.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn it_is_handed_over_to_the_program_beside_it_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("portcullis");
    std::fs::copy(env!("CARGO_BIN_EXE_portcullis"), &own).unwrap();
    let told = Command::new(&own)
        .args(["policy", "test", "x"])
        .env("PATH", folder.path().join("nowhere"))
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(2));
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(said.contains("portcullis-mesh was not found") && said.contains("make build"), "{said}");

    let mesh = folder.path().join("portcullis-mesh");
    std::fs::write(&mesh, "#!/bin/sh\necho \"$@\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&mesh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let told =
        Command::new(&own).args(["policy", "diff", "a", "b", "--cases", "c", "--help"]).output().unwrap();
    assert_eq!(told.status.code(), Some(7));
    assert_eq!(String::from_utf8(told.stdout).unwrap(), "policy diff a b --cases c --help\n");
}
