//! Minted identity tokens in hand.
//!
//! Signing costs some fifty microseconds in Wasm, so a token is given out again while it is fresh: per
//! identity and cluster, not per credential.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_core::{ClusterId, Identity};
use portcullis_identity::Minter;

/// Tokens kept per identity: a caller rarely works with more clusters at a time.
const MAX_TOKENS: usize = 4;

#[derive(Debug)]
struct Token {
    cluster: ClusterId,
    text: Rc<str>,
    /// `exp`, seconds since the Unix epoch.
    expires_at: u64,
    /// Until when it is given out: half of its life.
    until: u64,
    /// By which it was signed: a token of a replaced key is not given out.
    minter: Rc<Minter>,
}

/// The tokens of one identity.
#[derive(Debug, Default)]
pub(crate) struct TokenSet(RefCell<Vec<Token>>);

impl TokenSet {
    /// The token for a cluster. One in hand is given out while at least half of its life is left and it
    /// ends no later than the credential at hand.
    pub(crate) fn get(
        &self,
        identity: &Identity,
        cluster: &ClusterId,
        minter: &Rc<Minter>,
        now_s: u64,
    ) -> Rc<str> {
        let fits = |t: &&Token| {
            t.cluster == *cluster
                && now_s < t.until
                && t.expires_at <= identity.principal.expires_at
                && Rc::ptr_eq(&t.minter, minter)
        };
        if let Ok(tokens) = self.0.try_borrow()
            && let Some(token) = tokens.iter().find(fits)
        {
            return Rc::clone(&token.text);
        }
        let minted = minter.mint(identity, cluster, now_s);
        let text: Rc<str> = minted.text.into();
        let half = minted.expires_at.saturating_sub(now_s) / 2;
        if let Ok(mut tokens) = self.0.try_borrow_mut() {
            tokens.retain(|t| t.cluster != *cluster);
            if tokens.len() >= MAX_TOKENS {
                tokens.remove(0);
            }
            tokens.push(Token {
                cluster: cluster.clone(),
                text: Rc::clone(&text),
                expires_at: minted.expires_at,
                until: now_s.saturating_add(half),
                minter: Rc::clone(minter),
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::KeyId;

    fn minter(kid: &str) -> Rc<Minter> {
        Rc::new(Minter::new([1; 32], KeyId::new(kid).unwrap(), "i", 60))
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
        assert_eq!(set.0.borrow().len(), MAX_TOKENS);
    }
}
