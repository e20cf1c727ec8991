//! What fields say by naming files and addresses.

use std::path::{Path, PathBuf};

use portcullis_control_domain::secret::SecretBytes;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use url::Url;

use super::section::Section;

/// Certificates of the authorities that may vouch for a server, as the operator named them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The file, in PEM.
    pem: Vec<u8>,
}

impl Authorities {
    /// The file's bytes.
    #[must_use]
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }
}

/// A server that is called, and who may vouch for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    /// Its address: https, or http on a loopback address.
    pub url: Url,
    /// The only authorities that count; without them the system's.
    pub authorities: Option<Authorities>,
    /// A file with the token that goes with each call. It is read anew for each, and kept nowhere.
    pub token_file: Option<PathBuf>,
}

/// Reads a file named by a field; trailing line ends do not count.
pub(crate) fn secret(folder: &Path, section: &mut Section<'_>, field: &'static str) -> Option<SecretBytes> {
    let mut bytes = file(folder, section, field)?;
    while matches!(bytes.last(), Some(b'\r' | b'\n')) {
        bytes.pop();
    }
    Some(SecretBytes::new(bytes))
}

fn file(folder: &Path, section: &mut Section<'_>, field: &'static str) -> Option<Vec<u8>> {
    let path = folder.join(section.optional::<PathBuf>(field)?);
    let read = portcullis_control_domain::text_file::read_bytes(&path);
    read.map_err(|e| section.error(field, format!("cannot read {}: {e}", path.display()))).ok()
}

/// Reads `caFile`.
pub(crate) fn authorities(folder: &Path, section: &mut Section<'_>) -> Option<Authorities> {
    let read = Authorities { pem: file(folder, section, "caFile")? };
    let certificates = CertificateDer::pem_slice_iter(&read.pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(read),
        _ => {
            section.error("caFile", "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)");
            None
        }
    }
}

/// Reads an address and notes what is wrong with it: keys and tokens that travel over plain HTTP could be anybody's, but for this
/// machine's own.
pub(crate) fn address(section: &Section<'_>, field: &str, text: &str) -> Option<Url> {
    let url = Url::parse(text);
    let told = "is no address; write it in full, for example https://idp.example.com/keys";
    let url = url.map_err(|_| section.error(field, format!("{text:?} {told}"))).ok()?;
    if !is_trustworthy(&url) {
        section.error(field, "must be https; plain http is accepted for loopback addresses only");
    }
    if !url.username().is_empty() || url.password().is_some() {
        section.error(field, "must not hold a user or a password");
    }
    Some(url)
}

/// True for https, and for http on an address of this machine's own.
#[must_use]
pub fn is_trustworthy(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}
