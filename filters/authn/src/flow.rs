//! The flow of authentication: who asks, from a client's credential at the edge, from the forwarded identity
//! token at a sidecar, from the mutual-TLS peer where that is configured.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_engine::cache::Basis;
use portcullis_engine::port::{Hash, Signature, Stream};
use portcullis_engine::stage::{Context, Ticket};
use portcullis_engine::waiting::{Awaited, HOLD_MS};
use portcullis_identity::{ClusterId, Principal, SourceType, SpiffeId, VerifyError};
use portcullis_model::Reason;
use portcullis_model::config::peer_spiffe_id;
use portcullis_model::policy::IntrospectionDocument;
use portcullis_model::state::SnapshotState;

use crate::credential::{Classify, Verified, kind};
use crate::cross_site::{is_by_browser, may_be_cross_site, page_of_another_origin};
use crate::keys::KeyRing;
use crate::presented::{Credential, Presented, TokenLocation};
use crate::providers::{answer, holds_for, provider, remember_opaque};
use crate::rejected::{Identified, Rejected, Unidentified};
use crate::revocation::is_revoked;
use crate::verifying_key::NativeVerify;
use crate::{api_key, introspection, jwt, workload};

/// What a credential stands for, and whether that may be kept for the next request.
struct Judged {
    verified: Verified,
    basis: Basis,
    keep: bool,
}

/// The proxy's own cryptography.
struct Native<'a>(&'a dyn Stream);

impl NativeVerify for Native<'_> {
    fn verify(&self, hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        let hash = match hash {
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            _ => return None,
        };
        self.0.verify_signature(&Signature { hash, key, signature, text })
    }
}

/// What the flow needs besides the request.
pub(crate) struct Means<'a> {
    /// Prepared verification keys.
    pub(crate) keys: &'a KeyRing,
    /// Tells the source type.
    pub(crate) classify: Classify,
}

impl Means<'_> {
    /// Establishes the identity from the one credential that the client presents.
    pub(crate) fn presented(&self, context: &mut Context<'_>, presented: &Presented<'_>) -> Identified {
        let peer = peer(context)?;
        let found = match (presented.found(), &peer) {
            (Err(Reason::CredentialMissing), Some(peer)) => return self.workload(context, peer),
            (found, _) => found?,
        };
        if matches!(presented.place(), Some(TokenLocation::Cookie(_))) {
            found.look()?;
            // Under a path selector all clusters are one origin to a browser.
            if context.head.path.starts_with(b"/clusters/") {
                return Err(Reason::CredentialUnsupported.into());
            }
            if may_be_cross_site(context.head) {
                return Err(Reason::CrossSiteRefused.into());
            }
            // Whether the cluster wants that is looked at once the cluster is known to be the caller's.
            context.exchange.sent_by_page = page_of_another_origin(context.head).map(Box::from);
        }
        let (kind, key) = as_cached(found.as_kept(), peer.as_ref());
        let revision = context.snapshot.authentication_revision();
        let digest = context.link.identities.digest(kind, &key);
        if let Some(known) = context.link.identities.get(digest, revision, context.now_s) {
            remember_opaque(context, found.as_kept(), &known, true)?;
            return Ok(known);
        }
        let credential = found.look()?;
        let Judged { verified, basis, keep } = self.judge(context, credential)?;
        let known = self.admit(context, (verified, basis), peer)?;
        if keep {
            context.link.identities.put(digest, &known);
        }
        remember_opaque(context, credential, &known, keep)?;
        Ok(known)
    }

    /// Judges a credential that is not known yet: rare, and apart from what every request goes through.
    #[inline(never)]
    fn judge(&self, context: &mut Context<'_>, credential: Credential<'_>) -> Result<Judged, Unidentified> {
        match credential {
            Credential::ApiKey(secret) => {
                let digest = api_key::digest(secret, context.snapshot)?;
                let verified = api_key::of_digest(&digest, context.snapshot, context.now_s)?;
                Ok(Judged { verified, basis: Basis::ApiKey(digest), keep: true })
            }
            Credential::Bearer(token) => match provider(token, context.snapshot) {
                Some((token, provider)) => opaque(context, token, &provider),
                None => self.jwt(context, token),
            },
        }
    }

    /// Establishes the identity from the token that the gateway forwarded, or of the mutual-TLS peer where
    /// there is no token.
    pub(crate) fn forwarded(&self, context: &mut Context<'_>, cluster: &ClusterId) -> Identified {
        let Some(token) = context.head.identity else {
            let peer = peer(context)?.ok_or(Reason::IdentityMissing)?;
            return self.workload(context, &peer);
        };
        let snapshot = context.snapshot;
        let revision = snapshot.authentication_revision();
        let digest = context.link.identities.digest(kind::FORWARDED, token);
        if let Some(known) = context.link.identities.get(digest, revision, context.now_s) {
            return Ok(known);
        }
        let text = std::str::from_utf8(token).map_err(|_| Reason::IdentityInvalid)?;
        let key = |kid: &str| snapshot.identity_key(kid).copied();
        let caller = portcullis_identity::verify_with(text, key, None, cluster, context.now_s);
        let caller = caller.map_err(|error| match error {
            VerifyError::Time => Reason::TokenExpired,
            _ => Reason::IdentityInvalid,
        })?;
        let source_type = caller.source_type;
        let principal = Principal::from(caller);
        if is_revoked(&principal, snapshot) {
            return Err(Rejected::of(Reason::CredentialRevoked, &principal).into());
        }
        let identities = &mut context.link.identities;
        let known = identities.admit(principal, Some(source_type), Basis::Forwarded, revision);
        context.link.identities.put(digest, &known);
        Ok(known)
    }

    fn workload(&self, context: &mut Context<'_>, peer: &SpiffeId) -> Identified {
        // A browser shows its certificate with whatever a page makes it send, as it does a cookie.
        if is_by_browser(context.head) && may_be_cross_site(context.head) {
            return Err(Reason::CrossSiteRefused.into());
        }
        context.exchange.sent_by_page = page_of_another_origin(context.head).map(Box::from);
        let revision = context.snapshot.authentication_revision();
        let digest = context.link.identities.digest(kind::WORKLOAD, peer.as_str().as_bytes());
        if let Some(known) = context.link.identities.get(digest, revision, context.now_s) {
            return Ok(known);
        }
        let verified = workload::verify(peer, context.snapshot)?;
        let known = self.admit(context, (verified, Basis::Workload), Some(peer.clone()))?;
        context.link.identities.put(digest, &known);
        Ok(known)
    }

    /// Verifies a token; one that names a key that is not known yet may wait for it once.
    fn jwt(&self, context: &mut Context<'_>, token: &[u8]) -> Result<Judged, Unidentified> {
        let native = Native(context.stream);
        let doubted = jwt::Doubted::default();
        match jwt::verify_or_doubt(token, context.snapshot, self.keys, &native, context.now_s, &doubted) {
            Err(Rejected { reason: Reason::KeyUnknown, .. }) if !context.waited.keys => {}
            result => {
                if let Some(document) = doubted.take() {
                    context.link.doubt_keys(context.stream, context.snapshot, &document);
                }
                return self.confirmed(context, token, result?);
            }
        }
        context.waited.keys = true;
        let (document, key_id) = jwt::unknown_key(token, context.snapshot).ok_or(Reason::KeyUnknown)?;
        context.link.read_clock(context.stream);
        if !context.link.ask_for_keys(context.stream, context.snapshot, &document, &key_id) {
            return Err(Reason::KeyUnknown.into());
        }
        let until_ms = context.link.now_ms.saturating_add(HOLD_MS);
        Err(Unidentified::Waits(Ticket { awaited: Awaited::Keys(document), until_ms }))
    }

    /// What a verified token stands for: at once, or where its issuer wants a provider to be asked once that has
    /// confirmed it.
    fn confirmed(
        &self,
        context: &mut Context<'_>,
        token: &[u8],
        verified: Verified,
    ) -> Result<Judged, Unidentified> {
        let (signed, key) = (signed_part(token).into(), verified.key.unwrap_or_default());
        let Some(provider) = introspection::asked_about(&verified, context.snapshot)? else {
            return Ok(Judged { verified, basis: Basis::Token(signed, key), keep: true });
        };
        let text = std::str::from_utf8(token).map_err(|_| Reason::CredentialMalformed)?;
        let (told, fresh_s) = answer(context, text, &provider)?;
        let mut verified = introspection::narrow(verified, &told, context.snapshot, context.now_s)?;
        holds_for(&mut verified, fresh_s, context.now_s);
        let basis = Basis::IntrospectedToken(signed, key, provider.name.as_str().into());
        Ok(Judged { verified, basis, keep: fresh_s > 0 })
    }

    /// Adds the peer to what was verified, refuses what is revoked, and tells the source type.
    fn admit(
        &self,
        context: &mut Context<'_>,
        (mut verified, basis): (Verified, Basis),
        peer: Option<SpiffeId>,
    ) -> Identified {
        let snapshot = context.snapshot;
        verified.principal.spiffe_id = peer;
        if is_revoked(&verified.principal, snapshot) {
            return Err(Rejected::of(Reason::CredentialRevoked, &verified.principal).into());
        }
        let source_type = self.source_type(&verified, snapshot);
        let revision = snapshot.authentication_revision();
        Ok(context.link.identities.admit(verified.principal, source_type, basis, revision))
    }

    /// The source type of what was verified: fixed by the credential itself, or by the rules.
    pub(crate) fn source_type(&self, verified: &Verified, snapshot: &SnapshotState) -> Option<SourceType> {
        let by_rule = || (self.classify)(snapshot.source_rules(), &verified.principal, &verified.claims);
        verified.source_type.or_else(by_rule)
    }
}

/// What is signed of a token: all before the last dot.
fn signed_part(token: &[u8]) -> &[u8] {
    token.rsplitn(2, |byte| *byte == b'.').nth(1).unwrap_or_default()
}

/// The SPIFFE id of the mutual-TLS peer, where the configuration asks for it.
fn peer(context: &Context<'_>) -> Result<Option<SpiffeId>, Reason> {
    if !context.config.workload {
        return Ok(None);
    }
    let uri = context.stream.peer_uri().map_err(|_| Reason::Internal)?;
    Ok(uri.and_then(|uri| peer_spiffe_id(&uri)))
}

/// What an opaque token stands for.
fn opaque(
    context: &mut Context<'_>,
    token: &str,
    provider: &Arc<IntrospectionDocument>,
) -> Result<Judged, Unidentified> {
    let (claims, fresh_s) = answer(context, token, provider)?;
    let mut verified = introspection::judge(&claims, provider, context.now_s)?;
    holds_for(&mut verified, fresh_s, context.now_s);
    let basis = Basis::Introspection(provider.name.as_str().into());
    Ok(Judged { verified, basis, keep: fresh_s > 0 })
}

/// A credential as the cache knows it: with the peer, where that is a fact beside it. Nobody has looked into the
/// credential yet, so with a peer it is of another kind: whatever a client writes, it is none that came with a peer.
/// Where the peer begins is plain, since no SPIFFE id has a NUL.
fn as_cached<'a>(credential: Credential<'a>, peer: Option<&SpiffeId>) -> (u8, Cow<'a, [u8]>) {
    let kind = match (credential, peer) {
        (Credential::Bearer(_), None) => kind::BEARER,
        (Credential::ApiKey(_), None) => kind::API_KEY,
        (Credential::Bearer(_), Some(_)) => kind::BEARER_OF_PEER,
        (Credential::ApiKey(_), Some(_)) => kind::API_KEY_OF_PEER,
    };
    let bytes = credential.bytes();
    match peer {
        None => (kind, Cow::Borrowed(bytes)),
        Some(peer) => (kind, Cow::Owned([bytes, b"\0", peer.as_str().as_bytes()].concat())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_one_that_came_with_a_peer() {
        let (one, two) = ("spiffe://a/ns/x/sa/one", "spiffe://a/ns/x/sa/two");
        let peers = [one, two].map(|id| SpiffeId::new(id).unwrap());
        let long = format!("token\0{one}");
        let mut seen = Vec::new();
        for bytes in [b"token".as_slice(), b"", long.as_bytes(), b"\0"] {
            for credential in [Credential::Bearer(bytes), Credential::ApiKey(bytes)] {
                for peer in [None, Some(&peers[0]), Some(&peers[1])] {
                    let key = as_cached(credential, peer);
                    assert!(!seen.contains(&key), "{credential:?} {peer:?}");
                    seen.push(key);
                }
            }
        }
    }
}
