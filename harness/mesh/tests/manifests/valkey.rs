//! The cache of `components/valkey` as `overlays/dev` has it, on the system's server of Redis's protocol: that reads the same
//! configuration. `make test-full`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use portcullis_mesh::block::Block;
use portcullis_mesh::paths;
use portcullis_mesh::pki::Authority;
use portcullis_mesh::process::Process;
use portcullis_mesh::wait::{self, Seen};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::rendered::{built, pods};

const PASSWORD: &str = "a-password-of-agent-core";

/// The users of `docs/install.md`, made by the line that stands there.
async fn users(folder: &Path) -> PathBuf {
    let page = std::fs::read_to_string(paths::root().join("docs/install.md")).unwrap();
    let line = page.lines().find(|line| line.ends_with("> users.acl")).expect("a line that makes users.acl");
    let mut shell = Command::new("sh");
    shell.arg("-euc").arg(line).env("PASSWORD", PASSWORD).current_dir(folder).stdin(Stdio::null());
    let said = shell.output().await.unwrap();
    assert!(said.status.success(), "{said:?}");
    let file = folder.join("users.acl");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(PASSWORD), "digests are stored: {text}");
    file
}

/// `valkey-server`, or the older one that it comes from.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found = ["valkey-server", "redis-server"]
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file()));
    found.expect("valkey-server or redis-server is missing (Debian: apt install redis-server)")
}

/// What the pod runs, with these files in the place of its own.
fn start(pod: &Value, configuration: &Path, users: &Path) -> Command {
    let words = pod["containers"][0]["command"].as_array().unwrap();
    let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
    let [shell, flag, script] = words[..] else { panic!("{words:?}") };
    let script = script
        .replace("exec valkey-server", &format!("exec {}", program().display()))
        .replace("/etc/valkey/valkey.conf", &configuration.to_string_lossy())
        .replace("/run/secrets/valkey-users/users.acl", &users.to_string_lossy());
    let mut command = Command::new(shell);
    command.args([flag, &script]);
    command
}

/// Redis's own default is a user without a password who may do all.
#[tokio::test]
async fn a_cache_without_a_word_about_the_default_user_does_not_start() {
    let pod = pods(&built("overlays/dev").named("Deployment", "valkey")).unwrap().clone();
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.acl");
    for text in ["user agent-core on nopass ~* +@all\n", "user default on\n", ""] {
        std::fs::write(&users, text).unwrap();
        let mut command = start(&pod, &folder.path().join("none"), &users);
        let said = command.output().await.unwrap();
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(!said.status.success() && told.contains("write a line"), "{text}: {told}");
    }
}

/// A connection whose server has proved the name by which services know it.
async fn connect(authority: &Authority, to: std::net::SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("valkey.alfred-platform.svc.cluster.local").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await
}

/// The first line of the answer to a command.
async fn says(connection: &mut TlsStream<TcpStream>, command: &str) -> String {
    connection.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(wait::EXCHANGE, connection.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

/// B16.
#[tokio::test]
async fn the_cache_speaks_tls_alone_and_knows_each_service_by_its_password_and_its_keys() {
    let rendered = built("overlays/dev");
    let deployment = rendered.named("Deployment", "valkey");
    let pod = pods(&deployment).unwrap();
    let map = pod["volumes"][0]["configMap"]["name"].as_str().unwrap();
    let mut text = rendered.named("ConfigMap", map)["data"]["valkey.conf"].as_str().unwrap().to_owned();
    let certificate = rendered.named("Certificate", "valkey");
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], certificate["spec"]["secretName"]);
    let names: Vec<_> = certificate["spec"]["dnsNames"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|name| name.as_str().unwrap()).collect();

    let (block, folder) = (Block::take_any().unwrap(), tempfile::tempdir().unwrap());
    let at = block.plan().spare(1, 6379);
    let authority = Authority::new("stores").unwrap();
    let leaf = authority.server(&names).unwrap();
    for (file, text) in
        [("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &authority.root())]
    {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let users = users(folder.path()).await;
    for (there, here) in [
        ("bind * -::*", format!("bind {}", at.ip())),
        ("/run/secrets/valkey-users/users.acl", users.to_string_lossy().into_owned()),
        ("/run/secrets/valkey", folder.path().to_string_lossy().into_owned()),
        ("dir /data", format!("dir {}", folder.path().display())),
    ] {
        assert!(text.contains(there), "{there}: {text}");
        text = text.replace(there, &here);
    }
    let file = folder.path().join("valkey.conf");
    std::fs::write(&file, text).unwrap();
    let command = start(pod, &file, &users);
    let log = folder.path().join("valkey.log");
    let mut server = Process::start("valkey", command, &log).unwrap();
    let mut service = wait::until("the cache", &log, async || {
        server.check()?;
        Ok(match connect(&authority, at).await {
            Ok(connected) => Seen::Done(connected),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();

    for before in ["PING", "SET agent-core:a 1", "AUTH default x", "AUTH agent-core wrong"] {
        let said = says(&mut service, before).await;
        assert!(said.starts_with("-NOAUTH") || said.starts_with("-WRONGPASS"), "{before}: {said}");
    }
    assert_eq!(says(&mut service, &format!("AUTH agent-core {PASSWORD}")).await, "+OK");
    assert_eq!(says(&mut service, "SET agent-core:a 1").await, "+OK");
    assert_eq!(says(&mut service, "GET agent-core:a").await, "$1");
    let of_others =
        ["GET rag:a", "KEYS *", "SCAN 0", "RANDOMKEY", "CLIENT TRACKING ON BCAST", "FUNCTION FLUSH"];
    let scripts = [
        "EVAL return 0",
        "EVALSHA 0 0",
        "SCRIPT FLUSH",
        "SCRIPT LOAD return",
        "FCALL f 0",
        "EVAL_RO return 0",
    ];
    let of_all = ["FLUSHALL", "CONFIG GET dir", "ACL LIST", "SHUTDOWN NOSAVE"];
    for forbidden in of_others.iter().chain(&scripts).chain(&of_all) {
        let said = says(&mut service, forbidden).await;
        assert!(said.starts_with("-NOPERM"), "{forbidden}: {said}");
    }

    let mut plain = TcpStream::connect(at).await.unwrap();
    plain.write_all(b"PING\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(wait::EXCHANGE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"-") && !answer.starts_with(b"+"), "{}", String::from_utf8_lossy(&answer));
    server.check().unwrap();
    server.stop().await;
}
