//! A verified identity, and what was made from it.

use std::sync::{Arc, Mutex};

use portcullis_identity::{ClusterId, Identity, Minter, Principal};
use portcullis_model::Permit;
use portcullis_protocol::scan;

use crate::cache::tokens::TokenSet;

/// What an identity takes besides its texts.
pub(super) const BASE_BYTES: usize = 512;

/// Whom a verified credential speaks for, with a source type where a rule gave one.
#[derive(Debug)]
pub enum Who {
    /// The whole identity.
    Tagged(Identity),
    /// No rule fits: this one is refused as soon as a source type is asked for.
    Untagged(Principal),
}

/// Tells a key from another one of the same name.
pub type KeyDigest = [u8; 16];

/// By what an identity was judged, as far as it takes to judge it again without the credential.
#[derive(Default)]
pub enum Basis {
    /// What a gateway forwarded: it is the gateway that judges again.
    #[default]
    Forwarded,
    /// A token's header and payload as they were signed, and the key that verified them. Without the signature
    /// that is no credential.
    Token(Box<[u8]>, KeyDigest),
    /// The same, and the provider of this name has said that it still holds.
    IntrospectedToken(Box<[u8]>, KeyDigest, Box<str>),
    /// The digest of an API key.
    ApiKey([u8; 32]),
    /// What the provider of this name said.
    Introspection(Box<str>),
    /// The workload's name.
    Workload,
}

impl Basis {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Token(signed, key) => signed.len() + key.len(),
            Self::IntrospectedToken(signed, key, provider) => signed.len() + key.len() + provider.len(),
            Self::Introspection(provider) => provider.len(),
            Self::Forwarded | Self::ApiKey(_) | Self::Workload => 0,
        }
    }
}

impl std::fmt::Debug for Basis {
    /// Without what it says: a token names people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Forwarded => "Forwarded",
            Self::Token(..) => "Token",
            Self::IntrospectedToken(..) => "IntrospectedToken",
            Self::ApiKey(_) => "ApiKey",
            Self::Introspection(_) => "Introspection",
            Self::Workload => "Workload",
        })
    }
}

/// A verified identity and what was made from it.
#[derive(Debug)]
pub struct CachedIdentity {
    /// Whom the credential speaks for.
    pub who: Who,
    /// The snapshot's authentication revision under which it was judged.
    pub judged_at: u64,
    /// Roles as one header value.
    pub roles: String,
    /// Scopes as one header value.
    pub scopes: String,
    /// By what it was judged.
    pub basis: Basis,
    pub(super) audit_part: Vec<u8>,
    pub(super) tokens: Arc<TokenSet>,
    /// The last permit, and the contents of the snapshot by which it was granted.
    pub(super) granted: Mutex<Option<(u64, Permit)>>,
    pub(super) bytes: usize,
}

/// About how many bytes a principal takes.
pub(super) fn weight(principal: &Principal) -> usize {
    let list = |texts: &mut dyn Iterator<Item = &str>| -> usize { texts.map(|t| t.len() + 16).sum() };
    let optional = [
        principal.key_id.as_ref().map(|k| k.as_str()),
        principal.issuer.as_ref().map(|i| i.as_str()),
        principal.client_id.as_ref().map(|c| c.as_str()),
        principal.spiffe_id.as_ref().map(|s| s.as_str()),
        principal.token_id.as_deref(),
        principal.session_id.as_deref(),
        Some(principal.subject.as_str()),
    ];
    list(&mut principal.roles.iter().map(|r| r.as_str()))
        + list(&mut principal.scopes.iter().map(|s| s.as_str()))
        + list(&mut principal.actors.iter().map(|a| a.as_str()))
        + list(&mut principal.derived_from.iter().map(String::as_str))
        + list(&mut optional.into_iter().flatten())
}

impl CachedIdentity {
    /// What an audit record says of it, encoded.
    #[must_use]
    pub fn audit_part(&self) -> &[u8] {
        &self.audit_part
    }

    /// What the credential says.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        match &self.who {
            Who::Tagged(identity) => &identity.principal,
            Who::Untagged(principal) => principal,
        }
    }

    /// The whole identity, where a source type is known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.who {
            Who::Tagged(identity) => Some(identity),
            Who::Untagged(_) => None,
        }
    }

    /// The permit for a cluster of this name, where it was the last that this identity was granted, by a snapshot
    /// of the same [contents](portcullis_model::state::SnapshotState::contents).
    pub fn permit(&self, cluster: &[u8], contents: u64) -> Option<Permit> {
        let granted = self.granted.try_lock().ok()?;
        let (by, permit) = granted.as_ref()?;
        let same = *by == contents && scan::same(permit.cluster().as_str().as_bytes(), cluster);
        same.then(|| permit.clone())
    }

    /// Remembers a permit that this identity's tenant was granted by a snapshot of these contents.
    pub fn remember(&self, permit: &Permit, contents: u64) {
        if let Ok(mut granted) = self.granted.try_lock() {
            *granted = Some((contents, permit.clone()));
        }
    }

    /// The identity token for a cluster: one in hand, or a new one.
    pub fn token(
        &self,
        identity: &Identity,
        cluster: &ClusterId,
        minter: &Arc<Minter>,
        now_s: u64,
    ) -> Arc<str> {
        self.tokens.get(identity, cluster, minter, now_s)
    }
}
