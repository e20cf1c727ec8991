//! Properties, held against a second, independent library for JSON Web Tokens.
//!
//! Ours may be stricter, never laxer: what it accepts, the other accepts too, and with the same claims. On
//! tokens without oddities both agree.

mod common;

use std::rc::Rc;

use common::*;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, decode};
use jwt_simple::algorithms::{ECDSAP256PublicKeyLike, ES256KeyPair, RS256KeyPair};
use portcullis_authn::{KeyRing, PureRust, Verified, jwt};
use portcullis_model::Reason;
use portcullis_model::state::SnapshotState;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const LEEWAY: u64 = 30;
const SECRET: [u8; 64] = [7; 64];
const SEED: [u8; 32] = [9; 32];

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// One issuer as both libraries know it.
struct Both {
    algorithm: Algorithm,
    state: SnapshotState,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

fn eddsa() -> Both {
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new(SEED));
    // PKCS #8 (RFC 8410 §7) around the seed.
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": b64(*pair.pk)});
    Both {
        algorithm: Algorithm::EdDSA,
        state: snapshot(&[issuer(&["EdDSA"], &json!([jwk]))]),
        encoding: EncodingKey::from_ed_der(&[&prefix[..], &SEED].concat()),
        decoding: DecodingKey::from_ed_components(&b64(*pair.pk)).expect("a key"),
    }
}

fn hs256() -> Both {
    Both {
        algorithm: Algorithm::HS256,
        state: snapshot_with(&[issuer(&["HS256"], &json!([]))], vec![secret(&SECRET)]),
        encoding: EncodingKey::from_secret(&SECRET),
        decoding: DecodingKey::from_secret(&SECRET),
    }
}

/// One P-256 key for all cases, as it is costly to make.
fn es256() -> Both {
    let pair = ES256KeyPair::generate();
    let point = pair.public_key().public_key().to_bytes_uncompressed();
    let (x, y) = point[1..].split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": b64(x), "y": b64(y)});
    Both {
        algorithm: Algorithm::ES256,
        state: snapshot(&[issuer(&["ES256"], &json!([jwk]))]),
        encoding: EncodingKey::from_ec_pem(pair.to_pem().expect("PEM").as_bytes()).expect("a key"),
        decoding: DecodingKey::from_ec_components(&b64(x), &b64(y)).expect("a key"),
    }
}

fn rs256() -> Both {
    let pair = RS256KeyPair::generate(2048).expect("a key");
    let parts = pair.public_key().to_components();
    let (n, e) = (b64(parts.n), b64(parts.e));
    let jwk = json!({"kty": "RSA", "kid": "k1", "n": n, "e": e});
    Both {
        algorithm: Algorithm::RS256,
        state: snapshot(&[issuer(&["RS256"], &json!([jwk]))]),
        encoding: EncodingKey::from_rsa_pem(pair.to_pem().expect("PEM").as_bytes()).expect("a key"),
        decoding: DecodingKey::from_rsa_components(&n, &e).expect("a key"),
    }
}

thread_local! {
    /// What most properties are tried with: each case with each of them.
    static QUICK: Rc<[Both]> = [eddsa(), hs256(), es256()].into();
    /// RSA signs slowly without optimisation, so it gets few cases.
    static SLOW: Rc<[Both]> = [rs256()].into();
}

fn quick() -> Rc<[Both]> {
    QUICK.with(Rc::clone)
}

fn slow() -> Rc<[Both]> {
    SLOW.with(Rc::clone)
}

impl Both {
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature =
            jsonwebtoken::crypto::sign(text.as_bytes(), &self.encoding, self.algorithm).expect("signs");
        format!("{text}.{signature}")
    }

    fn good(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": format!("{:?}", self.algorithm), "kid": "k1", "typ": "JWT"}), claims)
    }

    fn ours(&self, token: &[u8]) -> Result<Verified, Reason> {
        jwt::verify(token, &self.state, &KeyRing::default(), &PureRust, now()).map_err(|why| why.reason)
    }

    fn theirs(&self, token: &[u8]) -> Option<Map<String, Value>> {
        let mut validation = Validation::new(self.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_audience(&["portcullis", "other"]);
        validation.set_issuer(&[ISSUER]);
        decode(token, &self.decoding, &validation).ok().map(|data| data.claims)
    }
}

/// Offsets from now that keep clear of the edges, where the two clocks may differ.
fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![-100_000_i64..-40, -20_i64..20, 40_i64..100_000]
}

fn audience() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("portcullis")),
        Just(json!(["x", "other"])),
        Just(json!("x")),
        Just(json!([])),
        "[a-z]{0,12}".prop_map(Value::from),
    ]
}

fn times(exp: i64, nbf: i64) -> Value {
    let at = |offset: i64| now().saturating_add_signed(offset);
    json!({"iss": ISSUER, "sub": "ann", "tenant": "acme", "aud": "portcullis", "exp": at(exp), "nbf": at(nbf)})
}

fn agree(all: &[Both], exp: i64, nbf: i64, aud: &Value, iss: bool) -> Result<(), TestCaseError> {
    for both in all {
        let mut claims = times(exp, nbf);
        claims["aud"] = aud.clone();
        if !iss {
            claims["iss"] = json!("https://other");
        }
        let token = both.good(&claims);
        prop_assert_eq!(
            both.ours(token.as_bytes()).is_ok(),
            both.theirs(token.as_bytes()).is_some(),
            "{}",
            claims
        );
    }
    Ok(())
}

fn never_laxer_by_claim(all: &[Both], name: &str, value: &Value) -> Result<(), TestCaseError> {
    // A null is absent here, as providers mean it; the other library refuses it.
    if value.is_null() && matches!(name, "nbf" | "iat") {
        return Ok(());
    }
    for both in all {
        let mut claims = times(100, -100);
        claims[name] = value.clone();
        let token = both.good(&claims);
        if let Ok(verified) = both.ours(token.as_bytes()) {
            let theirs = both.theirs(token.as_bytes());
            prop_assert_eq!(Some(verified.claims), theirs, "{} = {}", name, value);
        }
    }
    Ok(())
}

fn never_laxer_by_header(all: &[Both], name: &str, value: &Value) -> Result<(), TestCaseError> {
    for both in all {
        let mut header = json!({"alg": format!("{:?}", both.algorithm), "kid": "k1"});
        header[name] = value.clone();
        let token = both.sign(&header, &times(100, -100));
        if both.ours(token.as_bytes()).is_ok() {
            // The other library reads members that neither of us uses, and refuses some forms of them.
            let unused = matches!(name, "jwk" | "cty" | "x");
            prop_assert!(unused || both.theirs(token.as_bytes()).is_some(), "{} = {}", name, value);
        }
    }
    Ok(())
}

fn notices_a_byte(all: &[Both], at: prop::sample::Index, byte: u8) -> Result<(), TestCaseError> {
    for both in all {
        let good = both.good(&times(100, -100)).into_bytes();
        let mut bent = good.clone();
        *at.get_mut(&mut bent) = byte;
        prop_assert_eq!(both.ours(&bent).is_ok(), bent == good);
    }
    Ok(())
}

const CLAIM: &str = "(iss|sub|tenant|aud|exp|nbf|iat|jti|sid|act|roles|scope|azp)";
const HEADER: &str = "(alg|kid|typ|crit|jwk|cty|x)";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn both_agree_on_tokens_without_oddities(exp in offset(), nbf in offset(), aud in audience(), iss in any::<bool>()) {
        agree(&quick(), exp, nbf, &aud, iss)?;
    }

    #[test]
    fn whatever_a_claim_is_ours_is_never_laxer(name in CLAIM, value in any_json()) {
        never_laxer_by_claim(&quick(), &name, &value)?;
    }

    #[test]
    fn whatever_a_header_says_ours_is_never_laxer(name in HEADER, value in any_json()) {
        never_laxer_by_header(&quick(), &name, &value)?;
    }

    #[test]
    fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        notices_a_byte(&quick(), at, byte)?;
    }

    #[test]
    fn a_cut_or_longer_token_is_noticed(at in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.-]{1,8}") {
        for both in quick().iter() {
            let good = both.good(&times(100, -100));
            prop_assert!(both.ours(&good.as_bytes()[..at.index(good.len())]).is_err());
            prop_assert!(both.ours((good.clone() + &more).as_bytes()).is_err());
            prop_assert!(both.ours((more.clone() + &good).as_bytes()).is_err());
        }
    }

    #[test]
    fn no_bytes_verify_and_none_panic(token in prop::collection::vec(any::<u8>(), 0..200), dotted in "[A-Za-z0-9_=.-]{0,120}") {
        for both in quick().iter() {
            prop_assert!(both.ours(&token).is_err());
            prop_assert!(both.ours(dotted.as_bytes()).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_same_holds_for_rsa(
        exp in offset(),
        aud in audience(),
        (claim, header, value) in (CLAIM, HEADER, any_json()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        agree(&slow(), 100, -100, &json!("portcullis"), true)?;
        agree(&slow(), exp, -100, &aud, true)?;
        never_laxer_by_claim(&slow(), &claim, &value)?;
        never_laxer_by_header(&slow(), &header, &value)?;
        notices_a_byte(&slow(), at, byte)?;
    }
}

/// The properties above would hold of a library that refuses everything.
#[test]
fn both_accept_a_good_token_of_every_algorithm() {
    for both in quick().iter().chain(slow().iter()) {
        let token = both.good(&times(100, -100));
        assert!(both.ours(token.as_bytes()).is_ok(), "{:?}", both.algorithm);
        assert!(both.theirs(token.as_bytes()).is_some(), "{:?}", both.algorithm);
    }
}
