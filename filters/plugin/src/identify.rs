//! Who asks: from a client's credential at the edge, from the forwarded identity token at a sidecar.

use std::rc::Rc;

use portcullis_authn::{Credential, NativeVerify, api_key, is_revoked, jwt};
use portcullis_core::identity::Principal;
use portcullis_core::{ClusterId, Reason};
use portcullis_host::{HashFunction, Host};
use portcullis_identity::{Caller, VerifyError};
use portcullis_source_type::classify;

use crate::cache::Known;
use crate::head::Head;
use crate::link::Link;

const BEARER: u8 = 1;
const API_KEY: u8 = 2;
const FORWARDED: u8 = 3;

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

/// Establishes the identity from the one credential that the client presents.
///
/// # Errors
/// The reason of the refusal.
pub(crate) fn presented(
    host: &dyn Host,
    head: &Head<'_>,
    link: &mut Link,
    now_s: u64,
) -> Result<Rc<Known>, Reason> {
    if head.is_preflight() {
        return Err(Reason::PreflightRefused);
    }
    let credential = head.presented.credential()?;
    let kind = match credential {
        Credential::Bearer(_) => BEARER,
        Credential::ApiKey(_) => API_KEY,
    };
    let revision = link.snapshot.authentication_revision();
    if let Some(known) = link.identities.get(kind, credential.bytes(), revision, now_s) {
        return Ok(known);
    }
    let verified = match credential {
        Credential::Bearer(token) => {
            jwt::verify(token, &link.snapshot, &mut link.keys, &Native(host), now_s)?
        }
        Credential::ApiKey(key) => api_key::verify(key, &link.snapshot, now_s)?,
    };
    if is_revoked(&verified.principal, &link.snapshot) {
        return Err(Reason::CredentialRevoked);
    }
    let source_type = verified.source_type.or_else(|| {
        classify(link.snapshot.source_rules(), &verified.principal, &verified.claims).map(|(t, _)| t)
    });
    let known = link.identities.admit(verified.principal, source_type, revision);
    link.identities.put(kind, credential.bytes(), &known);
    Ok(known)
}

/// Establishes the identity from the token that the gateway forwarded.
///
/// # Errors
/// The reason of the refusal.
pub(crate) fn forwarded(
    head: &Head<'_>,
    link: &mut Link,
    cluster: &ClusterId,
    now_s: u64,
) -> Result<Rc<Known>, Reason> {
    let token = head.identity.ok_or(Reason::IdentityMissing)?;
    let revision = link.snapshot.authentication_revision();
    if let Some(known) = link.identities.get(FORWARDED, token, revision, now_s) {
        return Ok(known);
    }
    let text = std::str::from_utf8(token).map_err(|_| Reason::IdentityInvalid)?;
    let key = |kid: &str| link.snapshot.identity_key(kid).copied();
    let caller =
        portcullis_identity::verify_with(text, key, None, cluster, now_s).map_err(|error| match error {
            VerifyError::Time => Reason::TokenExpired,
            _ => Reason::IdentityInvalid,
        })?;
    let source_type = caller.source_type;
    let known = link.identities.admit(principal(caller), Some(source_type), revision);
    link.identities.put(FORWARDED, token, &known);
    Ok(known)
}

fn principal(caller: Caller) -> Principal {
    Principal {
        subject: caller.subject,
        tenant: caller.tenant,
        roles: caller.roles,
        scopes: caller.scopes,
        credential: caller.credential,
        key_id: caller.key_id,
        issuer: None,
        client_id: caller.client_id,
        spiffe_id: None,
        actors: caller.actors,
        expires_at: caller.expires_at,
        token_id: None,
        session_id: None,
    }
}
