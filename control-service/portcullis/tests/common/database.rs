//! A database of a test's own, and commands on the one that a folder's configuration names.

use std::path::Path;
use std::process::Output;

use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;

use super::run_in;

/// A PostgreSQL server in a folder of this name, and the URL of an empty database on it.
pub(crate) async fn postgres(name: &str) -> (Postgres, String) {
    let server = Postgres::start(&paths::target().join("postgres").join(name)).await.unwrap();
    let url = server.database("portcullis").await.unwrap();
    (server, url)
}

/// Runs a command with the configuration of a folder.
pub(crate) fn configured(folder: &Path, words: &[&str]) -> Output {
    let config = folder.join("control.yaml");
    run_in(folder, &[words, &["--config", config.to_str().unwrap()]].concat())
}

/// What a command that was refused has said.
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}
