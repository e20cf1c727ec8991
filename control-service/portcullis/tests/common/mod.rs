//! A real `portcullis serve` in a child process, and a reader as filters are.

#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod database;
pub(crate) mod outage;
pub(crate) mod replicas;
pub(crate) mod wire;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::verify_page;
use portcullis_protocol::wire::Page;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const MESH_TOKEN: &str = "mesh-token-of-the-tests-0123456789";
pub(crate) const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/ingressgateway";
pub(crate) const SIDECAR: &str = "spiffe://cluster.local/ns/acme/sa/data-api";

/// How long anything may take to become so: for a machine that is three times as slow as usual and busy
/// besides. Only what fails waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What counts as at once where the alternative is the end of a poll of [`LONG_POLL`] seconds. It takes
/// milliseconds; the rest is for busy machines.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(20);

/// Seconds for which a poll waits that something else is to end.
pub(crate) const LONG_POLL: u64 = 60;

/// What a busy machine may add to a time that the service promises.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// How often something is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(10);

/// The program under test.
pub(crate) fn portcullis() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_portcullis")))
}

/// Without what the surroundings of the tests say.
fn clean(mut command: Command) -> Command {
    for name in ["PORTCULLIS_TOKEN", "PORTCULLIS_SERVER", "DATABASE_URL"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The program under test, with the database of a service's folder; run by the words of the folder's file `within`, one a
/// line, if there is one.
fn portcullis_in(folder: &Path) -> Command {
    let mut command = portcullis();
    if let Ok(words) = std::fs::read_to_string(folder.join("within")) {
        let mut words = words.lines();
        command = clean(Command::new(words.next().unwrap()));
        command.args(words).arg(env!("CARGO_BIN_EXE_portcullis"));
    }
    if let Ok(url) = std::fs::read_to_string(folder.join("database-url")) {
        command.env("DATABASE_URL", url);
    }
    command
}

pub(crate) struct Server {
    pub(crate) folder: TempDir,
    child: Child,
    access: Access,
}

/// Where a service listens, and who may call it.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) http: Client,
    pub(crate) admin: String,
    pub(crate) key: [u8; 32],
    bound: Value,
}

impl Deref for Server {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// A new service with its own folder, administrator and free ports.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same, with changes to its configuration.
    pub(crate) async fn start_with(edit: impl FnOnce(&mut Value)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), edit).await
    }

    /// The same, on a database of a server.
    pub(crate) async fn start_on(url: &str) -> Self {
        Self::start_on_with(url, |_| {}).await
    }

    /// The same, with changes to its configuration.
    pub(crate) async fn start_on_with(url: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("database-url"), url).unwrap();
        Self::start_in(folder, edit).await
    }

    /// Serves from a folder in which everything is there already; administrator and key are those of another service.
    pub(crate) async fn start_as(folder: TempDir, other: &Self) -> Self {
        let (child, bound) = spawn(folder.path()).await;
        Self { folder, child, access: Access { http: client(), bound, ..other.access.clone() } }
    }

    /// The same, in a folder that is there already.
    pub(crate) async fn start_in(folder: TempDir, edit: impl FnOnce(&mut Value)) -> Self {
        configure(folder.path(), edit);
        let config = folder.path().join("control.yaml");
        let key = stdout(&run_in(folder.path(), &["snapshot-key", "--config", config.to_str().unwrap()]));
        let admin =
            stdout(&run_in(folder.path(), &["bootstrap-admin", "--config", config.to_str().unwrap()]));
        let key = {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(key).unwrap().try_into().unwrap()
        };
        let (child, bound) = spawn(folder.path()).await;
        Self { folder, child, access: Access { http: client(), admin, key, bound } }
    }

    /// One more replica of this service: the same database, sealing key and administrator.
    pub(crate) async fn join(&self, edit: impl FnOnce(&mut Value)) -> Self {
        let url = std::fs::read_to_string(self.folder.path().join("database-url")).unwrap();
        self.join_at(&url, edit).await
    }

    /// The same, with another URL of the database.
    pub(crate) async fn join_at(&self, url: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("database-url"), url).unwrap();
        let sealing_key = self.folder.path().join("data/sealing.key");
        configure(folder.path(), |config| {
            config["store"]["sealingKeyFile"] = json!(sealing_key);
            edit(config);
        });
        let (child, bound) = spawn(folder.path()).await;
        Self { folder, child, access: Access { http: client(), bound, ..self.access.clone() } }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("control.yaml")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until it has logged something: that may come after what the log line is about can be seen.
    pub(crate) async fn until_logged(&self, text: &str) {
        until(text, async || self.log().contains(text)).await;
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it says that it is ready, and what it says.
    pub(crate) async fn ready(&self) -> (bool, String) {
        let (status, told) = self.readiness().await;
        ((200..300).contains(&status), told)
    }

    /// The status by which it says so, and what it says.
    pub(crate) async fn readiness(&self) -> (u16, String) {
        let answer = self.http.get(self.url("operations", "/readyz")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page =
            self.http.get(self.url("operations", "/metrics")).send().await.unwrap().text().await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// How much memory the process has, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Its exit code, once it has ended by itself.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("the service did not end; its log:\n{}", self.log());
    }

    /// Starts it again over the same folder.
    pub(crate) async fn restart(&mut self) {
        self.begin();
        self.until_serving().await;
    }

    /// The same, without waiting until it serves; where it listens is known when the configuration says so.
    pub(crate) fn begin(&mut self) {
        self.kill();
        self.child = begun(self.folder.path());
    }

    /// Waits until a service that was begun serves.
    pub(crate) async fn until_serving(&mut self) {
        let bound = bound(self.folder.path(), &mut self.child).await;
        self.access = Access { http: client(), bound, ..self.access.clone() };
    }

    /// Where it listens at the moment.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }
}

impl Access {
    /// The same service, called by whoever has this token.
    pub(crate) fn by(&self, token: &str) -> Self {
        Self { admin: token.to_owned(), ..self.clone() }
    }

    /// Address of a listener.
    pub(crate) fn url(&self, listener: &str, path: &str) -> String {
        ["http://", self.bound[listener].as_str().unwrap(), path].concat()
    }

    /// A call to the platform API as the administrator.
    pub(crate) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url("platform", path)).bearer_auth(&self.admin)
    }

    /// The same, and its answer; the status must be the one given.
    pub(crate) async fn expect(&self, status: u16, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut call = self.api(method.clone(), path);
        if let Some(body) = &body {
            call = call.json(body);
        }
        let answer = call.send().await.unwrap();
        let found = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(found.as_u16(), status, "{method} {path} {body:?}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn register(&self, id: &str) -> Value {
        let body = json!({"id": id, "tenant": "acme", "placement": "on_premises"});
        self.expect(201, Method::POST, "/v1/clusters", Some(body)).await
    }

    pub(crate) async fn create_key(&self, subject: &str) -> Value {
        let body =
            json!({"tenant": "acme", "subject": subject, "source_type": "worker", "roles": ["reader"]});
        self.expect(201, Method::POST, "/v1/api-keys", Some(body)).await
    }

    pub(crate) async fn heartbeat(&self, id: &str, token: &str, body: Option<Value>) -> (StatusCode, Value) {
        let path = ["/v1/clusters/", id, "/heartbeat"].concat();
        let mut call = self.http.post(self.url("platform", &path)).bearer_auth(token);
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(crate) async fn state_of(&self, id: &str) -> String {
        let path = ["/v1/clusters/", id].concat();
        text(&self.expect(200, Method::GET, &path, None).await["state"])
    }

    /// A call to the mesh API as a filter beside the given workload.
    pub(crate) fn mesh(&self, method: Method, path: &str, principal: &str) -> RequestBuilder {
        let xfcc =
            ["By=spiffe://cluster.local/ns/portcullis/sa/control;Hash=ab;Subject=\"\";URI=", principal];
        self.http
            .request(method, self.url("mesh", path))
            .bearer_auth(MESH_TOKEN)
            .header("x-forwarded-client-cert", xfcc.concat())
    }

    /// Waits until these workers wait in a poll.
    pub(crate) async fn until_polling(&self, workers: &[&str]) {
        until("the polls wait", async || {
            let proxies = self.expect(200, Method::GET, "/v1/proxies", None).await;
            let list = proxies["workers"].as_array().unwrap();
            workers.iter().all(|name| list.iter().any(|w| w["worker"] == *name && w["polling"] == true))
        })
        .await;
    }

    pub(crate) fn reader(&self, view: &str, principal: &'static str, worker: &str) -> Reader {
        Reader {
            state: SnapshotState::default(),
            view: view.to_owned(),
            principal,
            worker: worker.to_owned(),
            key: self.key,
            polls: 0,
        }
    }
}

/// Reads the snapshot as a filter does: with the shared verification and the shared state.
pub(crate) struct Reader {
    pub(crate) state: SnapshotState,
    pub(crate) view: String,
    pub(crate) principal: &'static str,
    pub(crate) worker: String,
    key: [u8; 32],
    polls: u64,
}

impl Reader {
    /// One poll, and whatever is answered.
    pub(crate) async fn ask(&mut self, server: &Access, wait: u64) -> Response {
        self.request(server, wait).send().await.unwrap()
    }

    /// The request of the next poll.
    pub(crate) fn request(&mut self, server: &Access, wait: u64) -> RequestBuilder {
        self.polls += 1;
        let hex = portcullis_protocol::audit::hex;
        server.mesh(Method::GET, "/mesh/v1/snapshot", self.principal).query(&[
            ("view", self.view.as_str()),
            ("generation", &hex(self.state.generation())),
            ("revision", &self.state.revision().to_string()),
            ("cursor", &hex(self.state.cursor())),
            ("nonce", &hex(&self.nonce())),
            ("wait", &wait.to_string()),
            ("worker", &self.worker),
            ("proxy", "router~127.0.0.1~gateway"),
        ])
    }

    /// That of the newest poll.
    fn nonce(&self) -> [u8; 16] {
        let mut nonce = [0u8; 16];
        nonce[..8].copy_from_slice(&self.polls.to_be_bytes());
        nonce
    }

    /// One poll; the page is verified and applied.
    pub(crate) async fn poll(&mut self, server: &Access, wait: u64) -> Page {
        let answer = self.ask(server, wait).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        assert_eq!(answer.headers()["content-type"], "application/x-protobuf");
        let bytes = answer.bytes().await.unwrap();
        self.take(&bytes)
    }

    /// Verifies the page that answers the newest poll, and applies it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Page {
        let page = verify_page(bytes, &self.key, &self.nonce(), &self.view).unwrap();
        let copy = page.page().clone();
        let applied = self.state.apply(page).unwrap();
        assert_eq!(applied.unreadable, Vec::<String>::new());
        copy
    }

    /// Polls until everything is there; returns the pages.
    pub(crate) async fn sync(&mut self, server: &Access) -> Vec<Page> {
        let mut pages = vec![self.poll(server, 0).await];
        while pages.last().unwrap().more {
            pages.push(self.poll(server, 0).await);
        }
        assert!(self.state.is_complete());
        pages
    }
}

/// The configuration of the tests, ports chosen by the system.
pub(crate) fn configuration() -> Value {
    json!({
        "listeners": {"mesh": "127.0.0.1:0", "platform": "127.0.0.1:0", "operations": "127.0.0.1:0"},
        "store": {"dataDir": "data"},
        "mesh": {
            "tokenFile": "token",
            "gateways": [GATEWAY],
            "sidecars": [{"cluster": "acme", "principals": [SIDECAR]}],
        },
        "identity": {"issuer": "https://portcullis.example.com/identity"},
        "issuers": [{
            "issuer": "https://idp.example.com",
            "audiences": ["portcullis"],
            "algorithms": ["EdDSA"],
            "jwks": {"keys": [public_jwk("k1")]},
        }],
        "sourceRules": [{"name": "people", "sourceType": "human", "when": {"credential": ["jwt"]}}],
    })
}

/// A public key of an identity provider; nobody signs by it.
pub(crate) fn public_jwk(kid: &str) -> Value {
    // RFC 8037, appendix A.
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

/// JSON is YAML, so the configuration can be written as it is.
pub(crate) fn write_config(folder: &Path, config: &Value) {
    let temporary = folder.join("control.yaml.new");
    std::fs::write(&temporary, config.to_string()).unwrap();
    std::fs::rename(temporary, folder.join("control.yaml")).unwrap();
}

/// Runs a command that should end by itself; one that does not is ended, and fails the test.
pub(crate) fn run(arguments: &[&str]) -> Output {
    finish(portcullis(), arguments)
}

/// A command on the database of a service's folder.
pub(crate) fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    finish(portcullis_in(folder), arguments)
}

fn finish(mut command: Command, arguments: &[&str]) -> Output {
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{arguments:?} did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(POLL);
    }
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Writes the files of a service's folder.
fn configure(folder: &Path, edit: impl FnOnce(&mut Value)) {
    std::fs::write(folder.join("token"), MESH_TOKEN).unwrap();
    let mut config = configuration();
    edit(&mut config);
    write_config(folder, &config);
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

async fn spawn(folder: &Path) -> (Child, Value) {
    let mut child = begun(folder);
    let bound = bound(folder, &mut child).await;
    (child, bound)
}

fn begun(folder: &Path) -> Child {
    let ready = folder.join("ready");
    // It is not there before the first start.
    let _ = std::fs::remove_file(&ready);
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    portcullis_in(folder)
        .args(["serve", "--config", folder.join("control.yaml").to_str().unwrap(), "--ready-file"])
        .arg(&ready)
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Where it listens, once it serves.
async fn bound(folder: &Path, child: &mut Child) -> Value {
    let ready = folder.join("ready");
    let begun = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready) {
            return serde_json::from_str(&text).unwrap();
        }
        let ended = child.try_wait().unwrap();
        if ended.is_some() || begun.elapsed() > PATIENCE {
            // It may have ended already.
            let _ = child.kill();
            let log = std::fs::read_to_string(folder.join("log")).unwrap();
            panic!("the service did not start ({ended:?}); its log:\n{log}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The same id with another secret and the checksum that fits it: only the digest tells it.
pub(crate) fn forge(token: &str) -> String {
    let (body, _) = token.rsplit_once('_').unwrap();
    let last = if body.ends_with('0') { "1" } else { "0" };
    let body = [&body[..body.len() - 1], last].concat();
    let sum = portcullis_protocol::audit::hex(&crc32fast::hash(body.as_bytes()).to_be_bytes());
    [body, sum].join("_")
}

/// The first of the events that follow each other.
pub(crate) async fn first_event(mut answer: reqwest::Response) -> String {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        let more = answer.chunk().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&more).unwrap());
    }
    text
}
