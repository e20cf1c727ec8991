//! An agent: in this process where it is looked at, in a child where it is killed.

pub(crate) mod platform;
pub(crate) mod proxy;
pub(crate) mod sockets;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_agent::configuration::Shared;
use portcullis_agent::connect::{Proxy, Server};
use portcullis_agent::doctor::{Doctor, Finding, Subject};
use portcullis_agent::folder::Folder;
use portcullis_agent::join::{JoinError, Joined, join};
use portcullis_agent::run::{Joining, Options, Status, run};
use portcullis_agent::tunnel::Wiring;
use portcullis_control_contract::agents::JoinSecret;
use portcullis_control_domain::clock::now_ms;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Joins as the command does.
pub(crate) async fn joins(
    folder: &Path,
    server: &str,
    proxy: Option<&str>,
    token: &str,
) -> Result<Joined, JoinError> {
    let own = Folder::at(folder).take()?;
    let server: Server = server.parse().unwrap();
    let proxy: Option<Proxy> = proxy.map(|proxy| proxy.parse().unwrap());
    join(&own, &server, proxy, &JoinSecret::parse(token).unwrap(), now_ms()).await
}

/// Why it does not join.
pub(crate) async fn fails(server: &str, proxy: Option<&str>, token: &str) -> String {
    let above = tempfile::tempdir().unwrap();
    joins(&above.path().join("agent"), server, proxy, token).await.unwrap_err().to_string()
}

/// An agent that has joined, in a folder of its own.
pub(crate) async fn joined(platform: &platform::Platform) -> (TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("agent");
    joins(&folder, &platform.url(), None, &platform.token()).await.unwrap();
    (above, folder)
}

pub(crate) fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn wiring() -> Wiring {
    Wiring { data_api: free().into(), admin: free(), forward: free() }
}

/// One that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) listen: SocketAddr,
    folder: Folder,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(folder: &Path, joining: Option<Joining>, shared: Shared) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let listen = free();
        let options = Options { joining, proxy: None, listen, shared, wiring: wiring(), envoy: None };
        let own = Folder::at(folder).take().unwrap();
        let task = tokio::spawn(async move {
            run(own, options, async { drop(stopped.await) }).await.unwrap();
        });
        Self { listen, folder: Folder::at(folder), stop: Some(stop), task }
    }

    /// How it says that it is doing.
    pub(crate) fn status(&self) -> Status {
        self.folder.read_json(portcullis_agent::run::STATUS).unwrap().unwrap_or_default()
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it ends soon").unwrap();
    }

    /// The status and text of a page of its own.
    pub(crate) async fn page(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.listen).await.unwrap();
        let asked = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }
}

pub(crate) async fn until(what: &str, told: impl Fn() -> String, is_so: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(180);
    while !is_so().await {
        assert!(Instant::now() < end, "{what}: {}", told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the doctor says.
pub(crate) async fn examined(folder: &Path, change: impl FnOnce(&mut Doctor)) -> Vec<Finding> {
    let mut doctor = Doctor {
        folder: Folder::at(folder),
        server: None,
        proxy: None,
        wiring: wiring(),
        identity_keys: None,
    };
    change(&mut doctor);
    doctor.examine().await
}

/// What was told of a subject.
pub(crate) fn of(told: &[Finding], subject: Subject) -> (bool, &str) {
    let found = told.iter().find(|line| line.subject == subject);
    found.map_or_else(|| panic!("nothing about {subject:?}: {told:?}"), |line| (line.ok, line.told.as_str()))
}
