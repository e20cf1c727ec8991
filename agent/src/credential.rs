//! The agent's certificate, its key, and whom it trusts, in a folder that Envoy watches. It is written as the kubelet writes a
//! Secret: a generation of its own, and then one link that is put in the place of the one before. So the three files always fit
//! together, whatever happens in between, and Envoy takes them over as soon as the link has changed.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use crate::certificate::{CertificateError, Facts, check_bundle};
use crate::connect::{Own, Trust};
use crate::folder::{self, Folder, FolderError, OwnFolder};
use crate::state::Issued;

/// The folder of all generations, below the agent's.
pub const CERTIFICATE: &str = "certificate";
/// Files of a generation.
pub const CHAIN: &str = "tls.crt";
/// The private key.
pub const KEY: &str = "tls.key";
/// Whom the agent trusts.
pub const AUTHORITIES: &str = "ca.crt";
/// How the certificate was issued.
const ISSUED: &str = "issued.json";
/// The key for which a certificate is asked next.
const NEXT_KEY: &str = "next.key";
/// The link to what is in use.
const CURRENT: &str = "..data";
/// The link to what is to be used next, once it was seen to work.
const NEXT: &str = "..next";

/// Why there is no certificate that can be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The certificate.
    #[error("the certificate in {path} cannot be used: {source}")]
    Certificate {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
    /// The key.
    #[error(
        "the key {0} is no private key in PEM; without it the agent has to join anew: remove it, and ask for a join token"
    )]
    Key(PathBuf),
    /// Whom to trust.
    #[error("the authorities that the platform told cannot be used: {0}")]
    Authorities(CertificateError),
    /// No key can be made.
    #[error("no key can be made: {0}")]
    Make(rcgen::Error),
}

/// A certificate with its key, and whom to trust.
#[derive(Clone)]
pub struct Credential {
    /// The chain, PEM.
    pub chain: String,
    /// The private key, PEM.
    pub key: Zeroizing<String>,
    /// The authorities, PEM.
    pub authorities: String,
    /// What the certificate says.
    pub facts: Facts,
    /// How it was issued.
    pub issued: Issued,
}

impl Credential {
    /// By what its agent proves itself.
    #[must_use]
    pub fn own(&self) -> Own<'_> {
        Own { chain: &self.chain, key: &self.key }
    }

    /// Whom its agent trusts: the platform's bundle, and nothing else.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust { pins: Vec::new(), authorities: self.authorities.clone() }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Folder {
    /// What the agent uses; none where it has not joined.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn credential(&self) -> Result<Option<Credential>, CredentialError> {
        self.generation(CURRENT)
    }

    fn generation(&self, link: &str) -> Result<Option<Credential>, CredentialError> {
        let path = self.file(CERTIFICATE).join(link);
        let read = |name| folder::read(&path.join(name));
        let (Some(chain), Some(key), Some(authorities)) = (read(CHAIN)?, read(KEY)?, read(AUTHORITIES)?)
        else {
            return Ok(None);
        };
        let Some(issued) = self.read_json(&format!("{CERTIFICATE}/{link}/{ISSUED}"))? else {
            return Ok(None);
        };
        let broken = |source| CredentialError::Certificate { path: path.join(CHAIN), source };
        let facts = Facts::read(&chain).map_err(broken)?;
        let pair = KeyPair::from_pem(&key).map_err(|_| CredentialError::Key(path.join(KEY)))?;
        facts.is_for(&pair).map_err(broken)?;
        Ok(Some(Credential {
            chain: chain.to_string(),
            key,
            authorities: authorities.to_string(),
            facts,
            issued,
        }))
    }
}

impl OwnFolder {
    /// The key for which the next certificate is asked: the one that was there already, or a new one. It is on the disk before
    /// anybody hears of it, so that a lost answer can be asked for again.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn next_key(&self) -> Result<KeyPair, CredentialError> {
        if let Some(text) = self.read(NEXT_KEY)? {
            return KeyPair::from_pem(&text).map_err(|_| CredentialError::Key(self.file(NEXT_KEY)));
        }
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CredentialError::Make)?;
        self.write(NEXT_KEY, &Zeroizing::new(pair.serialize_pem()))?;
        Ok(pair)
    }

    /// What was got and not used yet.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn next_credential(&self) -> Result<Option<Credential>, CredentialError> {
        self.generation(NEXT)
    }

    /// Keeps a certificate for the next key, to be used later.
    ///
    /// # Errors
    /// [`CredentialError`]; also where it is for another key.
    pub fn keep_next(
        &self,
        chain: &str,
        authorities: &str,
        issued: &Issued,
    ) -> Result<Credential, CredentialError> {
        let key = self.next_key()?;
        let folder = self.file(CERTIFICATE);
        let broken = |source| CredentialError::Certificate { path: folder.join(NEXT), source };
        let facts = Facts::read(chain).map_err(broken)?;
        facts.is_for(&key).map_err(broken)?;
        check_bundle(authorities).map_err(CredentialError::Authorities)?;
        folder::make_private(&folder)?;
        let key = Zeroizing::new(key.serialize_pem());
        let (chain, authorities, issued) = (chain.to_owned(), authorities.to_owned(), issued.clone());
        let credential = Credential { chain, key, authorities, facts, issued };
        let name = self.write_generation(&credential)?;
        link(&name, &folder, NEXT)?;
        folder::sync(&folder)?;
        Ok(credential)
    }

    /// Trusts these authorities from now on, with the certificate that is in use; gives what has changed, if anything has.
    ///
    /// # Errors
    /// [`CredentialError`]; also where none of them can be read: then those before are trusted.
    pub fn trust_from_now_on(&self, authorities: &str) -> Result<Option<Credential>, CredentialError> {
        let Some(held) = self.credential()?.filter(|held| held.authorities != authorities) else {
            return Ok(None);
        };
        check_bundle(authorities).map_err(CredentialError::Authorities)?;
        let credential = Credential { authorities: authorities.to_owned(), ..held };
        let name = self.write_generation(&credential)?;
        let folder = self.file(CERTIFICATE);
        link(&name, &folder, CURRENT)?;
        folder::sync(&folder)?;
        self.tidy()?;
        Ok(Some(credential))
    }

    /// Writes all files of a generation that no link leads to yet; gives its name.
    fn write_generation(&self, credential: &Credential) -> Result<String, FolderError> {
        self.tidy()?;
        let name = format!("..{}", self.last_generation()? + 1);
        let generation = self.file(CERTIFICATE).join(&name);
        folder::make_private(&generation)?;
        for (file, text) in
            [(CHAIN, &credential.chain), (KEY, &*credential.key), (AUTHORITIES, &credential.authorities)]
        {
            folder::write(&generation.join(file), text)?;
        }
        self.write_json(&format!("{CERTIFICATE}/{name}/{ISSUED}"), &credential.issued)?;
        Ok(name)
    }

    /// Uses what was kept from now on: one link is put in the place of another.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn use_next(&self) -> Result<(), FolderError> {
        let folder = self.file(CERTIFICATE);
        for file in [CHAIN, KEY, AUTHORITIES] {
            if !folder.join(file).is_symlink() {
                link(&format!("{CURRENT}/{file}"), &folder, file)?;
            }
        }
        let (from, to) = (folder.join(NEXT), folder.join(CURRENT));
        std::fs::rename(from, &to).map_err(FolderError::of("write", &to))?;
        folder::sync(&folder)?;
        self.remove(NEXT_KEY)?;
        self.tidy()
    }

    /// Finishes what was interrupted when the certificate was in use already: its key is no key for the next one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn settle(&self) -> Result<(), CredentialError> {
        if let (Some(held), Some(next)) = (self.credential()?, self.read(NEXT_KEY)?)
            && KeyPair::from_pem(&next).is_ok_and(|next| held.facts.is_for(&next).is_ok())
        {
            self.remove(NEXT_KEY)?;
        }
        Ok(self.tidy()?)
    }

    /// Gives up what was kept, and its key.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn forget_next(&self) -> Result<(), FolderError> {
        self.remove(&format!("{CERTIFICATE}/{NEXT}"))?;
        self.remove(NEXT_KEY)?;
        self.tidy()
    }

    /// Removes generations that no link leads to.
    fn tidy(&self) -> Result<(), FolderError> {
        let folder = self.file(CERTIFICATE);
        let used = [CURRENT, NEXT].map(|link| std::fs::read_link(folder.join(link)).unwrap_or_default());
        for name in generations(&folder)? {
            let name = format!("..{name}");
            if !used.iter().any(|used| used == Path::new(&name)) {
                let path = folder.join(name);
                std::fs::remove_dir_all(&path).map_err(FolderError::of("remove", &path))?;
            }
        }
        Ok(())
    }

    fn last_generation(&self) -> Result<u64, FolderError> {
        Ok(generations(&self.file(CERTIFICATE))?.into_iter().max().unwrap_or(0))
    }
}

/// The numbers of all generations.
fn generations(folder: &Path) -> Result<Vec<u64>, FolderError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FolderError::of("read", folder))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_prefix("..")?.parse().ok()).collect())
}

/// Puts a link in the place of what was there.
fn link(target: &str, folder: &Path, name: &str) -> Result<(), FolderError> {
    let beside = folder.join(".link");
    let path = folder.join(name);
    folder::remove(&beside)?;
    symlink(target, &beside).map_err(FolderError::of("write", &path))?;
    std::fs::rename(&beside, &path).map_err(FolderError::of("write", &path))
}
