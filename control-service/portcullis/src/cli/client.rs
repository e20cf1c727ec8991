//! The operator's commands against a running service: clusters, API keys, the audit log, and how all of
//! them speak to it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_control_domain::text_file;
use portcullis_control_services::causes::causes;
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::table;

/// Where the service is and how to speak to it.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Address of the platform API, for example `http://127.0.0.1:9701`.
    #[arg(long, env = "PORTCULLIS_SERVER")]
    server: Url,
    /// File with the administrator's token; without it the variable PORTCULLIS_TOKEN is read.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The service's JSON, as it is.
    Json,
    /// A table for people.
    Table,
}

/// Clusters.
#[derive(Debug, Subcommand)]
pub(super) enum Clusters {
    /// Register a data cluster; prints its own token once.
    Register {
        /// Its id: a DNS label.
        id: String,
        /// The tenant that owns it.
        #[arg(long)]
        tenant: String,
        /// Where it stands.
        #[arg(long, value_enum, default_value_t = Placement::OnPremises)]
        placement: Placement,
        /// Its region.
        #[arg(long)]
        region: Option<String>,
    },
    /// List clusters.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        /// Only those in this state.
        #[arg(long)]
        state: Option<String>,
    },
    /// Close a cluster at every proxy.
    Suspend(Change),
    /// Open it again.
    Resume(Change),
    /// End it for good; its id is never used again.
    Retire(Change),
}

/// Where a cluster stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Placement {
    /// On the platform.
    PlatformHosted,
    /// At a customer's, behind a tunnel.
    OnPremises,
}

/// A change of one thing.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// Its id.
    pub(super) id: String,
    /// Seconds to wait until every proxy has the change, up to 30; exit code 3 if one has not.
    #[arg(long, default_value_t = 0)]
    pub(super) wait: u64,
}

/// API keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key; prints it once.
    Create {
        /// The tenant it belongs to.
        #[arg(long)]
        tenant: String,
        /// Whom it speaks for.
        #[arg(long)]
        subject: String,
        /// human, worker or mcp_agent.
        #[arg(long)]
        source_type: String,
        /// A role; may be given several times.
        #[arg(long = "role")]
        roles: Vec<String>,
        /// A scope; may be given several times.
        #[arg(long = "scope")]
        scopes: Vec<String>,
        /// Seconds until it ends.
        #[arg(long)]
        expires_in: Option<u64>,
    },
    /// List keys.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Make a key in the place of another one; prints it once.
    Rotate {
        /// The key to be replaced.
        id: String,
        /// Seconds for which the old key stays good, up to 30 days.
        #[arg(long, default_value_t = 0)]
        overlap: u64,
        /// Seconds until the new key ends; without it, it lives as long as the old one was made to.
        #[arg(long)]
        expires_in: Option<u64>,
        /// Seconds to wait until every proxy has the change, up to 30.
        #[arg(long, default_value_t = 0)]
        wait: u64,
    },
    /// Revoke a key.
    Revoke(Change),
}

/// The audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show records.
    Records {
        /// Of this request.
        #[arg(long)]
        request_id: Option<String>,
        /// Of this subject.
        #[arg(long)]
        subject: Option<String>,
        /// Of this cluster.
        #[arg(long)]
        cluster: Option<String>,
        /// Only `allow`, `refuse` or `none`.
        #[arg(long)]
        decision: Option<String>,
        /// After this index.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many, up to 1000.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Show what is stored and what is missing.
    Status,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// No token.
    #[error("no administrator's token: set PORTCULLIS_TOKEN or give --token-file")]
    NoToken,
    /// The token file cannot be read.
    #[error("the token file {0} cannot be read: {1}")]
    TokenFile(PathBuf, std::io::Error),
    /// The address cannot be extended by a path.
    #[error("--server {0} is not an address such as http://127.0.0.1:9701")]
    Server(Url),
    /// The call failed.
    #[error(
        "the platform API at {url} cannot be reached: {problem}; is `portcullis serve` running, and is --server its platform listener?"
    )]
    Http {
        /// The address.
        url: Url,
        /// What happened.
        problem: String,
    },
    /// The service refused.
    #[error("refused: {title} ({reason}, status {status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Title of the problem.
        title: String,
        /// Its stable code.
        reason: String,
        /// What to change.
        detail: String,
    },
    /// Not every proxy has the change.
    #[error("the change is made, but {0} of {1} worker(s) have not acknowledged it yet")]
    Pending(usize, u64),
    /// Some proxies may be cut off.
    #[error(
        "the change is made, but {0} worker(s) were not heard of lately: they are gone, or go on without it for \
         as long as stale_in_ms says"
    )]
    Silent(usize),
    /// Nobody is there to have it.
    #[error("the change is made, but no worker is known that could have it: see GET /v1/proxies")]
    NoWorker,
    /// Nobody said that everybody of a name is meant.
    #[error(
        "nothing was revoked: {0} stands for everybody of that name, at every issuer and in every tenant; name one person by --tenant, --issuer and --subject, or say --yes"
    )]
    Unconfirmed(String),
    /// The answer cannot be printed.
    #[error("the answer cannot be printed: {0}")]
    Print(#[from] std::io::Error),
}

/// One call to the platform API.
pub(super) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Call {
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|&s| s.to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None }
    }

    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|v| (name, v.to_string())));
        self
    }

    pub(super) fn body(self, members: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Self {
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self { body: Some(Value::Object(given.collect::<Map<_, _>>())), ..self }
    }

    pub(super) fn change(method: Method, path: &[&str], wait: u64) -> Self {
        Self::new(method, path).query("wait", (wait > 0).then_some(wait))
    }
}

/// Runs a command about clusters.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn clusters(connection: &Connection, command: Clusters) -> Result<(), ClientError> {
    let call = match command {
        Clusters::Register { id, tenant, placement, region } => {
            let placement = match placement {
                Placement::PlatformHosted => "platform_hosted",
                Placement::OnPremises => "on_premises",
            };
            Call::new(Method::POST, &["v1", "clusters"]).body([
                ("id", Some(json!(id))),
                ("tenant", Some(json!(tenant))),
                ("placement", Some(json!(placement))),
                ("region", region.map(Value::from)),
            ])
        }
        Clusters::List { tenant, state } => {
            let call = Call::new(Method::GET, &["v1", "clusters"]).query("limit", Some(1000));
            call.query("tenant", tenant).query("state", state)
        }
        Clusters::Suspend(c) => Call::change(Method::POST, &["v1", "clusters", &c.id, "suspend"], c.wait),
        Clusters::Resume(c) => Call::change(Method::POST, &["v1", "clusters", &c.id, "resume"], c.wait),
        Clusters::Retire(c) => Call::change(Method::DELETE, &["v1", "clusters", &c.id], c.wait),
    };
    run(connection, call).await
}

/// Runs a command about API keys.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn keys(connection: &Connection, command: Keys) -> Result<(), ClientError> {
    let call = match command {
        Keys::Create { tenant, subject, source_type, roles, scopes, expires_in } => {
            Call::new(Method::POST, &["v1", "api-keys"]).body([
                ("tenant", Some(json!(tenant))),
                ("subject", Some(json!(subject))),
                ("source_type", Some(json!(source_type))),
                ("roles", Some(json!(roles))),
                ("scopes", Some(json!(scopes))),
                ("expires_in_s", expires_in.map(Value::from)),
            ])
        }
        Keys::List { tenant } => {
            Call::new(Method::GET, &["v1", "api-keys"]).query("limit", Some(1000)).query("tenant", tenant)
        }
        Keys::Rotate { id, overlap, expires_in, wait } => {
            Call::change(Method::POST, &["v1", "api-keys", &id, "rotate"], wait)
                .body([("overlap_s", Some(json!(overlap))), ("expires_in_s", expires_in.map(Value::from))])
        }
        Keys::Revoke(c) => Call::change(Method::DELETE, &["v1", "api-keys", &c.id], c.wait),
    };
    run(connection, call).await
}

/// Runs a command about the audit log.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn audit(connection: &Connection, command: Audit) -> Result<(), ClientError> {
    let call = match command {
        Audit::Records { request_id, subject, cluster, decision, after, limit } => {
            Call::new(Method::GET, &["v1", "audit", "records"])
                .query("request_id", request_id)
                .query("subject", subject)
                .query("cluster", cluster)
                .query("decision", decision)
                .query("after", Some(after))
                .query("limit", Some(limit))
        }
        Audit::Status => Call::new(Method::GET, &["v1", "audit", "status"]),
    };
    run(connection, call).await
}

/// Makes a call and prints its answer.
pub(super) async fn run(connection: &Connection, call: Call) -> Result<(), ClientError> {
    let waited = call.query.iter().any(|(name, _)| *name == "wait");
    let changes = call.method != Method::GET;
    let answer = send(connection, call).await?;
    let text = match connection.output {
        Output::Json => [answer.to_string(), "\n".to_owned()].concat(),
        Output::Table => table::render(&answer),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    if waited {
        return everywhere(&answer);
    }
    if let Some(line) = Some(&answer).filter(|_| changes).and_then(whereabouts) {
        // Beside the answer, which a program may read. Nothing is left to tell when standard error is gone.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    Ok(())
}

/// Where a change is that was not waited for; nothing for one that proxies need not have.
fn whereabouts(answer: &Value) -> Option<String> {
    let number = |name| answer.get(name).and_then(Value::as_u64);
    let (workers, have) = (number("workers")?, number("acknowledged")?);
    let silent = answer.get("silent").and_then(Value::as_array).map_or(0, Vec::len);
    let mut line = match workers {
        0 => "stored; no worker is known that could have it: see GET /v1/proxies".to_owned(),
        _ if have == workers && silent == 0 => format!("stored, and all {workers} workers have it"),
        _ => format!(
            "stored; {have} of {workers} workers have it, the others take it with their next poll, mostly within a \
             second. --wait SECONDS waits for them"
        ),
    };
    if silent > 0 {
        line.push_str(&format!("; {silent} more were not heard of lately and may go on without it"));
    }
    if let Some(replaced) = answer.get("replaced").filter(|old| old.is_object()) {
        let id = replaced.get("id").and_then(Value::as_str).unwrap_or_default();
        let until = replaced.get("expires_at_s").and_then(Value::as_u64);
        let end = until.map_or("is revoked".to_owned(), |s| format!("ends at {s} (Unix time)"));
        line.push_str(&format!(
            ".\nThe new key counts at a worker from then on, not before; the old one, {id}, {end}"
        ));
    }
    Some(line)
}

/// Whether every worker has the change that was waited for.
fn everywhere(answer: &Value) -> Result<(), ClientError> {
    let count = |name| answer.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let workers = answer.get("workers").and_then(Value::as_u64);
    match (count("pending"), count("silent"), workers) {
        (0, 0, Some(0)) => Err(ClientError::NoWorker),
        (0, 0, _) => Ok(()),
        (0, silent, _) => Err(ClientError::Silent(silent)),
        (pending, _, workers) => Err(ClientError::Pending(pending, workers.unwrap_or_default())),
    }
}

async fn send(connection: &Connection, call: Call) -> Result<Value, ClientError> {
    let token = token(connection)?;
    let mut url = connection.server.clone();
    url.path_segments_mut()
        .map_err(|()| ClientError::Server(connection.server.clone()))?
        .pop_if_empty()
        .extend(&call.path);
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(call.query);
    }
    let failed =
        |e: reqwest::Error| ClientError::Http { url: connection.server.clone(), problem: causes(&e) };
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        builder = builder.no_proxy();
    }
    let mut request = builder.build().map_err(failed)?.request(call.method, url).bearer_auth(&*token);
    if let Some(body) = call.body {
        request = request.json(&body);
    }
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(answer);
    }
    let member = |name| answer.get(name).and_then(Value::as_str).unwrap_or("not given").to_owned();
    Err(ClientError::Refused {
        status: status.as_u16(),
        title: member("title"),
        reason: member("reason"),
        detail: member("detail"),
    })
}

fn token(connection: &Connection) -> Result<Zeroizing<String>, ClientError> {
    let text = match &connection.token_file {
        Some(path) => text_file::read(path).map_err(|e| ClientError::TokenFile(path.clone(), e))?,
        None => std::env::var("PORTCULLIS_TOKEN").map_err(|_| ClientError::NoToken)?,
    };
    Ok(Zeroizing::new(text.trim().to_owned()))
}
