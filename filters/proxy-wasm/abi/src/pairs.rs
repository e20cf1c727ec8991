//! The serialised form in which header maps cross the ABI.
//!
//! `count: u32`, then for each pair `name length: u32, value length: u32`, then for each pair the
//! name, a NUL, the value, a NUL; all little endian. Lengths do not count the NUL.

use crate::error::HostErrorKind;

/// Bytes of one length field.
const WORD: usize = 4;

/// Serialises pairs as the hostcalls take them.
///
/// # Errors
/// [`HostErrorKind::TooLarge`] if a length does not fit into 32 bits.
pub(crate) fn encode(pairs: &[(&[u8], &[u8])]) -> Result<Vec<u8>, HostErrorKind> {
    let data: usize = pairs.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
    let mut buffer = Vec::with_capacity(WORD + pairs.len() * 2 * WORD + data);
    let length = |buffer: &mut Vec<u8>, size: usize| {
        let size = u32::try_from(size).map_err(|_| HostErrorKind::TooLarge)?;
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
