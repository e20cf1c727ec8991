//! How the operator's commands speak to a running service.

mod call;
mod error;

use std::io::Write;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use portcullis_control_contract::ProblemDocument;
use portcullis_control_contract::clients::ClientRevoked;
use portcullis_control_contract::clusters::ClusterChanged;
use portcullis_control_contract::keys::{KeyRevoked, KeyRotated};
use portcullis_control_contract::revocations::RevocationChanged;
use portcullis_control_domain::api_key::ApiKey;
use portcullis_control_domain::rollout::RolloutProgress;
use portcullis_control_domain::text_file;
use portcullis_control_services::causes::causes;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::table;
pub(super) use call::Call;
pub(super) use error::ClientError;

/// Entries of a list that are asked for: as many as the service gives at once.
pub(super) const MOST: Option<usize> = Some(1000);

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
    if waited {
        return everywhere(answer.progress());
    }
    // Beside the answer, which a program may read. Nothing is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{}", whereabouts(answer.progress(), answer.replaced()));
    Ok(())
}

/// Makes a call, prints its answer as it came, and reads it as the contract says.
async fn answer<T: DeserializeOwned>(connection: &Connection, call: Call) -> Result<T, ClientError> {
    let answer = send(connection, call).await?;
    let text = match connection.output {
        Output::Json => [answer.to_string(), "\n".to_owned()].concat(),
        Output::Table => table::render(&answer),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    serde_json::from_value(answer).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Where a change is that was not waited for.
fn whereabouts(progress: &RolloutProgress, replaced: Option<&ApiKey>) -> String {
    let RolloutProgress { workers, acknowledged, silent, .. } = progress;
    let mut line = match workers {
        0 => "stored; no worker is known that could have it: see GET /v1/proxies".to_owned(),
        _ if acknowledged == workers && silent.is_empty() => {
            format!("stored, and all {workers} workers have it")
        }
        _ => format!(
            "stored; {acknowledged} of {workers} workers have it, the others take it with their next poll, mostly within a \
             second. --wait SECONDS waits for them"
        ),
    };
    if !silent.is_empty() {
        let silent = silent.len();
        line.push_str(&format!("; {silent} more were not heard of lately and may go on without it"));
    }
    if let Some(ApiKey { id, expires_at_s, .. }) = replaced {
        let end = expires_at_s.map_or("is revoked".to_owned(), |s| format!("ends at {s} (Unix time)"));
        line.push_str(&format!(
            ".\nThe new key counts at a worker from then on, not before; the old one, {id}, {end}"
        ));
    }
    line
}

/// Whether every worker has the change that was waited for.
fn everywhere(progress: &RolloutProgress) -> Result<(), ClientError> {
    match (progress.pending.len(), progress.silent.len(), progress.workers) {
        (0, 0, 0) => Err(ClientError::NoWorker),
        (0, 0, _) => Ok(()),
        (0, silent, _) => Err(ClientError::Silent(silent)),
        (pending, _, workers) => Err(ClientError::Pending(pending, workers)),
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
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()));
    }
    Err(match serde_json::from_slice(&body) {
        Ok(ProblemDocument { title, reason, detail, .. }) => {
            ClientError::Refused { status: status.as_u16(), title, reason, detail }
        }
        Err(_) => {
            let unknown = || "not given".to_owned();
            let (title, reason, detail) = (unknown(), unknown(), unknown());
            ClientError::Refused { status: status.as_u16(), title, reason, detail }
        }
    })
}

fn token(connection: &Connection) -> Result<Zeroizing<String>, ClientError> {
    let text = match &connection.token_file {
        Some(path) => text_file::read(path).map_err(|e| ClientError::TokenFile(path.clone(), e))?,
        None => std::env::var("PORTCULLIS_TOKEN").map_err(|_| ClientError::NoToken)?,
    };
    Ok(Zeroizing::new(text.trim().to_owned()))
}
