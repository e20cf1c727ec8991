//! B27: `make scan` looks for crates with advisories, in a database that whoever scans names.

use std::path::Path;
use std::process::Command;

use portcullis_mesh::paths::root;

/// What `make advisories` says, and whether it is content.
fn scanned(database: Option<&Path>) -> (bool, String) {
    let mut command = Command::new("make");
    // Of the make that runs the tests.
    command.args(["-s", "advisories"]).current_dir(root()).env_remove("MAKEFLAGS").env_remove("ADVISORY_DB");
    if let Some(database) = database {
        command.env("ADVISORY_DB", database);
    }
    let said = command.output().expect("make is missing");
    let text = [said.stdout, said.stderr].concat();
    (said.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn without_a_database_nothing_is_content_and_it_is_said_what_to_set() {
    let (content, told) = scanned(None);
    assert!(!content && told.contains("ADVISORY_DB is not set: git clone https://"), "{told}");
    let empty = tempfile::tempdir().unwrap();
    let (content, told) = scanned(Some(empty.path()));
    assert!(!content && told.contains("has no folder crates: ADVISORY_DB is a clone of"), "{told}");
}

/// A database in git with one advisory, for all versions of a crate.
#[cfg(feature = "slow")]
fn database(package: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("crates").join(package);
    std::fs::create_dir_all(&place).unwrap();
    let advisory = format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2099-0001\"\npackage = \"{package}\"\ndate = \"2026-01-01\"\n\n\
         [versions]\npatched = []\n```\n\n# Made up for a test\n\nNothing is wrong with it.\n"
    );
    std::fs::write(place.join("RUSTSEC-2099-0001.md"), advisory).unwrap();
    let user = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    for arguments in
        [&["init", "-q"][..], &["add", "-A"], &[&user[..], &["commit", "-q", "-m", "One"]].concat()]
    {
        let said =
            Command::new("git").args(arguments).current_dir(folder.path()).output().expect("git is missing");
        assert!(said.status.success(), "{said:?}");
    }
    folder
}

#[cfg(feature = "slow")]
#[test]
fn a_crate_with_an_advisory_is_found_and_one_that_nobody_uses_is_none() {
    let (content, told) = scanned(Some(database("serde").path()));
    assert!(!content && told.contains("RUSTSEC-2099-0001") && told.contains("serde"), "{told}");
    // Only the runner of the fuzz targets has it, by a lock file of its own.
    let (content, told) = scanned(Some(database("libfuzzer-sys").path()));
    assert!(!content && told.contains("RUSTSEC-2099-0001") && told.contains("libfuzzer-sys"), "{told}");
    let (content, told) = scanned(Some(database("a-crate-that-nobody-uses").path()));
    assert!(content, "{told}");
}
