//! An open stream is looked at again: whether its credential would still lead to the same identity.
//!
//! The credential itself is gone, for it was taken out of the request. What it was judged by is kept with the
//! identity ([`Basis`]), and that is judged anew by what policy says now. Who has become somebody else, or has
//! other rights, has to begin again: what was forwarded cannot be taken back.

use portcullis_engine::cache::{Basis, CachedIdentity};
use portcullis_engine::stage::Again;
use portcullis_identity::Principal;
use portcullis_model::Reason;
use portcullis_model::config::Role;
use portcullis_model::state::Ground;
use portcullis_protocol::snapshot::revocation_digest;

use crate::credential::Verified;
use crate::flow::Means;
use crate::providers::ask_again;
use crate::revocation::{is_revoked, revocable_names};
use crate::{api_key, introspection, jwt, workload};

impl Means<'_> {
    /// Whether the identity of an open stream still stands.
    pub(crate) fn look_again(&self, again: &mut Again<'_>) -> Result<(), Reason> {
        let known = again.exchange.known.clone().ok_or(Reason::Internal)?;
        let principal = known.principal();
        if is_revoked(principal, again.snapshot) {
            return Err(Reason::CredentialRevoked);
        }
        let at_edge = again.config.role == Role::Edge;
        for name in revocable_names(principal, again.snapshot) {
            // Gateways are told the names, sidecars their digests.
            again.stands_on(match at_edge {
                true => Ground::Revocation(name.into()),
                false => Ground::RevocationDigest(revocation_digest(&name)),
            });
        }
        match self.judge_again(again, &known)? {
            Some(verified) => self.compare(again, &known, verified),
            None => Ok(()),
        }
    }

    /// Judges by what policy says now; none where nothing has changed, or where that is not known yet.
    fn judge_again(&self, again: &mut Again<'_>, known: &CachedIdentity) -> Result<Option<Verified>, Reason> {
        let (principal, snapshot, now_s) = (known.principal(), again.snapshot, again.now_s());
        let is_current = known.judged_at == snapshot.authentication_revision();
        match &known.basis {
            // Its end is that of the identity token, which says nothing of the credential's.
            Basis::Forwarded => return Ok(None),
            Basis::Introspection(provider) => {
                again.stands_on(Ground::Provider(provider.clone()));
                again.stands_on(Ground::SourceRules);
                let provider = snapshot.introspection(provider).cloned().ok_or(Reason::IssuerUnknown)?;
                let Some(told) = ask_again(again, &provider, is_current)? else { return Ok(None) };
                return introspection::judge(&told, &provider, now_s).map(Some).map_err(|why| why.reason);
            }
            Basis::IntrospectedToken(signed, key, provider) => {
                self.stands_on_issuer(again, principal)?;
                again.stands_on(Ground::Provider(provider.clone()));
                let verified = jwt::judge_again((signed, *key), snapshot, self.keys, now_s)?;
                again.look_at(verified.principal.expires_at);
                let provider =
                    introspection::asked_about(&verified, snapshot)?.ok_or(Reason::IdentityChanged)?;
                let Some(told) = ask_again(again, &provider, is_current)? else { return Ok(None) };
                return introspection::narrow(verified, &told, snapshot, now_s)
                    .map(Some)
                    .map_err(|why| why.reason);
            }
            Basis::Token(..) => {
                self.stands_on_issuer(again, principal)?;
            }
            Basis::ApiKey(digest) => again.stands_on(Ground::ApiKey(*digest)),
            Basis::Workload => {
                again.stands_on(Ground::Workloads);
                again.stands_on(Ground::SourceRules);
            }
        }
        if principal.expires_at <= now_s {
            return Err(Reason::TokenExpired);
        }
        again.look_at(principal.expires_at);
        if is_current {
            return Ok(None);
        }
        match &known.basis {
            Basis::Token(signed, key) => {
                let verified = jwt::judge_again((signed, *key), snapshot, self.keys, now_s)?;
                // Its issuer wants each token asked about now, and the token is gone: it has to come again.
                if introspection::asked_about(&verified, snapshot)?.is_some() {
                    return Err(Reason::IdentityChanged);
                }
                Ok(verified)
            }
            Basis::ApiKey(digest) => api_key::of_digest(digest, snapshot, now_s).map_err(|why| why.reason),
            _ => workload::verify(principal.spiffe_id.as_ref().ok_or(Reason::Internal)?, snapshot),
        }
        .map(Some)
    }

    /// What a token's identity stands on: its issuer by the name that it has in the snapshot, and by its own, by which
    /// it could get a document of its own; and the source rules.
    fn stands_on_issuer(&self, again: &mut Again<'_>, principal: &Principal) -> Result<(), Reason> {
        let issuer = principal.issuer.as_ref().ok_or(Reason::Internal)?;
        if let Some(document) = again.snapshot.issuer_of_name(issuer) {
            again.stands_on(Ground::Issuer(document.issuer.as_str().into()));
        }
        again.stands_on(Ground::Issuer(issuer.as_str().into()));
        again.stands_on(Ground::SourceRules);
        Ok(())
    }

    /// Whether what was judged now is what the stream was let through as.
    fn compare(
        &self,
        again: &mut Again<'_>,
        known: &CachedIdentity,
        mut verified: Verified,
    ) -> Result<(), Reason> {
        let before = known.principal();
        // The peer was a fact of the connection, and an end that has moved is no other identity.
        verified.principal.spiffe_id.clone_from(&before.spiffe_id);
        again.look_at(verified.principal.expires_at);
        let source_type = self.source_type(&verified, again.snapshot).ok_or(Reason::SourceTypeUnknown)?;
        let now = Principal { expires_at: before.expires_at, ..verified.principal };
        let same = now == *before && known.identity().is_some_and(|id| id.source_type == source_type);
        if same { Ok(()) } else { Err(Reason::IdentityChanged) }
    }
}
