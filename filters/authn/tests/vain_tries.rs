//! What a token costs that names no key and that nobody signed, where its issuer has several keys.

mod common;

use std::cell::Cell;

use common::*;
use portcullis_authn::NativeVerify;
use portcullis_authn::{KeyRing, jwt};
use portcullis_model::Reason;
use portcullis_model::state::SnapshotState;
use serde_json::{Value, json};

/// The proxy's arithmetic, which counts.
#[derive(Default)]
struct Counted(Cell<usize>);

impl NativeVerify for Counted {
    fn verify(&self, hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        self.0.set(self.0.get() + 1);
        Native.verify(hash, key, signature, text)
    }
}

/// An issuer with this many keys of P-256, one `kid` for each.
struct World {
    state: SnapshotState,
    signers: Vec<Signer>,
    keys: KeyRing,
    native: Counted,
}

impl World {
    fn new(count: usize) -> Self {
        let named = |number: usize| {
            let mut signer = ec("ES256");
            signer.jwk["kid"] = json!(format!("k{number}"));
            signer
        };
        let signers: Vec<Signer> = (0..count).map(named).collect();
        let keys: Vec<&Value> = signers.iter().map(|signer| &signer.jwk).collect();
        let state = snapshot(&[issuer(&["ES256"], &json!(keys))]);
        Self { state, signers, keys: KeyRing::default(), native: Counted::default() }
    }

    /// The verdict about a token without `kid` at this time, and what it cost.
    fn judge(&self, signer: &Signer, now_s: u64) -> (Option<Reason>, usize) {
        self.native.0.set(0);
        let token = signer.token_with(json!({"alg": "ES256"}), &changed(&json!({"exp": NOW + 10_000})));
        let judged = jwt::verify(token.as_bytes(), &self.state, &self.keys, &self.native, now_s);
        (judged.err().map(|rejected| rejected.reason), self.native.0.get())
    }

    /// Forged tokens until there is no more to be had: how many signatures were verified.
    fn flood(&self, tokens: usize, now_s: u64) -> usize {
        let forger = ec("ES256");
        (0..tokens).map(|_| self.judge(&forger, now_s).1).sum()
    }
}

#[test]
fn forged_tokens_cost_one_try_each_and_a_bounded_number_besides() {
    let world = World::new(4);
    assert_eq!(world.judge(&ec("ES256"), NOW), (Some(Reason::SignatureInvalid), 4));
    let tried = world.flood(1_000, NOW);
    assert!((1_000..=1_250).contains(&tried), "{tried}");
    assert_eq!(world.judge(&ec("ES256"), NOW), (Some(Reason::VerificationBusy), 1));
    // A second later there are as many again, and no more after an hour.
    for now_s in [NOW + 1, NOW + 3_600] {
        let tried = world.flood(1_000, now_s);
        assert!((1_200..=1_250).contains(&tried), "{tried}");
    }
}

#[test]
fn good_tokens_lose_nothing_by_forged_ones() {
    let world = World::new(4);
    // The key in use is the third: found once, it is the first to be tried.
    assert_eq!(world.judge(&world.signers[2], NOW), (None, 3));
    world.flood(1_000, NOW);
    for _ in 0..1_000 {
        assert_eq!(world.judge(&world.signers[2], NOW), (None, 1));
    }
    // A token that names its key needs no other try, whichever it is.
    let named = world.signers[1].token_with(json!({"alg": "ES256", "kid": "k1"}), &claims());
    assert!(jwt::verify(named.as_bytes(), &world.state, &world.keys, &world.native, NOW).is_ok());
}

#[test]
fn good_tokens_of_several_keys_use_nothing_up() {
    let world = World::new(2);
    for turn in 0..2_000 {
        assert_eq!(world.judge(&world.signers[turn % 2], NOW).0, None, "{turn}");
    }
    assert_eq!(world.judge(&ec("ES256"), NOW), (Some(Reason::SignatureInvalid), 2));
}

#[test]
fn where_rust_verifies_fewer_tries_are_in_vain() {
    let signers = [ed25519_of(1), ed25519_of(2)];
    let keys: Vec<Value> = signers
        .iter()
        .enumerate()
        .map(|(number, signer)| {
            let mut jwk = signer.jwk.clone();
            jwk["kid"] = json!(format!("k{number}"));
            jwk
        })
        .collect();
    let (state, ring) = (snapshot(&[issuer(&["EdDSA"], &json!(keys))]), KeyRing::default());
    let forged = ed25519_of(3).token_with(json!({"alg": "EdDSA"}), &claims());
    let busy = (0..100)
        .filter(|_| {
            let judged = jwt::verify(forged.as_bytes(), &state, &ring, &portcullis_authn::PureRust, NOW);
            judged.is_err_and(|rejected| rejected.reason == Reason::VerificationBusy)
        })
        .count();
    assert_eq!(busy, 75);
}
