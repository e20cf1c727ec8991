//! Signatures by a native library.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use portcullis_engine::port::{Hash, Signature};

/// How the algorithm of an RSA key is named in a `SubjectPublicKeyInfo`: `rsaEncryption` in DER.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Bytes of the `SubjectPublicKeyInfo` of an RSA key of 2048 bits; the library takes no shorter ones.
const RSA_2048: usize = 290;

/// Verifies a signature; `None` where the library does not know the algorithm or the key's size.
pub(super) fn verify(signature: &Signature<'_>) -> Option<bool> {
    let rsa = signature.key.windows(RSA.len()).take(32).any(|bytes| bytes == RSA);
    let algorithm: &'static dyn VerificationAlgorithm = match (rsa, signature.hash) {
        (true, _) if signature.key.len() < RSA_2048 => return None,
        (true, Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
        (true, Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
        (true, Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
        (false, Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
        (false, Hash::Sha384 | Hash::Sha512) => return None,
    };
    let key = UnparsedPublicKey::new(algorithm, signature.key);
    Some(key.verify(signature.text, signature.signature).is_ok())
}
