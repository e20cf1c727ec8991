//! Answering token requests: who asks, what they get, and that both are audited before anything is given out.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_control_config::ServiceTokens;
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::client::ServiceClient;
use portcullis_control_domain::clock::now_ms;
use portcullis_control_domain::pause::PauseName;
use portcullis_control_domain::signing::Purpose;
use portcullis_control_domain::tokens::{Token, TokenKind};
use portcullis_control_store::Store;
use portcullis_identity::Principal;
use portcullis_model::Reason;
use portcullis_model::fair::ClientNetwork;
use portcullis_protocol::wire::{AuditRecord, RecordKind};
use serde::Serialize;
use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::TokenError;
use super::grant::{Grant, client_credentials, exchange};
use super::request::{Form, GrantRequest, TokenRequest, credentials, form};
use super::token::{Issued, issue};
use crate::Current;
use crate::introspection::{Introspected, Providers};
use crate::judge::{self, Unjudged};
use crate::signing::SigningKeys;

/// Token requests under way at most.
const MAX_PLACES: usize = 256;
/// The stage of audit records.
const STAGE: &str = "token-endpoint";
/// How often a token is signed anew because its key has just ended.
const TRIES: usize = 3;
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The token endpoint, without what carries its requests.
pub struct TokenEndpoint {
    store: Store,
    signing: Arc<SigningKeys>,
    providers: Arc<Current<Providers>>,
    permits: Semaphore,
}

/// A token request as it came.
pub struct TokenCall<'a> {
    /// Who sent it.
    pub peer: IpAddr,
    /// Its id.
    pub request_id: String,
    /// What its body is said to be.
    pub content_type: &'a str,
    /// The values of `Authorization`; `None` when one of them is no text.
    pub authorization: Option<Vec<&'a str>>,
    /// The body.
    pub body: &'a [u8],
}

/// A token, as RFC 6749 §5.1 and RFC 8693 §2.2.1 answer with it.
#[derive(Serialize)]
pub struct TokenResponse {
    /// The token.
    pub access_token: String,
    /// What it is, where one was exchanged for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
    /// How it is shown.
    pub token_type: &'static str,
    /// Seconds that it lives.
    pub expires_in: u64,
    /// Its scopes, with a space between.
    pub scope: String,
}

impl TokenEndpoint {
    /// An endpoint. Anybody can begin a request, so no more than half of a listener's connections may be under way with
    /// one.
    #[must_use]
    pub fn new(
        store: Store,
        signing: Arc<SigningKeys>,
        providers: Arc<Current<Providers>>,
        connections: usize,
    ) -> Self {
        let permits = Semaphore::new(MAX_PLACES.min(connections / 2).max(1));
        Self { store, signing, providers, permits }
    }

    /// A place for one request, to be taken before its body is read: bodies that never come are what fills the service.
    #[must_use]
    pub fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.try_acquire().ok()
    }

    /// What the service says of its own tokens, if it gives out any.
    #[must_use]
    pub fn settings(&self) -> Option<&ServiceTokens> {
        self.signing.service_tokens()
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`TokenError`], as the client gets it.
    pub async fn answer(&self, call: &TokenCall<'_>) -> Result<TokenResponse, TokenError> {
        let settings = self.settings().ok_or(TokenError::Unavailable)?;
        // What is revoked, and which key signs, are looked up in what this replica has.
        self.store.check_fresh().map_err(|_| TokenError::Unavailable)?;
        let kind = call.content_type.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(TokenError::InvalidRequest("send content-type: application/x-www-form-urlencoded"));
        }
        let form = form(call.body)?;
        let (client, action) = self.caller(call, &form).await?;
        let granted = match TokenRequest::read(&form) {
            Ok(request) => self.grant(&client, &request).await.map(|granted| (request, granted)),
            Err(error) => Err(error),
        };
        let (request, granted) = match granted {
            Ok(granted) => granted,
            Err(error) => {
                self.append(refusal(&action, &client, &error)).await?;
                return Err(error);
            }
        };
        let lifetime_s = u64::from(client.lifetime_s.min(settings.lifetime_s));
        let issued = self.issue(settings, &action, &client, &granted, lifetime_s).await?;
        let exchanged = matches!(request.grant, GrantRequest::Exchange { .. });
        Ok(TokenResponse {
            access_token: issued.text,
            issued_token_type: exchanged.then_some(ACCESS_TOKEN),
            token_type: "Bearer",
            expires_in: issued.expires_in_s,
            scope: granted.scopes.join(" "),
        })
    }

    /// The client, and what is audited of its request. Who is none is audited too.
    async fn caller(
        &self,
        call: &TokenCall<'_>,
        form: &Form,
    ) -> Result<(ServiceClient, AuditEvent), TokenError> {
        let mut action = AuditEvent {
            role: None,
            by: RecordedCaller::Client { id: String::new(), key_id: String::new() },
            method: "POST".to_owned(),
            path: "/oauth2/token".to_owned(),
            request_id: call.request_id.clone(),
            client_address: call.peer.to_string(),
        };
        let mut failures_of = vec![PauseName::token_caller(&action.client_address)];
        let authorization = call.authorization.as_deref().ok_or(TokenError::InvalidClient);
        let outcome = match authorization.and_then(|values| credentials(values, form)) {
            Err(error) => Err(error),
            Ok(proof) => {
                let token = Token::parse(TokenKind::ServiceClient, &proof.secret);
                // What a caller says of itself is not believed before it is checked, but it is worth a record.
                let key_id = token.as_ref().map(|t| t.id().to_owned()).unwrap_or_default();
                action.by = RecordedCaller::Client { id: proof.id.clone(), key_id };
                let proved = self.authenticate(&proof.id, token.as_ref()).await?;
                proved.map_err(|name| {
                    failures_of.push(name);
                    TokenError::InvalidClient
                })
            }
        };
        match outcome {
            Ok(client) => Ok((client, action)),
            Err(TokenError::InvalidClient) => Err(self.refuse(&action, failures_of).await),
            Err(error) => Err(error),
        }
    }

    /// Audits a caller that is no client. When many come from one address or for one client they get slower, so that
    /// nobody can fill the audit log by making up clients; a client with its secret never comes here.
    async fn refuse(&self, action: &AuditEvent, failures_of: Vec<PauseName>) -> TokenError {
        let refused = TokenError::InvalidClient;
        let mut record = action.record(refused.status(), refused.code());
        STAGE.clone_into(&mut record.stage);
        match self.store.refuse(failures_of, record).await {
            Ok(None) => refused,
            Ok(Some(pause)) => TokenError::TooManyFailures(pause.as_secs() + 1),
            Err(error) => {
                tracing::error!(%error, "a token request could not be audited");
                TokenError::Unavailable
            }
        }
    }

    /// The client that a secret proves, or whom the failure is counted for. A wrong secret costs a pause for further
    /// wrong ones; the right one is never slowed down, whoever guesses beside it.
    async fn authenticate(
        &self,
        id: &str,
        token: Option<&Token>,
    ) -> Result<Result<ServiceClient, PauseName>, TokenError> {
        let unavailable = |error| {
            tracing::error!(%error, "the store failed");
            TokenError::Unavailable
        };
        let found = self.store.service_client(id.to_owned()).await.map_err(unavailable)?;
        let secrets = found.as_ref().map(|(_, secrets)| secrets.as_slice()).unwrap_or_default();
        let named = token.is_some_and(|t| secrets.iter().any(|s| s.id == t.id()));
        let digest = token.map(Token::digest);
        let right = digest.is_some_and(|d| secrets.iter().any(|s| bool::from(s.digest.ct_eq(&d))));
        if let (Some((client, _)), true) = (found, right) {
            self.store.forgive(PauseName::client(id, true)).await.map_err(unavailable)?;
            return Ok(Ok(client));
        }
        Ok(Err(PauseName::client(id, named)))
    }

    async fn grant(&self, client: &ServiceClient, request: &TokenRequest) -> Result<Grant, TokenError> {
        let GrantRequest::Exchange { subject_token } = &request.grant else {
            return client_credentials(client, request);
        };
        if !client.may_exchange {
            return Err(TokenError::UnauthorizedClient);
        }
        let refused = |reason: Reason| TokenError::InvalidGrant(reason.code());
        let subject = match self.verify(subject_token, None).await? {
            Err(Unjudged::Asks(provider)) => {
                let told = self.providers.get().ask(&provider, subject_token, ClientNetwork::Unknown).await;
                let claims = match told.map_err(|_| TokenError::Unavailable)? {
                    Introspected::Active(claims) => claims,
                    Introspected::Inactive => return Err(refused(Reason::TokenInactive)),
                };
                let told = Value::Object(claims).to_string().into_bytes();
                self.verify(subject_token, Some(told)).await?
            }
            judged => judged,
        };
        let subject = subject.map_err(|unjudged| match unjudged {
            Unjudged::Refused(why) => refused(why.reason),
            Unjudged::Asks(_) => TokenError::Unavailable,
        })?;
        exchange(client, request, &subject)
    }

    /// Judges a subject token. Verifying RSA takes its time, and a snapshot is bound to its thread.
    async fn verify(
        &self,
        token: &Zeroizing<String>,
        told: Option<Vec<u8>>,
    ) -> Result<Result<Principal, Unjudged>, TokenError> {
        let (store, token) = (self.store.clone(), token.clone());
        let verified = tokio::task::spawn_blocking(move || {
            let hub = store.hub();
            let page = hub.excerpt(&[
                RecordKind::Issuer,
                RecordKind::IssuerSecret,
                RecordKind::SourceRules,
                RecordKind::Introspection,
                RecordKind::Revocation,
            ]);
            let snapshot = judge::open(&page, hub.seed()).map_err(|error| {
                tracing::error!(%error, "the snapshot cannot be read");
                TokenError::Unavailable
            })?;
            Ok(judge::subject_token(&token, &snapshot, now_ms() / 1000, told.as_deref()))
        });
        verified.await.map_err(|_| TokenError::Unavailable)?
    }

    /// Makes a token and audits it. Another replica may have changed keys just now: the one that signs is the one that
    /// the database says.
    async fn issue(
        &self,
        settings: &ServiceTokens,
        action: &AuditEvent,
        client: &ServiceClient,
        grant: &Grant,
        lifetime_s: u64,
    ) -> Result<Issued, TokenError> {
        let failed = |error| {
            tracing::error!(%error, "a token could not be audited");
            TokenError::Unavailable
        };
        for _ in 0..TRIES {
            let key = self.signing.current(Purpose::Service).ok_or(TokenError::Unavailable)?;
            let issuer = settings.issuer.as_str();
            let issued = issue(&key, issuer, &client.id, grant, lifetime_s, now_ms() / 1000);
            let record = record_of(action, client, grant, &issued);
            if self.store.record_token(key.kid, record).await.map_err(failed)? {
                return Ok(issued);
            }
            self.signing.refresh().await.map_err(failed)?;
        }
        Err(TokenError::Unavailable)
    }

    async fn append(&self, record: AuditRecord) -> Result<(), TokenError> {
        self.store.append(record).await.map_err(|error| {
            tracing::error!(%error, "a token request could not be audited");
            TokenError::Unavailable
        })
    }
}

/// What is audited of a token that an authenticated client did not get.
fn refusal(action: &AuditEvent, client: &ServiceClient, error: &TokenError) -> AuditRecord {
    let mut record = action.record(error.status(), error.code());
    STAGE.clone_into(&mut record.stage);
    record.tenant = client.tenant.to_string();
    record
}

/// What is audited of a token, before it is given out.
fn record_of(action: &AuditEvent, client: &ServiceClient, grant: &Grant, issued: &Issued) -> AuditRecord {
    let mut record = action.record_of(200, &issued.id);
    STAGE.clone_into(&mut record.stage);
    record.tenant = client.tenant.to_string();
    if !grant.actors.is_empty() {
        record.subject.clone_from(&grant.subject);
        record.actors.clone_from(&grant.actors);
    }
    record
}
