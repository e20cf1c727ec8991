//! Minted identity tokens in hand.
//!
//! Signing costs some fifty microseconds in Wasm, so a token is given out again while it is fresh: per
//! identity and cluster, not per credential.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_identity::{ClusterId, Identity, Minter};
use portcullis_protocol::scan;

/// Tokens kept per identity: a caller rarely works with more clusters at a time.
const MAX_TOKENS: usize = 4;

#[derive(Debug)]
struct Token {
    cluster: ClusterId,
    text: Arc<str>,
    /// `exp`, seconds since the Unix epoch.
    expires_at: u64,
    /// Until when it is given out: half of its life.
    until: u64,
    /// By which it was signed: a token of a replaced key is not given out.
    minter: Arc<Minter>,
}

/// Bytes of all tokens in hand in one worker.
const MAX_BYTES: usize = 12 * 1024 * 1024;

/// How many bytes the tokens of all identities take.
#[derive(Debug, Default)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// Whether identities that have not been seen for long should make room.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.used() > MAX_BYTES / 4 * 3
    }

    fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        // One worker has the budget to itself, so nobody comes between reading and writing.
        let used = self.used().saturating_add(bytes);
        let fits = used <= MAX_BYTES;
        if fits {
            self.0.store(used, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.0.store(self.used().saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// The tokens of one identity.
#[derive(Debug, Default)]
pub struct TokenSet {
    tokens: Mutex<Vec<Token>>,
    budget: Arc<Budget>,
}

impl Drop for TokenSet {
    fn drop(&mut self) {
        let held: usize = self.tokens.get_mut().map_or_else(
            |e| e.into_inner().iter().map(|t| t.text.len()).sum(),
            |t| t.iter().map(|t| t.text.len()).sum(),
        );
        self.budget.give_back(held);
    }
}

impl TokenSet {
    /// No tokens yet.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { tokens: Mutex::default(), budget }
    }

    /// The token for a cluster. One in hand is given out while at least half of its life is left and it
    /// ends no later than the credential at hand.
    pub fn get(
        &self,
        identity: &Identity,
        cluster: &ClusterId,
        minter: &Arc<Minter>,
        now_s: u64,
    ) -> Arc<str> {
        let fits = |t: &&Token| {
            scan::same(t.cluster.as_str().as_bytes(), cluster.as_str().as_bytes())
                && now_s < t.until
                && t.expires_at <= identity.principal.expires_at
                && Arc::ptr_eq(&t.minter, minter)
        };
        if let Ok(tokens) = self.tokens.try_lock()
            && let Some(token) = tokens.iter().find(fits)
        {
            return Arc::clone(&token.text);
        }
        let minted = minter.mint(identity, cluster, now_s);
        let text: Arc<str> = minted.text.into();
        let half = minted.expires_at.saturating_sub(now_s) / 2;
        if let Ok(mut tokens) = self.tokens.try_lock() {
            let before: usize = tokens.iter().map(|t| t.text.len()).sum();
            tokens.retain(|t| t.cluster != *cluster);
            if tokens.len() >= MAX_TOKENS {
                tokens.remove(0);
            }
            let after: usize = tokens.iter().map(|t| t.text.len()).sum();
            self.budget.give_back(before.saturating_sub(after));
            // Without room the token serves this request only.
            if !self.budget.take(text.len()) {
                return text;
            }
            tokens.push(Token {
                cluster: cluster.clone(),
                text: Arc::clone(&text),
                expires_at: minted.expires_at,
                until: now_s.saturating_add(half),
                minter: Arc::clone(minter),
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_identity::KeyId;

    fn minter(kid: &str) -> Arc<Minter> {
        Arc::new(Minter::new([1; 32], KeyId::new(kid).unwrap(), "i", 60))
    }

    #[test]
    fn a_token_is_reused_for_half_of_its_life_per_cluster_and_key() {
        let set = TokenSet::default();
        let mut identity = portcullis_identity::testing::identity("ann", "acme");
        let (one, two) = (minter("k1"), minter("k2"));
        let cluster = |name: &str| ClusterId::new(name).unwrap();
        let first = set.get(&identity, &cluster("a"), &one, 0);
        assert_eq!(set.get(&identity, &cluster("a"), &one, 29), first);
        assert_ne!(set.get(&identity, &cluster("b"), &one, 29), first);
        assert_ne!(set.get(&identity, &cluster("a"), &two, 29), first, "another key");
        let second = set.get(&identity, &cluster("a"), &one, 29);
        assert_ne!(set.get(&identity, &cluster("a"), &one, 29 + 30), second, "half of its life is over");
        identity.principal.expires_at = 70;
        let short = set.get(&identity, &cluster("a"), &one, 60);
        assert_eq!(set.get(&identity, &cluster("a"), &one, 64), short);
        identity.principal.expires_at = 69;
        assert_ne!(set.get(&identity, &cluster("a"), &one, 64), short, "it would outlive the credential");
        for n in 0..10 {
            set.get(&identity, &cluster(&format!("c{n}")), &one, 60);
        }
        assert_eq!(set.tokens.lock().unwrap().len(), MAX_TOKENS);
    }

    #[test]
    fn the_budget_counts_what_is_in_hand_and_is_never_overdrawn() {
        let budget = Arc::new(Budget::default());
        let identity = portcullis_identity::testing::identity("ann", "acme");
        let cluster = |n: usize| ClusterId::new(&format!("c{n}")).unwrap();
        let set = TokenSet::new(Arc::clone(&budget));
        let minter = minter("k1");
        for n in 0..10 {
            set.get(&identity, &cluster(n), &minter, 60);
        }
        let held: usize = set.tokens.lock().unwrap().iter().map(|t| t.text.len()).sum();
        assert_eq!((budget.used(), budget.is_tight()), (held, false));
        budget.0.store(MAX_BYTES - 1, Ordering::Relaxed);
        let other = TokenSet::new(Arc::clone(&budget));
        assert!(!other.get(&identity, &cluster(1), &minter, 60).is_empty(), "it is minted all the same");
        assert_eq!((other.tokens.lock().unwrap().len(), budget.is_tight()), (0, true));
        drop((set, other));
        assert_eq!(budget.used(), MAX_BYTES - 1 - held);
    }
}
