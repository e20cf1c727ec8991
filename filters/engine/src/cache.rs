//! Identities of credentials that were verified before.
//!
//! Only verified credentials get in, so nobody can fill the cache with what does not verify. The key is a
//! 128-bit keyed hash under a random key of the VM: the credential itself is not kept, and without the
//! key nobody can make two credentials meet.

mod identity;
pub mod tokens;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use highway::{HighwayHash, HighwayHasher, Key};
use lru::LruCache;
use portcullis_identity::ids::Scope;
use portcullis_identity::{Identity, Principal, SourceType};
use portcullis_protocol::record;

use crate::cache::identity::{BASE_BYTES, weight};
pub use crate::cache::identity::{Basis, CachedIdentity, KeyDigest, Who};
use crate::cache::tokens::{Budget, TokenSet};

/// Identities kept per worker.
pub const MAX_IDENTITIES: usize = 10_000;

/// Bytes of identities kept per worker: a few with hundreds of roles must not take what thousands need.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A hash as one number.
fn name([low, high]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// What was looked for in the cache.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Lookups {
    /// Credentials that were known.
    pub hits: u64,
    /// Credentials that were not.
    pub misses: u64,
    /// Identities that were made without all roles and scopes of their credential.
    pub incomplete: u64,
}

/// A bounded cache, least recently used out first.
pub struct IdentityCache {
    keys: [u64; 4],
    entries: LruCache<u128, Arc<CachedIdentity>>,
    bytes: usize,
    budget: Arc<Budget>,
    /// Tokens by identity, because many credentials may speak for the same one.
    tokens: LruCache<u128, Arc<TokenSet>>,
    lookups: Lookups,
}

impl IdentityCache {
    /// An empty cache under a random key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        let mut keys = [0; 4];
        for (word, bytes) in keys.iter_mut().zip(key.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self {
            keys,
            entries: LruCache::new(NonZeroUsize::new(MAX_IDENTITIES).unwrap_or(NonZeroUsize::MIN)),
            bytes: 0,
            budget: Arc::default(),
            tokens: LruCache::new(NonZeroUsize::new(MAX_IDENTITIES).unwrap_or(NonZeroUsize::MIN)),
            lookups: Lookups::default(),
        }
    }

    /// A hash function of its own for each kind of what is hashed.
    fn hasher(&self, kind: u8) -> HighwayHasher {
        let [a, b, c, d] = self.keys;
        HighwayHasher::new(Key([a, b, c, d ^ u64::from(kind)]))
    }

    /// The name of a credential of a kind in a cache: without the cache's key nobody can make two meet.
    #[must_use]
    pub fn digest(&self, kind: u8, credential: &[u8]) -> u128 {
        name(self.hasher(kind).hash128(credential))
    }

    /// A freshly judged identity. Credentials of one identity share its minted tokens.
    pub fn admit(
        &mut self,
        principal: Principal,
        source_type: Option<SourceType>,
        basis: Basis,
        judged_at: u64,
    ) -> Arc<CachedIdentity> {
        let incomplete = principal.omitted > 0 || principal.roles_incomplete;
        self.lookups.incomplete = self.lookups.incomplete.saturating_add(incomplete.into());
        let roles: Vec<&str> = principal.roles.iter().map(|r| r.as_str()).collect();
        let roles = roles.join(",");
        let scopes = Scope::list(&principal.scopes);
        let audit_part = record::identity(&principal, source_type);
        let digest = name(self.token_digest(&principal, &audit_part, &roles));
        let budget = &self.budget;
        let tokens = self.tokens.get_or_insert(digest, || Arc::new(TokenSet::new(Arc::clone(budget))));
        let tokens = Arc::clone(tokens);
        let bytes =
            BASE_BYTES + weight(&principal) + roles.len() + scopes.len() + audit_part.len() + basis.bytes();
        let who = match source_type {
            Some(source_type) => Who::Tagged(Identity { principal, source_type }),
            None => Who::Untagged(principal),
        };
        Arc::new(CachedIdentity {
            who,
            judged_at,
            roles,
            scopes,
            basis,
            audit_part,
            tokens,
            granted: Mutex::default(),
            bytes,
        })
    }

    /// Of everything that a minted token says, but its times. No part can run into the next: the first is
    /// protobuf, roles and scopes have no control characters.
    fn token_digest(&self, principal: &Principal, audit_part: &[u8], roles: &str) -> [u64; 2] {
        let mut hasher = self.hasher(0);
        hasher.append(audit_part);
        hasher.append(b"\0");
        hasher.append(roles.as_bytes());
        for scope in &principal.scopes {
            hasher.append(b"\0");
            hasher.append(scope.as_str().as_bytes());
        }
        hasher.append(b"\x01");
        hasher.append(principal.client_id.as_ref().map(|c| c.as_str()).unwrap_or_default().as_bytes());
        hasher.append(b"\x02");
        hasher.append(principal.session_id.as_deref().unwrap_or_default().as_bytes());
        hasher.append(&[3, principal.roles_incomplete.into()]);
        hasher.finalize128()
    }

    /// The identity of the credential of a [digest](Self::digest), unless it was judged under other policy or has ended.
    pub fn get(&mut self, digest: u128, revision: u64, now_s: u64) -> Option<Arc<CachedIdentity>> {
        let known = self.look_up(digest, revision, now_s);
        let Lookups { hits, misses, .. } = &mut self.lookups;
        let count = if known.is_some() { hits } else { misses };
        *count = count.saturating_add(1);
        known
    }

    /// What was looked for since this was asked last.
    pub fn take_lookups(&mut self) -> Lookups {
        std::mem::take(&mut self.lookups)
    }

    fn look_up(&mut self, digest: u128, revision: u64, now_s: u64) -> Option<Arc<CachedIdentity>> {
        let known = self.entries.get(&digest)?;
        if known.judged_at == revision && known.principal().expires_at > now_s {
            return Some(Arc::clone(known));
        }
        let stale = self.entries.pop(&digest);
        self.took_out(stale);
        None
    }

    fn took_out(&mut self, known: Option<Arc<CachedIdentity>>) {
        let bytes = known.map_or(0, |known| known.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Keeps a verified identity under the [digest](Self::digest) of its credential.
    pub fn put(&mut self, digest: u128, known: &Arc<CachedIdentity>) {
        self.bytes = self.bytes.saturating_add(known.bytes);
        let pushed_out = self.entries.push(digest, Arc::clone(known)).map(|(_, old)| old);
        self.took_out(pushed_out);
        while (self.bytes > MAX_BYTES || self.budget.is_tight())
            && self.entries.len() > 1
            && let Some((_, oldest)) = self.entries.pop_lru()
        {
            self.took_out(Some(oldest));
            self.tokens.pop_lru();
        }
    }

    /// Drops what has ended and what was judged under other policy.
    pub fn sweep(&mut self, revision: u64, now_s: u64) {
        let over =
            |known: &CachedIdentity| known.judged_at != revision || known.principal().expires_at <= now_s;
        let gone: Vec<u128> =
            self.entries.iter().filter(|(_, known)| over(known)).map(|(digest, _)| *digest).collect();
        for digest in gone {
            let known = self.entries.pop(&digest);
            self.took_out(known);
        }
        // Minted tokens that no identity has any more.
        let unused: Vec<u128> = self
            .tokens
            .iter()
            .filter(|(_, tokens)| Arc::strong_count(tokens) == 1)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in unused {
            self.tokens.pop(&digest);
        }
    }

    /// Number of identities kept.
    #[cfg(test)]
    #[must_use]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &mut IdentityCache, kind: u8, credential: &[u8], known: &Arc<CachedIdentity>) {
        cache.put(cache.digest(kind, credential), known);
    }

    fn get(
        cache: &mut IdentityCache,
        kind: u8,
        credential: &[u8],
        revision: u64,
        now_s: u64,
    ) -> Option<Arc<CachedIdentity>> {
        cache.get(cache.digest(kind, credential), revision, now_s)
    }

    fn known(cache: &mut IdentityCache, expires_at: u64, judged_at: u64) -> Arc<CachedIdentity> {
        let mut identity = portcullis_identity::testing::identity("ann", "acme");
        identity.principal.expires_at = expires_at;
        cache.admit(identity.principal, Some(identity.source_type), Basis::Forwarded, judged_at)
    }

    #[test]
    fn credentials_of_one_identity_share_its_tokens_and_no_others_do() {
        let mut cache = IdentityCache::new([3; 32]);
        let one = known(&mut cache, 100, 7);
        let two = known(&mut cache, 200, 8);
        assert!(Arc::ptr_eq(&one.tokens, &two.tokens));
        let base = portcullis_identity::testing::identity("ann", "acme").principal;
        let mut others = vec![base.clone(); 7];
        others[0].subject = "bob".parse().unwrap();
        others[1].tenant = "globex".parse().unwrap();
        others[2].roles = vec!["r".parse().unwrap()];
        others[3].scopes = vec!["r".parse().unwrap()];
        others[4].client_id = Some("r".parse().unwrap());
        others[5].session_id = Some("r".to_owned());
        others[6].issuer = Some("https://other".parse().unwrap());
        for other in others {
            let other = cache.admit(other, Some(SourceType::Human), Basis::Forwarded, 7);
            assert!(!Arc::ptr_eq(&one.tokens, &other.tokens), "{other:?}");
        }
        let agent = cache.admit(base, Some(SourceType::McpAgent), Basis::Forwarded, 7);
        assert!(!Arc::ptr_eq(&one.tokens, &agent.tokens));
    }

    #[test]
    fn an_identity_ends_with_its_credential_and_with_its_policy() {
        let mut cache = IdentityCache::new([3; 32]);
        let entry = known(&mut cache, 100, 7);
        put(&mut cache, 1, b"token", &entry);
        assert!(get(&mut cache, 1, b"token", 7, 99).is_some());
        assert!(get(&mut cache, 2, b"token", 7, 99).is_none(), "another kind");
        assert!(get(&mut cache, 1, b"tokem", 7, 99).is_none(), "another credential");
        assert!(get(&mut cache, 1, b"token", 7, 100).is_none(), "ended");
        let entry = known(&mut cache, 100, 7);
        put(&mut cache, 1, b"token", &entry);
        assert!(get(&mut cache, 1, b"token", 8, 99).is_none(), "other policy");
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn it_is_bounded_in_bytes_too() {
        let mut cache = IdentityCache::new([3; 32]);
        let mut principal = portcullis_identity::testing::identity("ann", "acme").principal;
        principal.roles = (0..64).map(|n| format!("{n:0>64}").parse().unwrap()).collect();
        principal.scopes = (0..64).map(|n| format!("{n:0>128}").parse().unwrap()).collect();
        for n in 0..3_000_usize {
            let known = cache.admit(principal.clone(), None, Basis::Forwarded, 7);
            put(&mut cache, 1, &n.to_le_bytes(), &known);
        }
        assert!(cache.bytes <= MAX_BYTES && cache.len() < 1_000, "{} in {}", cache.bytes, cache.len());
        let sum: usize = cache.entries.iter().map(|(_, known)| known.bytes).sum();
        assert_eq!(cache.bytes, sum);
        assert!(get(&mut cache, 1, &2_999_usize.to_le_bytes(), 7, 1).is_some());
        assert!(get(&mut cache, 1, &2_998_usize.to_le_bytes(), 8, 1).is_none());
        cache.sweep(8, 1);
        assert_eq!((cache.len(), cache.bytes, cache.tokens.len()), (0, 0, 0));
    }

    #[test]
    fn what_ended_is_swept_out() {
        let mut cache = IdentityCache::new([3; 32]);
        for (name, ends) in [(&b"a"[..], 100), (b"b", 200)] {
            let entry = known(&mut cache, ends, 7);
            put(&mut cache, 1, name, &entry);
        }
        cache.sweep(7, 100);
        assert_eq!(cache.len(), 1);
        assert!(get(&mut cache, 1, b"b", 7, 100).is_some());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut cache = IdentityCache::new([3; 32]);
        let entry = known(&mut cache, 100, 7);
        put(&mut cache, 1, b"used", &entry);
        for n in 0..MAX_IDENTITIES * 2 {
            put(&mut cache, 1, &n.to_le_bytes(), &entry);
            get(&mut cache, 1, b"used", 7, 1);
        }
        assert_eq!(cache.len(), MAX_IDENTITIES);
        assert!(get(&mut cache, 1, b"used", 7, 1).is_some());
        assert!(get(&mut cache, 1, &0usize.to_le_bytes(), 7, 1).is_none());
    }
}
