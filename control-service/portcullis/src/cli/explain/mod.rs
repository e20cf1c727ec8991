//! `portcullis explain`: what a gateway would decide about a credential, claim by claim, and why.
//!
//! The verdict is that of the filters' own code over the snapshot of this database. The credential comes
//! from standard input or a file, because arguments are seen by everybody on the machine, and neither it
//! nor its signature is printed.

mod explanation;
mod token;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use portcullis_authn::jws::Jws;
use portcullis_control_config::{Config, Policy};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::random::random;
use portcullis_control_domain::text_file;
use portcullis_control_services::causes::causes;
use portcullis_control_services::introspection::Providers;
use portcullis_control_services::{issuers, judge};
use portcullis_control_snapshot::entries::{self, EntryError};
use portcullis_control_store::{Database, StoreError};
use portcullis_model::policy::IssuerDocument;
use portcullis_model::state::TokenIssuer;
use portcullis_protocol::snapshot::PageError;
use portcullis_protocol::wire::{Page, RecordKind};
use zeroize::Zeroizing;

use crate::location::{self, LocationError};
use explanation::Explanation;

/// Bytes of a credential that are read: more than any gateway takes.
const MAX_INPUT: u64 = 64 * 1024;

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// File with the credential; without it, standard input is read.
    #[arg(long)]
    credential_file: Option<PathBuf>,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExplainError {
    /// The credential cannot be read.
    #[error("the credential cannot be read: {0}")]
    Input(std::io::Error),
    /// The answer cannot be written.
    #[error("the answer cannot be printed: {0}")]
    Output(std::io::Error),
    /// The database is named wrongly.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshot cannot be made of the configuration.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] PageError),
    /// Keys cannot be fetched.
    #[error("there is no database yet, and the keys of the token's issuer cannot be fetched: {0}")]
    Keys(String),
    /// The system refuses.
    #[error("the system refuses to start: {0}")]
    Runtime(std::io::Error),
    /// A gateway would refuse the credential.
    #[error("a gateway would refuse this credential: {0}")]
    Refused(&'static str),
}

/// Answers the question on standard output.
///
/// # Errors
/// [`ExplainError`]; [`ExplainError::Refused`] after a full answer.
pub(super) fn run(config: &Config, question: &Question) -> Result<(), ExplainError> {
    let credential = read(question)?;
    let kinds = [
        RecordKind::Issuer,
        RecordKind::IssuerSecret,
        RecordKind::SourceRules,
        RecordKind::Introspection,
        RecordKind::Revocation,
        RecordKind::ApiKey,
        RecordKind::ApiKeyPepper,
    ];
    let page = Database::read_excerpt(&location::of(config)?, &kinds)?;
    let served = page.is_some();
    let page = match page {
        Some(page) => page,
        None => unserved(config, &credential)?,
    };
    // Only a signed page can become a snapshot; who has signed it does not matter here.
    let snapshot = judge::open(&page, random())?;
    let providers = Providers::new(&config.policy.introspection, None);
    let now_s = now_ms() / 1000;
    let mut explanation = Explanation { snapshot: &snapshot, providers, now_s, text: String::new() };
    if !served {
        let what = "there is no database yet: by the file alone, with keys as their issuers have them now";
        explanation.line("policy", "control.yaml", what);
    }
    let outcome = explanation.explain(&credential);
    explanation.verdict(&outcome);
    std::io::stdout().lock().write_all(explanation.text.as_bytes()).map_err(ExplainError::Output)?;
    outcome.map(drop).map_err(|why| ExplainError::Refused(why.reason.code()))
}

/// What gateways would get of a configuration that was never served: no API keys, nothing revoked, and for the issuer
/// of the token the keys that it publishes just now. Nothing is kept.
fn unserved(config: &Config, credential: &str) -> Result<Page, ExplainError> {
    let policy = &config.policy;
    let mut documents: Vec<_> = policy.issuers.iter().map(issuers::document_without_fetch).collect();
    let page = page_of(policy, &documents)?;
    let Ok(jws) = Jws::parse(credential.as_bytes()) else { return Ok(page) };
    let snapshot = judge::open(&page, random())?;
    let Some(name) = TokenIssuer::of(&jws.claims, &snapshot).map(|of| of.document.issuer.clone()) else {
        return Ok(page);
    };
    let Some(at) = policy.issuers.iter().position(|issuer| issuer.issuer == name) else { return Ok(page) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ExplainError::Runtime)?;
    let fetched = policy.issuers.get(at).map(|issuer| runtime.block_on(issuers::document_with_fetch(issuer)));
    if let (Some(document), Some(fetched)) = (documents.get_mut(at), fetched) {
        *document = fetched.map_err(|error| ExplainError::Keys(causes(&error)))?;
    }
    Ok(page_of(policy, &documents)?)
}

/// A policy as one page of a gateway's view.
fn page_of(policy: &Policy, issuers: &[IssuerDocument]) -> Result<Page, EntryError> {
    let mut all = policy.entries()?;
    all.push((RecordKind::Issuer, entries::of_issuers(issuers)?));
    Ok(entries::page(all))
}

/// The credential without the line end; a leading `Bearer` is taken off.
fn read(question: &Question) -> Result<Zeroizing<String>, ExplainError> {
    let read = match &question.credential_file {
        Some(path) => std::fs::File::open(path).and_then(|file| text_file::read_from(file, MAX_INPUT)),
        None => text_file::read_from(std::io::stdin(), MAX_INPUT),
    };
    let text = Zeroizing::new(read.map_err(ExplainError::Input)?);
    let bare = text.trim();
    let bare = bare.get(..7).filter(|p| p.eq_ignore_ascii_case("bearer ")).map_or(bare, |_| bare[7..].trim());
    Ok(Zeroizing::new(bare.to_owned()))
}
