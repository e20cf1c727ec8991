//! People who call the platform API with a token of an identity provider.
//!
//! Their tokens are judged by the code that gateways judge by, over the same issuers and revocations. What differs is the
//! audience, which is the platform API's own, and that a rule has to give them a role.

mod judged;
mod nobody;

use std::sync::Arc;

use portcullis_authn::Verified;
use portcullis_authn::jws::Jws;
use portcullis_control_config::PlatformCallers;
use portcullis_control_domain::caller::{Caller, CallerCredential, Person, Role, Voucher};
use portcullis_control_domain::pause::PauseName;
use portcullis_control_store::Store;
use zeroize::Zeroizing;

use crate::Current;
use crate::issuers::{Issuers, RefreshOutcome};
use judged::{Judge, Judged, Known, Refusal};
pub use nobody::NobodyKnown;

/// Judges tokens of people.
pub struct People {
    store: Store,
    issuers: Arc<Issuers>,
    callers: Current<Vec<PlatformCallers>>,
    judge: Judge,
}

impl People {
    /// Begins with these.
    #[must_use]
    pub fn new(store: Store, issuers: Arc<Issuers>, callers: Vec<PlatformCallers>) -> Self {
        let judge = Judge::start(Arc::clone(store.hub()));
        Self { store, issuers, callers: Current::new(callers), judge }
    }

    /// Takes over others.
    pub fn set(&self, callers: Vec<PlatformCallers>) {
        self.callers.set(callers);
    }

    /// Who calls with this token, from somewhere.
    ///
    /// # Errors
    /// [`NobodyKnown`].
    pub async fn caller(&self, token: &str, from: PauseName) -> Result<Caller, NobodyKnown> {
        let callers = self.callers.get();
        if callers.is_empty() {
            return Err(NobodyKnown::None);
        }
        Jws::parse(token.as_bytes()).map_err(|reason| NobodyKnown::Refused(Box::new(reason.into())))?;
        let is_suspect = self.store.pause_of(from).await?.is_some();
        let token = Arc::new(Zeroizing::new(token.to_owned()));
        let judged = match self.judge(&callers, &token, is_suspect).await? {
            Err(Refusal { missing: Some((issuer, key)), why }) => {
                // Issuers change their keys: what gateways do then is done here as well, within the same bounds.
                match self.issuers.ask(issuer.as_str(), key.as_str()).await {
                    RefreshOutcome::Published => self.judge(&callers, &token, is_suspect).await?,
                    _ => Err(Refusal { why, missing: None }),
                }
            }
            judged => judged,
        };
        let known = judged.map_err(|refusal| NobodyKnown::Refused(refusal.why))?;
        caller_of(&callers, *known)
    }

    /// Whether the rules still give the person who vouches for a token a role that may give out the token's.
    #[must_use]
    pub fn vouches(&self, voucher: &Voucher, role: &Role) -> bool {
        let callers = self.callers.get();
        let rules = callers.iter().find(|callers| callers.issuer == voucher.configured);
        let own = rules
            .and_then(|rules| rules.role_again(&voucher.claims, &voucher.looked_at, &voucher.person.tenant));
        own.is_some_and(|own| own.may_grant(role))
    }

    /// Judges once.
    async fn judge(
        &self,
        callers: &Arc<Vec<PlatformCallers>>,
        token: &Arc<Zeroizing<String>>,
        is_suspect: bool,
    ) -> Result<Judged, NobodyKnown> {
        self.store.check_fresh()?;
        self.judge.ask(Arc::clone(callers), Arc::clone(token), is_suspect).await
    }
}

fn caller_of(callers: &[PlatformCallers], known: Known) -> Result<Caller, NobodyKnown> {
    let Known { verified: Verified { principal, claims, .. }, configured, revoked_by } = known;
    let issuer = principal.issuer.as_ref().map(ToString::to_string).unwrap_or_default();
    let subject = principal.subject.to_string();
    let rules = callers.iter().find(|callers| callers.issuer == configured);
    // Who acts for a person is not that person.
    let rules = rules.filter(|_| principal.actors.is_empty());
    let given = rules.and_then(|own| Some((own.role(&claims, &principal.tenant)?, own.telling(&claims))));
    let Some((role, (claims, looked_at))) = given else {
        return Err(NobodyKnown::NoRole { subject, issuer });
    };
    let key_id = principal.key_id.as_ref().map(ToString::to_string);
    let person = Person { tenant: principal.tenant, issuer: issuer.clone(), subject: subject.clone() };
    let voucher = Some(Box::new(Voucher { person, configured, revoked_by, claims, looked_at }));
    let credential = CallerCredential::Person { issuer, subject, key_id };
    Ok(Caller { credential, role, expires_at_s: Some(principal.expires_at), voucher, made_at_ms: None })
}
