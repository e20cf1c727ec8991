//! Confusion of keys and algorithms.

use portcullis_protocol::audit::keyed_hash;
use serde_json::{Value, json};

use super::{Attack, b64, parts, token};
use crate::world::{self, ISSUER, claims, sign, sign_text};

pub(crate) const RSA_ISSUER: &str = "https://rsa.test";
pub(crate) const EC_ISSUER: &str = "https://ec.test";
pub(crate) const MIXED_ISSUER: &str = "https://mixed.test";
pub(crate) const ODD_ISSUER: &str = "https://odd.test";

/// RFC 7515 A.2.
pub(crate) fn rsa_jwk() -> Value {
    json!({"kty": "RSA", "kid": "r1", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"})
}

/// RFC 7515 A.3.
pub(crate) fn ec_jwk() -> Value {
    json!({"kty": "EC", "kid": "e1", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

/// Keys that must not be used.
pub(crate) fn odd_keys() -> Value {
    let x = b64(world::issuer_public_key());
    json!([
        {"kty": "OKP", "crv": "Ed25519", "kid": "for-encryption", "use": "enc", "x": x},
        {"kty": "OKP", "crv": "Ed25519", "kid": "for-another-algorithm", "alg": "ES256", "x": x},
        {"kty": "OKP", "crv": "X25519", "kid": "for-agreement", "x": x},
        {"kty": "oct", "kid": "symmetric", "k": x},
        {"kty": "OKP", "crv": "Ed25519", "kid": "bad\u{202e}name", "x": x},
        {"kty": "EC", "crv": "P-256", "kid": "off-the-curve", "x": b64([1; 32]), "y": b64([1; 32])},
        {"kty": "EC", "crv": "P-256", "kid": "infinity", "x": b64([0; 32]), "y": b64([0; 32])},
        {"kty": "RSA", "kid": "short", "n": b64([255; 64]), "e": "AQAB"},
        {"kty": "RSA", "kid": "exponent-one", "n": b64([255; 256]), "e": "AQ"},
    ])
}

fn of(issuer: &str) -> Value {
    claims(|c| c["iss"] = json!(issuer))
}

/// Header and payload of a token of an issuer.
fn text(header: &Value, issuer: &str) -> String {
    format!("{}.{}", b64(header.to_string()), b64(of(issuer).to_string()))
}

/// A token signed with HMAC-SHA-256.
fn hmac(header: &Value, issuer: &str, secret: &[u8]) -> String {
    let text = text(header, issuer);
    let mac = keyed_hash(secret, text.as_bytes());
    format!("{text}.{}", b64(mac))
}

pub(crate) fn attacks() -> Vec<Attack> {
    [algorithms(), signatures(), names(), sets()].concat()
}

fn algorithms() -> Vec<Attack> {
    let refused = "algorithm_not_allowed";
    let alg = |name, alg: &str| {
        token(name, sign(json!({"alg": alg, "kid": "i1"}), &claims(|_| ())), "algorithm_not_allowed")
    };
    let hs = json!({"alg": "HS256", "kid": "i1"});
    let public = world::issuer_public_key();
    let modulus = rsa_jwk()["n"].as_str().expect("n").to_owned();
    let unsigned = |alg: &str| format!("{}.", text(&json!({"alg": alg}), ISSUER));
    vec![
        alg("alg none", "none"),
        alg("alg None", "None"),
        alg("alg NONE", "NONE"),
        alg("alg nOnE", "nOnE"),
        alg("alg none with a NUL", "none\0"),
        alg("alg empty", ""),
        alg("alg in small letters", "eddsa"),
        alg("alg with a space", "EdDSA "),
        alg("alg Ed25519", "Ed25519"),
        alg("alg RS256 for an EdDSA issuer", "RS256"),
        alg("alg ES256K", "ES256K"),
        alg("alg of an encryption", "RSA-OAEP"),
        token("no signature, alg none", unsigned("none"), refused),
        token("no signature, alg left as it is", unsigned("EdDSA"), "signature_invalid"),
        token("HMAC with the public key as the secret", hmac(&hs, ISSUER, &public), refused),
        token("HMAC with the key's base64 as the secret", hmac(&hs, ISSUER, b64(public).as_bytes()), refused),
        token(
            "HMAC with an RSA modulus as the secret",
            hmac(&json!({"alg": "HS256", "kid": "r1"}), RSA_ISSUER, modulus.as_bytes()),
            refused,
        ),
        token("HMAC with an empty secret", hmac(&hs, ISSUER, b""), refused),
        token("HMAC where an issuer mixes both", hmac(&hs, MIXED_ISSUER, &public), "key_unknown"),
        token(
            "a public key where an issuer mixes both",
            sign(json!({"alg": "EdDSA", "kid": "i1"}), &of(MIXED_ISSUER)),
            "key_unknown",
        ),
        token(
            "an EdDSA signature under the header RS256",
            sign(json!({"alg": "RS256", "kid": "r1"}), &of(RSA_ISSUER)),
            "signature_invalid",
        ),
        token(
            "an EdDSA signature under the header ES256",
            sign(json!({"alg": "ES256", "kid": "e1"}), &of(EC_ISSUER)),
            "signature_invalid",
        ),
        token(
            "RS384 where RS256 is allowed",
            sign(json!({"alg": "RS384", "kid": "r1"}), &of(RSA_ISSUER)),
            refused,
        ),
    ]
}

fn signatures() -> Vec<Attack> {
    let refused = "signature_invalid";
    let good = world::token(|_| ());
    let [header, body, signature] = parts(&good);
    let raw =
        |name, bytes: &[u8]| token(name, format!("{header}.{body}.{}", b64(bytes)), "signature_invalid");
    let bytes = super::decode(signature);
    let ec = |name, bytes: &[u8]| {
        let text = text(&json!({"alg": "ES256", "kid": "e1"}), EC_ISSUER);
        token(name, format!("{text}.{}", b64(bytes)), "signature_invalid")
    };
    let rsa = |name, bytes: &[u8]| {
        let text = text(&json!({"alg": "RS256", "kid": "r1"}), RSA_ISSUER);
        token(name, format!("{text}.{}", b64(bytes)), "signature_invalid")
    };
    let other = world::token(|c| c["sub"] = json!("bob"));
    let admin = claims(|c| c["roles"] = json!(["admin"])).to_string();
    vec![
        raw("an empty signature", b""),
        raw("a cut signature", &bytes[..63]),
        raw("a longer signature", &[&bytes[..], b"\0"].concat()),
        raw("a signature of zeros", &[0; 64]),
        raw("a signature with the group order added", &plus_order(&bytes)),
        raw("the halves exchanged", &[&bytes[32..], &bytes[..32]].concat()),
        token("the signature of another token", format!("{header}.{body}.{}", parts(&other)[2]), refused),
        token("a changed payload", format!("{header}.{}.{signature}", b64(admin)), refused),
        token(
            "a changed header",
            format!("{}.{body}.{signature}", b64(r#"{"alg":"EdDSA","kid":"i1","a":1}"#)),
            refused,
        ),
        ec("ECDSA zeros", &[0; 64]),
        ec("ECDSA r and s of the group order", &p256_order_twice()),
        ec("ECDSA in DER", &[&[0x30, 6, 2, 1, 1, 2, 1, 1][..], &[0; 56]].concat()),
        ec("ECDSA too short", &[1; 63]),
        ec("ECDSA too long", &[1; 65]),
        rsa("RSA zeros", &[0; 256]),
        rsa("RSA one", &[&[0; 255][..], &[1]].concat()),
        rsa("RSA of the modulus's size and larger", &[255; 256]),
        rsa("RSA too short", &[1; 255]),
        rsa("RSA empty", b""),
    ]
}

fn names() -> Vec<Attack> {
    let kid = |name, kid: &str| {
        token(name, sign(json!({"alg": "EdDSA", "kid": kid}), &claims(|_| ())), "key_unknown")
    };
    // A token that brings its own key, signed with it.
    let own = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([66; 32]));
    let brings = |name, member: &str, value: Value| {
        let mut header = json!({"alg": "EdDSA", "kid": "i1"});
        header[member] = value;
        let text = text(&header, ISSUER);
        let signature = own.sk.sign(text.as_bytes(), None);
        token(name, format!("{text}.{}", b64(*signature)), "signature_invalid")
    };
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "i1", "x": b64(*own.pk)});
    vec![
        kid("kid of a path", "../../../../dev/null"),
        kid("kid of SQL", "' UNION SELECT 'a"),
        kid("kid of a command", "i1;sleep 9"),
        kid("kid of a URL", "https://evil.test/jwks"),
        kid("kid in capitals", "I1"),
        kid("kid with a space", "i1 "),
        kid("kid with a NUL", "i1\0"),
        kid("kid empty", ""),
        kid("kid of another issuer", "r1"),
        kid("kid of the identity tokens", "g1"),
        kid("kid very long", &"k".repeat(3_000)),
        kid("kid of a template", "{{i1}}"),
        brings("its own jwk", "jwk", jwk.clone()),
        brings("its own jku", "jku", json!("https://evil.test/jwks.json")),
        brings("its own x5u", "x5u", json!("https://evil.test/cert.pem")),
        brings("its own x5c", "x5c", json!([b64([1; 64])])),
        brings("its own keys", "keys", json!([jwk])),
    ]
}

fn sets() -> Vec<Attack> {
    let odd = |name, alg: &str, kid: &str| {
        token(name, sign(json!({"alg": alg, "kid": kid}), &of(ODD_ISSUER)), "key_unknown")
    };
    vec![
        odd("a key for encryption", "EdDSA", "for-encryption"),
        odd("a key for another algorithm", "EdDSA", "for-another-algorithm"),
        odd("a key for agreement", "EdDSA", "for-agreement"),
        odd("a symmetric key in the set", "EdDSA", "symmetric"),
        odd("a key whose name cannot be revoked", "EdDSA", "bad\u{202e}name"),
        odd("a point off the curve", "ES256", "off-the-curve"),
        odd("the point at infinity", "ES256", "infinity"),
        odd("a short RSA key", "RS256", "short"),
        odd("an RSA exponent of one", "RS256", "exponent-one"),
        token(
            "no kid where several keys would fit",
            sign_text(r#"{"alg":"EdDSA"}"#, of(ODD_ISSUER).to_string()),
            "key_unknown",
        ),
    ]
}

/// An Ed25519 signature with S + L, which a lax verifier takes for the same (RFC 8032 §8.4).
fn plus_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut out = signature.to_vec();
    let mut carry = 0_u16;
    for (byte, order) in out[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = (sum & 0xff).try_into().expect("a byte");
        carry = sum >> 8;
    }
    out
}

/// r = s = n: zero in the scalar field.
fn p256_order_twice() -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    ORDER.repeat(2)
}
