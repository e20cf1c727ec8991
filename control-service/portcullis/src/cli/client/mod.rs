//! How the operator's commands speak to a running service.

mod call;
mod error;
mod events;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use portcullis_control_contract::ProblemDocument;
use portcullis_control_contract::clients::ClientRevoked;
use portcullis_control_contract::clusters::ClusterChanged;
use portcullis_control_contract::keys::{KeyRevoked, KeyRotated};
use portcullis_control_contract::revocations::RevocationChanged;
use portcullis_control_domain::api_key::ApiKey;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::text_file;
use portcullis_control_services::causes::causes;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::table;
pub(super) use call::{Call, written};
pub(super) use error::ClientError;
pub(super) use events::{Event, events};

/// Entries of a list that are asked for: as many as the service gives at once.
pub(super) const MOST: Option<usize> = Some(1000);

/// Where the service is and how to speak to it.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Address of the platform API, for example `http://127.0.0.1:9701`.
    #[arg(long, env = "PORTCULLIS_SERVER", value_parser = server)]
    server: Url,
    /// File with the token; without it the variable PORTCULLIS_TOKEN is read.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Seconds that a connection may take.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    connect_timeout: u64,
    /// Seconds that a call may take in all, the time of --wait included.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Connection {
    /// Whether answers are printed as JSON.
    pub(super) fn prints_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Why there is no answer; `changes`: the call would have changed something.
    fn failed(&self, error: &reqwest::Error, changes: bool) -> ClientError {
        let url = self.server.clone();
        match (error.is_timeout(), error.is_connect()) {
            (true, true) => ClientError::NoConnection { url, seconds: self.connect_timeout },
            (true, false) => {
                let made = "; the change may have been made all the same: look before you repeat it";
                let lost = if changes { made } else { "" };
                ClientError::TimedOut { url, seconds: self.timeout, lost }
            }
            _ => ClientError::Http { url, problem: causes(error) },
        }
    }
}

fn server(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or("write the address of the platform listener in full, for example http://127.0.0.1:9701")
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The service's JSON, as it is.
    Json,
    /// A table for people.
    Table,
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

/// Reads a name that stands for one of these.
pub(super) fn one_of<T>(known: Vec<(&'static str, T)>) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(known.iter().map(|(name, _)| *name)).try_map(move |text| {
        let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        found.ok_or("is not one of the names that are known")
    })
}

/// An answer of the contract that tells how far a change has got.
pub(super) trait Progress {
    fn progress(&self) -> &RolloutProgress;

    /// The API key in whose place the new one is.
    fn replaced(&self) -> Option<&ApiKey> {
        None
    }
}

macro_rules! progress {
    ($($answer:ty),*) => {
        $(impl Progress for $answer {
            fn progress(&self) -> &RolloutProgress { &self.progress }
        })*
    };
}
progress!(ClusterChanged, KeyRevoked, RevocationChanged, ClientRevoked);

impl Progress for KeyRotated {
    fn progress(&self) -> &RolloutProgress {
        &self.progress
    }

    fn replaced(&self) -> Option<&ApiKey> {
        Some(&self.replaced)
    }
}

/// Makes a call and prints its answer.
pub(super) async fn run<T: DeserializeOwned>(connection: &Connection, call: Call) -> Result<(), ClientError> {
    answer::<T>(connection, call).await.map(drop)
}

/// Makes a change, prints its answer, and tells how far it has got.
pub(super) async fn change<T: DeserializeOwned + Progress>(
    connection: &Connection,
    call: Call,
) -> Result<(), ClientError> {
    let waited = call.query.iter().any(|(name, _)| name == "wait");
    let answer = answer::<T>(connection, call).await?;
    // Beside the answer, which a program may read. Nothing is left to tell when standard error is gone.
    let mut beside = std::io::stderr();
    if !waited {
        let _ = writeln!(beside, "{}", whereabouts(answer.progress()));
    }
    if let Some(old) = answer.replaced() {
        let _ = writeln!(beside, "{}", succession(old));
    }
    if waited { everywhere(answer.progress()) } else { Ok(()) }
}

/// Makes a call for an answer that is not printed as it is.
pub(super) async fn ask<T: DeserializeOwned>(connection: &Connection, call: Call) -> Result<T, ClientError> {
    read(send(connection, call).await?)
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, ClientError> {
    serde_json::from_value(answer).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Makes a call, prints its answer as it came, and reads it as the contract says.
async fn answer<T: DeserializeOwned>(connection: &Connection, call: Call) -> Result<T, ClientError> {
    let answer = send(connection, call).await?;
    print(connection, &answer)?;
    read(answer)
}

/// Prints an answer as it is wanted.
pub(super) fn print(connection: &Connection, answer: &Value) -> std::io::Result<()> {
    let text = match connection.output {
        Output::Json => [answer.to_string(), "\n".to_owned()].concat(),
        Output::Table => table::render(answer),
    };
    std::io::stdout().lock().write_all(text.as_bytes())
}

/// Where a change is that was not waited for.
fn whereabouts(progress: &RolloutProgress) -> String {
    let RolloutProgress { workers, acknowledged, silent_workers: silent, .. } = progress;
    let mut line = match workers {
        0 => "stored; no worker is known that could have it: see `portcullis proxies`".to_owned(),
        _ if acknowledged == workers && *silent == 0 => {
            format!("stored, and all {workers} workers have it")
        }
        _ => format!(
            "stored; {acknowledged} of {workers} workers have it, the others take it with their next poll, mostly within a \
             second. --wait SECONDS waits for them"
        ),
    };
    if *silent > 0 {
        line.push_str(&format!("; {silent} more were not heard of lately and may go on without it"));
    }
    line
}

/// From when on the new key is good, and until when the old one.
fn succession(old: &ApiKey) -> String {
    let id = &old.id;
    let left = old.expires_at_s.map_or(0, |end| end.saturating_sub(now_ms() / 1000));
    let end = match (left, old.expires_at_s) {
        (1.., Some(end)) => format!("is good for {left} s more, until {end} (Unix time)"),
        _ => "has ended: a worker refuses it as soon as it has this change".to_owned(),
    };
    format!(
        "The new key is good at a worker as soon as it has this change, not before. The old key, {id}, {end}."
    )
}

/// Whether every worker has the change that was waited for.
fn everywhere(progress: &RolloutProgress) -> Result<(), ClientError> {
    match (progress.behind(), progress.silent_workers, progress.workers) {
        (0, 0, 0) => Err(ClientError::NoWorker),
        (0, 0, _) => Ok(()),
        (0, silent, _) => Err(ClientError::Silent(silent)),
        (pending, _, workers) => Err(ClientError::Pending(pending, workers)),
    }
}

/// A request, with a client whose other times are as wanted.
fn request(
    connection: &Connection,
    call: Call,
    times: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::RequestBuilder, ClientError> {
    let token = token(connection)?;
    let mut url = connection.server.clone();
    url.path_segments_mut()
        .map_err(|()| ClientError::Server(connection.server.clone()))?
        .pop_if_empty()
        .extend(&call.path);
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(call.query);
    }
    let changes = call.method != reqwest::Method::GET;
    let failed = |error: reqwest::Error| connection.failed(&error, changes);
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(connection.connect_timeout));
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        builder = builder.no_proxy();
    }
    let mut request = times(builder).build().map_err(failed)?.request(call.method, url).bearer_auth(&*token);
    if let Some(body) = call.body {
        request = request.json(&body);
    }
    Ok(request)
}

async fn send(connection: &Connection, call: Call) -> Result<Value, ClientError> {
    let changes = call.method != reqwest::Method::GET;
    let failed = |error: reqwest::Error| connection.failed(&error, changes);
    let in_all = |builder: reqwest::ClientBuilder| builder.timeout(Duration::from_secs(connection.timeout));
    let response = request(connection, call, in_all)?.send().await.map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()));
    }
    Err(refused(status, &body))
}

fn refused(status: reqwest::StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(ProblemDocument { title, reason, detail, .. }) => {
            ClientError::Refused { status: status.as_u16(), title, reason, detail }
        }
        Err(_) => {
            let unknown = || "not given".to_owned();
            let (title, reason, detail) = (unknown(), unknown(), unknown());
            ClientError::Refused { status: status.as_u16(), title, reason, detail }
        }
    }
}

fn token(connection: &Connection) -> Result<Zeroizing<String>, ClientError> {
    let (text, from) = match &connection.token_file {
        Some(path) => {
            let text = text_file::read(path).map_err(|e| ClientError::TokenFile(path.clone(), e))?;
            (Zeroizing::new(text), path.display().to_string())
        }
        None => {
            let text = std::env::var("PORTCULLIS_TOKEN").map_err(|_| ClientError::NoToken)?;
            (Zeroizing::new(text), "PORTCULLIS_TOKEN".to_owned())
        }
    };
    // A line break at an end is an editor's; one within is a mistake that no server could tell of.
    let token = text.trim();
    match !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(Zeroizing::new(token.to_owned())),
        false => Err(ClientError::Token(from)),
    }
}
