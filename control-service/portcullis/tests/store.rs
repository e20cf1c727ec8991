//! `portcullis store`: migrate and copy, and that no service is started on a database that is not its own any more.

mod common;

use std::path::Path;
use std::process::Output;

use portcullis_control_store::Server as DatabaseServer;
use reqwest::Method;
use serde_json::{Value, json};

use common::database::postgres;
use common::{GATEWAY, Server, run_in, stdout};

/// Runs SQL on a server, as anybody may who has its URL.
async fn sql(url: &str, sql: &'static str) {
    let url = url.to_owned();
    let run = move || DatabaseServer::parse(&url).unwrap().connect().unwrap().batch(sql).unwrap();
    tokio::task::spawn_blocking(run).await.unwrap();
}

/// Has the commands and the service of a folder find the database there, or in the folder again.
fn set_url(folder: &Path, url: Option<&str>) {
    let file = folder.join("database-url");
    match url {
        Some(url) => std::fs::write(file, url).unwrap(),
        None => std::fs::remove_file(file).unwrap(),
    }
}

fn run(folder: &Path, words: &[&str]) -> Output {
    let config = folder.join("control.yaml");
    run_in(folder, &[words, &["--config", config.to_str().unwrap()]].concat())
}

/// What a command says that fails.
fn told(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn stop(service: &mut Server) {
    service.signal("TERM");
    assert_eq!(service.exit_code().await, Some(0));
}

/// Of everything that a store holds something.
async fn fill(service: &Server) -> Value {
    let token = common::text(&service.register("orders").await["token"]);
    service.register("stopped").await;
    assert_eq!(service.heartbeat("orders", &token, None).await.0, 200);
    service.expect(200, Method::POST, "/v1/clusters/stopped/suspend", None).await;
    let key = service.create_key("job").await;
    let revoked = service.create_key("gone").await;
    let path = ["/v1/api-keys/", revoked["api_key"]["id"].as_str().unwrap()].concat();
    service.expect(200, Method::DELETE, &path, None).await;
    let body = json!({"name": "jti:stolen", "note": "it's \"stolen\""});
    service.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    service.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    key
}

/// Everything that the platform API tells of a store, but for what asking changes.
async fn all(service: &Server) -> Vec<Value> {
    let mut found = Vec::new();
    for path in ["clusters", "api-keys", "revocations", "signing-keys", "administrators"] {
        found.push(service.expect(200, Method::GET, &["/v1/", path].concat(), None).await);
    }
    // The time of the last heartbeat is written a little later than what it changed, and then again.
    for cluster in found[0]["clusters"].as_array_mut().unwrap() {
        cluster["last_heartbeat_at_ms"] = json!(!cluster["last_heartbeat_at_ms"].is_null());
    }
    found
}

#[tokio::test]
async fn a_store_that_is_copied_lives_on_at_the_server() {
    let (_server, url) = postgres("store-copied").await;
    let mut service =
        Server::start_with(|config| config["store"]["sealingKeyFile"] = json!("kept.key")).await;
    let folder = service.folder.path().to_owned();
    fill(&service).await;
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    gateway.sync(&service).await;
    set_url(&folder, Some(&url));
    let busy = told(&run(&folder, &["store", "copy"]));
    assert!(busy.contains("in use by another `portcullis serve`"), "{busy}");
    let before = all(&service).await;
    let records = service.expect(200, Method::GET, "/v1/audit/records?limit=1000", None).await;
    stop(&mut service).await;

    let copied = stdout(&run(&folder, &["store", "copy"]));
    assert!(copied.contains("copied and compared") && copied.contains("kept.key"), "{copied}");
    service.restart().await;
    assert_eq!(all(&service).await, before);
    let after = service.expect(200, Method::GET, "/v1/audit/records?limit=1000", None).await;
    let (records, after) = (records["records"].as_array().unwrap(), after["records"].as_array().unwrap());
    assert!(!records.is_empty());
    assert_eq!(after[..records.len()], records[..], "each audit record is where it was, with its hash");
    let (revision, generation) = (gateway.state.revision(), gateway.state.generation().to_vec());
    service.expect(200, Method::POST, "/v1/clusters/stopped/resume", None).await;
    let page = gateway.poll(&service, 0).await;
    assert!(!page.reset && page.generation == generation && page.revision > revision, "{page:?}");
    assert!(page.records.iter().any(|record| record.key == b"stopped"), "{page:?}");
    service.register("later").await;
    assert!(service.log().contains("postgresql"));
    stop(&mut service).await;

    let again = told(&run(&folder, &["store", "copy"]));
    assert!(again.contains("was copied to a server already"), "{again}");
    set_url(&folder, None);
    for words in
        [&["serve"][..], &["snapshot-key"], &["bootstrap-admin", "--break-glass"], &["store", "migrate"]]
    {
        let refused = told(&run(&folder, words));
        assert!(
            refused.contains("DATABASE_URL is not set") && refused.contains("postgresql.json"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_copy_that_fails_leaves_both_sides_as_they_were() {
    let (server, url) = postgres("store-failed").await;
    let mut service = Server::start().await;
    let folder = service.folder.path().to_owned();
    fill(&service).await;
    stop(&mut service).await;
    let copy = |url: &str| {
        set_url(&folder, Some(url));
        run(&folder, &["store", "copy"])
    };

    let other = tempfile::tempdir().unwrap();
    common::write_config(other.path(), &common::configuration());
    std::fs::write(other.path().join("token"), common::MESH_TOKEN).unwrap();
    set_url(other.path(), Some(&url));
    stdout(&run(other.path(), &["store", "migrate"]));
    sql(&url, "ALTER TABLE revocation ADD CHECK (name <> 'jti:stolen')").await;
    let refused = told(&copy(&url));
    assert!(refused.contains("violates check constraint"), "{refused}");
    sql(&url, "ALTER TABLE revocation DROP CONSTRAINT revocation_name_check").await;
    assert!(!folder.join("data/postgresql.json").exists());

    let strange = server.database("strange").await.unwrap();
    set_url(other.path(), Some(&strange));
    stdout(&run(other.path(), &["bootstrap-admin"]));
    let refused = told(&copy(&strange));
    assert!(refused.contains("holds a store already"), "{refused}");
    set_url(&folder, None);
    service.restart().await;
    assert_eq!(service.state_of("stopped").await, "suspended", "the folder is served from as before");
    stop(&mut service).await;

    // The server's database is as empty as it was: the next attempt has all of it.
    stdout(&copy(&url));
    service.restart().await;
    assert_eq!(service.state_of("stopped").await, "suspended");
}

#[tokio::test]
async fn a_copy_from_another_folder_brings_its_sealing_key() {
    let (_server, url) = postgres("store-from").await;
    let mut service = Server::start().await;
    fill(&service).await;
    let key = stdout(&run(service.folder.path(), &["snapshot-key"]));
    stop(&mut service).await;
    let old = service.folder.path().join("data");
    let new = tempfile::tempdir().unwrap();
    common::write_config(new.path(), &common::configuration());
    std::fs::write(new.path().join("token"), common::MESH_TOKEN).unwrap();
    set_url(new.path(), Some(&url));
    let copy = || run(new.path(), &["store", "copy", "--from", old.to_str().unwrap()]);
    let nothing = told(&run(new.path(), &["store", "copy"]));
    assert!(nothing.contains("has no portcullis.db"), "{nothing}");
    let file = new.path().join("data/sealing.key");
    std::fs::write(&file, "11".repeat(32)).unwrap();
    let mut private = std::fs::metadata(&file).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut private, 0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let other = told(&copy());
    assert!(other.contains("holds another key than"), "{other}");
    std::fs::remove_file(&file).unwrap();
    stdout(&copy());
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(old.join("sealing.key")).unwrap());
    assert_eq!(stdout(&run(new.path(), &["snapshot-key"])), key);
    for folder in [service.folder.path(), new.path()] {
        let without = folder.join("database-url");
        // The old one never had it.
        let _ = std::fs::remove_file(without);
        assert!(told(&run(folder, &["serve"])).contains("DATABASE_URL is not set"));
    }
}

/// The server committed, and nobody was told: neither side is served until the copy is known to be good.
#[tokio::test]
async fn a_copy_that_was_cut_off_is_ended_by_the_next_one() {
    let (_server, url) = postgres("store-cut").await;
    let mut service = Server::start().await;
    let folder = service.folder.path().to_owned();
    fill(&service).await;
    stop(&mut service).await;
    set_url(&folder, Some(&url));
    stdout(&run(&folder, &["store", "copy"]));
    let marker = folder.join("data/postgresql.json");
    let ended = std::fs::read_to_string(&marker).unwrap();
    std::fs::write(&marker, ended.replace("\"copying\":false", "\"copying\":true")).unwrap();
    set_url(&folder, None);
    assert!(told(&run(&folder, &["serve"])).contains("DATABASE_URL is not set"));
    set_url(&folder, Some(&url));
    stdout(&run(&folder, &["store", "copy"]));
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), ended);
    service.restart().await;
    assert_eq!(service.state_of("stopped").await, "suspended");
}

#[tokio::test]
async fn a_service_is_not_started_on_a_database_that_is_not_its_own() {
    let (server, url) = postgres("store-own").await;
    let mut service = Server::start_on(&url).await;
    let folder = service.folder.path().to_owned();
    service.register("a").await;
    stop(&mut service).await;
    set_url(&folder, None);
    let refused = told(&run(&folder, &["serve"]));
    assert!(refused.contains("DATABASE_URL is not set"), "{refused}");
    assert!(!folder.join("data/portcullis.db").exists());
    let empty = server.database("empty").await.unwrap();
    set_url(&folder, Some(&empty));
    let refused = told(&run(&folder, &["serve"]));
    assert!(refused.contains("the database of DATABASE_URL is empty"), "{refused}");

    let mut on_file = Server::start().await;
    let folder = on_file.folder.path().to_owned();
    stop(&mut on_file).await;
    set_url(&folder, Some(&empty));
    for words in [&["serve"][..], &["bootstrap-admin"]] {
        let refused = told(&run(&folder, words));
        assert!(refused.contains("copy it with `portcullis store copy`"), "{refused}");
    }
    for (backend, url, wanted) in [
        ("postgresql", None, "store.backend is postgresql, but DATABASE_URL is not set"),
        ("sqlite", Some(&*url), "store.backend is sqlite, but DATABASE_URL is set"),
    ] {
        let mut config = common::configuration();
        config["store"]["backend"] = json!(backend);
        common::write_config(&folder, &config);
        set_url(&folder, Some(url.unwrap_or_default()));
        if url.is_none() {
            set_url(&folder, None);
        }
        let refused = told(&run(&folder, &["serve"]));
        assert!(refused.contains(wanted), "{refused}");
    }
}

/// A database as the version before last made it.
fn old_database(folder: &Path) {
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let connection = rusqlite::Connection::open(folder.join("data/portcullis.db")).unwrap();
    for (version, step) in [
        (1, include_str!("../../store/src/sql/schema/sqlite/1.sql")),
        (2, include_str!("../../store/src/sql/schema/sqlite/2.sql")),
    ] {
        connection.execute_batch(step).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    }
}

#[tokio::test]
async fn a_schema_is_brought_up_to_date_while_nobody_serves_it_and_a_newer_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    common::write_config(folder, &common::configuration());
    std::fs::write(folder.join("token"), common::MESH_TOKEN).unwrap();
    old_database(folder);
    let refused = told(&run(folder, &["snapshot-key"]));
    assert!(refused.contains("schema version 2") && refused.contains("store migrate"), "{refused}");
    let migrated = stdout(&run(folder, &["store", "migrate"]));
    assert!(migrated.starts_with("the schema is brought from version 2 to "), "{migrated}");
    let migrated = stdout(&run(folder, &["store", "migrate"]));
    assert!(migrated.starts_with("the schema is up to date: version "), "{migrated}");
    stdout(&run(folder, &["snapshot-key"]));
    let connection = rusqlite::Connection::open(folder.join("data/portcullis.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    for words in [&["store", "migrate"][..], &["serve"], &["snapshot-key"]] {
        let refused = told(&run(folder, words));
        assert!(
            refused.contains("schema version 99") && refused.contains("run the newer program"),
            "{refused}"
        );
    }

    let mut served = Server::start().await;
    let refused = told(&run(served.folder.path(), &["store", "migrate"]));
    assert!(refused.contains("in use by another `portcullis serve`"), "{refused}");
    stop(&mut served).await;
    std::fs::remove_file(served.folder.path().join("data/portcullis.db")).unwrap();
    old_database(served.folder.path());
    served.restart().await;
    served.until_logged("the schema of the database is brought up to date").await;
}

#[tokio::test]
async fn a_servers_schema_is_not_changed_beneath_who_serves_it() {
    let (_server, url) = postgres("store-migrated").await;
    let mut service = Server::start_on(&url).await;
    let other = tempfile::tempdir().unwrap();
    common::write_config(other.path(), &common::configuration());
    std::fs::write(other.path().join("token"), common::MESH_TOKEN).unwrap();
    set_url(other.path(), Some(&url));
    let refused = told(&run(other.path(), &["store", "migrate"]));
    assert!(refused.contains("stop every `portcullis serve`"), "{refused}");
    stop(&mut service).await;
    let migrated = stdout(&run(other.path(), &["store", "migrate"]));
    assert!(migrated.starts_with("the schema is up to date"), "{migrated}");
    sql(&url, "UPDATE schema_version SET version = 99").await;
    for words in [&["store", "migrate"][..], &["serve"]] {
        let refused = told(&run(other.path(), words));
        assert!(
            refused.contains("schema version 99") && refused.contains("run the newer program"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn check_reads_everything_and_tells_of_whatever_does_not_fit() {
    let mut service = Server::start().await;
    let folder = service.folder.path().to_owned();
    fill(&service).await;
    let good = stdout(&run(&folder, &["store", "check"]));
    assert!(good.contains("everything fits together"), "beside the running service: {good}");
    stop(&mut service).await;
    let file = folder.join("data/portcullis.db");
    let whole = std::fs::read(&file).unwrap();
    for (damage, wanted) in [
        (
            "DROP TRIGGER audit_record_stays; DELETE FROM audit_record WHERE position = 2",
            "nothing from 2 to 2",
        ),
        ("DROP TRIGGER audit_record_stays; DELETE FROM audit_record WHERE position = 2", "audit streams: "),
        (
            "DROP TRIGGER audit_record_is_final; UPDATE audit_record SET body = x'ff' WHERE position = 3",
            "record 3 ",
        ),
        ("PRAGMA foreign_keys = OFF; DELETE FROM audit_stream", "belongs to no stream"),
        (
            "UPDATE cluster SET administrative = 'active' WHERE id = 'stopped'",
            "told something else of stopped",
        ),
        ("UPDATE audit_subject SET wrapped_key = x'00'", "the key of data subject "),
        ("UPDATE cluster SET tenant = '' WHERE id = 'stopped'", "clusters: stopped cannot be read"),
        ("DELETE FROM cluster WHERE id = 'stopped'", "filters are told of what is not there: stopped"),
        ("DELETE FROM snapshot_entry WHERE kind = 12", "filters are told nothing of jti:stolen"),
        ("UPDATE api_key SET tenant = 'globex'", "API keys: filters are told something else of "),
        ("UPDATE snapshot_life SET revision = 1", "they go from 1 to 1"),
        ("UPDATE snapshot_entry SET value = x'ff' WHERE kind = 1", "filters cannot read "),
        ("UPDATE snapshot_entry SET kind = 99 WHERE kind = 2", "a kind that nobody knows"),
        (
            "UPDATE secret SET ciphertext = x'00' WHERE name = 'snapshot_seed'",
            "\"snapshot_seed\" does not open",
        ),
        ("DELETE FROM secret WHERE name LIKE 'signing:%'", "has no secret"),
        ("DELETE FROM signing_key", "belongs to no signing key"),
        (
            "INSERT INTO issuer_keys VALUES ('https://idp', 'x', '{', 1)",
            "the keys of https://idp cannot be read",
        ),
    ] {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let output = run(&folder, &["store", "check"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(wanted), "{damage}: {text}");
        std::fs::write(&file, &whole).unwrap();
    }
    let mut torn = whole.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 4096].fill(0x55);
    std::fs::write(&file, &torn).unwrap();
    assert_eq!(run(&folder, &["store", "check"]).status.code(), Some(1));
    std::fs::write(&file, &whole).unwrap();
    std::fs::write(folder.join("data/sealing.key"), "00".repeat(32)).unwrap();
    let output = run(&folder, &["store", "check"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("does not open"));
}

#[tokio::test]
async fn check_reads_a_server_too() {
    let (_server, url) = postgres("store-checked").await;
    let service = Server::start_on(&url).await;
    let folder = service.folder.path();
    fill(&service).await;
    let good = stdout(&run(folder, &["store", "check"]));
    assert!(good.contains("everything fits together"), "{good}");
    sql(&url, "UPDATE cluster SET administrative = 'active'; DELETE FROM secret WHERE name LIKE 'signing:%'")
        .await;
    let output = run(folder, &["store", "check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("told something else of stopped") && text.contains("has no secret"), "{text}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("things in the database do not fit together"));
}
