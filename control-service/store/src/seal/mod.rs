//! Secrets at rest: envelope encryption with AES-256-GCM (NIST SP 800-38D).
//!
//! Each secret is encrypted with a data key of its own; the data key is wrapped by the sealing key, which is kept apart
//! from the database: in a file, or where a command gets it from. Whoever has only the database, or a backup of it, has no
//! secret; changing the sealing key means wrapping the data keys anew, not the secrets.

mod cipher;
mod command;
mod error;
mod file;
mod keys;

use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use portcullis_control_domain::random::random;
use portcullis_control_domain::sealing::SealingKeySource;
use zeroize::Zeroizing;

use cipher::binding;
pub(crate) use cipher::{decrypt, encrypt};
pub use error::SealError;
use keys::{Key, Keys, MOST_KEYS};

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The data key, encrypted with the sealing key: nonce, then ciphertext and tag.
    pub(crate) wrapped_key: Vec<u8>,
    /// The secret, encrypted with the data key: nonce, then ciphertext and tag.
    pub(crate) ciphertext: Vec<u8>,
}

/// The data key of a stored secret, and the secret's name.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped {
    pub(crate) name: String,
    pub(crate) wrapped_key: Vec<u8>,
}

/// When the keys were read last, and what came of it.
type LastRead = Option<(Instant, Result<(), SealError>)>;

/// The keys that wrap data keys. The first one wraps; the others open what they wrapped before they were replaced.
pub(crate) struct SealingKey {
    source: SealingKeySource,
    keys: RwLock<Keys>,
    read: Mutex<LastRead>,
}

impl SealingKey {
    /// Gets the keys, or makes a file with one when there is none and `may_create` says so. A command is waited for: never
    /// in a transaction, which others wait for.
    ///
    /// # Errors
    /// [`SealError::Key`] when they cannot be had, are open to others, or are missing while secrets exist.
    pub(crate) fn load(source: &SealingKeySource, may_create: bool) -> Result<Self, SealError> {
        let keys = match (read(source)?, source) {
            (Some(keys), _) => keys,
            (None, SealingKeySource::File(path)) if may_create => make(source, path)?,
            (None, _) => return Err(missing(source)),
        };
        Ok(Self { source: source.clone(), keys: RwLock::new(keys), read: Mutex::default() })
    }

    /// Has the keys lie at a second place, too, which is read again, so that both are known to have them: in a file, or with
    /// a command that gives them already. True when the file was made.
    ///
    /// # Errors
    /// [`SealError::Key`] when there are other keys, or the file cannot be written.
    pub(crate) fn copy(&self, to: &SealingKeySource) -> Result<bool, SealError> {
        let ours = self.keys();
        let made = match to {
            SealingKeySource::File(path) => {
                file::create(path, &ours.text()).map_err(|error| SealError::unusable(to, error))?
            }
            SealingKeySource::Command(_) => false,
        };
        if Self::load(to, false)?.keys().has_all_of(&ours) {
            return Ok(made);
        }
        let told = format!(
            "it holds another key than {}, which the store is sealed with; put that one there, too, or let store.sealingKeyFile \
             name another file",
            self.source
        );
        Err(SealError::unusable(to, told))
    }

    fn keys(&self) -> Keys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Reads the keys again, as their source has them now. Of several that want it at once, one does it for all. A command
    /// is waited for, so never in a transaction.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub(crate) fn refresh(&self) -> Result<(), SealError> {
        let asked = Instant::now();
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((begun, outcome)) if *begun >= asked => outcome.clone(),
            _ => {
                let begun = Instant::now();
                let outcome = self.read_again();
                *last = Some((begun, outcome.clone()));
                outcome
            }
        }
    }

    fn read_again(&self) -> Result<(), SealError> {
        self.take(read(&self.source)?.ok_or_else(|| missing(&self.source))?);
        Ok(())
    }

    /// Reads the file again, where it is one: while somebody writes to the database, nobody else puts a key into it.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub(crate) fn refresh_file(&self) -> Result<(), SealError> {
        match self.source {
            SealingKeySource::File(_) => self.read_again(),
            SealingKeySource::Command(_) => Ok(()),
        }
    }

    /// Seals a secret by the key that wraps `like`, one of the secrets that are there; by the first key where there is none
    /// yet. So a key that was put first counts once everything is sealed by it, and what was replaced meanwhile by another
    /// process seals nothing any more. `name` is bound to the secret, so that two stored ones cannot be swapped.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when none of the keys wraps `like`, or the cipher refuses, which it does for texts of many
    /// gigabytes only.
    pub(crate) fn seal(
        &self,
        name: &str,
        secret: &[u8],
        like: Option<&Wrapped>,
    ) -> Result<Sealed, SealError> {
        let keys = self.keys();
        let key = match like {
            None => &keys.first,
            Some(Wrapped { name, wrapped_key }) => unwrap(&keys, name, wrapped_key)?.0,
        };
        let data_key = Zeroizing::new(random::<32>());
        let refused = || does_not_open(name);
        Ok(Sealed {
            wrapped_key: encrypt(key, &binding("key", name), &*data_key).ok_or_else(refused)?,
            ciphertext: encrypt(&data_key, &binding("secret", name), secret).ok_or_else(refused)?,
        })
    }

    /// Opens a secret, by whichever of the keys it was sealed.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when key, name or ciphertext is not the right one. It may have been sealed anew since the
    /// keys were read.
    pub(crate) fn open(&self, name: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let keys = self.keys();
        let (_, data_key) = unwrap(&keys, name, &sealed.wrapped_key)?;
        decrypt(&data_key, &binding("secret", name), &sealed.ciphertext).ok_or_else(|| does_not_open(name))
    }

    /// Wraps the data key of a secret by the first key; `None` when it is so already.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] when none of the keys opens it.
    pub(crate) fn rewrap(&self, name: &str, sealed: &Sealed) -> Result<Option<Vec<u8>>, SealError> {
        let keys = self.keys();
        let (by, data_key) = unwrap(&keys, name, &sealed.wrapped_key)?;
        if std::ptr::eq(by, &keys.first) {
            return Ok(None);
        }
        encrypt(&keys.first, &binding("key", name), &*data_key).map(Some).ok_or_else(|| does_not_open(name))
    }

    /// Puts a new key first. Whoever calls this keeps others from doing it at the same time.
    ///
    /// # Errors
    /// [`SealError::Key`] when the file cannot be replaced, and is as it was then; or when it is a command.
    pub(crate) fn put_new_first(&self) -> Result<(), SealError> {
        let path = self.file(
            "everything is sealed already by the first key that it prints. To change it, have it print a new key (openssl rand \
             -hex 32) in front of that one, and run this again",
        )?;
        let keys = self.keys().with_first(Zeroizing::new(random::<32>()));
        let full = || {
            let told =
                format!("it holds {MOST_KEYS} keys; run `portcullis sealing-key rotate --forget-old` first");
            SealError::unusable(&self.source, told)
        };
        self.replace(path, keys.ok_or_else(full)?)
    }

    /// Forgets all keys but the first. Whoever calls this knows that nothing is sealed by the others.
    ///
    /// # Errors
    /// [`SealError::Key`] as of [`Self::put_new_first`].
    pub(crate) fn forget_old(&self) -> Result<(), SealError> {
        let path = self.forgettable()?;
        self.replace(path, Keys::one(self.keys().first))
    }

    /// The file in which old keys can be forgotten.
    ///
    /// # Errors
    /// [`SealError::Key`] when there is none.
    pub(crate) fn forgettable(&self) -> Result<&Path, SealError> {
        self.file(
            "what it prints is not this program's to change: run this without --forget-old, and then have it print the first \
             key alone",
        )
    }

    /// The file of the keys; what to do when it is a command.
    fn file(&self, otherwise: &str) -> Result<&Path, SealError> {
        match &self.source {
            SealingKeySource::File(path) => Ok(path),
            SealingKeySource::Command(_) => Err(SealError::unusable(&self.source, otherwise)),
        }
    }

    fn replace(&self, path: &Path, keys: Keys) -> Result<(), SealError> {
        file::replace(path, &keys.text()).map_err(|error| {
            let told = format!(
                "{error}; where it is not this program's to write, put a new key into its first line yourself"
            );
            SealError::unusable(&self.source, told)
        })?;
        self.take(keys);
        Ok(())
    }
}

/// The key by which a data key is wrapped, and the data key.
fn unwrap<'k>(keys: &'k Keys, name: &str, wrapped_key: &[u8]) -> Result<(&'k Key, Key), SealError> {
    let binding = binding("key", name);
    let mut opened = keys.iter().filter_map(|key| {
        let data_key = decrypt(key, &binding, wrapped_key)?;
        Some((key, Zeroizing::new(<[u8; 32]>::try_from(data_key.as_slice()).ok()?)))
    });
    opened.next().ok_or_else(|| does_not_open(name))
}

fn does_not_open(name: &str) -> SealError {
    SealError::DoesNotOpen { name: name.to_owned() }
}

fn missing(source: &SealingKeySource) -> SealError {
    SealError::unusable(
        source,
        "it is missing, but the database holds sealed secrets; put your copy of it back (mode 0600): no backup holds it",
    )
}

/// The keys as their source has them now; `None` when it is a file that is not there.
fn read(source: &SealingKeySource) -> Result<Option<Keys>, SealError> {
    let text = match source {
        SealingKeySource::File(path) => {
            file::read(path).map_err(|error| SealError::unusable(source, error))?
        }
        SealingKeySource::Command(command) => {
            Some(command::run(command).map_err(|error| SealError::unusable(source, error))?)
        }
    };
    let keys = text.map(|text| Keys::parse(&text)).transpose();
    keys.map_err(|error| SealError::unusable(source, error))
}

/// Makes a file with a new key.
fn make(source: &SealingKeySource, path: &Path) -> Result<Keys, SealError> {
    let keys = Keys::one(Zeroizing::new(random::<32>()));
    match file::create(path, &keys.text()).map_err(|error| SealError::unusable(source, error))? {
        true => Ok(keys),
        // Another process was faster: its key is the one.
        false => read(source)?.ok_or_else(|| missing(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use portcullis_control_domain::sealing::KeyCommand;

    use super::*;

    fn file(folder: &tempfile::TempDir) -> SealingKeySource {
        SealingKeySource::File(folder.path().join("sealing.key"))
    }

    fn key(folder: &tempfile::TempDir) -> SealingKey {
        SealingKey::load(&file(folder), true).unwrap()
    }

    fn command(text: &str) -> SealingKeySource {
        let arguments = vec!["-c".to_owned(), text.to_owned()];
        SealingKeySource::Command(KeyCommand { program: "/bin/sh".into(), arguments })
    }

    #[test]
    fn a_secret_opens_with_its_key_and_name_only() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = key(&folder).seal("pepper", b"secret", None).unwrap();
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
        let sealed = key.seal("pepper", b"secret", None).unwrap();
        assert_eq!(key.rewrap("pepper", &sealed).unwrap(), None);
        key.put_new_first().unwrap();
        assert_eq!(key.open("pepper", &sealed).unwrap().as_slice(), b"secret");
        let wrapped_key = key.rewrap("pepper", &sealed).unwrap().unwrap();
        let rewrapped = Sealed { wrapped_key: wrapped_key.clone(), ..sealed.clone() };
        assert!(other.open("pepper", &rewrapped).is_err(), "it has not read the file since");
        other.refresh().unwrap();
        assert_eq!(other.open("pepper", &rewrapped).unwrap().as_slice(), b"secret");
        key.forget_old().unwrap();
        assert!(key.open("pepper", &sealed).is_err(), "the old key is gone");
        assert_eq!(key.open("pepper", &rewrapped).unwrap().as_slice(), b"secret");
        let like = Wrapped { name: "pepper".to_owned(), wrapped_key };
        let late = other.seal("late", b"secret", Some(&like)).unwrap();
        assert_eq!(key.open("late", &late).unwrap().as_slice(), b"secret", "sealed as the others are");
        assert_eq!(
            std::fs::metadata(folder.path().join("sealing.key")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_is_there_says_by_which_key_is_sealed_and_a_replaced_one_seals_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (key, late) = (key(&folder), key(&folder));
        let sealed = key.seal("pepper", b"secret", None).unwrap();
        let like =
            |wrapped_key: &[u8]| Wrapped { name: "pepper".to_owned(), wrapped_key: wrapped_key.to_vec() };
        key.put_new_first().unwrap();
        let before = key.seal("more", b"secret", Some(&like(&sealed.wrapped_key))).unwrap();
        assert!(key.rewrap("more", &before).unwrap().is_some(), "the new one does not count yet");
        let wrapped_key = key.rewrap("pepper", &sealed).unwrap().unwrap();
        let after = key.seal("more", b"secret", Some(&like(&wrapped_key))).unwrap();
        assert_eq!(key.rewrap("more", &after).unwrap(), None);
        assert!(late.seal("more", b"secret", Some(&like(&wrapped_key))).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(&folder);
        let sealed = key.seal("a", b"secret", None).unwrap();
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
        let error = SealingKey::load(&file(&folder), true).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_missing_key_is_not_replaced_when_secrets_exist() {
        assert!(SealingKey::load(&file(&tempfile::tempdir().unwrap()), false).is_err());
    }

    #[test]
    fn a_command_gives_the_keys_of_a_file_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (of_file, path) = (key(&folder), folder.path().join("sealing.key"));
        let sealed = of_file.seal("pepper", b"secret", None).unwrap();
        let source = command(&format!("cat {}", path.display()));
        let of_command = SealingKey::load(&source, false).unwrap();
        assert_eq!(of_command.open("pepper", &sealed).unwrap().as_slice(), b"secret");
        assert!(!of_file.copy(&source).unwrap(), "it gives them already");
        assert!(of_file.copy(&command("openssl rand -hex 32 || echo")).is_err());
        let told = of_command.put_new_first().unwrap_err().to_string();
        assert!(told.contains("print a new key"), "{told}");
        assert!(of_command.forget_old().unwrap_err().to_string().contains("without --forget-old"));
        std::fs::remove_file(&path).unwrap();
        let told = of_command.refresh().unwrap_err().to_string();
        assert!(told.contains("of the command /bin/sh") && !told.contains("cat"), "{told}");
    }

    #[test]
    fn a_command_that_prints_something_else_gives_no_key_and_none_is_made() {
        for (text, why) in [
            ("", "1 to 16 keys"),
            ("echo hunter2", "1 to 16 keys"),
            ("exit 3", "exit status: 3"),
            ("echo hunter2 >&2; exit 1", "exit status: 1"),
        ] {
            let told = SealingKey::load(&command(text), true).err().unwrap().to_string();
            assert!(told.contains(why) && !told.contains("hunter2"), "{text}: {told}");
        }
    }

    #[test]
    fn of_several_that_read_at_once_one_does_it_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let line = "0a".repeat(32);
        let key =
            SealingKey::load(&command(&format!("echo >> {}; sleep 1; echo {line}", runs.display())), false)
                .unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| key.refresh().unwrap());
            }
        });
        assert!(begun.elapsed().as_secs() < 8, "not one after the other");
        // The first, the one that was asked for before, and at most one each for those that came while it ran.
        let runs = std::fs::read_to_string(&runs).unwrap().lines().count();
        assert!((2..=4).contains(&runs), "{runs}");
    }
}
