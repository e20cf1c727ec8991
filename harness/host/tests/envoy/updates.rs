//! A real Envoy whose listeners come from a file that is moved into place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::case::{Message, Sent, Setup};
use super::process::{Envoy, Modules, listener};
use super::story::{Step, Story, Told};
use super::wire::{self, Server};

/// How often something is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(20);

/// Envoy, and what its file of listeners holds.
pub(crate) struct Updates<'a> {
    envoy: Envoy,
    path: PathBuf,
    modules: &'a Modules,
    server: &'a Server,
    listeners: Mutex<BTreeMap<String, Value>>,
}

impl<'a> Updates<'a> {
    pub(crate) fn start(stories: &[Story], modules: &'a Modules, server: &'a Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("listeners.json");
        let first = |story: &Story| {
            let setup = &story.first;
            (setup.name.clone(), with_type(listener(setup, modules, None)))
        };
        let listeners: BTreeMap<String, Value> = stories.iter().map(first).collect();
        write(&path, &listeners);
        let clusters: BTreeMap<&str, SocketAddr> =
            [("upstream", server.address), ("upstream-b", server.address), ("refused", server.address)]
                .into();
        let envoy = Envoy::start_dynamic(folder, &path, listeners.len(), &clusters);
        Self { envoy, path, modules, server, listeners: Mutex::new(listeners) }
    }

    /// A story through Envoy. `here` is what the same steps led to in the test host: that many lines are
    /// waited for.
    pub(crate) fn tell(&self, story: &Story, here: &[Told]) -> Vec<Told> {
        let name = story.first.name.as_str();
        let mut begun: Vec<(String, JoinHandle<Option<Message>>)> = Vec::new();
        let mut before = 0;
        let mut told = Vec::new();
        let steps = std::iter::once((String::new(), None)).chain(story.tagged());
        for ((tag, step), here) in steps.zip(here) {
            let mut now = Told::default();
            match step {
                None => {}
                Some(Step::Request(sent)) => now.exchanges.push(self.end(tag, self.send(name, sent))),
                Some(Step::Begin(sent)) => begun.push((tag, self.send(name, sent))),
                Some(Step::Finish) => {
                    for (tag, _) in &begun {
                        self.server.release(tag);
                    }
                    now.exchanges.extend(begun.drain(..).map(|(tag, client)| self.end(tag, client)));
                }
                Some(Step::Update(setup)) => now.accepted = Some(self.update(&setup)),
                Some(Step::Remove) => self.remove(name),
                Some(end @ (Step::Drain | Step::ShutDown)) => {
                    if matches!(end, Step::Drain) {
                        self.until_drained();
                    } else {
                        self.envoy.quit();
                    }
                    now.exchanges.extend(begun.drain(..).map(|(tag, client)| self.end(tag, client)));
                }
            }
            now.logs = self.lines(name, before, here.logs.len());
            before += now.logs.len();
            now.logs.sort();
            told.push(now);
        }
        told
    }

    fn send(&self, name: &str, sent: Sent) -> JoinHandle<Option<Message>> {
        let address = self.envoy.address(name);
        std::thread::spawn(move || wire::send(address, &sent).expect("Envoy listens"))
    }

    /// What upstream and client saw of a request.
    fn end(&self, tag: String, client: JoinHandle<Option<Message>>) -> (Option<Message>, Option<Message>) {
        let client = client.join().expect("the client ends");
        (self.server.seen(&tag), client)
    }

    /// Waits until no listener and no chain of one lives on after an update.
    fn until_drained(&self) {
        let start = Instant::now();
        let gauges = ["total_filter_chains_draining", "total_listeners_draining"];
        while gauges.iter().any(|gauge| self.counter(&format!("listener_manager.{gauge}")) > 0) {
            assert!(start.elapsed() < PATIENCE, "no end of the drain; Envoy's log:\n{}", self.envoy.log());
            std::thread::sleep(POLL);
        }
    }

    /// The lines of a story after those that are known; waits for that many.
    fn lines(&self, name: &str, known: usize, wanted: usize) -> Vec<String> {
        let (start, most) = (Instant::now(), Duration::from_secs(8));
        let lines = || super::logged(&self.envoy.log(), name).split_off(known);
        while lines().len() < wanted && start.elapsed() < most {
            std::thread::sleep(POLL);
        }
        // Lines beyond those that are expected come late, too.
        std::thread::sleep(Duration::from_millis(50));
        lines()
    }

    /// Gives a listener another chain. Whether Envoy accepts it.
    fn update(&self, setup: &Setup) -> bool {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let new = with_type(listener(setup, self.modules, None));
        let old = listeners.insert(setup.name.clone(), new);
        let accepted = self.push(&listeners, "listener_create_success");
        if let (false, Some(old)) = (accepted, old) {
            // The next update of another listener would be refused for this one.
            listeners.insert(setup.name.clone(), old);
        }
        accepted
    }

    fn remove(&self, name: &str) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.remove(name);
        assert!(self.push(&listeners, "listener_removed"), "a removal is refused");
    }

    /// Puts the file in place and waits until the workers have it, or until it is refused.
    fn push(&self, listeners: &BTreeMap<String, Value>, done: &str) -> bool {
        let (done, refused) = (format!("listener_manager.{done}"), "listener_manager.lds.update_rejected");
        let before = (self.counter(&done), self.counter(refused));
        write(&self.path, listeners);
        let start = Instant::now();
        loop {
            if self.counter(&done) > before.0 {
                return true;
            }
            if self.counter(refused) > before.1 {
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "no update; Envoy's log:\n{}", self.envoy.log());
            std::thread::sleep(POLL);
        }
    }

    fn counter(&self, name: &str) -> u64 {
        let stats = self.envoy.get(&format!("/stats?filter=^{name}$"));
        let value = stats.trim().strip_prefix(&format!("{name}: ")).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no counter {name} in {stats:?}"))
    }
}

fn with_type(mut listener: Value) -> Value {
    listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    listener
}

/// Envoy looks at files that are moved into place.
fn write(path: &Path, listeners: &BTreeMap<String, Value>) {
    let resources: Vec<&Value> = listeners.values().collect();
    let draft = path.with_extension("draft");
    std::fs::write(&draft, json!({"resources": resources}).to_string()).expect("written");
    std::fs::rename(draft, path).expect("moved");
}
