//! A block of headers: one buffer, read in place.
//!
//! `count: u32`, then for each header `name length: u32, value length: u32`, then for each header the name,
//! a NUL, the value, a NUL; all little endian. Lengths do not count the NUL. Targets fill it in this form.

use std::cell::Cell;

/// Bytes of one length field.
const WORD: usize = 4;

/// Why a block of headers cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the headers' lengths do not fit their block")]
pub struct MalformedHeaders;

/// The headers of one message.
///
/// Checked once when it is filled, so that reading it can neither fail nor stop half-way: a block cut short
/// must not hide a second credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The block, and behind it what it was used for before.
    buffer: Vec<u8>,
    length: usize,
    count: usize,
}

thread_local! {
    /// A block that nobody reads now: one that is filled for every request needs no new memory.
    static SPARE: Cell<Headers> = const { Cell::new(Headers { buffer: Vec::new(), length: 0, count: 0 }) };
}

impl Headers {
    /// Takes a block. An empty buffer is a message without headers.
    ///
    /// # Errors
    /// When any length points outside of the buffer or bytes are left over.
    pub fn parse(buffer: Vec<u8>) -> Result<Self, MalformedHeaders> {
        let mut headers = Self::default();
        headers.fill(buffer)?;
        Ok(headers)
    }

    /// Takes a block in place of the one before; empty after an error.
    ///
    /// # Errors
    /// When any length points outside of the buffer or bytes are left over.
    pub fn fill(&mut self, buffer: Vec<u8>) -> Result<(), MalformedHeaders> {
        let length = buffer.len();
        self.fill_up_to(buffer, length)
    }

    /// Takes a block that ends before its buffer does, in place of the one before; empty after an error.
    ///
    /// # Errors
    /// As [`Self::fill`].
    pub fn fill_up_to(&mut self, buffer: Vec<u8>, length: usize) -> Result<(), MalformedHeaders> {
        (self.count, self.length, self.buffer) = (0, 0, buffer);
        let block = self.buffer.get(..length).ok_or(MalformedHeaders)?;
        self.count = check(block).ok_or(MalformedHeaders)?;
        self.length = length;
        Ok(())
    }

    /// Headers without content, with the memory of others that are not needed any more.
    pub(crate) fn reused() -> Self {
        SPARE.try_with(Cell::take).unwrap_or_default()
    }

    /// Lets the memory be used again.
    pub(crate) fn done(mut self) {
        (self.count, self.length) = (0, 0);
        // At the end of a thread they are just dropped.
        let _ = SPARE.try_with(|spare| spare.set(self));
    }

    /// The buffer, to be filled again.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        (self.count, self.length) = (0, 0);
        std::mem::take(&mut self.buffer)
    }

    /// A block of these headers, for tests and for targets that get them one by one.
    ///
    /// # Errors
    /// When a length does not fit into 32 bits.
    pub fn from_pairs(pairs: &[(&[u8], &[u8])]) -> Result<Self, MalformedHeaders> {
        let mut buffer = Vec::new();
        let word = |buffer: &mut Vec<u8>, size: usize| {
            let size = u32::try_from(size).map_err(|_| MalformedHeaders)?;
            buffer.extend_from_slice(&size.to_le_bytes());
            Ok(())
        };
        word(&mut buffer, pairs.len())?;
        for (name, value) in pairs {
            word(&mut buffer, name.len())?;
            word(&mut buffer, value.len())?;
        }
        for (name, value) in pairs {
            buffer.extend_from_slice(name);
            buffer.push(0);
            buffer.extend_from_slice(value);
            buffer.push(0);
        }
        Ok(Self { length: buffer.len(), buffer, count: pairs.len() })
    }

    /// Number of headers; one that was sent twice may count once or twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All headers in the proxy's order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        let block = self.buffer.get(..self.length).unwrap_or_default();
        let (table, text) =
            data_start(self.count).and_then(|start| block.split_at_checked(start)).unwrap_or_default();
        Iter { table: table.get(WORD..).unwrap_or_default(), text }
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The headers of a block, name and value.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    /// Lengths that are still to come.
    table: &'a [u8],
    /// Texts that are still to come.
    text: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (lengths, table) = self.table.split_first_chunk::<{ 2 * WORD }>()?;
        let [a, b, c, d, e, f, g, h] = *lengths;
        let name = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        let value = usize::try_from(u32::from_le_bytes([e, f, g, h])).ok()?;
        let (name, rest) = self.text.split_at_checked(name)?;
        let (value, rest) = rest.get(1..)?.split_at_checked(value)?;
        self.table = table;
        self.text = rest.get(1..)?;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.table.len() / (2 * WORD);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// The number of headers in a block; `None` when its lengths do not add up to its size.
fn check(buffer: &[u8]) -> Option<usize> {
    if buffer.is_empty() {
        return Some(0);
    }
    let count = usize::try_from(u32::from_le_bytes(*buffer.first_chunk::<WORD>()?)).ok()?;
    let start = data_start(count)?;
    let table = buffer.get(WORD..start)?;
    // Each text is followed by a NUL.
    let mut end = u64::try_from(count.checked_mul(2)?.checked_add(start)?).ok()?;
    for lengths in table.as_chunks::<{ 2 * WORD }>().0 {
        // Name and value at once. So many 32-bit numbers as fit into memory do not overflow.
        let both = u64::from_le_bytes(*lengths);
        end = end.wrapping_add(both & u64::from(u32::MAX)).wrapping_add(both >> 32);
    }
    (end == u64::try_from(buffer.len()).ok()?).then_some(count)
}

fn data_start(count: usize) -> Option<usize> {
    count.checked_mul(2 * WORD)?.checked_add(WORD)
}
