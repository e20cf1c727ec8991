//! Secrets at rest: envelope encryption with AES-256-GCM (NIST SP 800-38D).
//!
//! Each secret is encrypted with a data key of its own; the data key is wrapped by the sealing key, which
//! lies in a file apart from the database. Whoever has only the database, or a backup of it, has no
//! secret; changing the sealing key means wrapping the data keys anew, not the secrets.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

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
        "the stored secret {name:?} does not open: the sealing key is not the one it was sealed with; put back the copy of the key file that belongs to this database: no backup holds it"
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

/// Keys in a file at most.
const MOST_KEYS: usize = 16;

/// The keys that wrap data keys: those of a file, one a line. The first one wraps; the others open what they wrapped
/// before they were replaced.
pub(crate) struct SealingKey {
    path: PathBuf,
    keys: RwLock<Keys>,
}

#[derive(Clone)]
struct Keys(Vec<Zeroizing<[u8; 32]>>);

impl SealingKey {
    /// Reads the key file, or makes one when there is none and `may_create` says so.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when it cannot be read, is open to others, or is missing while secrets exist.
    pub(crate) fn load(path: &Path, may_create: bool) -> Result<Self, SealError> {
        let keys = match read_keys(path) {
            Ok(None) if may_create => {
                let keys = Keys(vec![Zeroizing::new(random::<32>())]);
                match write_private(path, &keys.text()) {
                    Ok(()) => keys,
                    // Another process was faster: its key is the one.
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                        return Self::load(path, false);
                    }
                    Err(e) => return Err(unusable(path, e)),
                }
            }
            Ok(None) => return Err(missing(path)),
            Ok(Some(keys)) => keys,
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), keys: RwLock::new(keys) })
    }

    /// Has the keys lie in a second file, too, which is read again, so that both are known to hold them; true when that file
    /// was made.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when there is a file that holds another key, or it cannot be written.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<bool, SealError> {
        let ours = self.keys().text();
        let made = match write_private(to, &ours) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(unusable(to, e)),
        };
        if bool::from(Self::load(to, false)?.keys().text().as_bytes().ct_eq(ours.as_bytes())) {
            return Ok(made);
        }
        Err(unusable(
            to,
            format!(
                "it holds another key than {}, which the store is sealed with; move it away, or let store.sealingKeyFile name another file",
                from.display()
            ),
        ))
    }

    fn keys(&self) -> Keys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again: another process may have put another key first.
    ///
    /// # Errors
    /// [`SealError::KeyFile`].
    pub(crate) fn refresh(&self) -> Result<(), SealError> {
        let keys = read_keys(&self.path)?.ok_or_else(|| missing(&self.path))?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Seals a secret by the first key, as the file has it now; `name` is bound to it, so that two stored secrets cannot be
    /// swapped.
    ///
    /// # Errors
    /// [`SealError`] when the file cannot be read, or the cipher refuses, which it does for texts of many gigabytes only.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        self.refresh()?;
        let data_key = Zeroizing::new(random::<32>());
        let refused = || SealError::DoesNotOpen { name: name.to_owned() };
        let keys = self.keys();
        let first = keys.0.first().ok_or_else(refused)?;
        Ok(Sealed {
            wrapped_key: encrypt(first, &binding("key", name), &*data_key).ok_or_else(refused)?,
            ciphertext: encrypt(&data_key, &binding("secret", name), secret).ok_or_else(refused)?,
        })
    }

    /// Opens a secret, by whichever of the keys it was sealed.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when key, name or ciphertext is not the right one.
    pub(crate) fn open(&self, name: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let refused = || SealError::DoesNotOpen { name: name.to_owned() };
        let (data_key, _) = self.unwrap(name, sealed)?;
        decrypt(&data_key, &binding("secret", name), &sealed.ciphertext).ok_or_else(refused)
    }

    /// The data key of a secret, and whether the first key wraps it.
    fn unwrap(&self, name: &str, sealed: &Sealed) -> Result<(Zeroizing<[u8; 32]>, bool), SealError> {
        let binding = binding("key", name);
        let tried = |keys: &Keys| {
            keys.0.iter().enumerate().find_map(|(at, key)| {
                let opened = decrypt(key, &binding, &sealed.wrapped_key)?;
                Some((Zeroizing::new(<[u8; 32]>::try_from(opened.as_slice()).ok()?), at == 0))
            })
        };
        if let Some(found) = tried(&self.keys()) {
            return Ok(found);
        }
        // It may have been wrapped anew since the file was read.
        self.refresh()?;
        tried(&self.keys()).ok_or_else(|| SealError::DoesNotOpen { name: name.to_owned() })
    }

    /// Wraps the data key of a secret by the first key; `None` when it is so already.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when none of the keys opens it.
    pub(crate) fn rewrap(&self, name: &str, sealed: &Sealed) -> Result<Option<Vec<u8>>, SealError> {
        let (data_key, by_first) = self.unwrap(name, sealed)?;
        if by_first {
            return Ok(None);
        }
        let keys = self.keys();
        let refused = || SealError::DoesNotOpen { name: name.to_owned() };
        let first = keys.0.first().ok_or_else(refused)?;
        encrypt(first, &binding("key", name), &*data_key).map(Some).ok_or_else(refused)
    }

    /// Puts a new key first. Whoever calls this keeps others from doing it at the same time.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when the file cannot be replaced; it is as it was then.
    pub(crate) fn put_new_first(&self) -> Result<(), SealError> {
        let Keys(mut keys) = self.keys();
        if keys.len() >= MOST_KEYS {
            let told =
                format!("it holds {MOST_KEYS} keys; run `portcullis sealing-key rotate --forget-old` first");
            return Err(unusable(&self.path, told));
        }
        keys.insert(0, Zeroizing::new(random::<32>()));
        self.replace(Keys(keys))
    }

    /// Forgets all keys but the first. Whoever calls this knows that nothing is sealed by the others.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when the file cannot be replaced; it is as it was then.
    pub(crate) fn forget_old(&self) -> Result<(), SealError> {
        let Keys(mut keys) = self.keys();
        keys.truncate(1);
        self.replace(Keys(keys))
    }

    fn replace(&self, keys: Keys) -> Result<(), SealError> {
        replace_private(&self.path, &keys.text()).map_err(|error| {
            unusable(
                &self.path,
                format!("{error}; where it is not this program's to write, put a new key into its first line yourself"),
            )
        })?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

impl Keys {
    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 65));
        for key in &self.0 {
            text.push_str(&Zeroizing::new(hex(&**key)));
            text.push('\n');
        }
        text
    }
}

fn unusable(path: &Path, problem: impl ToString) -> SealError {
    SealError::KeyFile { path: path.to_owned(), problem: problem.to_string() }
}

fn missing(path: &Path) -> SealError {
    unusable(
        path,
        "it is missing, but the database holds sealed secrets; put your copy of it back (mode 0600): no backup holds it",
    )
}

/// The keys of a file; `None` when there is no file.
fn read_keys(path: &Path) -> Result<Option<Keys>, SealError> {
    let text = match text_file::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(path, e)),
    };
    let mode = std::fs::metadata(path).map_err(|e| unusable(path, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(unusable(path, format!("its mode is {:o}; run chmod 600 on it", mode & 0o777)));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| <[u8; 32]>::try_from(unhex(line)?).ok().map(Zeroizing::new));
    let keys: Option<Vec<_>> = keys.collect();
    let keys = keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len()));
    keys.map(|keys| Some(Keys(keys))).ok_or_else(|| {
        unusable(
            path,
            format!("it does not hold 1 to {MOST_KEYS} keys, one a line, each 32 bytes in hexadecimal"),
        )
    })
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

/// Writes a file under another name that only its owner can read, and makes it durable.
fn write_beside(path: &Path, text: &str) -> std::io::Result<PathBuf> {
    let temporary = path.with_extension(std::process::id().to_string());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(temporary)
}

/// Writes a file that is there already anew, whole or not at all.
fn replace_private(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = write_beside(path, text)?;
    std::fs::rename(&temporary, path).inspect_err(|_| {
        // What it holds is a key that nobody uses.
        let _ = std::fs::remove_file(&temporary);
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Writes a file that is not there yet, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = write_beside(path, text)?;
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
    fn a_secret_opens_by_old_keys_until_they_are_forgotten_and_another_process_sees_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (key, other) = (key(&folder), key(&folder));
        let sealed = key.seal("pepper", b"secret").unwrap();
        assert_eq!(key.rewrap("pepper", &sealed).unwrap(), None);
        key.put_new_first().unwrap();
        assert_eq!(key.open("pepper", &sealed).unwrap().as_slice(), b"secret");
        let wrapped_key = key.rewrap("pepper", &sealed).unwrap().unwrap();
        let rewrapped = Sealed { wrapped_key, ..sealed.clone() };
        assert_eq!(other.open("pepper", &rewrapped).unwrap().as_slice(), b"secret");
        key.forget_old().unwrap();
        assert!(key.open("pepper", &sealed).is_err(), "the old key is gone");
        assert_eq!(key.open("pepper", &rewrapped).unwrap().as_slice(), b"secret");
        let late = other.seal("late", b"secret").unwrap();
        assert_eq!(key.open("late", &late).unwrap().as_slice(), b"secret", "sealed by the key of the file");
        assert_eq!(
            std::fs::metadata(folder.path().join("sealing.key")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(&folder);
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
