//! The keys themselves, and how they are written: one a line, in hexadecimal.

use portcullis_protocol::audit::{hex, unhex};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Keys at most.
pub(super) const MOST_KEYS: usize = 16;

pub(super) type Key = Zeroizing<[u8; 32]>;

/// At least one key. The first one seals.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) first: Key,
    pub(super) others: Vec<Key>,
}

/// What was read is something else. What it is instead is not told: it may be a secret, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to {MOST_KEYS} keys are needed, one a line, each 32 bytes in hexadecimal (openssl rand -hex 32)")]
pub(super) struct NoKeys;

impl Keys {
    pub(super) fn one(first: Key) -> Self {
        Self { first, others: Vec::new() }
    }

    pub(super) fn parse(text: &str) -> Result<Self, NoKeys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut keys = lines.map(|line| {
            let bytes = Zeroizing::new(unhex(line).ok_or(NoKeys)?);
            <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new).map_err(|_| NoKeys)
        });
        let first = keys.next().ok_or(NoKeys)??;
        let others = keys.collect::<Result<Vec<_>, _>>()?;
        (others.len() < MOST_KEYS).then_some(Self { first, others }).ok_or(NoKeys)
    }

    /// All of them, the first one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity((1 + self.others.len()) * 65));
        for key in self.iter() {
            text.push_str(&Zeroizing::new(hex(&**key)));
            text.push('\n');
        }
        text
    }

    /// Whether each of the others' keys is among these.
    pub(super) fn has_all_of(&self, others: &Self) -> bool {
        others.iter().all(|wanted| self.iter().any(|key| bool::from(key.ct_eq(&**wanted))))
    }

    /// These with a new one in front; `None` when there are as many as there may be.
    pub(super) fn with_first(&self, first: Key) -> Option<Self> {
        let others: Vec<_> = self.iter().cloned().collect();
        (others.len() < MOST_KEYS).then_some(Self { first, others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_one_a_line_and_nothing_else() {
        let line = "0a".repeat(32);
        let read = Keys::parse(&format!("\n {line} \r\n\n{}\n", "ff".repeat(32))).unwrap();
        assert_eq!(read.text().as_str(), format!("{line}\n{}\n", "ff".repeat(32)));
        assert!(Keys::parse(&[line.as_str(), "\n"].concat().repeat(MOST_KEYS)).is_ok());
        let many = [line.as_str(), "\n"].concat().repeat(MOST_KEYS + 1);
        for bad in ["", "\n", "0a", &line[1..], &format!("{line}00"), &format!("{line}\nmore"), &many] {
            assert_eq!(Keys::parse(bad).err(), Some(NoKeys), "{bad:?}");
        }
    }
}
