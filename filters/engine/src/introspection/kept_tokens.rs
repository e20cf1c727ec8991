//! Tokens that are kept while their requests are open, since nobody else could ask about them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zeroize::Zeroizing;

/// Bytes of tokens that one worker keeps at most. Who has a longer token takes more of it.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many bytes of tokens a worker keeps.
#[derive(Debug, Clone, Default)]
pub struct KeptTokens(Arc<AtomicUsize>);

impl KeptTokens {
    /// Keeps a token until it is dropped; `None` when there is no room for it.
    #[must_use]
    pub fn keep(&self, token: &str) -> Option<KeptToken> {
        let with_it = |bytes: usize| bytes.checked_add(token.len()).filter(|sum| *sum <= MAX_BYTES);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_it).ok()?;
        Some(KeptToken { text: token.to_owned().into(), all: self.clone() })
    }
}

/// A token that is kept.
pub struct KeptToken {
    text: Zeroizing<String>,
    all: KeptTokens,
}

impl KeptToken {
    /// The token.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for KeptToken {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room() {
        let kept = KeptTokens::default();
        let long = "x".repeat(MAX_BYTES / 2);
        let held = (kept.keep(&long).unwrap(), kept.keep(&long).unwrap());
        assert!(kept.keep("one more").is_none() && kept.keep("").is_some());
        drop(held.0);
        let one_more = kept.keep("one more").unwrap();
        assert_eq!(one_more.text(), "one more");
        assert!(kept.keep(&long).is_none());
        drop((held.1, one_more));
        assert_eq!(kept.0.load(Ordering::Relaxed), 0);
    }
}
