use std::path::PathBuf;

use reqwest::Url;

use crate::cli::verify::ProofError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// No token.
    #[error("no token of the platform API: set PORTCULLIS_TOKEN or give --token-file")]
    NoToken,
    /// The token is none that could be sent.
    #[error(
        "the token in {0} is empty or has a line break, a space or another character that no token has: put the pca_… alone there, on one line"
    )]
    Token(String),
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
    /// There was no connection in time.
    #[error(
        "{url} took no connection within {seconds} s (--connect-timeout): is the address right, and does a firewall let you through?"
    )]
    NoConnection {
        /// The address.
        url: Url,
        /// How long it was tried.
        seconds: u64,
    },
    /// There was no answer in time.
    #[error("{url} did not answer within {seconds} s (--timeout){lost}")]
    TimedOut {
        /// The address.
        url: Url,
        /// How long it was waited for.
        seconds: u64,
        /// What that means for a change.
        lost: &'static str,
    },
    /// The service refused.
    #[error("refused: {title} ({reason}, status {status}): {detail}{}", hint(*status))]
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
    Pending(usize, usize),
    /// Some proxies may be cut off.
    #[error(
        "the change is made, but {0} worker(s) were not heard of lately: they are gone, or go on without it for \
         as long as stale_in_ms says"
    )]
    Silent(usize),
    /// Nobody is there to have it.
    #[error("the change is made, but no worker is known that could have it: see `portcullis proxies`")]
    NoWorker,
    /// Nobody said that everybody of a name is meant.
    #[error(
        "nothing was revoked: {0} stands for everybody of that name, at every issuer and in every tenant; name one person by --tenant, --issuer and --subject, or say --yes"
    )]
    Unconfirmed(String),
    /// The answer is not what the contract says.
    #[error("the service's answer cannot be read: {0}; is it of another version than this program?")]
    Answer(String),
    /// A record of the audit log is not what its entry was made for.
    #[error("entry {0} of the audit log does not verify: {1}")]
    Proof(u64, #[source] ProofError),
    /// The export cannot be written.
    #[error("the export {0} cannot be written: {1}; an export overwrites nothing")]
    Export(PathBuf, std::io::Error),
    /// Only some records can be seen.
    #[error(
        "an export is of the whole log, and this token sees a part of it: use one of an administrator, or of an auditor of the platform"
    )]
    PartOfLog,
    /// There is nothing there, nor will there be what comes before.
    #[error(
        "the audit log ends with record {newest}: there is none after {after}; give --after as the last export printed it"
    )]
    BeyondEnd {
        /// What was asked for.
        after: u64,
        /// Where the log ends.
        newest: u64,
    },
    /// The answer cannot be printed.
    #[error("the answer cannot be printed: {0}")]
    Print(#[from] std::io::Error),
}

/// What to look at where a role may be why.
fn hint(status: u16) -> &'static str {
    match status {
        403 => "; `portcullis whoami` shows what this token's role may do, and its bounds",
        404 => "; if it is there, this token may not see it: `portcullis whoami` shows what it may",
        _ => "",
    }
}
