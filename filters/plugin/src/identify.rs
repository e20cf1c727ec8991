//! Who asks: from a client's credential at the edge, from the forwarded identity token at a sidecar, from
//! the mutual-TLS peer where that is configured.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_authn::{
    Credential, NativeVerify, Place, Verified, api_key, introspection, is_revoked, jwt, workload,
};
use portcullis_host::{HashFunction, Host};
use portcullis_identity::{Caller as Forwarded, ClusterId, Principal, SpiffeId, VerifyError};
use portcullis_model::Reason;
use portcullis_model::config::{PluginConfig, peer_spiffe_id};
use portcullis_model::policy::IntrospectionDocument;
use portcullis_source_type::classify;

use crate::cache::Known;
use crate::head::Head;
use crate::introspect::{Answer, Caller, LONGEST_MS};
use crate::link::Link;
use crate::waiting::{Awaited, HOLD_MS};

const BEARER: u8 = 1;
const API_KEY: u8 = 2;
const FORWARDED: u8 = 3;
const WORKLOAD: u8 = 4;
const OPAQUE: u8 = 5;

/// How long an identity lasts whose provider wants to be asked for every request: as long as the identity
/// token that goes with the request.
const ONE_REQUEST_S: u64 = 60;

/// Envoy's BoringSSL.
struct Native<'a>(&'a dyn Host);

impl NativeVerify for Native<'_> {
    fn verify(&self, hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        let hash = match hash {
            "sha256" => HashFunction::Sha256,
            "sha384" => HashFunction::Sha384,
            "sha512" => HashFunction::Sha512,
            _ => return None,
        };
        self.0.verify_signature(hash, key, signature, text).ok()
    }
}

/// What a request has waited for already.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// For what a token stands for: since when, and until when at most.
    token: Option<(u64, u64)>,
    /// For an issuer's keys.
    keys: bool,
}

/// What the credential led to.
pub(crate) enum Outcome {
    /// The identity.
    Known(Rc<Known>),
    /// Nothing yet: the request has to wait, until this time at most.
    Wait(Awaited, u64),
}

/// The request whose credential is looked at.
pub(crate) struct Asking<'a> {
    /// The proxy.
    pub host: &'a dyn Host,
    /// The plugin's configuration.
    pub config: &'a PluginConfig,
    /// The request's contexts.
    pub caller: Caller,
    /// What it has waited for.
    pub waits: &'a mut Waits,
    /// Wall clock, seconds since the Unix epoch.
    pub now_s: u64,
}

impl Asking<'_> {
    /// Establishes the identity from the one credential that the client presents.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(crate) fn presented(&mut self, head: &Head<'_>, link: &mut Link) -> Result<Outcome, Reason> {
        if head.is_preflight() {
            return Err(Reason::PreflightRefused);
        }
        let peer = self.peer()?;
        let credential = match (head.presented.credential(), &peer) {
            (Err(Reason::CredentialMissing), Some(peer)) => {
                return self.workload(peer, link).map(Outcome::Known);
            }
            (credential, _) => credential?,
        };
        if matches!(head.presented.place(), Some(Place::Cookie(_))) {
            // Under a path selector all clusters are one origin to a browser.
            if head.path.starts_with(b"/clusters/") {
                return Err(Reason::CredentialUnsupported);
            }
            if head.may_be_cross_site() {
                return Err(Reason::CrossSiteRefused);
            }
        }
        let kind = match credential {
            Credential::Bearer(_) => BEARER,
            Credential::ApiKey(_) => API_KEY,
        };
        let key = with_peer(credential.bytes(), peer.as_ref());
        let revision = link.snapshot.authentication_revision();
        if let Some(known) = link.identities.get(kind, &key, revision, self.now_s) {
            return Ok(Outcome::Known(known));
        }
        let (verified, keep) = match credential {
            Credential::ApiKey(secret) => (api_key::verify(secret, &link.snapshot, self.now_s)?, true),
            Credential::Bearer(token) => match provider(token, link) {
                Some((token, provider)) => match self.opaque(token, &provider, link)? {
                    Ok(found) => found,
                    Err(wait) => return Ok(wait),
                },
                None => match self.jwt(token, link)? {
                    Ok(verified) => (verified, true),
                    Err(wait) => return Ok(wait),
                },
            },
        };
        let known = admit(verified, peer, link)?;
        if keep {
            link.identities.put(kind, &key, &known);
        }
        Ok(Outcome::Known(known))
    }

    /// Establishes the identity from the token that the gateway forwarded, or of the mutual-TLS peer where
    /// there is no token.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(crate) fn forwarded(
        &self,
        head: &Head<'_>,
        link: &mut Link,
        cluster: &ClusterId,
    ) -> Result<Rc<Known>, Reason> {
        let Some(token) = head.identity else {
            let peer = self.peer()?.ok_or(Reason::IdentityMissing)?;
            return self.workload(&peer, link);
        };
        let revision = link.snapshot.authentication_revision();
        if let Some(known) = link.identities.get(FORWARDED, token, revision, self.now_s) {
            return Ok(known);
        }
        let text = std::str::from_utf8(token).map_err(|_| Reason::IdentityInvalid)?;
        let key = |kid: &str| link.snapshot.identity_key(kid).copied();
        let caller =
            portcullis_identity::verify_with(text, key, None, cluster, self.now_s).map_err(|error| {
                match error {
                    VerifyError::Time => Reason::TokenExpired,
                    _ => Reason::IdentityInvalid,
                }
            })?;
        let source_type = caller.source_type;
        let principal = principal(caller);
        if is_revoked(&principal, &link.snapshot) {
            return Err(Reason::CredentialRevoked);
        }
        let known = link.identities.admit(principal, Some(source_type), revision);
        link.identities.put(FORWARDED, token, &known);
        Ok(known)
    }

    /// The SPIFFE id of the mutual-TLS peer, where the configuration asks for it.
    fn peer(&self) -> Result<Option<SpiffeId>, Reason> {
        if !self.config.workload {
            return Ok(None);
        }
        let san = self.host.property(&["connection", "uri_san_peer_certificate"]);
        Ok(san.map_err(|_| Reason::Internal)?.and_then(|uri| peer_spiffe_id(&uri)))
    }

    fn workload(&self, peer: &SpiffeId, link: &mut Link) -> Result<Rc<Known>, Reason> {
        let (key, revision) = (peer.as_str().as_bytes(), link.snapshot.authentication_revision());
        if let Some(known) = link.identities.get(WORKLOAD, key, revision, self.now_s) {
            return Ok(known);
        }
        let verified = workload::verify(peer, &link.snapshot)?;
        let known = admit(verified, Some(peer.clone()), link)?;
        link.identities.put(WORKLOAD, key, &known);
        Ok(known)
    }

    /// Verifies a token; one that names a key that is not known yet may wait for it once.
    fn jwt(&mut self, token: &[u8], link: &mut Link) -> Result<Result<Verified, Outcome>, Reason> {
        let native = Native(self.host);
        match jwt::verify(token, &link.snapshot, &mut link.keys, &native, self.now_s) {
            Err(Reason::KeyUnknown) if !self.waits.keys => {}
            result => return result.map(Ok),
        }
        self.waits.keys = true;
        let (document, key_id) = jwt::unknown_key(token, &link.snapshot).ok_or(Reason::KeyUnknown)?;
        link.read_clock(self.host);
        if !link.refresh(self.host, self.caller, &document, &key_id) {
            return Err(Reason::KeyUnknown);
        }
        let until_ms = link.now_ms.saturating_add(HOLD_MS);
        Ok(Err(Outcome::Wait(Awaited::Keys(document), until_ms)))
    }

    /// What a provider says of a token, and whether that may be kept.
    fn opaque(
        &mut self,
        token: &str,
        provider: &Arc<IntrospectionDocument>,
        link: &mut Link,
    ) -> Result<Result<(Verified, bool), Outcome>, Reason> {
        let whose = [provider.name.as_bytes(), b"\0", provider.config_digest.as_bytes(), b"\0"].concat();
        let digest = link.identities.digest(OPAQUE, &[&whose, token.as_bytes()].concat());
        link.read_clock(self.host);
        let now_ms = link.now_ms;
        match link.introspections.find(digest, now_ms, self.waits.token.map(|(since_ms, _)| since_ms)) {
            Some(Answer::Inactive) => return Err(Reason::TokenInactive),
            Some(Answer::Active { claims, fresh_s }) => {
                let mut verified = introspection::judge(&claims, provider, self.now_s)?;
                let lasts = if fresh_s == 0 { ONE_REQUEST_S } else { fresh_s };
                let ends = &mut verified.principal.expires_at;
                *ends = (*ends).min(self.now_s.saturating_add(lasts));
                return Ok(Ok((verified, fresh_s > 0)));
            }
            None => {}
        }
        match self.waits.token {
            None => link.ask(self.host, self.caller, digest, provider, token)?,
            Some((_, until_ms)) if link.introspections.is_asking(digest) && now_ms < until_ms => {}
            Some(_) => return Err(Reason::IntrospectionUnavailable),
        }
        let (_, until_ms) = *self.waits.token.get_or_insert((now_ms, now_ms.saturating_add(LONGEST_MS)));
        Ok(Err(Outcome::Wait(Awaited::Token(digest), until_ms)))
    }
}

/// The provider of an opaque token.
fn provider<'t>(token: &'t [u8], link: &Link) -> Option<(&'t str, Arc<IntrospectionDocument>)> {
    let text = std::str::from_utf8(token).ok()?;
    let provider = link.snapshot.introspection_of(text)?;
    introspection::is_opaque(token).then(|| (text, Arc::clone(provider)))
}

/// A credential as the cache knows it: with the peer, where that is a fact beside it.
fn with_peer<'a>(credential: &'a [u8], peer: Option<&SpiffeId>) -> Cow<'a, [u8]> {
    match peer {
        None => Cow::Borrowed(credential),
        Some(peer) => Cow::Owned([credential, b"\0", peer.as_str().as_bytes()].concat()),
    }
}

/// Adds the peer to what was verified, refuses what is revoked, and tells the source type.
fn admit(mut verified: Verified, peer: Option<SpiffeId>, link: &mut Link) -> Result<Rc<Known>, Reason> {
    verified.principal.spiffe_id = peer;
    if is_revoked(&verified.principal, &link.snapshot) {
        return Err(Reason::CredentialRevoked);
    }
    let source_type = verified.source_type.or_else(|| {
        classify(link.snapshot.source_rules(), &verified.principal, &verified.claims).map(|(t, _)| t)
    });
    let revision = link.snapshot.authentication_revision();
    Ok(link.identities.admit(verified.principal, source_type, revision))
}

fn principal(caller: Forwarded) -> Principal {
    Principal {
        subject: caller.subject,
        tenant: caller.tenant,
        roles: caller.roles,
        scopes: caller.scopes,
        credential: caller.credential,
        key_id: caller.key_id,
        issuer: caller.credential_issuer,
        client_id: caller.client_id,
        spiffe_id: None,
        actors: caller.actors,
        expires_at: caller.expires_at,
        token_id: None,
        session_id: caller.session_id,
        derived_from: Vec::new(),
    }
}
