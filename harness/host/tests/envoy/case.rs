//! What is compared: chains, requests, and what each side made of them.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What becomes of requests when the VM is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    Closed,
    Open,
    Reload,
}

/// The probe modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Probe {
    Script,
    RustSdk,
    GoSdk,
}

/// A plugin; that of the script probe has its script as configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scripted {
    pub(crate) probe: Probe,
    pub(crate) name: String,
    pub(crate) root_id: String,
    pub(crate) config: String,
    pub(crate) vm_config: String,
    pub(crate) policy: Policy,
}

/// A chain of plugins behind one listener.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) plugins: Vec<Scripted>,
    /// Clients speak HTTP/2.
    pub(crate) http2: bool,
}

impl Setup {
    /// One plugin that does what the requests say.
    pub(crate) fn plain() -> Self {
        Self::named("plain").plugin("")
    }

    /// A chain of its own, with VMs of its own.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), plugins: Vec::new(), http2: false }
    }

    /// The same for clients that speak HTTP/2.
    pub(crate) fn http2() -> Self {
        Self { http2: true, ..Self::named("http2").plugin("") }
    }

    /// Another plugin, of the script probe.
    pub(crate) fn plugin(self, config: &str) -> Self {
        self.plugin_of(Probe::Script, config)
    }

    pub(crate) fn plugin_of(mut self, probe: Probe, config: &str) -> Self {
        let name = format!("p{}", self.plugins.len());
        let (root_id, config) = (format!("r{}", self.plugins.len()), config.to_owned());
        self.plugins.push(Scripted {
            probe,
            name,
            root_id,
            config,
            vm_config: String::new(),
            policy: Policy::Closed,
        });
        self
    }

    pub(crate) fn policy(mut self, policy: Policy) -> Self {
        for plugin in &mut self.plugins {
            plugin.policy = policy;
        }
        self
    }

    /// One for each plugin.
    pub(crate) fn policies(mut self, policies: &[Policy]) -> Self {
        for (plugin, policy) in self.plugins.iter_mut().zip(policies) {
            plugin.policy = *policy;
        }
        self
    }

    pub(crate) fn vm_config(mut self, vm_config: &str) -> Self {
        for plugin in &mut self.plugins {
            vm_config.clone_into(&mut plugin.vm_config);
        }
        self
    }

    /// VMs are not shared between set-ups.
    pub(crate) fn vm_id(&self) -> String {
        format!("vm-{}", self.name)
    }
}

/// A request as bytes on the wire, in parts.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    /// `:protocol` of an extended CONNECT.
    pub(crate) protocol: Option<String>,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Body,
    /// Wait this long (milliseconds) before sending it.
    pub(crate) pause: u64,
    /// Wait this long (seconds) for an answer.
    pub(crate) patience: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    None,
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>, Vec<(String, String)>),
    /// Chunks that nothing comes after.
    Unfinished(Vec<Vec<u8>>),
}

impl Sent {
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: "GET".into(),
            path: path.into(),
            protocol: None,
            headers: Vec::new(),
            body: Body::None,
            pause: 0,
            patience: 20,
        }
    }

    pub(crate) fn post(path: &str, body: &str) -> Self {
        Self { method: "POST".into(), body: Body::Whole(body.into()), ..Self::get(path) }
    }

    pub(crate) fn chunks(path: &str, chunks: &[&str], trailers: &[(&str, &str)]) -> Self {
        let chunks = chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect();
        let trailers = trailers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { method: "POST".into(), body: Body::Chunks(chunks, trailers), ..Self::get(path) }
    }

    /// The client leaves before the body is over.
    pub(crate) fn unfinished(path: &str, chunks: &[&str]) -> Self {
        let chunks = chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect();
        Self { method: "POST".into(), body: Body::Unfinished(chunks), ..Self::get(path) }.impatient()
    }

    pub(crate) fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn script(self, script: &str) -> Self {
        self.header("x-script", script)
    }

    /// The upstream answers as this name says.
    pub(crate) fn answer(self, name: &str) -> Self {
        self.header("x-answer", name)
    }

    /// No answer is expected: do not wait long.
    pub(crate) fn impatient(mut self) -> Self {
        self.patience = 1;
        self
    }

    pub(crate) fn after(mut self, milliseconds: u64) -> Self {
        self.pause = milliseconds;
        self
    }
}

/// Something that both hosts must do alike.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    pub(crate) requests: Vec<Sent>,
    /// Start of the names of metrics to compare.
    pub(crate) metrics: Option<&'static str>,
    /// The hosts are known to differ.
    pub(crate) differs: Option<Difference>,
}

/// A known difference.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// The row of `docs/differences.md` that names it, by its first cell.
    pub(crate) row: &'static str,
    /// The lines of the log on this side.
    pub(crate) here: Vec<String>,
}

impl Case {
    pub(crate) fn plain(name: &'static str, request: Sent) -> Self {
        Self { name, setup: Setup::plain(), requests: vec![request], metrics: None, differs: None }
    }

    pub(crate) fn new(name: &'static str, setup: Setup, requests: Vec<Sent>) -> Self {
        Self { name, setup, requests, metrics: None, differs: None }
    }

    /// Another request.
    pub(crate) fn then(mut self, request: Sent) -> Self {
        self.requests.push(request);
        self
    }

    pub(crate) fn metrics(mut self, prefix: &'static str) -> Self {
        self.metrics = Some(prefix);
        self
    }

    /// The hosts differ here, as this row of `docs/differences.md` says; this one logs these lines.
    pub(crate) fn differs(mut self, row: &'static str, here: Vec<String>) -> Self {
        self.differs = Some(Difference { row, here });
        self
    }

    /// Requests with the name of the case in them, by which logs and upstream requests are found.
    pub(crate) fn tagged(&self) -> Vec<(String, Sent)> {
        let tag = |(at, sent): (usize, &Sent)| {
            let tag = format!("{}-{at}", self.name);
            (tag.clone(), sent.clone().header("x-case", tag))
        };
        self.requests.iter().enumerate().map(tag).collect()
    }
}

/// A message as an end of the chain saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Names and values, without what the hosts may add on their own.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<(String, String)>,
}

/// What one host made of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) exchanges: Vec<(Option<Message>, Option<Message>)>,
    pub(crate) logs: Vec<String>,
    pub(crate) metrics: BTreeMap<String, u64>,
}

/// Headers that a connection's codec or a real network adds.
const IGNORED: &[&str] =
    &["date", "server", "x-request-id", "connection", "transfer-encoding", "x-envoy-internal", "host"];

impl Message {
    pub(crate) fn new<'a>(
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        body: &[u8],
        trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let keep = |(name, value): (&[u8], &[u8])| {
            let name = text(name).to_ascii_lowercase();
            let name = if name == "host" { ":authority".to_owned() } else { name };
            // The codec gives every empty answer a length.
            let noise = name == "content-length" && value == b"0";
            (!noise && !IGNORED.contains(&name.as_str())).then(|| (name, text(value)))
        };
        let mut headers: Vec<_> = headers.filter_map(keep).collect();
        headers.sort();
        Self { headers, body: text(body), trailers: trailers.filter_map(keep).collect() }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

impl std::fmt::Display for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (upstream, client) in &self.exchanges {
            write_end(f, "upstream", upstream.as_ref())?;
            write_end(f, "client", client.as_ref())?;
        }
        for line in &self.logs {
            writeln!(f, "log {line}")?;
        }
        for (name, value) in &self.metrics {
            writeln!(f, "metric {name} = {value}")?;
        }
        Ok(())
    }
}

/// What one end of the chain saw, as lines.
pub(crate) fn write_end(
    f: &mut std::fmt::Formatter<'_>,
    name: &str,
    message: Option<&Message>,
) -> std::fmt::Result {
    let Some(message) = message else { return writeln!(f, "{name}: nothing") };
    writeln!(f, "{name}:")?;
    for (n, v) in &message.headers {
        writeln!(f, "  {n}: {v}")?;
    }
    writeln!(f, "  body: {}", message.body)?;
    for (n, v) in &message.trailers {
        writeln!(f, "  trailer {n}: {v}")?;
    }
    Ok(())
}
