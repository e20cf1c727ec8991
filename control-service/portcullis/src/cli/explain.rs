//! `portcullis explain`: what a gateway would decide about a credential, claim by claim, and why.
//!
//! The verdict is that of the filters' own code over the snapshot of this database. The credential comes
//! from standard input or a file, because arguments are seen by everybody on the machine, and neither it
//! nor its signature is printed.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use portcullis_authn::jws::Jws;
use portcullis_authn::{Credential, Presented, Rejected, Verified, api_key, introspection, revocable_names};
use portcullis_control_config::{Config, Policy};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::random::random;
use portcullis_control_domain::text_file;
use portcullis_control_services::causes::causes;
use portcullis_control_services::introspection::{Introspected, Providers};
use portcullis_control_services::issuers;
use portcullis_control_services::judge::{self, Unjudged};
use portcullis_control_snapshot::entries::{self, EntryError};
use portcullis_control_store::{Database, StoreError};
use portcullis_identity::Principal;
use portcullis_model::Reason;
use portcullis_model::claims::{DERIVED_FROM, claim, other_use};
use portcullis_model::fair::ClientNetwork;
use portcullis_model::issuer::TokenIssuer;
use portcullis_model::mapping::{ClaimPath, Found, TenantRule};
use portcullis_model::policy::IssuerDocument;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::snapshot::PageError;
use portcullis_protocol::wire::{Page, RecordKind};
use portcullis_source_type::classify;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

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
    let page = Database::read_excerpt(&config.data_dir, &config.settings(), &kinds)?;
    let served = page.is_some();
    let page = match page {
        Some(page) => page,
        None => unserved(config, &credential)?,
    };
    // Only a signed page can become a snapshot; who has signed it does not matter here.
    let snapshot = judge::open(&page, random())?;
    let providers = Providers::new(&config.policy.introspection);
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

struct Explanation<'a> {
    snapshot: &'a SnapshotState,
    providers: Providers,
    now_s: u64,
    text: String,
}

impl Explanation<'_> {
    /// A line: what, its value, and what follows from it.
    fn line(&mut self, name: &str, value: &str, remark: &str) {
        let clean = |t: &str| -> String {
            t.chars()
                .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
                .collect()
        };
        let remark = if remark.is_empty() { String::new() } else { ["  (", remark, ")"].concat() };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{name:<14} {}{}", clean(value), clean(&remark));
    }

    fn explain(&mut self, credential: &str) -> Result<Verified, Rejected> {
        let header = Zeroizing::new(["Bearer ", credential].concat());
        let mut presented = Presented::default();
        presented.authorization(header.as_bytes());
        match presented.credential()? {
            Credential::ApiKey(key) => {
                self.line("credential", "API key", "told by its prefix");
                let verified = api_key::verify(key, self.snapshot, self.now_s)?;
                self.principal(&verified.principal);
                self.revocation(&verified.principal)?;
                self.source_type(verified)
            }
            Credential::Bearer(token) => {
                let text = std::str::from_utf8(token).map_err(|_| Reason::CredentialMalformed)?;
                let verified = if introspection::is_opaque(token) {
                    self.opaque(text)?
                } else {
                    match Jws::parse(token) {
                        Ok(jws) => self.token(&jws),
                        Err(_) => self.line("credential", "JSON Web Token", "malformed, or no access token"),
                    }
                    self.judged(text)?
                };
                self.principal(&verified.principal);
                self.revocation(&verified.principal)?;
                self.source_type(verified)
            }
        }
    }

    /// Which revocation ends the credential, if any does.
    fn revocation(&mut self, principal: &Principal) -> Result<(), Rejected> {
        let names = revocable_names(principal, self.snapshot);
        match names.into_iter().find(|name| self.snapshot.is_revoked(name)) {
            None => Ok(()),
            Some(name) => {
                self.line("revoked by", &name, "see portcullis revocations list");
                Err(Rejected::of(Reason::CredentialRevoked, principal))
            }
        }
    }

    /// The verdict about a JSON Web Token, by its provider's word where its issuer wants that.
    fn judged(&mut self, text: &str) -> Result<Verified, Rejected> {
        let told = match judge::verified(text, self.snapshot, self.now_s, None) {
            Ok(verified) => return Ok(verified),
            Err(Unjudged::Refused(why)) => return Err(why),
            Err(Unjudged::Asks(provider)) => self.ask(&provider, text)?,
        };
        let body = Value::Object(told).to_string();
        judge::verified(text, self.snapshot, self.now_s, Some(body.as_bytes())).map_err(|unjudged| {
            match unjudged {
                Unjudged::Refused(reason) => reason,
                Unjudged::Asks(_) => Reason::IntrospectionUnavailable.into(),
            }
        })
    }

    /// Asks the provider about an opaque token, as a gateway would.
    fn opaque(&mut self, token: &str) -> Result<Verified, Rejected> {
        self.line("credential", "opaque token", "not a JSON Web Token");
        let Some(provider) = self.snapshot.introspection_of(token).cloned() else {
            self.line("provider", "none", "no introspection provider has this tokenPrefix");
            return Err(Reason::CredentialUnsupported.into());
        };
        let body = Value::Object(self.ask(&provider.name, token)?).to_string();
        introspection::judge(body.as_bytes(), &provider, self.now_s)
    }

    /// What a provider says of a token.
    fn ask(&mut self, provider: &str, token: &str) -> Result<Map<String, Value>, Rejected> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| Reason::IntrospectionUnavailable)?;
        let claims = match runtime.block_on(self.providers.ask(provider, token, ClientNetwork::Unknown)) {
            Ok(Introspected::Active(claims)) => claims,
            Ok(Introspected::Inactive) => {
                self.line("provider", provider, "says that the token is not active");
                return Err(Reason::TokenInactive.into());
            }
            Err(error) => {
                self.line("provider", provider, &error.to_string());
                return Err(Reason::IntrospectionUnavailable.into());
            }
        };
        self.line("provider", provider, "says that the token is active");
        for (name, value) in claims.iter().filter(|(name, _)| *name != "active") {
            self.line(name, &value.to_string(), "");
        }
        Ok(claims)
    }

    /// The token's header and claims, each with what the policy says of it. Nothing here decides.
    fn token(&mut self, jws: &Jws<'_>) {
        self.line("credential", "JSON Web Token", "");
        let shown = jws.claims.get("iss").map_or_else(|| "-".to_owned(), Value::to_string);
        let issuer = TokenIssuer::of(&jws.claims, self.snapshot);
        let document = issuer.as_ref().map(|issuer| issuer.document.clone());
        let remark = issuer
            .map_or_else(|| "not configured".to_owned(), |of| ["configured as ", of.name.as_str()].concat());
        self.line("iss", &shown, &remark);
        let Some(document) = document else { return };
        let allowed = document.algorithms.iter().any(|a| a.as_str() == jws.algorithm);
        self.line("alg", &jws.algorithm, if allowed { "allowed" } else { "not allowed for this issuer" });
        if let Some(claim) = other_use(&jws.claims) {
            let taken =
                if document.any_token_use { "taken all the same" } else { "refused; `anyTokenUse` takes it" };
            self.line("token use", claim, &["the claim says that this is no access token: ", taken].concat());
        }
        self.key(jws, &document);
        self.claims(jws, &document);
    }

    fn key(&mut self, jws: &Jws<'_>, document: &IssuerDocument) {
        if self.snapshot.issuer_secret(document.issuer.as_str()).is_some() {
            return self.line("kid", jws.key_id.as_deref().unwrap_or("-"), "the issuer has a shared secret");
        }
        let known: Vec<&str> = document.jwks.keys.iter().filter_map(|k| k.kid.as_deref()).collect();
        match jws.key_id.as_deref() {
            Some(kid) if known.contains(&kid) => self.line("kid", kid, "known"),
            Some(kid) => {
                let remark =
                    "not known; `portcullis issuers` tells which keys are left out, and why; known are ";
                self.line("kid", kid, &[remark, &known.join(", ")].concat());
            }
            None => self.line("kid", "-", "the keys of this algorithm are tried"),
        }
    }

    fn claims(&mut self, jws: &Jws<'_>, document: &IssuerDocument) {
        let claims = &jws.claims;
        let shown = |value: Option<&Value>| value.map_or_else(|| "-".to_owned(), Value::to_string);
        let audiences = ["accepted: ", &document.audiences.join(", ")].concat();
        self.line("aud", &shown(claims.get("aud")), &audiences);
        let leeway = ["leeway ", &document.leeway_seconds.to_string(), " s"].concat();
        for name in ["exp", "nbf", "iat"] {
            let remark = match claims.get(name).and_then(Value::as_f64) {
                None => String::new(),
                Some(time) => [relative(time, self.now_s).as_str(), &leeway].join(", "),
            };
            self.line(name, &shown(claims.get(name)), &remark);
        }
        let mapping = &document.claims;
        let mut mapped = |what: &str, path: &ClaimPath| {
            let value = match path.find(claims) {
                Found::Absent => "-".to_owned(),
                Found::Malformed => "no object on the way".to_owned(),
                Found::Value(value) => value.to_string(),
            };
            self.line(what, &value, &["claim ", &path.to_string()].concat());
        };
        mapping.subject.claims().for_each(|path| mapped("subject", path));
        mapping.tenant.claims().for_each(|path| mapped("tenant", path));
        mapping.roles.claims().for_each(|path| mapped("roles", path));
        mapping.scopes.claims().for_each(|path| mapped("scopes", path));
        mapping.client_id.iter().for_each(|path| mapped("client", path));
        if let TenantRule::Fixed(tenant) = &mapping.tenant {
            self.line("tenant", tenant.as_str(), "fixed for this issuer");
        }
        for required in &document.required_claims {
            let wanted = match required.any_of.as_slice() {
                [] => "required".to_owned(),
                values => {
                    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                    format!("required, one of {}", values.join(", "))
                }
            };
            self.line(&required.claim.join(" > "), &shown(claim(claims, &required.claim)), &wanted);
        }
        for name in ["act", "jti", "sid", DERIVED_FROM] {
            if let Some(value) = claims.get(name) {
                self.line(name, &value.to_string(), "");
            }
        }
    }

    fn principal(&mut self, principal: &Principal) {
        let list = |items: Vec<&str>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
        self.line("speaks for", principal.subject.as_str(), principal.tenant.as_str());
        self.line(
            "by means of",
            principal.credential.as_str(),
            principal.key_id.as_ref().map_or("", |k| k.as_str()),
        );
        self.line("with roles", &list(principal.roles.iter().map(|r| r.as_str()).collect()), "");
        self.line("with scopes", &list(principal.scopes.iter().map(|s| s.as_str()).collect()), "");
        if principal.omitted > 0 || principal.roles_incomplete {
            let why =
                "no names here, too many, or not in the token: a policy that refuses by a role must mind it";
            self.line("left out", &principal.omitted.to_string(), why);
        }
        if !principal.actors.is_empty() {
            self.line("acted for by", &list(principal.actors.iter().map(|a| a.as_str()).collect()), "");
        }
    }

    fn source_type(&mut self, verified: Verified) -> Result<Verified, Rejected> {
        if let Some(fixed) = verified.source_type {
            self.line("source type", fixed.as_str(), "fixed by the API key");
            return Ok(verified);
        }
        let snapshot = self.snapshot;
        match classify(snapshot.source_rules(), &verified.principal, &verified.claims) {
            Some((kind, rule)) => {
                self.line("source type", kind.as_str(), &["rule ", &rule.name].concat());
                Ok(verified)
            }
            None => {
                let names: Vec<&str> =
                    snapshot.source_rules().rules.iter().map(|r| r.name.as_str()).collect();
                self.line("source type", "-", &["none of these rules fits: ", &names.join(", ")].concat());
                Err(Rejected::of(Reason::SourceTypeUnknown, &verified.principal))
            }
        }
    }

    fn verdict(&mut self, outcome: &Result<Verified, Rejected>) {
        match outcome {
            Ok(verified) => {
                let ends = verified.principal.expires_at;
                let remark = if ends == u64::MAX {
                    "without an end".to_owned()
                } else {
                    ["for ", &ends.saturating_sub(self.now_s).to_string(), " s more"].concat()
                };
                self.line("verdict", "authenticated", &remark);
            }
            Err(why) => {
                if let Some(claim) = &why.claim {
                    self.line(
                        "at fault",
                        &claim.0,
                        "the claim is missing, or not as the issuer's rules want it",
                    );
                }
                let status = why.reason.status().to_string();
                self.line(
                    "verdict",
                    &["refused: ", why.reason.code()].concat(),
                    &["status ", &status].concat(),
                );
            }
        }
    }
}

/// How far a time lies from now.
#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
fn relative(time: f64, now_s: u64) -> String {
    let seconds = time - now_s as f64;
    if seconds < 0.0 { format!("{:.0} s ago", -seconds) } else { format!("in {seconds:.0} s") }
}
