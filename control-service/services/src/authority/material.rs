//! Certificates and keys as servers and clients take them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Characters of a line (RFC 7468 §2).
const LINE: usize = 64;

/// What a server shows: a chain whose last certificate is a root, and the private key of the first, in DER.
#[derive(Clone)]
pub struct ServerMaterial {
    /// The certificates, the server's own first.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, as PKCS #8.
    pub key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ServerMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerMaterial").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Something in PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = ["-----BEGIN ", label, "-----\n"].concat();
    for line in text.as_bytes().chunks(LINE) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&["-----END ", label, "-----\n"].concat());
    out
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn what_is_written_in_pem_reads_back() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let text = pem("CERTIFICATE", &der);
            assert_eq!(&*CertificateDer::from_pem_slice(text.as_bytes()).unwrap(), der.as_slice());
            assert!(text.lines().all(|line| line.len() <= LINE) && text.ends_with("-----\n"));
        }
    }
}
