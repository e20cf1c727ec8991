//! The examples of RFC 7515, 7519 and 8037, in pure Rust and through native verification.
//!
//! RFC 7518 has no signature examples of its own; its algorithms are those of RFC 7515, appendix A.

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::*;
use portcullis_authn::jws::Jws;
use portcullis_authn::keys::IssuerKeys;
use portcullis_authn::{NativeVerify, PureRust, Signed};
use portcullis_model::Reason;
use portcullis_model::policy::Algorithm;
use serde_json::{Value, json};

const CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// RFC 7519 A.1.
const ENCRYPTED: &str = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.\
    QR1Owv2ug2WyPBnbQrRARTeEk9kDO2w8qDcjiHnSJflSdv1iNqhWXaKH4MqAkQtM\
    oNfABIPJaZm0HaA415sv3aeuBWnD8J-Ui7Ah6cWafs3ZwwFKDFUUsWHSK-IPKxLG\
    TkND09XyjORj_CHAgOPJ-Sd8ONQRnJvWn_hXV1BNMHzUjPyYwEsRhDhzjAD26ima\
    sOTsgruobpYGoQcXUwFDn7moXPRfDE8-NoQX7N7ZYMmpUDkR-Cx9obNGwJQ3nM52\
    YCitxoQVPzjbl7WBuB7AohdBoZOdZ24WlN1lVIeh8v1K4krB8xgKvRU8kgFrEn_a\
    1rZgN5TiysnmzTROF869lQ.AxY8DCtDaGlsbGljb3RoZQ.\
    MKOle7UQrG6nSxTLX6Mqwt0orbHvAKeWnDYvpIAeZ72deHxz3roJDXQyhxx0wKaM\
    HDjUEOKIwrtkHthpqEanSBNYHZgmNOV7sln1Eu9g3J8.fiK51VwhsxJ-siBMR-YFiA";

/// RFC 7519 A.2: the token of RFC 7515 A.2, signed with RS256, within an encrypted one.
const NESTED: &str = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiY3R5IjoiSldUIn0.\
    g_hEwksO1Ax8Qn7HoN-BVeBoa8FXe0kpyk_XdcSmxvcM5_P296JXXtoHISr_DD_M\
    qewaQSH4dZOQHoUgKLeFly-9RI11TG-_Ge1bZFazBPwKC5lJ6OLANLMd0QSL4fYE\
    b9ERe-epKYE3xb2jfY1AltHqBO-PM6j23Guj2yDKnFv6WO72tteVzm_2n17SBFvh\
    DuR9a2nHTE67pe0XGBUS_TK7ecA-iVq5COeVdJR4U4VZGGlxRGPLRHvolVLEHx6D\
    YyLpw30Ay9R6d68YCLi9FYTq3hIXPK_-dmPlOUlKvPr1GgJzRoeC9G5qCvdcHWsq\
    JGTO_z3Wfo5zsqwkxruxwA.UmVkbW9uZCBXQSA5ODA1Mg.\
    VwHERHPvCNcHHpTjkoigx3_ExK0Qc71RMEParpatm0X_qpg-w8kozSjfNIPPXiTB\
    BLXR65CIPkFqz4l1Ae9w_uowKiwyi9acgVztAi-pSL8GQSXnaamh9kX1mdh3M_TT\
    -FZGQFQsFhu0Z72gJKGdfGE-OE7hS1zuBD5oEUfk0Dmb0VzWEzpxxiSSBbBAzP10\
    l56pPfAtrjEYw-7ygeMkwBl6Z_mLS6w6xUgKlvW6ULmkV-uLC4FUiyKECK4e3WZY\
    Kw1bpgIqGYsw2v_grHjszJZ-_I5uM-9RA8ycX9KqPRp9gc6pXmoU_-27ATs9XCvr\
    ZXUtK2902AUzqpeEUJYjWWxSNsS-r1TJ1I-FMJ4XyAiGrfmo9hQPcNBYxPz3GQb2\
    8Y5CLSQfNgKSGt0A4isp1hBUXBHAndgtcslt7ZoQJaKe_nNJgNliWtWpJ_ebuOpE\
    l8jdhehdccnRMIwAmU1n7SPkmhIl1HlSOpvcvDfhUN5wuqU955vOBvfkBOh5A11U\
    zBuo2WlgZ6hYi9-e3w29bR0C2-pp3jbqxEDw3iWaf2dc5b-LnR0FEYXvI_tYk5rd\
    _J9N0mg0tQ6RbpxNEMNoA9QWk5lgdPvbh9BaO195abQ.AVO9iT5AV4CzvDJCdhSFlQ";

struct Vector {
    name: &'static str,
    algorithm: Algorithm,
    key: Value,
    secret: Option<&'static str>,
    /// Header and payload.
    text: String,
    signature: &'static str,
}

fn vectors() -> Vec<Vector> {
    let claims = |header: &str| format!("{header}.{CLAIMS}");
    vec![
        Vector {
            name: "RFC 7515 A.1 and RFC 7519 3.1: HS256",
            algorithm: Algorithm::HS256,
            key: Value::Null,
            secret: Some(
                "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
            ),
            text: claims("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"),
            signature: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        },
        Vector {
            name: "RFC 7515 A.2: RS256",
            algorithm: Algorithm::RS256,
            key: json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}),
            secret: None,
            text: claims("eyJhbGciOiJSUzI1NiJ9"),
            signature: "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        },
        Vector {
            name: "RFC 7515 A.3: ES256",
            algorithm: Algorithm::ES256,
            key: json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
            secret: None,
            text: claims("eyJhbGciOiJFUzI1NiJ9"),
            signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        },
        Vector {
            name: "RFC 7515 A.4: ES512",
            algorithm: Algorithm::ES512,
            key: json!({"kty": "EC", "crv": "P-521", "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk", "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}),
            secret: None,
            text: "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA".into(),
            signature: "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        },
        Vector {
            name: "RFC 8037 A.4 and A.5: EdDSA",
            algorithm: Algorithm::EdDSA,
            key: json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            secret: None,
            text: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".into(),
            signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        },
    ]
}

fn check(vector: &Vector, text: &str, signature: &str, native: &dyn NativeVerify) -> bool {
    let keys = if vector.key.is_null() { json!([]) } else { json!([vector.key]) };
    let secrets = vector.secret.iter().map(|s| secret(&URL_SAFE_NO_PAD.decode(s).unwrap())).collect();
    let state = snapshot_with(&[issuer(&[vector.algorithm.as_str()], &keys)], secrets);
    let issuer = state.issuer(ISSUER).unwrap().issuer.clone();
    let keys = IssuerKeys::prepare(state.issuer(ISSUER).unwrap(), state.issuer_secret(ISSUER));
    let key = keys
        .fitting(vector.algorithm, None, &issuer)
        .next()
        .unwrap_or_else(|| panic!("no key for {}", vector.name));
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(Signed { text: text.as_bytes(), signature: &signature }, native)
}

#[test]
fn every_example_verifies_in_rust_and_natively_and_no_other_does() {
    for vector in vectors() {
        let other_text = vector.text.replacen('.', ".X", 1);
        let mut bent = URL_SAFE_NO_PAD.decode(vector.signature).unwrap();
        bent[9] ^= 1;
        for (way, native) in [("Rust", &PureRust as &dyn NativeVerify), ("native", &Native)] {
            assert!(check(&vector, &vector.text, vector.signature, native), "{} {way}", vector.name);
            assert!(!check(&vector, &other_text, vector.signature, native), "{} {way}", vector.name);
            assert!(!check(&vector, &vector.text, &b64(&bent), native), "{} {way}", vector.name);
            assert!(!check(&vector, &vector.text, "", native), "{} {way}: no signature", vector.name);
        }
    }
}

#[test]
fn the_claims_of_the_examples_are_read() {
    let hs256 = &vectors()[0];
    let token = format!("{}.{}", hs256.text, hs256.signature);
    let jws = Jws::parse(token.as_bytes()).unwrap();
    assert_eq!((jws.algorithm.as_str(), jws.token_type.as_deref()), ("HS256", Some("JWT")));
    assert_eq!(
        Value::Object(jws.claims),
        json!({"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true})
    );
}

#[test]
fn unsecured_and_encrypted_examples_are_refused() {
    // RFC 7515 A.5 and RFC 7519 6.1: alg none, an empty signature.
    let unsecured = format!("eyJhbGciOiJub25lIn0.{CLAIMS}.");
    let joe = json!({"issuer": "joe", "audiences": ["a"], "algorithms": ["RS256"], "jwks": {"keys": []}});
    assert_eq!(verify(&snapshot(&[joe]), &unsecured), Err(Reason::AlgorithmNotAllowed));
    for (name, token, header) in [
        ("RFC 7519 A.1: encrypted", ENCRYPTED, json!({"alg": "RSA1_5", "enc": "A128CBC-HS256"})),
        ("RFC 7519 A.2: nested", NESTED, json!({"alg": "RSA1_5", "enc": "A128CBC-HS256", "cty": "JWT"})),
    ] {
        // The examples are whole: a key of 2048 bits, initialisation vector and tag of a block each.
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let lengths: Vec<_> = parts[1..].iter().map(Vec::len).collect();
        assert_eq!(serde_json::from_slice::<Value>(&parts[0]).unwrap(), header, "{name}");
        assert_eq!((lengths[0], lengths[1], lengths[2] % 16, lengths[3]), (256, 16, 0, 16), "{name}");
        assert_eq!(Jws::parse(token.as_bytes()).unwrap_err(), Reason::CredentialUnsupported, "{name}");
        assert_eq!(verify(&snapshot(&[]), token), Err(Reason::CredentialUnsupported), "{name}");
    }
}

/// A nested JWT that is signed and not encrypted (RFC 7519 §5.2): good signatures inside and outside.
#[test]
fn a_token_within_a_signed_token_is_refused() {
    let signer = ed25519();
    let state = snapshot(&[issuer(&["EdDSA"], &json!([signer.jwk]))]);
    let inner = signer.token(&claims());
    assert!(verify(&state, &inner).is_ok());
    for payload in [inner.clone(), Value::from(inner).to_string()] {
        let header = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT", "cty": "JWT"});
        let outer = (signer.sign)(&format!("{}.{}", b64(header.to_string()), b64(payload)));
        assert_eq!(verify(&state, &outer), Err(Reason::CredentialMalformed));
    }
}
