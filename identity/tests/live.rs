//! The key set is fetched when it has to be, and no more often.

use std::cell::{Cell, RefCell};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use portcullis_identity::{ClusterId, KeyId, LiveVerifier, Minter, VerifyError, testing};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://platform.example";

fn cluster() -> ClusterId {
    ClusterId::new("acme").unwrap()
}

fn minter(n: u8) -> Minter {
    Minter::new([n; 32], KeyId::new(&n.to_string()).unwrap(), ISSUER, 60)
}

fn token(n: u8, now_s: u64) -> String {
    minter(n).mint(&testing::identity("ann", "acme"), &cluster(), now_s).text
}

/// The key set of several minters, as the control service serves it during a rotation.
fn key_set(numbers: &[u8]) -> String {
    let keys: Vec<_> = numbers.iter().map(|n| minter(*n).jwks()["keys"][0].clone()).collect();
    serde_json::json!({ "keys": keys }).to_string()
}

/// A server of key sets that counts.
#[derive(Default)]
struct Server {
    answer: RefCell<Option<String>>,
    asked: Cell<u32>,
}

impl Server {
    fn get(&self) -> Result<String, &'static str> {
        self.asked.set(self.asked.get() + 1);
        self.answer.borrow().clone().ok_or("down")
    }

    fn set(&self, numbers: &[u8]) {
        *self.answer.borrow_mut() = Some(key_set(numbers));
    }
}

#[test]
fn the_set_is_fetched_once_and_again_when_it_is_old() {
    let server = Server::default();
    server.set(&[1]);
    let verifier = LiveVerifier::new(ISSUER, cluster(), || server.get());
    for second in 0..119 {
        verifier.verify(&token(1, NOW + second), NOW + second).unwrap();
    }
    assert_eq!(server.asked.get(), 1);
    verifier.verify(&token(1, NOW + 120), NOW + 120).unwrap();
    assert_eq!(server.asked.get(), 2);
}

#[test]
fn a_rotation_refuses_no_token() {
    let server = Server::default();
    server.set(&[1]);
    let verifier = LiveVerifier::new(ISSUER, cluster(), || server.get());
    verifier.verify(&token(1, NOW), NOW).unwrap();
    // The new key is published, signs, and the old one is removed; the set at hand is never the newest.
    server.set(&[1, 2]);
    verifier.verify(&token(1, NOW + 50), NOW + 50).unwrap();
    verifier.verify(&token(2, NOW + 60), NOW + 60).unwrap();
    verifier.verify(&token(1, NOW + 55), NOW + 61).unwrap();
    assert_eq!(server.asked.get(), 2);
    server.set(&[2]);
    verifier.verify(&token(2, NOW + 200), NOW + 200).unwrap();
    assert_eq!(verifier.verify(&token(1, NOW + 200), NOW + 200), Err(VerifyError::UnknownKey));
}

#[test]
fn made_up_keys_do_not_hammer_the_server() {
    let server = Server::default();
    server.set(&[1]);
    let verifier = LiveVerifier::new(ISSUER, cluster(), || server.get());
    for _ in 0..100 {
        assert_eq!(verifier.verify(&token(9, NOW), NOW), Err(VerifyError::UnknownKey));
    }
    assert_eq!(server.asked.get(), 1);
    assert_eq!(verifier.verify(&token(9, NOW), NOW + 5), Err(VerifyError::UnknownKey));
    assert_eq!(server.asked.get(), 2);
}

#[test]
fn the_last_good_set_stays_through_an_outage() {
    let server = Server::default();
    let verifier = LiveVerifier::new(ISSUER, cluster(), || server.get());
    assert_eq!(verifier.verify(&token(1, NOW), NOW), Err(VerifyError::KeySet));
    assert_eq!(verifier.verify(&token(1, NOW), NOW + 1), Err(VerifyError::KeySet));
    assert_eq!(server.asked.get(), 1, "a server that is down is not hammered either");
    server.set(&[1]);
    verifier.verify(&token(1, NOW + 5), NOW + 5).unwrap();
    *server.answer.borrow_mut() = Some("<html>".to_owned());
    verifier.verify(&token(1, NOW + 500), NOW + 500).unwrap();
    *server.answer.borrow_mut() = None;
    verifier.verify(&token(1, NOW + 900), NOW + 900).unwrap();
    assert_eq!(server.asked.get(), 4);
}

#[test]
fn a_key_server_that_hangs_stalls_one_thread_and_no_other() {
    let (asks, asked) = mpsc::channel();
    let (answers, answer) = mpsc::channel::<String>();
    let (asks, answer) = (Mutex::new(asks), Mutex::new(answer));
    let fetch = || {
        asks.lock().unwrap().send(()).unwrap();
        answer.lock().unwrap().recv_timeout(Duration::from_secs(30))
    };
    let verifier = LiveVerifier::new(ISSUER, cluster(), fetch);
    let later = NOW + 200;
    std::thread::scope(|scope| {
        // Without any keys all have to wait for the one that fetches.
        let first: Vec<_> =
            (0..2).map(|_| scope.spawn(|| verifier.verify(&token(1, NOW), NOW).map(drop))).collect();
        asked.recv().unwrap();
        assert!(first.iter().all(|thread| !thread.is_finished()));
        answers.send(key_set(&[1])).unwrap();
        for thread in first {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
        assert!(asked.try_recv().is_err(), "one fetch for both");
        // With keys at hand one thread hangs, and the others go on.
        let slow = scope.spawn(|| verifier.verify(&token(1, later), later).map(drop));
        asked.recv().unwrap();
        let begun = Instant::now();
        for _ in 0..100 {
            verifier.verify(&token(1, later), later).unwrap();
        }
        assert_eq!(verifier.verify(&token(2, later), later), Err(VerifyError::UnknownKey));
        assert!(begun.elapsed() < Duration::from_secs(10) && !slow.is_finished());
        answers.send(key_set(&[1, 2])).unwrap();
        assert_eq!(slow.join().unwrap(), Ok(()));
        verifier.verify(&token(2, later), later).unwrap();
    });
}
