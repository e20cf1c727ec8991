//! The serialised form in which header maps cross the ABI.
//!
//! `count: u32`, then for each pair `name length: u32, value length: u32`, then for each pair the
//! name, a NUL, the value, a NUL; all little endian. Lengths do not count the NUL.

use crate::error::Fault;

/// Bytes of one length field.
const WORD: usize = 4;

/// A header map as the proxy handed it over: one buffer, read in place.
///
/// Checked once when it is made, so that reading it can neither fail nor stop half-way: a map cut
/// short must not hide a second credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    buffer: Vec<u8>,
    count: usize,
}

impl Pairs {
    /// Takes a serialised map. An empty buffer is an empty map.
    ///
    /// # Errors
    /// [`Fault::Malformed`] if any length points outside of the buffer or bytes are left over.
    pub fn parse(buffer: Vec<u8>) -> Result<Self, Fault> {
        if buffer.is_empty() {
            return Ok(Self::default());
        }
        let count = word(&buffer, 0).ok_or(Fault::Malformed)?;
        let mut end = data_start(count).ok_or(Fault::Malformed)?;
        if end > buffer.len() {
            return Err(Fault::Malformed);
        }
        let table = buffer.get(WORD..end).ok_or(Fault::Malformed)?;
        for length in table.chunks_exact(WORD) {
            // Each text is followed by a NUL.
            let length = word(length, 0).ok_or(Fault::Malformed)?;
            end = length.checked_add(1).and_then(|size| end.checked_add(size)).ok_or(Fault::Malformed)?;
        }
        if end != buffer.len() {
            return Err(Fault::Malformed);
        }
        Ok(Self { buffer, count })
    }

    /// A map of these pairs, for tests and for calls that want one ready-made.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] if a length does not fit into 32 bits.
    pub fn from_slice(pairs: &[(&[u8], &[u8])]) -> Result<Self, Fault> {
        Ok(Self { buffer: encode(pairs)?, count: pairs.len() })
    }

    /// Number of entries; a header sent twice may count once or twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All entries in the proxy's order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { pairs: self, index: 0, position: data_start(self.count).unwrap_or(usize::MAX) }
    }

    /// Value of the first entry of this name. Proxies lower-case names; `name` must be lower-case.
    #[must_use]
    pub fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

impl<'a> IntoIterator for &'a Pairs {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Entries of a [`Pairs`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    pairs: &'a Pairs,
    index: usize,
    position: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.pairs.count {
            return None;
        }
        let (name, value) = lengths(&self.pairs.buffer, self.index)?;
        let rest = self.pairs.buffer.get(self.position..)?;
        let (name, rest) = rest.split_at_checked(name)?;
        let value = rest.get(1..)?.get(..value)?;
        self.index += 1;
        self.position += name.len() + value.len() + 2;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pairs.count.saturating_sub(self.index);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Serialises pairs as the hostcalls take them.
///
/// # Errors
/// [`Fault::TooLarge`] if a length does not fit into 32 bits.
pub(crate) fn encode(pairs: &[(&[u8], &[u8])]) -> Result<Vec<u8>, Fault> {
    let data: usize = pairs.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
    let mut buffer = Vec::with_capacity(WORD + pairs.len() * 2 * WORD + data);
    let length = |buffer: &mut Vec<u8>, size: usize| {
        let size = u32::try_from(size).map_err(|_| Fault::TooLarge)?;
        buffer.extend_from_slice(&size.to_le_bytes());
        Ok(())
    };
    length(&mut buffer, pairs.len())?;
    for (name, value) in pairs {
        length(&mut buffer, name.len())?;
        length(&mut buffer, value.len())?;
    }
    for (name, value) in pairs {
        buffer.extend_from_slice(name);
        buffer.push(0);
        buffer.extend_from_slice(value);
        buffer.push(0);
    }
    Ok(buffer)
}

fn data_start(count: usize) -> Option<usize> {
    count.checked_mul(2 * WORD)?.checked_add(WORD)
}

fn word(buffer: &[u8], at: usize) -> Option<usize> {
    let bytes = buffer.get(at..)?.first_chunk::<WORD>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

fn lengths(buffer: &[u8], index: usize) -> Option<(usize, usize)> {
    let at = data_start(index)?;
    Some((word(buffer, at)?, word(buffer, at.checked_add(WORD)?)?))
}
