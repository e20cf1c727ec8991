//! The real Envoy with the probe in it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use portcullis_mesh::{paths, tools};
use serde_json::Value;

use crate::config;
use crate::http;

/// How long an Envoy may take to start, to end, or to do what a test waits for.
const DEADLINE: Duration = Duration::from_secs(120);

/// How an Envoy is started.
pub(crate) struct Launch {
    /// Name and configuration of each filter, in their order.
    pub(crate) filters: Vec<(&'static str, &'static str)>,
    /// Worker threads.
    pub(crate) workers: u32,
    /// Further environment.
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Launch {
    /// One worker, these filters.
    pub(crate) fn of(filters: &[(&'static str, &'static str)]) -> Self {
        Self { filters: filters.to_vec(), workers: 1, env: Vec::new() }
    }
}

/// A running Envoy. It is killed when dropped.
pub(crate) struct Envoy {
    child: Child,
    dir: tempfile::TempDir,
    admin: SocketAddr,
    /// Where requests go through the probe.
    pub(crate) address: SocketAddr,
    upstream: SocketAddr,
}

impl Envoy {
    /// Starts an Envoy and waits until it serves.
    pub(crate) fn start(launch: &Launch) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (address, upstream) = (free_address(), http::upstream());
        let mut child = spawn(launch, dir.path(), address, upstream, &[]);
        let admin = wait(&mut child, dir.path(), "tell its admin address", || {
            fs::read_to_string(dir.path().join("admin")).ok()?.trim().parse::<SocketAddr>().ok()
        });
        let mut envoy = Self { child, dir, admin, address, upstream };
        envoy.until("serve", |envoy| {
            let live =
                http::try_send(envoy.admin, b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            live.is_ok_and(|live| live.status == 200) && std::net::TcpStream::connect(envoy.address).is_ok()
        });
        envoy
    }

    /// Starts an Envoy whose probe sees the client's certificate: requests to its address come with
    /// one of the workload `RUNNER`.
    pub(crate) fn start_mutual_tls(filters: &[(&str, &str)]) -> Self {
        let mut envoy = Self::start(&Launch::of(&[]));
        let (front, inner) = (free_address(), free_address());
        let (listeners, cluster) = config::mutual_tls(filters, front, inner);
        replace_file(envoy.dir.path(), "cds.json", &config::clusters(&cluster));
        envoy.until("take the cluster", |envoy| envoy.admin("/clusters").contains("inner::"));
        replace_file(envoy.dir.path(), "lds.json", &listeners);
        envoy.address = front;
        // Envoy opens one listener after the other, and the front is of no use without what stands behind it.
        let listens = |address| std::net::TcpStream::connect(address).is_ok();
        envoy.until("serve", |_| listens(front) && listens(inner));
        envoy
    }

    /// Starts an Envoy that does not come up; answers how it ended and what it said.
    pub(crate) fn fail(launch: &Launch, arguments: &[&str]) -> (ExitStatus, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut child = spawn(launch, dir.path(), free_address(), http::upstream(), arguments);
        let status = end_of(&mut child, dir.path());
        (status, log(dir.path()))
    }

    /// A page of the admin interface.
    pub(crate) fn admin(&self, path: &str) -> String {
        http::get(self.admin, path, &[]).text()
    }

    /// Tells the admin interface to do something.
    pub(crate) fn admin_post(&self, path: &str) {
        assert_eq!(http::post(self.admin, path, b"").status, 200);
    }

    /// The value of a metric in `/stats/prometheus`.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let page = self.admin("/stats/prometheus");
        page.lines().find_map(|line| {
            line.strip_prefix("envoy_portcullis_")?.strip_prefix(name)?.strip_prefix("{} ")?.parse().ok()
        })
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        log(self.dir.path())
    }

    /// Waits for something.
    pub(crate) fn until(&mut self, what: &str, mut ask: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !ask(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("Envoy ended ({status}) before it could {what}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "Envoy did not {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Checks that it still runs.
    pub(crate) fn assert_alive(&mut self) {
        let status = self.child.try_wait().unwrap();
        assert!(status.is_none(), "Envoy ended: {status:?}\n{}", self.log());
    }

    /// Replaces the listener by one with other filters, and waits until Envoy has taken it.
    pub(crate) fn replace(&mut self, filters: &[(&str, &str)], version: u32) {
        let before = self.updates();
        self.write(filters, version);
        self.until("take the new listener", |envoy| envoy.updates() > before);
    }

    /// The same without waiting.
    pub(crate) fn write(&self, filters: &[(&str, &str)], version: u32) {
        write_listener(self.dir.path(), filters, self.address, version);
    }

    /// How often it has taken a set of listeners.
    pub(crate) fn updates(&self) -> u64 {
        let page = self.admin("/stats?filter=listener_manager.lds.update_success");
        page.rsplit(' ').next().and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    /// How many of its threads have this name.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let comm = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.flatten().filter(|task| comm(task).trim() == name).count()
    }

    /// Where the test's server listens.
    pub(crate) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Ends it as an operator does, and answers how it ended.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let status = end_of(&mut self.child, self.dir.path());
        (status, self.log())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    launch: &Launch,
    dir: &Path,
    address: SocketAddr,
    upstream: SocketAddr,
    arguments: &[&str],
) -> Child {
    write_listener(dir, &launch.filters, address, 0);
    replace_file(dir, "cds.json", &config::clusters(&Value::Null));
    let bootstrap = dir.join("envoy.json");
    fs::write(&bootstrap, config::bootstrap(dir, upstream).to_string()).unwrap();
    let log = File::create(dir.join("log")).unwrap();
    let binary = tools::installed_envoy(&paths::root()).expect("these tests need the real Envoy");
    let mut command = Command::new(binary);
    command
        .arg("--config-path")
        .arg(&bootstrap)
        .arg("--admin-address-path")
        .arg(dir.join("admin"))
        .args(["--concurrency", &launch.workers.to_string(), "--disable-hot-restart"])
        .args(["--log-level", "warning", "--component-log-level", "dynamic_modules:info"])
        .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"])
        .args(arguments)
        .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", probe().parent().unwrap())
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command.spawn().unwrap()
}

/// Builds the probe and answers where it is: an old one would test nothing.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "portcullis-envoy-probe", "--profile", "native"])
            .current_dir(paths::root())
            .status()
            .unwrap();
        assert!(status.success(), "the probe does not build");
        paths::native_module_folder().join("libenvoy_probe.so")
    })
}

fn write_listener(dir: &Path, filters: &[(&str, &str)], address: SocketAddr, version: u32) {
    replace_file(dir, "lds.json", &config::listeners(filters, address, version));
}

/// Envoy watches for files that are moved into place.
fn replace_file(dir: &Path, name: &str, value: &Value) {
    let staged = dir.join("staged");
    fs::write(&staged, value.to_string()).unwrap();
    fs::rename(staged, dir.join(name)).unwrap();
}

/// An address of this process alone, for Envoy to listen at: in the loopback block of its own process id, where
/// neither another Envoy nor the port of a connection that goes out can stand.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low, ..] = std::process::id().to_le_bytes();
    let ip = Ipv4Addr::new(127, 128 | (high & 0x7f), low, NEXT.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

fn log(dir: &Path) -> String {
    String::from_utf8_lossy(&fs::read(dir.join("log")).unwrap_or_default()).into_owned()
}

fn wait<T>(child: &mut Child, dir: &Path, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        let status = child.try_wait().unwrap();
        assert!(status.is_none() && Instant::now() < end, "{status:?}: Envoy did not {what}:\n{}", log(dir));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end_of(child: &mut Child, dir: &Path) -> ExitStatus {
    let mut status = None;
    let end = Instant::now() + DEADLINE;
    while status.is_none() && Instant::now() < end {
        status = child.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    status.unwrap_or_else(|| {
        let _ = child.kill();
        panic!("Envoy did not end:\n{}", log(dir))
    })
}
