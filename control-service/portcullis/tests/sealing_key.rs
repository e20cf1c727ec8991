//! The sealing key comes from a command: the interface to key management services.

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use portcullis_mesh::paths;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use common::database::{configured, postgres, refused};
use common::{GATEWAY, Server, stdout, until, write_config};

/// What a program may say that nobody else must.
const SECRET: &str = "hunter2-said-on-standard-error";

/// A service whose sealing keys are what a script of its folder prints: at first, what stands in the file `keys`.
async fn service(url: Option<&str>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    if let Some(url) = url {
        std::fs::write(folder.path().join("database-url"), url).unwrap();
    }
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "0a".repeat(32)).unwrap();
    script(folder.path(), &format!("cat {}", keys.display()));
    let words = json!(["/bin/sh", folder.path().join("script")]);
    Server::start_in(folder, |config| config["store"]["sealingKeyCommand"] = words).await
}

fn script(folder: &Path, text: &str) {
    let (path, new) = (folder.join("script"), folder.join("script.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn backup(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    stdout(&configured(folder, &["backup", "create", "--file", file.to_str().unwrap()]));
    file
}

fn verify(folder: &Path, file: &Path) -> Output {
    configured(folder, &["backup", "verify", file.to_str().unwrap()])
}

/// Everything that needs the key gets it from the command, and it changes under a running service. The command takes longer
/// than a server lets a transaction wait.
async fn the_keys_of_a_command_seal_and_change(url: Option<&str>) {
    let mut service = service(url).await;
    let folder = service.folder.path().to_owned();
    assert!(!folder.join("data/sealing.key").exists(), "none is made");
    let first = backup(&folder, "first");
    stdout(&verify(&folder, &first));
    let told = refused(&configured(&folder, &["sealing-key", "rotate"]));
    assert!(told.contains("print a new key"), "{told}");

    let keys = folder.join("keys");
    std::fs::write(&keys, ["0b".repeat(32), "0a".repeat(32)].join("\n")).unwrap();
    let told = refused(&configured(&folder, &["sealing-key", "rotate", "--forget-old"]));
    assert!(told.contains("without --forget-old"), "{told}");
    script(&folder, &format!("sleep 6; cat {}", keys.display()));
    assert!(stdout(&configured(&folder, &["sealing-key", "rotate"])).contains("sealed by the new key"));
    // The running service has read the keys before that, and takes over what they are now.
    service.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    script(&folder, &format!("cat {}", keys.display()));
    stdout(&verify(&folder, &first));

    std::fs::write(&keys, "0b".repeat(32)).unwrap();
    service.expect(202, Method::POST, "/v1/signing-keys/service", None).await;
    service.restart().await;
    stdout(&configured(&folder, &["store", "check"]));
    assert!(refused(&verify(&folder, &first)).contains("not made with this sealing key"));
    let second = backup(&folder, "second");
    stdout(&verify(&folder, &second));

    // A store is restored by the key of the command, too.
    let new = TempDir::new().unwrap();
    for name in ["token", "control.yaml"] {
        std::fs::copy(folder.join(name), new.path().join(name)).unwrap();
    }
    stdout(&configured(new.path(), &["backup", "restore", second.to_str().unwrap()]));
    stdout(&configured(new.path(), &["store", "check"]));
    // And a key in a file is the same key.
    let config = std::fs::read_to_string(new.path().join("control.yaml")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["store"].as_object_mut().unwrap().remove("sealingKeyCommand");
    std::fs::write(new.path().join("control.yaml"), config.to_string()).unwrap();
    let file = new.path().join("data/sealing.key");
    std::fs::copy(&keys, &file).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    stdout(&configured(new.path(), &["store", "check"]));
}

#[tokio::test]
async fn the_keys_of_a_command_seal_a_file_and_change() {
    the_keys_of_a_command_seal_and_change(None).await;
}

#[tokio::test]
async fn the_keys_of_a_command_seal_a_server_and_change() {
    let (_server, url) = postgres("sealing-command").await;
    the_keys_of_a_command_seal_and_change(Some(&url)).await;
}

#[tokio::test]
async fn a_command_that_gives_no_keys_stops_the_start_and_what_it_says_is_not_told() {
    let mut service = service(None).await;
    service.kill();
    let folder = service.folder.path();
    let says = format!("echo {SECRET} >&2");
    for (text, why) in [
        (format!("{says}; echo {SECRET}; exit 3"), "exit status: 3"),
        (format!("{says}; echo {SECRET}"), "1 to 16 keys"),
        (says.clone(), "1 to 16 keys"),
        (format!("{says}; while :; do echo {SECRET}; done"), "more than 4096 bytes"),
        (format!("{says}; sleep 60 & sleep 60"), "within 10 s"),
        (format!("{says}; printf '%s' {}", "0c".repeat(32)), "does not open"),
    ] {
        script(folder, &text);
        let begun = Instant::now();
        let told = refused(&configured(folder, &["serve"]));
        assert!(begun.elapsed() < Duration::from_secs(60), "{why}");
        let snapshot_key = refused(&configured(folder, &["snapshot-key"]));
        for told in [told, snapshot_key] {
            assert!(told.contains(why) && !told.contains(SECRET), "{why}: {told}");
        }
    }
}

#[tokio::test]
async fn a_service_whose_command_fails_says_so_and_goes_on() {
    let service = service(None).await;
    let folder = service.folder.path();
    script(folder, &format!("echo {SECRET}; echo {SECRET} >&2; exit 7"));
    let problem = service.expect(503, Method::POST, "/v1/signing-keys/identity", None).await;
    assert_eq!(problem["reason"], "store_unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("sealing key cannot be used") && !detail.contains("/bin/sh"), "{detail}");
    service.until_logged("exit status: 7").await;
    service.register("acme").await;
    script(folder, &format!("cat {}", folder.join("keys").display()));
    service.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    assert!(!service.log().contains(SECRET), "{}", service.log());
}

/// A change of the policy may close something. It counts while the keys cannot be read, and who may call counts at once.
#[tokio::test]
async fn a_policy_is_published_while_the_command_fails() {
    let service = service(None).await;
    let folder = service.folder.path();
    let view = ["/mesh/v1/snapshot?view=gateway&worker=01&nonce=", &"0".repeat(32)].concat();
    let status = async || service.mesh(Method::GET, &view, GATEWAY).send().await.unwrap().status().as_u16();
    assert_eq!(status().await, 200);
    script(folder, "exit 1");
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(service.config()).unwrap()).unwrap();
    config["mesh"]["gateways"] = json!(["spiffe://cluster.local/ns/other/sa/gateway"]);
    config["sourceRules"] = json!([]);
    write_config(folder, &config);
    until("the gateway is none any more", async || status().await == 403).await;
    service.until_logged("configuration reloaded").await;
    assert!(service.log().contains("what was read last is used"), "{}", service.log());
}

#[tokio::test]
async fn a_replica_that_begins_to_lead_publishes_while_the_command_fails() {
    let (_server, url) = postgres("sealing-leads").await;
    let mut first = service(Some(&url)).await;
    let words = json!(["/bin/sh", first.folder.path().join("script")]);
    let second = first
        .join(|config| {
            let store = config["store"].as_object_mut().unwrap();
            store.remove("sealingKeyFile");
            store.insert("sealingKeyCommand".to_owned(), words);
            config["sourceRules"] = json!([]);
        })
        .await;
    until("they differ", async || second.ready().await.1.contains("sourceRules")).await;
    script(first.folder.path(), "exit 1");
    first.kill();
    until("the other one leads, by its own rules", async || {
        let (ready, told) = second.ready().await;
        ready && told.contains("which leads") && !told.contains("sourceRules")
    })
    .await;
    assert!(second.log().contains("what was read last is used"), "{}", second.log());
}

/// The script of the documents, with a program in the place of the one that it calls.
#[tokio::test]
async fn the_script_of_the_documents_gives_the_keys() {
    let page = std::fs::read_to_string(paths::root().join("docs/backup.md")).unwrap();
    let (_, section) = page.split_once("## Keys from a key management service").unwrap();
    let (_, text) = section.split_once("```sh test:the_script_of_the_documents_gives_the_keys\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let encrypted = "/etc/portcullis/sealing.keys.enc";
    assert!(text.contains(encrypted) && text.contains("aws kms decrypt"), "{text}");
    let mut service = service(None).await;
    let folder = service.folder.path().to_owned();
    let keys = folder.join("keys");
    script(&folder, &text.replace(encrypted, keys.to_str().unwrap()));
    // Prints what the named file has, as the real one does: in base64, on one line.
    let stand_in = "#!/bin/sh\nset -eu\n[ \"$1 $2 $3\" = 'kms decrypt --ciphertext-blob' ]\n\
                    [ \"$5 $6 $7 $8\" = '--query Plaintext --output text' ]\nbase64 -w 0 \"${4#fileb://}\"\necho\n";
    std::fs::create_dir(folder.join("bin")).unwrap();
    std::fs::write(folder.join("bin/aws"), stand_in).unwrap();
    std::fs::set_permissions(folder.join("bin/aws"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let path = format!("PATH={}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    std::fs::write(folder.join("within"), ["env", &path].join("\n")).unwrap();
    service.restart().await;
    service.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    std::fs::remove_file(keys).unwrap();
    service.expect(503, Method::POST, "/v1/signing-keys/service", None).await;
}
