//! Backups of a running service, on both databases, and what becomes of them.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use common::database::{configured, postgres, refused};
use common::{GATEWAY, Reader, Server, portcullis, run_in, stdout, text, until};

/// A service on one of the databases, with a bit of everything in it.
async fn service(url: Option<&str>) -> Server {
    let tokens = json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"]});
    let edit = |config: &mut Value| config["serviceTokens"] = tokens;
    let service = match url {
        Some(url) => Server::start_on_with(url, edit).await,
        None => Server::start_with(edit).await,
    };
    for id in ["acme", "orders"] {
        service.register(id).await;
    }
    service.create_key("job").await;
    let body = json!({"name": "sub:mallory", "note": "gone"});
    service.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    let body = json!({"id": "svc-batch", "tenant": "acme", "roles": ["reader"]});
    service.expect(201, Method::POST, "/v1/service-clients", Some(body)).await;
    service
}

fn command(folder: &Path, arguments: &[&str]) -> Output {
    configured(folder, &[&["backup"], arguments].concat())
}

fn create(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    let told = stdout(&command(folder, &["create", "--file", file.to_str().unwrap()]));
    assert!(told.contains("sealing key is NOT in the backup"), "{told}");
    file
}

fn verify(folder: &Path, file: &Path) -> Output {
    command(folder, &["verify", file.to_str().unwrap()])
}

/// One backup under writes is one state: every change that it has is there with its audit record.
async fn a_backup_under_writes_is_one_state(url: Option<&str>) {
    let service = service(url).await;
    let folder = service.folder.path();
    let writes = async {
        for n in 0..200 {
            let body = json!({"name": format!("jti:{n}"), "note": ""});
            service.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
        }
    };
    let path = folder.to_owned();
    let backups = tokio::task::spawn_blocking(move || {
        (0..3).map(|n| create(&path, &format!("b{n}"))).collect::<Vec<_>>()
    });
    let ((), backups) = tokio::join!(writes, backups);
    for file in backups.unwrap() {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let told = stdout(&verify(folder, &file));
        assert!(told.contains("its sealing key opens it"), "{told}");
        let copy = rusqlite::Connection::open(&file).unwrap();
        let count = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let revocations = count("SELECT count(*) FROM revocation");
        let records = count("SELECT count(*) FROM audit_record");
        assert_eq!(records - 6, revocations - 1, "each change has its record");
    }
    let log = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(log.into_iter().all(|name| !name.ends_with(".partial")), "nothing is left beside the backups");
    let again = command(folder, &["create", "--file", folder.join("b0").to_str().unwrap()]);
    assert!(refused(&again).contains("overwrites nothing"));
}

#[tokio::test]
async fn a_backup_of_a_file_under_writes_is_one_state() {
    a_backup_under_writes_is_one_state(None).await;
}

#[tokio::test]
async fn a_backup_of_a_server_under_writes_is_one_state() {
    let (_server, url) = postgres("backup-writes").await;
    a_backup_under_writes_is_one_state(Some(&url)).await;
}

#[tokio::test]
async fn what_is_damaged_or_changed_is_refused_with_its_place() {
    let service = service(None).await;
    let folder = service.folder.path();
    let good = create(folder, "good");
    let bytes = std::fs::read(&good).unwrap();
    let bad = folder.join("bad");
    let told = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        refused(&verify(folder, &bad))
    };
    for length in [0, 100, bytes.len() / 2, bytes.len() - 4096] {
        let error = told(&bytes[..length]);
        assert!(error.contains("no backup") || error.contains("damaged"), "{length}: {error}");
    }
    assert!(told(b"something else, whatever its name says").contains("no backup"));
    let place = bytes.windows(7).position(|w| w == b"mallory").unwrap();
    let mut bent = bytes.clone();
    bent[place] ^= 1;
    let error = told(&bent);
    assert!(error.contains("damaged: table ") && error.contains("nothing was taken"), "{error}");
    // Whoever changes a row and the manifest has no sealing key.
    std::fs::write(&bad, &bytes).unwrap();
    let forged = rusqlite::Connection::open(&bad).unwrap();
    let manifest: String = forged.query_row("SELECT manifest FROM backup", [], |row| row.get(0)).unwrap();
    let other = manifest.replace("\"revision\":", "\"revision\":1");
    forged.execute("UPDATE backup SET manifest = ?1", [other]).unwrap();
    drop(forged);
    assert!(refused(&verify(folder, &bad)).contains("not made with this sealing key, or was changed"));
    // Another schema could do anything when it is read.
    std::fs::write(&bad, &bytes).unwrap();
    let forged = rusqlite::Connection::open(&bad).unwrap();
    forged.execute_batch("CREATE VIEW extra AS SELECT 1").unwrap();
    drop(forged);
    assert!(refused(&verify(folder, &bad)).contains("damaged: the schema"));
    std::fs::write(&bad, &bytes).unwrap();
    std::fs::write(folder.join("data/sealing.key"), "0".repeat(64)).unwrap();
    assert!(refused(&verify(folder, &bad)).contains("not made with this sealing key"));
    stdout(&common::run(&["backup", "verify", bad.to_str().unwrap()]));
}

/// A folder of a service that has the sealing key of another one, and no store.
fn folder_like(service: &Server, url: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = service.folder.path();
    for name in ["token", "control.yaml"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::copy(from.join("data/sealing.key"), folder.path().join("data/sealing.key")).unwrap();
    if let Some(url) = url {
        std::fs::write(folder.path().join("database-url"), url).unwrap();
    }
    folder
}

fn restore(folder: &Path, file: &Path, more: &[&str]) -> Output {
    command(folder, &[&["restore", file.to_str().unwrap()], more].concat())
}

/// The audit log from an index on, by the command.
fn export(service: &Server, name: &str) -> PathBuf {
    let file = service.folder.path().join(name);
    let mut command = portcullis();
    command.env("PORTCULLIS_TOKEN", &service.admin).env("PORTCULLIS_SERVER", service.url("platform", ""));
    stdout(&command.args(["audit", "export", "--file"]).arg(&file).output().unwrap());
    file
}

/// A poll of a gateway that holds what the reader holds; the status, and the reason if it is refused.
async fn polled(service: &Server, reader: &Reader, revision: u64) -> (u16, String) {
    let hex = portcullis_protocol::audit::hex;
    let path = format!(
        "/mesh/v1/snapshot?view=gateway&worker=01&nonce={}&generation={}&revision={revision}",
        "0".repeat(32),
        hex(reader.state.generation())
    );
    let answer = service.mesh(Method::GET, &path, GATEWAY).send().await.unwrap();
    let status = answer.status().as_u16();
    if status == 200 {
        return (status, String::new());
    }
    (status, text(&answer.json::<Value>().await.unwrap()["reason"]))
}

/// What is done after the backup: the backup knows nothing of it.
async fn changes_after(service: &Server, key: &str) {
    let changed = [
        (Method::POST, "/v1/clusters/orders/suspend", None, 200),
        (Method::POST, "/v1/revocations", Some(json!({"name": "sub:eve/1", "note": ""})), 201),
        (Method::DELETE, "/v1/revocations?name=sub:mallory", None, 200),
        (Method::DELETE, &["/v1/api-keys/", key].concat(), None, 200),
        (Method::DELETE, "/v1/service-clients/svc-batch", None, 200),
    ];
    for (method, path, body, status) in changed {
        service.expect(status, method, path, body).await;
    }
    service.register("later").await;
}

/// A store is restored on the other database, is closed, learns from an export what was closed, and opens when gateways
/// hold no more than that.
async fn a_restored_service_is_closed_until_it_has_recovered(from: Option<&str>, to: Option<&str>) {
    let mut old = service(from).await;
    let keys = old.expect(200, Method::GET, "/v1/api-keys", None).await;
    let key = text(&keys["api_keys"][0]["id"]);
    let key_path = ["/v1/api-keys/", &key].concat();
    old.register("spare").await;
    let file = create(old.folder.path(), "backup");
    changes_after(&old, &key).await;
    let mut gateway = old.reader("gateway", GATEWAY, "01");
    gateway.sync(&old).await;
    let revision = gateway.state.revision();
    let records = export(&old, "records");
    old.kill();

    let folder = folder_like(&old, to);
    let told = stdout(&restore(folder.path(), &file, &["--audit-export", records.to_str().unwrap()]));
    for part in [
        "done again: cluster orders, suspended by the platform (record ",
        "done again: sub:eve/1, revoked by the platform (record ",
        "POST /v1/revocations/sub:eve/1",
        "NOT done again: revocation of sub:mallory, taken back: a restore opens nothing",
        "NOT done again: cluster later: its secret is in no backup",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let new = Server::start_as(folder, &old).await;
    let (status, told) = new.readiness().await;
    assert!(status == 503 && told.contains("gateways are waited for"), "{status} {told}");
    assert!(
        told.contains("none has polled since the restore") && told.contains("10 s after the first poll"),
        "{told}"
    );
    let answer = new.api(Method::GET, "/v1/clusters").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(text(&answer.json::<Value>().await.unwrap()["reason"]), "store_recovering");
    let answer = new.api(Method::POST, "/v1/clusters/acme/resume").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503, "nothing is opened");
    // Whoever had a token before the restore may be revoked by what is missing; whoever gets one now is not.
    let config = new.config();
    let arguments = ["bootstrap-admin", "--break-glass", "--config", config.to_str().unwrap()];
    let newcomer = new.by(&stdout(&run_in(new.folder.path(), &arguments)));
    let none = new.by("no token");
    let untold = |problem: &Value| {
        let detail = text(&problem["detail"]);
        assert!(
            !detail.contains("restored") && !detail.contains("polled") && !detail.contains("--since"),
            "{detail}"
        );
    };
    let heartbeat = new.heartbeat("acme", "no token", None).await;
    assert_eq!(heartbeat.0.as_u16(), 503);
    untold(&heartbeat.1);
    untold(&new.expect(503, Method::POST, "/oauth2/token", None).await);
    untold(&new.expect(503, Method::POST, "/v1/clusters/acme/resume", None).await);
    none.expect(401, Method::POST, "/v1/clusters/acme/resume", None).await;
    // What is ended for good is not ended by somebody who may be revoked.
    for path in [
        "/v1/clusters/acme",
        &key_path,
        "/v1/service-clients/svc-batch",
        "/v1/administrators/x?with_made=true",
    ] {
        untold(&new.expect(503, Method::DELETE, path, None).await);
    }
    for path in ["/v1/whoami", "/v1/clusters", "/v1/api-keys", "/v1/audit/records", "/v1/proxies"] {
        newcomer.expect(200, Method::GET, path, None).await;
        let problem = new.expect(503, Method::GET, path, None).await;
        assert!(text(&problem["detail"]).contains("bootstrap-admin --break-glass"), "{problem}");
    }
    for path in ["/v1/clusters/acme/resume", "/v1/signing-keys/identity"] {
        let problem = newcomer.expect(503, Method::POST, path, None).await;
        assert!(text(&problem["detail"]).contains("none has polled since the restore"), "{problem}");
    }
    newcomer.expect(200, Method::DELETE, "/v1/clusters/spare", None).await;
    new.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    let refused = polled(&new, &gateway, revision).await;
    assert_eq!(refused, (503, "store_recovering".to_owned()));
    until("the service has recovered", async || new.readiness().await.0 == 200).await;

    let (folder, config) = (new.folder.path(), new.config());
    stdout(&run_in(folder, &["store", "check", "--config", config.to_str().unwrap()]));
    let before = gateway.state.generation().to_vec();
    gateway.sync(&new).await;
    assert_ne!(gateway.state.generation(), before, "a new life");
    assert!(gateway.state.revision() > 1_000_000_000_000 && gateway.state.is_revoked("sub:eve/1"));
    assert!(gateway.state.is_revoked("sub:mallory"), "what was opened again stays closed");
    assert!(gateway.state.is_revoked("service_client:acme svc-batch"));
    for (id, state) in [("orders", "suspended"), ("acme", "suspended")] {
        assert_eq!(new.state_of(id).await, state);
    }
    let keys = new.expect(200, Method::GET, "/v1/api-keys", None).await;
    assert!(keys["api_keys"][0]["revoked_at_ms"].is_u64(), "{keys}");
    let all = new.expect(200, Method::GET, "/v1/audit/records", None).await;
    let all = all["records"].as_array().unwrap();
    let restored = all.iter().find(|record| record["path"] == "/backup/restore").unwrap();
    assert!(restored["index"].as_u64().unwrap() > 1_000_000_000_000, "no index is given twice: {restored}");
    assert!(all.iter().any(|record| record["path"] == "/backup/recovered"));
    let config = new.config();
    let checked = run_in(new.folder.path(), &["store", "check", "--config", config.to_str().unwrap()]);
    assert!(checked.status.success(), "what is restored fits together: {checked:?}");
}

#[tokio::test]
async fn a_file_is_restored_on_a_server_and_recovers() {
    let (_server, url) = postgres("backup-to-server").await;
    a_restored_service_is_closed_until_it_has_recovered(None, Some(&url)).await;
}

#[tokio::test]
async fn a_server_is_restored_on_a_file_and_recovers() {
    let (_server, url) = postgres("backup-to-file").await;
    a_restored_service_is_closed_until_it_has_recovered(Some(&url), None).await;
}

/// What owner and tenant have closed is theirs after a restore, too, and theirs to take back.
#[tokio::test]
async fn a_closing_stays_whose_it_was() {
    let old = service(None).await;
    let token = async |role: &str, cluster: Option<&str>| {
        let body = json!({"role": role, "tenant": "acme", "cluster": cluster});
        text(&old.expect(201, Method::POST, "/v1/administrators", Some(body)).await["token"])
    };
    let (owner, tenant) = (token("cluster-owner", Some("orders")).await, token("tenant-admin", None).await);
    let file = create(old.folder.path(), "backup");
    old.by(&owner).expect(200, Method::POST, "/v1/clusters/orders/suspend", None).await;
    old.by(&tenant).expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    old.expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    let person = "user:acme https://idp.example.com ann";
    let body = json!({"name": person, "note": ""});
    old.by(&tenant).expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    let mut gateway = old.reader("gateway", GATEWAY, "01");
    gateway.sync(&old).await;
    let records = export(&old, "records");
    let folder = folder_like(&old, None);
    let told = stdout(&restore(folder.path(), &file, &["--audit-export", records.to_str().unwrap()]));
    assert!(told.contains("cluster orders, suspended by the owner"), "{told}");
    let new = Server::start_as(folder, &old).await;
    assert_eq!(polled(&new, &gateway, gateway.state.revision()).await.0, 503);
    until("the service has recovered", async || new.readiness().await.0 == 200).await;
    for (id, held) in [("orders", json!(["owner"])), ("acme", json!(["tenant", "platform"]))] {
        let cluster = new.expect(200, Method::GET, &["/v1/clusters/", id].concat(), None).await;
        assert_eq!(cluster["suspended_by"], held, "{cluster}");
        for hold in cluster["holds"].as_array().unwrap() {
            assert!(hold["by"]["kind"] == "token" && hold["since_ms"].as_u64().unwrap() > 0, "{hold}");
        }
    }
    let all = new.expect(200, Method::GET, "/v1/revocations", None).await;
    let mine = all["revocations"].as_array().unwrap().iter().find(|found| found["name"] == person).unwrap();
    assert_eq!(mine["made_by"], "tenant");
    let left = new.by(&tenant).expect(200, Method::POST, "/v1/clusters/acme/resume", None).await;
    assert_eq!(left["cluster"]["suspended_by"], json!(["platform"]));
    new.by(&tenant).expect(403, Method::POST, "/v1/clusters/acme/resume", None).await;
    assert_eq!(new.state_of("acme").await, "suspended");
    new.by(&owner).expect(200, Method::POST, "/v1/clusters/orders/resume", None).await;
    assert_ne!(new.state_of("orders").await, "suspended");
    let query = "/v1/revocations?name=user%3Aacme%20https%3A%2F%2Fidp.example.com%20ann";
    new.by(&tenant).expect(200, Method::DELETE, query, None).await;
}

#[tokio::test]
async fn where_nobody_knows_what_is_missing_the_operator_has_to_accept_it() {
    let old = service(None).await;
    let file = create(old.folder.path(), "backup");
    let mut gateway = old.reader("gateway", GATEWAY, "01");
    gateway.sync(&old).await;
    let records = export(&old, "records");
    let folder = folder_like(&old, None);
    stdout(&restore(folder.path(), &file, &["--audit-export", records.to_str().unwrap()]));
    let new = Server::start_as(folder, &old).await;
    // The gateway holds a change that the export does not know.
    assert_eq!(polled(&new, &gateway, gateway.state.revision() + 1).await.0, 503);
    until("the reason is told", async || new.readiness().await.1.contains("a gateway holds more")).await;
    let folder = new.folder.path();
    let told = stdout(&command(folder, &["status"]));
    let since = told.rsplit_once("--since ").unwrap().1.trim_end_matches('`');
    for never in ["2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z"] {
        let told = refused(&command(folder, &["accept-loss", "--since", never]));
        assert!(told.contains(&[" to ", since, ": --since ", since].concat()), "{told}");
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(new.readiness().await.0, 503, "time alone opens nothing");
    stdout(&command(folder, &["accept-loss", "--since", since]));
    until("the service is open", async || new.readiness().await.0 == 200).await;
    gateway.sync(&new).await;
    let all = new.expect(200, Method::GET, "/v1/audit/records", None).await;
    assert!(all["records"].as_array().unwrap().iter().any(|record| record["path"] == "/backup/accept-loss"));
    assert!(refused(&command(folder, &["accept-loss", "--since", since])).contains("nothing to do"));
}

#[tokio::test]
async fn only_an_empty_store_is_restored_and_only_with_its_sealing_key() {
    let (_server, url) = postgres("backup-empty").await;
    for url in [None, Some(url.as_str())] {
        let old = service(url).await;
        let file = create(old.folder.path(), "backup");
        assert!(
            refused(&restore(old.folder.path(), &file, &[])).contains("in use by another"),
            "it is served"
        );
        let mut old = old;
        old.kill();
        assert!(refused(&restore(old.folder.path(), &file, &[])).contains("holds a store already"));
        let folder = folder_like(&old, None);
        std::fs::write(folder.path().join("data/sealing.key"), "0".repeat(64)).unwrap();
        assert!(refused(&restore(folder.path(), &file, &[])).contains("not made with this sealing key"));
        assert!(!folder.path().join("data/portcullis.db").exists());
        std::fs::write(folder.path().join("data/portcullis.db-wal"), "of another database").unwrap();
        std::fs::copy(old.folder.path().join("data/sealing.key"), folder.path().join("data/sealing.key"))
            .unwrap();
        assert!(
            refused(&restore(folder.path(), &file, &[])).contains("portcullis.db-wal holds a store already")
        );
    }
}

/// What a restored store takes for known: exports that count, the last record, and restores that have not ended.
fn known(folder: &Path) -> (i64, i64, i64) {
    let store = rusqlite::Connection::open(folder.join("data/portcullis.db")).unwrap();
    let sql = "SELECT sum(exports), max(covered_index), count(*) FROM restoration WHERE ended_at_ms IS NULL";
    store.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

#[tokio::test]
async fn only_an_export_that_tells_all_counts() {
    let old = service(None).await;
    let file = create(old.folder.path(), "backup");
    let (suspend, resume) = ("/v1/clusters/orders/suspend", "/v1/clusters/orders/resume");
    old.expect(200, Method::POST, suspend, None).await;
    old.expect(200, Method::POST, resume, None).await;
    old.register("later").await;
    old.expect(200, Method::POST, "/v1/clusters/later/suspend", None).await;
    let encoded = old.api(Method::POST, "/v1/clusters/%61cme/suspend").send().await.unwrap();
    assert_eq!(encoded.status().as_u16(), 400, "the log would not tell which cluster");
    assert_ne!(old.state_of("acme").await, "suspended");
    let folder = folder_like(&old, None);
    let folder = folder.path();
    stdout(&restore(folder, &file, &[]));
    let (_, from, _) = known(folder);
    let path = folder.join("export");
    let recover = |page: &str| {
        std::fs::write(&path, page).unwrap();
        stdout(&command(folder, &["recover", "--audit-export", path.to_str().unwrap()]))
    };

    for query in ["?subject=nobody", "?hop=gateway", "?after=9999", "?order=newest&before=1"] {
        let path = ["/v1/audit/records", query].concat();
        let page = old.expect(200, Method::GET, &path, None).await;
        let told = recover(&page.to_string());
        assert!(told.contains("is not known"), "{query}: {told}");
        assert_eq!(known(folder), (0, from, 1), "{query}");
    }
    let beyond = folder.join("beyond");
    let mut export_beyond = portcullis();
    export_beyond.env("PORTCULLIS_TOKEN", &old.admin).env("PORTCULLIS_SERVER", old.url("platform", ""));
    export_beyond.args(["audit", "export", "--after", "9999", "--file"]).arg(&beyond);
    let told = refused(&export_beyond.output().unwrap());
    assert!(told.contains("ends with record") && !beyond.exists(), "{told}");

    // The first change does not tell what it was, however often it is given.
    let whole = std::fs::read_to_string(export(&old, "records")).unwrap();
    assert!(whole.contains(suspend));
    let unclear = whole.replace(suspend, "/v1/revocations");
    for _ in 0..2 {
        let told = recover(&unclear);
        assert!(told.contains("and not of what was changed") && told.contains("is not known"), "{told}");
        assert_eq!(known(folder), (0, from, 1));
    }
    let told = recover(&whole);
    assert!(told.contains("gateways are waited for"), "{told}");
    assert_eq!(told.matches("done again: cluster orders, suspended").count(), 1, "{told}");
    assert_eq!(told.matches("not there: cluster later").count(), 1, "{told}");
    let (exports, index, _) = known(folder);
    assert!(exports == 1 && index >= from + 2, "{exports} {index}");
}

#[tokio::test]
async fn a_backup_of_a_store_that_recovers_opens_only_by_hand() {
    let old = service(None).await;
    let file = create(old.folder.path(), "backup");
    let recovering = folder_like(&old, None);
    stdout(&restore(recovering.path(), &file, &[]));
    let recovering = Server::start_as(recovering, &old).await;
    let first = recovering.folder.path();
    let again = first.join("again");
    let told = stdout(&command(first, &["create", "--file", again.to_str().unwrap()]));
    assert!(told.contains("WARNING: this store was restored and has not recovered"), "{told}");
    let folder = folder_like(&old, None);
    let folder = folder.path();
    stdout(&restore(folder, &again, &[]));
    assert_eq!(known(folder).2, 1, "one restore is under way");
    let status = |folder| stdout(&command(folder, &["status"]));
    let since = |told: &str| told.rsplit_once("--since ").unwrap().1.trim_end_matches('`').trim().to_owned();
    let (first, second) = (status(first), status(folder));
    assert!(second.contains("and a gateway holds more"), "{second}");
    let since = since(&first);
    assert!(second.contains(&since), "changes are missing since the first backup: {second}");
    stdout(&command(folder, &["accept-loss", "--since", &since]));
    assert!(status(folder).contains("it is open"));
}

#[tokio::test]
async fn what_lies_where_a_backup_is_written_is_not_written_to() {
    let service = service(None).await;
    let folder = service.folder.path();
    let victim = folder.join("victim");
    std::fs::write(&victim, "somebody's").unwrap();
    std::os::unix::fs::symlink(&victim, folder.join("linked.partial")).unwrap();
    let left = folder.join("left.partial");
    std::fs::write(&left, "half").unwrap();
    std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o644)).unwrap();
    for name in ["linked", "left"] {
        let made = create(folder, name).symlink_metadata().unwrap();
        assert!(made.is_file() && made.permissions().mode() & 0o777 == 0o600, "{name}");
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "somebody's");
}

/// Ends a command as soon as it is seen at work; false when it had come to its end before that.
async fn killed_at_work(folder: &Path, arguments: &[&str], mut at_work: impl AsyncFnMut() -> bool) -> bool {
    let mut command = portcullis();
    if let Ok(url) = std::fs::read_to_string(folder.join("database-url")) {
        command.env("DATABASE_URL", url);
    }
    command.args(arguments).arg("--config").arg(folder.join("control.yaml"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = child.id().to_string();
    let signal = |name: &str| Command::new("kill").args(["-s", name, &id]).status().unwrap();
    // It is looked at while it stands still, so that it cannot have come to its end meanwhile.
    while child.try_wait().unwrap().is_none() {
        signal("STOP");
        if at_work().await {
            child.kill().unwrap();
            break;
        }
        signal("CONT");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    !child.wait().unwrap().success()
}

/// How often it is tried to catch a command at work.
const TRIES: usize = 50;

/// A service that has enough to be saved that it can be caught at that.
async fn service_with_much() -> Server {
    let service = service(None).await;
    for n in 0..300 {
        let body = json!({"name": format!("jti:{n}"), "note": "x".repeat(1000)});
        service.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    }
    service
}

#[tokio::test]
async fn a_backup_that_is_killed_leaves_nothing_that_looks_like_one() {
    let service = service_with_much().await;
    let folder = service.folder.path();
    let (file, partial) = (folder.join("backup"), folder.join("backup.partial"));
    // From when it is begun to when something has been written.
    for size in [0, 1, 100_000] {
        let mut caught = 0;
        for _ in 0..TRIES {
            let arguments = ["backup", "create", "--file", file.to_str().unwrap()];
            let at_work = async || partial.metadata().is_ok_and(|there| there.len() >= size);
            let killed = killed_at_work(folder, &arguments, at_work).await;
            if killed && !file.exists() {
                assert!(partial.exists(), "it was at work");
                let told = refused(&verify(folder, &partial));
                // The last that is written is what makes it a backup.
                assert!(told.contains("no backup") || told.contains("damaged"), "{size}: {told}");
                caught += 1;
                break;
            }
            // It had been given its name: then it is whole.
            stdout(&verify(folder, &file));
            std::fs::remove_file(&file).unwrap();
        }
        assert_eq!(caught, 1, "not caught at work once in {TRIES} times");
        create(folder, "backup");
        assert!(!partial.exists(), "what was left is removed");
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_restore_into_a_file_that_is_killed_leaves_nothing() {
    let mut old = service_with_much().await;
    let file = create(old.folder.path(), "backup");
    old.kill();
    let arguments = ["backup", "restore", file.to_str().unwrap()];
    for _ in 0..TRIES {
        let folder = folder_like(&old, None);
        let partial = folder.path().join("data/portcullis.db.partial");
        let killed = killed_at_work(folder.path(), &arguments, async || partial.exists()).await;
        if !killed || folder.path().join("data/portcullis.db").exists() {
            assert!(stdout(&command(folder.path(), &["status"])).contains("nobody is let through"));
            continue;
        }
        assert!(partial.exists(), "it was at work");
        assert!(refused(&command(folder.path(), &["status"])).contains("no store"));
        stdout(&restore(folder.path(), &file, &[]));
        let new = Server::start_as(folder, &old).await;
        assert_eq!(new.readiness().await.0, 503);
        return;
    }
    panic!("not caught at work once in {TRIES} times");
}

#[tokio::test]
async fn a_restore_into_a_server_that_is_killed_leaves_nothing() {
    let (server, _) = postgres("backup-killed").await;
    let mut old = service_with_much().await;
    let file = create(old.folder.path(), "backup");
    old.kill();
    let arguments = ["backup", "restore", file.to_str().unwrap()];
    for n in 0..TRIES {
        let name = format!("killed{n}");
        let folder = folder_like(&old, Some(&server.database(&name).await.unwrap()));
        let writing = format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '{name}' AND backend_xid IS NOT NULL)
                THEN RAISE 'not yet'; END IF; END $$"
        );
        let at_work = async || server.run("postgres", &writing).await.is_ok();
        let killed = killed_at_work(folder.path(), &arguments, at_work).await;
        // The server may take a moment to see that nobody is there any more.
        let status = command(folder.path(), &["status"]);
        if !killed || status.status.success() {
            assert!(stdout(&status).contains("nobody is let through"), "all of it, or nothing");
            continue;
        }
        assert!(refused(&status).contains("no store"));
        stdout(&restore(folder.path(), &file, &[]));
        let new = Server::start_as(folder, &old).await;
        assert_eq!(new.readiness().await.0, 503);
        return;
    }
    panic!("not caught at work once in {TRIES} times");
}

/// The sealing key changes under a running service; what is killed meanwhile leaves a store that opens.
async fn the_sealing_key_changes_under_a_running_service(url: Option<&str>) {
    let mut service = service(url).await;
    let folder = service.folder.path().to_owned();
    let config = folder.join("control.yaml");
    let run = |arguments: &[&str]| {
        stdout(&run_in(&folder, &[arguments, &["--config", config.to_str().unwrap()]].concat()))
    };
    let keys = || {
        let text = std::fs::read_to_string(folder.join("data/sealing.key")).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (file, before) = (create(&folder, "before"), keys());
    let mut caught = 0;
    for _ in 0..5 {
        let there = keys().len();
        // The new key is in the file, and what is sealed by it may not be there yet.
        let killed = killed_at_work(&folder, &["sealing-key", "rotate"], async || keys().len() > there).await;
        caught += u32::from(killed);
        assert!(!run(&["snapshot-key"]).is_empty());
    }
    assert!(caught > 0, "not caught at work once");
    run(&["sealing-key", "rotate"]);
    assert!(
        keys().first() != before.first() && keys().last() == before.last(),
        "the old key stays for old backups"
    );
    service.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    service.restart().await;
    stdout(&verify(&folder, &file));
    assert!(run(&["sealing-key", "rotate", "--forget-old"]).contains("keep a copy"));
    assert_eq!(keys().len(), 1);
    service.expect(202, Method::POST, "/v1/signing-keys/service", None).await;
    service.restart().await;
    let error = refused(&verify(&folder, &file));
    assert!(error.contains("not made with this sealing key"), "{error}");
    stdout(&verify(&folder, &create(&folder, "after")));
    let all = service.expect(200, Method::GET, "/v1/audit/records", None).await;
    assert!(all["records"].as_array().unwrap().iter().any(|record| record["path"] == "/sealing-key/rotate"));
}

#[tokio::test]
async fn the_sealing_key_changes_under_a_service_with_a_file() {
    the_sealing_key_changes_under_a_running_service(None).await;
}

#[tokio::test]
async fn the_sealing_key_changes_under_a_service_with_a_server() {
    let (_server, url) = postgres("backup-sealing").await;
    the_sealing_key_changes_under_a_running_service(Some(&url)).await;
}

/// A service whose key file is gone says so, to the caller and in its log, and seals again when the file is back.
#[tokio::test]
async fn a_service_whose_sealing_key_is_gone_says_so() {
    let service = service(None).await;
    let folder = service.folder.path().join("data");
    std::fs::rename(folder.join("sealing.key"), folder.join("aside")).unwrap();
    let problem = service.expect(503, Method::POST, "/v1/signing-keys/identity", None).await;
    assert_eq!(problem["reason"], "store_unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("sealing key cannot be used") && !detail.contains("data/"), "{detail}");
    service
        .until_logged("it is missing, but the database holds sealed secrets; put your copy of it back")
        .await;
    std::fs::rename(folder.join("aside"), folder.join("sealing.key")).unwrap();
    service.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
}
