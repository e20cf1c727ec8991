//! Verification with a key set that is fetched when it has to be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use crate::ids::ClusterId;
use crate::verify::{VerifiedIdentity, Verifier, VerifyError};

/// Seconds for which a fetched key set is used without asking again. A new key is published for 300 s before
/// it signs, unless the operator shortened that.
const MAX_AGE_S: u64 = 120;

/// Tokens with made-up key ids make the key set be fetched once in so many seconds at most.
const ASK_EVERY_S: u64 = 5;

/// Verifies identity tokens in one call: it fetches the key set when it is first needed, when it is older
/// than two minutes, and when a token names a key that is not in it. While the set cannot be fetched, the
/// last good one stays in use.
///
/// How to fetch is the caller's: a closure that returns the text of `/v1/identity/jwks`, so that this crate
/// needs no HTTP client. It is called on the thread that verifies, by one thread at a time; give it a time-out.
/// While one thread fetches, the others go on with the set at hand; they wait only when there is none yet.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use portcullis_identity::{ClusterId, KeyId, LiveVerifier, Minter};
/// # let minter = Minter::new([7; 32], KeyId::new("k1")?, "https://platform.example", 60);
/// # let cluster = ClusterId::new("acme-hosted")?;
/// # let identity = portcullis_identity::testing::identity("ann", "acme");
/// # let (now, text) = (1_800_000_000, minter.jwks().to_string());
/// # let header = minter.mint(&identity, &cluster, now).text;
/// # let get = move |_: &str| Ok::<_, std::io::Error>(text.clone());
/// let fetch = move || get("https://platform.example/v1/identity/jwks");
/// let verifier = LiveVerifier::new("https://platform.example", cluster, fetch);
/// let caller = verifier.verify(&header, now)?;
/// assert_eq!(caller.subject.as_str(), "ann");
/// # Ok(()) }
/// ```
pub struct LiveVerifier<F> {
    fetch: F,
    issuer: String,
    cluster: ClusterId,
    keys: RwLock<Option<Arc<Verifier>>>,
    asked: Mutex<LastFetch>,
}

/// Held while the key set is fetched.
#[derive(Default)]
struct LastFetch {
    /// When it was fetched last, well or not, seconds since the Unix epoch.
    last_s: Option<u64>,
}

impl<F> std::fmt::Debug for LiveVerifier<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveVerifier")
            .field("issuer", &self.issuer)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl<F, E> LiveVerifier<F>
where
    F: Fn() -> Result<String, E>,
{
    /// A verifier that has not fetched anything yet.
    pub fn new(issuer: &str, cluster: ClusterId, fetch: F) -> Self {
        Self { fetch, issuer: issuer.to_owned(), cluster, keys: RwLock::default(), asked: Mutex::default() }
    }

    /// Verifies the value of `x-portcullis-identity`. `now_s` is the time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`VerifyError`]; the request must be refused then. [`VerifyError::KeySet`] when no key set could be
    /// had yet.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<VerifiedIdentity, VerifyError> {
        match self.current(now_s) {
            Some(keys) => match keys.verify(token, now_s) {
                Err(VerifyError::UnknownKey) => {
                    if let Some(turn) = self.turn() {
                        self.refresh(now_s, ASK_EVERY_S, turn);
                    }
                    self.keys().map_or(Err(VerifyError::KeySet), |keys| keys.verify(token, now_s))
                }
                outcome => outcome,
            },
            None => Err(VerifyError::KeySet),
        }
    }

    fn keys(&self) -> Option<Arc<Verifier>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key set at hand, fetched anew when it is too old or missing.
    fn current(&self, now_s: u64) -> Option<Arc<Verifier>> {
        let keys = self.keys();
        if keys.is_none() {
            let turn = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            self.refresh(now_s, ASK_EVERY_S, turn);
        } else if let Some(turn) = self.turn() {
            self.refresh(now_s, MAX_AGE_S, turn);
        }
        self.keys()
    }

    /// The right to fetch, unless another thread has it. Who has keys at hand does not wait for it: a server that
    /// hangs would hang everybody.
    fn turn(&self) -> Option<MutexGuard<'_, LastFetch>> {
        match self.asked.try_lock() {
            Ok(asked) => Some(asked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Fetches unless that was done within `every` seconds. Whoever has waited for another thread's fetch finds
    /// that it was done just now.
    fn refresh(&self, now_s: u64, every: u64, mut asked: MutexGuard<'_, LastFetch>) {
        let recent = asked.last_s.is_some_and(|last| now_s.saturating_sub(last) < every);
        if recent {
            return;
        }
        asked.last_s = Some(now_s);
        let fetched = (self.fetch)().ok();
        let read =
            fetched.and_then(|text| Verifier::from_jwks(&text, &self.issuer, self.cluster.clone()).ok());
        if let Some(verifier) = read {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(verifier));
        }
    }
}
