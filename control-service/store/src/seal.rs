//! Secrets at rest: envelope encryption with AES-256-GCM (NIST SP 800-38D).
//!
//! Each secret is encrypted with a data key of its own; the data key is wrapped by the sealing key, which
//! lies in a file apart from the database. Whoever has only the database, or a backup of it, has no
//! secret; changing the sealing key means wrapping the data keys anew, not the secrets.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use portcullis_control_domain::random::random;
use portcullis_control_domain::text_file;
use portcullis_protocol::audit::{hex, unhex};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be used.
    #[error("the sealing key {path} cannot be used: {problem}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The ciphertext does not open.
    #[error(
        "the stored secret {name:?} does not open: the sealing key is not the one it was sealed with; restore sealing.key from the same backup as the database"
    )]
    DoesNotOpen {
        /// Which secret.
        name: String,
    },
}

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The data key, encrypted with the sealing key: nonce, then ciphertext and tag.
    pub(crate) wrapped_key: Vec<u8>,
    /// The secret, encrypted with the data key: nonce, then ciphertext and tag.
    pub(crate) ciphertext: Vec<u8>,
}

/// The key that wraps data keys.
pub(crate) struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// Reads the key file, or makes one when there is none and `may_create` says so.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when it cannot be read, is open to others, or is missing while secrets exist.
    pub(crate) fn load(path: &Path, may_create: bool) -> Result<Self, SealError> {
        let fail = |problem: String| SealError::KeyFile { path: path.to_owned(), problem };
        match text_file::read(path) {
            Ok(text) => {
                let mode = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(fail(format!("its mode is {:o}; run chmod 600 on it", mode & 0o777)));
                }
                let text = Zeroizing::new(text);
                let key = unhex(text.trim()).and_then(|b| <[u8; 32]>::try_from(b).ok());
                key.map(|k| Self(Zeroizing::new(k)))
                    .ok_or_else(|| fail("it does not hold 32 bytes in hexadecimal".to_owned()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && may_create => {
                let key = Zeroizing::new(random::<32>());
                match write_private(path, &Zeroizing::new(hex(&*key))) {
                    Ok(()) => Ok(Self(key)),
                    // Another process was faster: its key is the one.
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::load(path, false),
                    Err(e) => Err(fail(e.to_string())),
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(fail(
                "it is missing, but the database holds sealed secrets; restore it from the backup".to_owned(),
            )),
            Err(e) => Err(fail(e.to_string())),
        }
    }

    /// Has the key lie in a second file, too, which is read from `from` again, so that both are known to hold it; true when
    /// that file was made.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when there is a file that holds another key, or it cannot be written.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<bool, SealError> {
        let fail = |problem: String| SealError::KeyFile { path: to.to_owned(), problem };
        let made = match write_private(to, &Zeroizing::new(hex(&*self.0))) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(fail(e.to_string())),
        };
        if bool::from(Self::load(to, false)?.0.ct_eq(&*self.0)) {
            return Ok(made);
        }
        Err(fail(format!(
            "it holds another key than {}, which the store is sealed with; move it away, or let store.sealingKeyFile name another file",
            from.display()
        )))
    }

    /// Seals a secret; `name` is bound to it, so that two stored secrets cannot be swapped.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when the cipher refuses, which it does for texts of many gigabytes only.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let data_key = Zeroizing::new(random::<32>());
        let refused = || SealError::DoesNotOpen { name: name.to_owned() };
        Ok(Sealed {
            wrapped_key: encrypt(&self.0, &binding("key", name), &*data_key).ok_or_else(refused)?,
            ciphertext: encrypt(&data_key, &binding("secret", name), secret).ok_or_else(refused)?,
        })
    }

    /// Opens a secret.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when key, name or ciphertext is not the right one.
    pub(crate) fn open(&self, name: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let refused = || SealError::DoesNotOpen { name: name.to_owned() };
        let data_key = decrypt(&self.0, &binding("key", name), &sealed.wrapped_key).ok_or_else(refused)?;
        let data_key = <[u8; 32]>::try_from(data_key.as_slice()).map_err(|_| refused())?;
        decrypt(&Zeroizing::new(data_key), &binding("secret", name), &sealed.ciphertext).ok_or_else(refused)
    }
}

fn binding(what: &str, name: &str) -> Vec<u8> {
    ["portcullis sealed ", what, " v1\0", name].concat().into_bytes()
}

const NONCE: usize = 12;

/// Encrypts a text under a nonce of its own, which is written in front of it.
pub(crate) fn encrypt(key: &[u8; 32], aad: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let nonce = random::<NONCE>();
    let cipher = Aes256Gcm::new(&(*key).into());
    let mut out = nonce.to_vec();
    out.extend(cipher.encrypt(&Nonce::from(nonce), Payload { msg: text, aad }).ok()?);
    Some(out)
}

/// Opens what [`encrypt`] made.
pub(crate) fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = Aes256Gcm::new(&(*key).into());
    cipher.decrypt(&Nonce::from(*nonce), Payload { msg: text, aad }).ok().map(Zeroizing::new)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension(std::process::id().to_string());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // A link, not a rename: of two processes that start at once, one wins and the other reads its key.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(folder: &tempfile::TempDir) -> SealingKey {
        SealingKey::load(&folder.path().join("sealing.key"), true).unwrap()
    }

    #[test]
    fn a_secret_opens_with_its_key_and_name_only() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = key(&folder).seal("pepper", b"secret").unwrap();
        // Read again from the file: the key survives a restart.
        assert_eq!(key(&folder).open("pepper", &sealed).unwrap().as_slice(), b"secret");
        assert!(key(&folder).open("signer", &sealed).is_err());
        assert!(key(&tempfile::tempdir().unwrap()).open("pepper", &sealed).is_err());
        assert!(!sealed.ciphertext.windows(6).any(|w| w == b"secret"));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = key(&tempfile::tempdir().unwrap());
        let sealed = key.seal("a", b"secret").unwrap();
        for at in 0..sealed.ciphertext.len() {
            let mut bent = sealed.clone();
            bent.ciphertext[at] ^= 1;
            assert!(key.open("a", &bent).is_err());
        }
        for at in 0..sealed.wrapped_key.len() {
            let mut bent = sealed.clone();
            bent.wrapped_key[at] ^= 1;
            assert!(key.open("a", &bent).is_err());
        }
    }

    #[test]
    fn a_key_file_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        drop(key(&folder));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = SealingKey::load(&path, true).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_missing_key_is_not_replaced_when_secrets_exist() {
        let folder = tempfile::tempdir().unwrap();
        assert!(SealingKey::load(&folder.path().join("sealing.key"), false).is_err());
    }
}
