//! People who call the platform API with a token of an identity provider.
//!
//! Their tokens are judged by the code that gateways judge by, over the same issuers and revocations. What differs is the
//! audience, which is the platform API's own, and that a rule has to give them a role.

use std::sync::Arc;

use portcullis_authn::{Rejected, Verified, jwt};
use portcullis_control_config::PlatformCallers;
use portcullis_control_domain::caller::{Caller, CallerCredential};
use portcullis_control_domain::clock::now_ms;
use portcullis_control_store::{Store, StoreError};
use portcullis_identity::KeyId;
use portcullis_identity::ids::IssuerId;
use portcullis_model::Reason;
use portcullis_model::mapping::TenantRule;
use portcullis_model::policy::IssuerDocument;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::wire::{Page, Record, RecordKind};
use zeroize::Zeroizing;

use crate::Current;
use crate::issuers::{Issuers, RefreshOutcome};
use crate::judge::{self, Unjudged};

/// Why somebody with a token is let in nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NobodyKnown {
    /// No issuer's people may call.
    #[error("no people are configured")]
    None,
    /// A gateway would refuse the token, too.
    #[error("the token is refused as {}", .0.reason.code())]
    Refused(Box<Rejected>),
    /// It is good, and no rule gives its subject a role.
    #[error("no rule of platformCallers gives this person a role")]
    NoRole {
        /// Who it is.
        subject: String,
        /// Who says so.
        issuer: String,
    },
    /// It cannot be judged at present.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same.
    #[error("the token cannot be judged: {0}")]
    Failed(String),
}

/// Judges tokens of people.
pub struct People {
    store: Store,
    issuers: Arc<Issuers>,
    callers: Current<Vec<PlatformCallers>>,
}

/// What came of one look at a token: what it says, and which of the configured issuers says so.
type Judged = Result<Box<(Verified, IssuerId)>, Refusal>;

struct Refusal {
    why: Box<Rejected>,
    /// The key that is missing.
    missing: Option<(IssuerId, KeyId)>,
}

impl People {
    /// Begins with these.
    #[must_use]
    pub fn new(store: Store, issuers: Arc<Issuers>, callers: Vec<PlatformCallers>) -> Self {
        Self { store, issuers, callers: Current::new(callers) }
    }

    /// Takes over others.
    pub fn set(&self, callers: Vec<PlatformCallers>) {
        self.callers.set(callers);
    }

    /// Who calls with this token.
    ///
    /// # Errors
    /// [`NobodyKnown`].
    pub async fn caller(&self, token: &str) -> Result<Caller, NobodyKnown> {
        let callers = self.callers.get();
        if callers.is_empty() {
            return Err(NobodyKnown::None);
        }
        let token = Arc::new(Zeroizing::new(token.to_owned()));
        let judged = match self.judge(&callers, &token).await? {
            Err(Refusal { missing: Some((issuer, key)), why }) => {
                // Issuers change their keys: what gateways do then is done here as well, within the same bounds.
                match self.issuers.ask(issuer.as_str(), key.as_str()).await {
                    RefreshOutcome::Published => self.judge(&callers, &token).await?,
                    _ => Err(Refusal { why, missing: None }),
                }
            }
            judged => judged,
        };
        let verified = judged.map_err(|refusal| NobodyKnown::Refused(refusal.why))?;
        role_of(&callers, &verified.0, &verified.1)
    }

    /// Judges once. Verifying RSA takes its time, and a snapshot is bound to its thread.
    async fn judge(
        &self,
        callers: &Arc<Vec<PlatformCallers>>,
        token: &Arc<Zeroizing<String>>,
    ) -> Result<Judged, NobodyKnown> {
        self.store.check_fresh()?;
        let (store, callers, token) = (self.store.clone(), Arc::clone(callers), Arc::clone(token));
        let task = tokio::task::spawn_blocking(move || {
            let hub = store.hub();
            let page = hub.excerpt(&[RecordKind::Issuer, RecordKind::Revocation]);
            let snapshot = judge::open(&for_platform(page, &callers), hub.seed());
            let snapshot = snapshot.map_err(|error| NobodyKnown::Failed(error.to_string()))?;
            Ok(look(&token, &snapshot))
        });
        task.await.map_err(|error| NobodyKnown::Failed(error.to_string()))?
    }
}

fn look(token: &str, snapshot: &SnapshotState) -> Judged {
    let judged = judge::token(token, snapshot, now_ms() / 1000, None).and_then(|verified| {
        let name = verified.principal.issuer.as_ref();
        let issuer =
            name.and_then(|name| snapshot.issuer_of_name(name)).map(|document| document.issuer.clone());
        Ok(Box::new((verified, issuer.ok_or(Reason::IssuerUnknown)?)))
    });
    judged.map_err(|unjudged| {
        let why = match unjudged {
            Unjudged::Refused(why) => why,
            // No issuer of people has a provider that is asked.
            Unjudged::Asks(_) => Reason::CredentialUnsupported.into(),
        };
        let unknown =
            (why.reason == Reason::KeyUnknown).then(|| jwt::unknown_key(token.as_bytes(), snapshot));
        let missing = unknown.flatten().map(|(document, key)| (document.issuer.clone(), key));
        Refusal { why: Box::new(why), missing }
    })
}

/// The issuers whose people may call, as they count for the platform API, and all revocations.
fn for_platform(mut page: Page, callers: &[PlatformCallers]) -> Page {
    page.records
        .retain_mut(|record| record.kind != RecordKind::Issuer as i32 || adapt(record, callers).is_some());
    page
}

/// What differs at the platform API; `None` of an issuer whose people may not call.
fn adapt(record: &mut Record, callers: &[PlatformCallers]) -> Option<()> {
    let mut document: IssuerDocument = serde_json::from_slice(&record.value).ok()?;
    let own = callers.iter().find(|callers| callers.issuer == document.issuer)?;
    document.audiences.clone_from(&own.audiences);
    if let Some(tenant) = &own.tenant {
        document.claims.tenant = TenantRule::Fixed(tenant.clone());
    }
    record.value = serde_json::to_vec(&document).ok()?;
    Some(())
}

fn role_of(
    callers: &[PlatformCallers],
    verified: &Verified,
    configured: &IssuerId,
) -> Result<Caller, NobodyKnown> {
    let principal = &verified.principal;
    let issuer = principal.issuer.as_ref().map(ToString::to_string).unwrap_or_default();
    let subject = principal.subject.to_string();
    let rules = callers.iter().find(|callers| callers.issuer == *configured);
    // Who acts for a person is not that person.
    let rules = rules.filter(|_| principal.actors.is_empty());
    let Some(role) = rules.and_then(|own| own.role(&verified.claims, &principal.tenant)) else {
        return Err(NobodyKnown::NoRole { subject, issuer });
    };
    let key_id = principal.key_id.as_ref().map(ToString::to_string);
    let credential = CallerCredential::Person { issuer, subject, key_id };
    Ok(Caller { credential, role, expires_at_s: Some(principal.expires_at) })
}
