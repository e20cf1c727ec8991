//! Certificates of one run: the mesh's root with a SPIFFE identity per workload, and a second, separate
//! authority for tunnels. They live as long as the run, so nothing is rotated.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::error::{MeshError, Result};

/// The trust domain of the local mesh.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// A workload's SPIFFE identity: a namespace and a service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// The namespace.
    pub namespace: &'static str,
    /// The service account.
    pub account: &'static str,
}

impl Workload {
    /// The ingress gateway.
    pub const INGRESS: Self = Self { namespace: "istio-system", account: "ingressgateway" };
    /// The same in overlays for a cluster, whose gateway is in the platform's namespace.
    pub const PLATFORM_INGRESS: Self = Self { namespace: "alfred-platform", account: "ingressgateway" };
    /// The control service.
    pub const CONTROL: Self = Self { namespace: "portcullis", account: "control-service" };
    /// The tunnel gateway.
    pub const TUNNEL: Self = Self { namespace: "portcullis", account: "tunnel-gateway" };
    /// The platform-hosted Data API.
    pub const HOSTED: Self = Self { namespace: "acme-hosted", account: "data-api" };
    /// The on-premises Data API.
    pub const ONPREM: Self = Self { namespace: "acme-onprem", account: "data-api" };
    /// The on-premises tunnel agent.
    pub const AGENT: Self = Self { namespace: "acme-onprem", account: "tunnel-agent" };

    /// A workflow runner of tenant `acme` inside the mesh: the policy knows it.
    pub const RUNNER: Self = Self { namespace: "acme-workflows", account: "workflow-runner" };
    /// A workload inside the mesh that the policy does not know.
    pub const STRANGER: Self = Self { namespace: "acme-workflows", account: "notebook" };

    /// The SPIFFE id, `spiffe://cluster.local/ns/…/sa/…`.
    #[must_use]
    pub fn spiffe_id(self) -> String {
        format!("spiffe://{TRUST_DOMAIN}/ns/{}/sa/{}", self.namespace, self.account)
    }
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

/// Certificate and key of a [`Leaf`] on disk, for Envoys that read files.
#[derive(Debug, Clone)]
pub struct LeafFiles {
    /// The certificate's path.
    pub certificate: PathBuf,
    /// The private key's path; only its owner may read it.
    pub key: PathBuf,
}

/// A certificate authority that exists for one run. Its key is never written down.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let make = || {
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        make().map(|issuer| Self { issuer }).map_err(|source| failed(name, source))
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn root(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with a SPIFFE id as its only name (X.509-SVID).
    ///
    /// # Errors
    /// When no key can be made.
    pub fn workload(&self, workload: Workload) -> Result<Leaf> {
        self.spiffe(&workload.spiffe_id())
    }

    /// The same for any SPIFFE id.
    ///
    /// # Errors
    /// When the id is no URI or no key can be made.
    pub fn spiffe(&self, id: &str) -> Result<Leaf> {
        let make = || self.sign(id, vec![SanType::URI(id.try_into()?)]);
        make().map_err(|source| failed(id, source))
    }

    /// A certificate with one DNS name: for tunnels, the cluster's id.
    ///
    /// # Errors
    /// When the name is not a DNS name or no key can be made.
    pub fn named(&self, name: &str) -> Result<Leaf> {
        self.server(&[name])
    }

    /// A certificate of a server, with its DNS names.
    ///
    /// # Errors
    /// When one is no DNS name or no key can be made.
    pub fn server(&self, names: &[&str]) -> Result<Leaf> {
        let subject = names.first().copied().unwrap_or_default();
        dns(names).and_then(|names| self.sign(subject, names)).map_err(|source| failed(subject, source))
    }

    /// A certificate of a server, good until so long after 1970.
    ///
    /// # Errors
    /// As of [`Self::server`].
    pub fn server_until(&self, names: &[&str], end: Duration) -> Result<Leaf> {
        let subject = names.first().copied().unwrap_or_default();
        let make = || {
            let mut params = params(subject, dns(names)?);
            params.not_after = date_time_ymd(1970, 1, 1) + end;
            self.signed(&params)
        };
        make().map_err(|source| failed(subject, source))
    }

    /// A certificate of a server that is reached by its address.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn at(&self, address: IpAddr) -> Result<Leaf> {
        let subject = address.to_string();
        self.sign(&subject, vec![SanType::IpAddress(address)]).map_err(|source| failed(&subject, source))
    }

    /// A certificate of a user of the Kubernetes API, in a group.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn user(&self, name: &str, group: &str) -> Result<Leaf> {
        let mut params = params(name, Vec::new());
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.signed(&params).map_err(|source| failed(name, source))
    }

    /// A certificate of a server whose time was over long ago.
    ///
    /// # Errors
    /// As of [`Self::server`].
    pub fn expired_server(&self, names: &[&str]) -> Result<Leaf> {
        let subject = names.first().copied().unwrap_or_default();
        let make = || {
            let mut params = params(subject, dns(names)?);
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
            self.signed(&params)
        };
        make().map_err(|source| failed(subject, source))
    }

    fn sign(&self, subject: &str, names: Vec<SanType>) -> std::result::Result<Leaf, rcgen::Error> {
        self.signed(&params(subject, names))
    }

    fn signed(&self, params: &CertificateParams) -> std::result::Result<Leaf, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn dns(names: &[&str]) -> std::result::Result<Vec<SanType>, rcgen::Error> {
    names.iter().map(|name| Ok(SanType::DnsName((*name).try_into()?))).collect()
}

fn params(subject: &str, names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

impl Leaf {
    /// Writes both as `NAME.pem` and `NAME.key` into a folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<LeafFiles> {
        let files =
            LeafFiles { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        write_private(&files.certificate, &self.certificate)?;
        write_private(&files.key, &self.key)?;
        Ok(files)
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(MeshError::io("write", path))
}

/// A new key pair of no certificate: the private key (PKCS #8) and the public one, both PEM.
///
/// # Errors
/// When no key can be made.
pub(crate) fn signing_key(purpose: &str) -> Result<(String, String)> {
    let pair = KeyPair::generate().map_err(|source| failed(purpose, source))?;
    Ok((pair.serialize_pem(), pair.public_key_pem()))
}

fn failed(subject: &str, source: rcgen::Error) -> MeshError {
    MeshError::Certificate { subject: subject.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let leaf = Authority::new("test").unwrap().workload(Workload::INGRESS).unwrap();
        let files = leaf.write(dir.path(), "ingress").unwrap();
        let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn spiffe_ids_are_those_that_the_manifests_name() {
        let id = Workload::HOSTED.spiffe_id();
        assert_eq!(id, "spiffe://cluster.local/ns/acme-hosted/sa/data-api");
    }
}
