//! An agent against a platform over real TLS.

mod agent_cases;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_cases::platform::{Platform, root};
use agent_cases::proxy::Proxy;
use agent_cases::{Running, examined, fails, free, joined, joins, of, sockets, until};
use portcullis_agent::certificate::Facts;
use portcullis_agent::configuration::Shared;
use portcullis_agent::doctor::Subject;
use portcullis_agent::folder::{Folder, FolderError};
use portcullis_agent::join::Joined;
use portcullis_agent::run::Joining;
use rcgen::date_time_ymd;
use serde_json::{Value, json};

/// The key of an agent that has all of it, and nothing else.
fn is_whole(folder: &Path) -> String {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!(Facts::read(&read("certificate/tls.crt")).unwrap().cluster, "acme-onprem");
    Folder::at(folder).credential().unwrap().expect("certificate and key fit together");
    assert_eq!(serde_json::from_str::<Value>(&read("identity-keys.json")).unwrap(), json!({"keys": []}));
    assert!(folder.join("configuration.json").is_file() && !folder.join("next.key").exists());
    let generations = std::fs::read_dir(folder.join("certificate")).unwrap().flatten();
    let generations = generations.filter(|entry| entry.file_type().unwrap().is_dir()).count();
    assert_eq!(generations, 1, "nothing is left of others");
    read("certificate/tls.key")
}

#[tokio::test]
async fn an_agent_joins_once_and_its_key_never_leaves() {
    let platform = Platform::start().await;
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("agent");
    let token = platform.token();
    let first = joins(&folder, &platform.url(), None, &token).await.unwrap();
    assert!(
        first.to_string().starts_with("joined: cluster acme-onprem of acme, certificate good until 20"),
        "{first}"
    );
    let key = is_whole(&folder);
    for entry in ["", "certificate/..data/tls.key", "certificate"] {
        let mode = folder.join(entry).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{entry}");
    }
    // The same token says no more than it did; the platform is not asked.
    let again = joins(&folder, &platform.url(), None, &token).await.unwrap();
    assert!(matches!(again, Joined::Already(_)));
    assert_eq!((platform.see(|seen| seen.issued), is_whole(&folder)), (1, key.clone()));
    // Another token joins anew, with another key.
    joins(&folder, &platform.url(), None, &platform.token()).await.unwrap();
    assert_ne!(is_whole(&folder), key);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_told() {
    let platform = Platform::start().await;
    let token = platform.token();
    let above = tempfile::tempdir().unwrap();
    joins(&above.path().join("first"), &platform.url(), None, &token).await.unwrap();
    let told = fails(&platform.url(), None, &token).await;
    assert!(told.contains("was used already") && !told.contains(&token[21..85]), "{told}");
    let unknown = platform.token();
    platform.see(|seen| seen.tokens.remove(&unknown));
    let told = fails(&platform.url(), None, &unknown).await;
    assert!(told.contains("not known to the platform") && told.contains("join-token"), "{told}");
}

/// Is run as a process of its own by the next test, and by nobody else.
#[tokio::test]
async fn joins_as_a_child() {
    let Ok(words) = std::env::var("PORTCULLIS_TEST_JOINS") else { return };
    let [folder, server, token] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
    joins(Path::new(folder), server, None, token).await.unwrap();
    std::fs::write(Path::new(folder).with_extension("done"), "").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_at_any_step_of_joining_goes_on_with_the_same_key() {
    let platform = Platform::start().await;
    let (mut at, mut killed, mut finished) = (Duration::ZERO, 0, 0);
    while finished < 3 {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("agent");
        let token = platform.token();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "joins_as_a_child"])
            .env("PORTCULLIS_TEST_JOINS", format!("{} {} {token}", folder.display(), platform.url()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From the first file on.
        while !folder.exists() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        tokio::time::sleep(at).await;
        child.kill().unwrap();
        child.wait().unwrap();
        joins(&folder, &platform.url(), None, &token)
            .await
            .unwrap_or_else(|error| panic!("killed after {at:?}: {error}"));
        is_whole(&folder);
        if folder.with_extension("done").exists() {
            finished += 1;
        } else {
            killed += 1;
        }
        at += at / 8 + Duration::from_micros(200);
    }
    assert!(killed > 8, "only {killed} were killed before they had joined");
    assert!(platform.see(|seen| seen.tokens.values().all(Option::is_some)));
}

#[tokio::test]
async fn what_stands_in_the_way_of_joining_is_named() {
    let own = Arc::new(root("the platform"));
    let inspector = root("Corporate Inspection CA");
    let inspected = Platform::start_as(Arc::clone(&own), &inspector, |_| {}).await;
    let told = fails(&inspected.url(), None, &inspected.token()).await;
    assert!(told.contains("Corporate Inspection CA") && told.contains("no TLS inspection"), "{told}");

    let early = Platform::start_as(Arc::clone(&own), &own, |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    });
    let early = early.await;
    let told = fails(&early.url(), None, &early.token()).await;
    assert!(told.contains("is good from 2090-01-01") && told.contains("set the clock"), "{told}");

    let late = Platform::start_as(Arc::clone(&own), &own, |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let late = late.await;
    let told = fails(&late.url(), None, &late.token()).await;
    assert!(told.contains("was good until 2021-01-01"), "{told}");

    let other = Platform::start_as(Arc::clone(&own), &own, |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("elsewhere".try_into().unwrap())];
    });
    let other = other.await;
    let told = fails(&other.url(), None, &other.token()).await;
    assert!(told.contains("for another name"), "{told}");

    let token = other.token();
    let told = fails("https://nowhere.invalid", None, &token).await;
    assert!(told.contains("the name nowhere.invalid is not found"), "{told}");
    let told = fails(&format!("https://{}", free()), None, &token).await;
    assert!(told.contains("a firewall has to let this machine out"), "{told}");
}

#[tokio::test]
async fn an_agent_goes_through_a_proxy_and_names_what_is_wrong_with_it() {
    let platform = Platform::start().await;
    let proxy = Proxy::start(None).await;
    let token = platform.token();
    let (url, port) = (platform.url(), platform.at.port());
    let told = fails(&url, Some(&proxy.url("wrong")), &token).await;
    assert!(told.contains("asks for a name and a password") && !told.contains("wrong"), "{told}");
    let strict = Proxy::start(Some(port)).await;
    let told = fails(&url, Some(&strict.url("p%40ss")), &token).await;
    assert!(told.contains(&format!("connect to localhost:{port} (HTTP 403)")), "{told}");
    let told = fails(&url, Some(&format!("http://{}", free())), &token).await;
    assert!(told.contains("cannot be reached") && told.contains("HTTPS_PROXY"), "{told}");

    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("agent");
    joins(&folder, &url, Some(&proxy.url("p%40ss")), &token).await.unwrap();
    is_whole(&folder);
    assert_eq!(proxy.asked.lock().unwrap().last(), Some(&format!("localhost:{port}")));
}

#[tokio::test]
async fn a_running_agent_beats_renews_and_takes_over_what_the_platform_tells() {
    let platform = Platform::start().await;
    platform.see(|seen| seen.renew_after = Duration::from_secs(2));
    let (above, folder) = joined(&platform).await;
    let shared = above.path().join("keys.json");
    let running = Running::start(&folder, None, Shared { identity_keys: Some(shared.clone()) });
    let told = || format!("{:?}", running.status());
    until("heartbeats", told, async || platform.see(|seen| seen.beats.contains(&1))).await;
    // The next one is in use only once the platform has taken it.
    until("a new certificate", told, async || platform.see(|seen| seen.beats.last() == Some(&2))).await;
    platform.see(|seen| seen.renew_after = Duration::from_secs(1800));
    until("the page", told, async || running.page("/readyz").await.starts_with("HTTP/1.1 200")).await;
    // Other keys.
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "next", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    platform.see(|seen| {
        seen.configuration["identity"]["keys"] = json!({"keys": [key]});
        seen.tag += 1;
    });
    until("the keys", told, async || {
        std::fs::read_to_string(&shared).is_ok_and(|text| text.contains("next"))
    })
    .await;
    assert_eq!(shared.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&shared), read(&folder.join("identity-keys.json")));
    let metrics = running.page("/metrics").await;
    assert!(metrics.contains("portcullis_agent_tasks_total{task=\"renewal\",outcome=\"good\"}"), "{metrics}");
    assert_eq!(running.status().state.as_deref(), Some("online"));
    // A1, A4: it waits on its own machine alone.
    let listening = sockets::listening(&[std::process::id()]);
    let foreign = listening.iter().filter(|at| !at.starts_with("127.0.0.1:")).count();
    assert!(listening.contains(&running.listen.to_string()) && foreign == 0, "{listening:?}");
    // It is not started beside itself, and ends soon.
    assert!(matches!(Folder::at(&folder).take(), Err(FolderError::Taken(_))));
    let asked = Instant::now();
    running.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn other_authorities_are_trusted_as_soon_as_the_platform_tells_them() {
    let platform = Platform::start().await;
    let (_above, folder) = joined(&platform).await;
    let running = Running::start(&folder, None, Shared::default());
    let told = || format!("{:?}", running.status());
    let next = root("the next one").pem();
    platform.see(|seen| {
        let both = format!("{}{next}", seen.configuration["trust_bundle"].as_str().unwrap());
        seen.configuration["trust_bundle"] = both.into();
        seen.tag += 1;
    });
    let read = || std::fs::read_to_string(folder.join("certificate/ca.crt")).unwrap();
    until("the authorities", told, async || read().ends_with(&next)).await;
    // What is no bundle is not taken over.
    let beats = platform.see(|seen| {
        seen.configuration["trust_bundle"] = "nothing".into();
        seen.tag += 1;
        seen.beats.len()
    });
    until("the word", told, async || told().contains("authorities that the platform told cannot be used"))
        .await;
    until("heartbeats", told, async || platform.see(|seen| seen.beats.len() > beats)).await;
    assert!(read().ends_with(&next));
}

#[tokio::test]
async fn a_new_certificate_that_the_platform_does_not_take_is_given_up_and_the_old_one_stays() {
    let platform = Platform::start().await;
    platform.see(|seen| (seen.renew_after, seen.refused) = (Duration::from_secs(1), Some(2)));
    let (_above, folder) = joined(&platform).await;
    let running = Running::start(&folder, None, Shared::default());
    let told = || format!("{:?}", running.status());
    until("the word", told, async || told().contains("the old one stays in use")).await;
    until("the third", told, async || platform.see(|seen| seen.beats.contains(&3))).await;
    assert!(platform.see(|seen| !seen.beats.contains(&2)));
}

#[tokio::test]
async fn an_agent_whose_certificate_was_revoked_joins_anew_by_another_token() {
    let platform = Platform::start().await;
    let above = tempfile::tempdir().unwrap();
    let (folder, file) = (above.path().join("agent"), above.path().join("token"));
    std::fs::write(&file, platform.token()).unwrap();
    let joining = Joining { server: platform.url().parse().unwrap(), token_file: file.clone() };
    let running = Running::start(&folder, Some(joining), Shared::default());
    let told = || format!("{:?}", running.status());
    until("heartbeats", told, async || platform.see(|seen| seen.beats.contains(&1))).await;
    platform.see(|seen| seen.revoked_to = 1);
    until("the word", told, async || told().contains("ask for a join token")).await;
    let page = running.page("/readyz").await;
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("certificate_revoked"), "{page}");
    std::fs::write(&file, platform.token()).unwrap();
    until("heartbeats again", told, async || platform.see(|seen| seen.beats.contains(&2))).await;
}

#[tokio::test]
async fn the_doctor_names_each_thing_that_is_wrong() {
    let platform = Platform::start().await;
    let (above, folder) = joined(&platform).await;
    let told = examined(&folder, |_| {}).await;
    let good = {
        use Subject::{Certificate, Clock, Dns, Folder, IdentityKeys, Network, Platform, Tls, Tunnel};
        [Folder, Certificate, Dns, Network, Tls, Platform, Clock, IdentityKeys, Tunnel]
    };
    for subject in good {
        assert!(of(&told, subject).0, "{told:#?}");
    }
    let (ok, why) = of(&told, Subject::DataApi);
    assert!(!ok && why.contains("--data-api"), "{why}");
    let proxied = examined(&folder, |doctor| doctor.proxy = Some(format!("http://{}", free()))).await;
    assert!(!of(&proxied, Subject::Proxy).0);

    // The tunnel: its Envoy is away.
    platform.see(|seen| {
        seen.configuration["tunnel"] = json!({"provider": "reverse_tunnel", "server_name": "tunnels.example.com",
            "connections": 1, "address": "tunnels.example.com:443"});
    });
    let told = examined(&folder, |_| {}).await;
    assert!(!of(&told, Subject::Tunnel).0 && of(&told, Subject::Tunnel).1.contains("Envoy does not answer"));

    platform.see(|seen| seen.date = 700);
    let told = examined(&folder, |_| {}).await;
    let (ok, why) = of(&told, Subject::Clock);
    assert!(!ok && why.contains("s behind the platform's: set it"), "{why}");
    platform.see(|seen| (seen.date, seen.revoked_to) = (0, 1));
    let told = examined(&folder, |_| {}).await;
    let (ok, why) = of(&told, Subject::Platform);
    assert!(!ok && why.contains("join token"), "{why}");
    platform.see(|seen| seen.revoked_to = 0);

    let keys = folder.join("identity-keys.json");
    std::fs::write(&keys, "{\"keys\": [1]}").unwrap();
    let told = examined(&folder, |_| {}).await;
    assert!(!of(&told, Subject::IdentityKeys).0 && of(&told, Subject::IdentityKeys).1.contains("other keys"));
    std::fs::remove_file(&keys).unwrap();
    assert!(of(&examined(&folder, |_| {}).await, Subject::IdentityKeys).1.contains("missing"));

    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(of(&examined(&folder, |_| {}).await, Subject::Folder).1.contains("chmod 700"));
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let server = || "https://nowhere.invalid".parse().ok();
    let told = examined(&above.path().join("nowhere"), |doctor| doctor.server = server()).await;
    assert!(!of(&told, Subject::Folder).0 && of(&told, Subject::Certificate).1.contains("agent join"));
    assert!(!of(&told, Subject::Dns).0);

    drop(platform);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = examined(&folder, |_| {}).await;
    assert!(
        !of(&told, Subject::Network).0 && of(&told, Subject::Network).1.contains("firewall"),
        "{told:#?}"
    );
}
