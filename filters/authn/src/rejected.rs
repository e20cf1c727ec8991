//! Why there is no identity: a credential is refused, with what is known of it by then, or it has to be waited for.

use std::sync::Arc;

use portcullis_engine::cache::CachedIdentity;
use portcullis_engine::stage::{Flow, Ticket};
use portcullis_identity::ids::{IssuerId, KeyId, Subject, TenantId};
use portcullis_identity::{CredentialKind, Principal};
use portcullis_model::mapping::ClaimFault;
use portcullis_model::{Reason, Refusal};
use portcullis_protocol::record;

use crate::credential::STAGE;

/// Why a credential is refused; with it, whose it is, where that is established.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// The claim that it is refused for. Its value is told nowhere.
    pub claim: Option<ClaimFault>,
    /// Whose it is: only of a credential that was verified.
    pub whose: Option<Box<Whose>>,
}

/// Whose a verified credential is, as far as it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Whose {
    /// What kind of credential it is.
    pub credential: CredentialKind,
    /// Whom it speaks for.
    pub subject: Option<Subject>,
    /// Their tenant.
    pub tenant: Option<TenantId>,
    /// Who issued it.
    pub issuer: Option<IssuerId>,
    /// The key that proved it.
    pub key_id: Option<KeyId>,
}

impl From<Reason> for Rejected {
    fn from(reason: Reason) -> Self {
        Self { reason, claim: None, whose: None }
    }
}

impl From<ClaimFault> for Rejected {
    fn from(claim: ClaimFault) -> Self {
        Self { reason: Reason::ClaimInvalid, claim: Some(claim), whose: None }
    }
}

impl From<&Principal> for Whose {
    fn from(principal: &Principal) -> Self {
        Self {
            credential: principal.credential,
            subject: Some(principal.subject.clone()),
            tenant: Some(principal.tenant.clone()),
            issuer: principal.issuer.clone(),
            key_id: principal.key_id.clone(),
        }
    }
}

impl Rejected {
    /// The refusal of a credential that is this principal's.
    #[must_use]
    pub fn of(reason: Reason, principal: &Principal) -> Self {
        Self::from(reason).by(principal.into())
    }

    /// The same, of a credential that is theirs; who is named already stays.
    #[must_use]
    pub fn by(mut self, whose: Whose) -> Self {
        self.whose.get_or_insert_with(|| Box::new(whose));
        self
    }

    /// What the audit record says of it, encoded.
    #[must_use]
    pub(crate) fn record_part(&self) -> Vec<u8> {
        let claim = self.claim.as_ref().map(|claim| &*claim.0).unwrap_or_default();
        let Some(whose) = self.whose.as_deref() else {
            return record::Refused { claim, ..record::Refused::default() }.encode();
        };
        record::Refused {
            subject: whose.subject.as_ref().map(Subject::as_str).unwrap_or_default(),
            tenant: whose.tenant.as_ref().map(TenantId::as_str).unwrap_or_default(),
            credential: whose.credential.as_str(),
            key_id: whose.key_id.as_ref().map(KeyId::as_str).unwrap_or_default(),
            issuer: whose.issuer.as_ref().map(IssuerId::as_str).unwrap_or_default(),
            claim,
        }
        .encode()
    }
}

/// Why there is no identity yet.
pub(crate) enum Unidentified {
    /// There will be none.
    Refused(Rejected),
    /// The request has to wait for it.
    Waits(Ticket),
}

impl From<Reason> for Unidentified {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<Rejected> for Unidentified {
    fn from(why: Rejected) -> Self {
        Self::Refused(why)
    }
}

impl From<Unidentified> for Flow {
    fn from(unidentified: Unidentified) -> Self {
        match unidentified {
            Unidentified::Refused(why) => Flow::Refuse(Refusal::new(STAGE, why.reason)),
            Unidentified::Waits(ticket) => Flow::Wait(ticket),
        }
    }
}

/// Who asks, or why that is not known.
pub(crate) type Identified = Result<Arc<CachedIdentity>, Unidentified>;
