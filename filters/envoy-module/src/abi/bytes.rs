//! From what Envoy hands over to slices, checked.

use super::error::HostErrorKind;
use super::raw::EnvoyBuffer;

/// No honest length is greater: it would be no valid slice.
const LIMIT: usize = isize::MAX as usize;

/// The bytes of a buffer.
///
/// # Errors
/// When a pointer or a length makes no sense.
///
/// # Safety
/// The buffer comes from Envoy, and what it points to stays valid and unchanged for `'a`.
pub(super) unsafe fn slice<'a>(buffer: EnvoyBuffer) -> Result<&'a [u8], HostErrorKind> {
    // SAFETY: the caller's promise is the same.
    unsafe { items(buffer.data, buffer.size) }
}

/// `count` values that begin at `first`.
///
/// # Errors
/// When the pointer or the count makes no sense.
///
/// # Safety
/// Both come from Envoy, and what they point to stays valid and unchanged for `'a`.
pub(super) unsafe fn items<'a, T>(first: *const T, count: usize) -> Result<&'a [T], HostErrorKind> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() || !first.is_aligned() {
        return Err(HostErrorKind::BadPointer);
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|size| size > LIMIT) {
        return Err(HostErrorKind::BadLength);
    }
    // SAFETY: not null, aligned, of a possible length; the caller vouches for the memory.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: *const u8, size: usize) -> Result<Vec<u8>, HostErrorKind> {
        // SAFETY: every case below is either refused before it is read or a live slice.
        unsafe { slice(EnvoyBuffer { data, size }) }.map(<[u8]>::to_vec)
    }

    #[test]
    fn nothing_is_an_empty_slice_wherever_it_points() {
        assert_eq!(check(std::ptr::null(), 0), Ok(vec![]));
        assert_eq!(check(std::ptr::without_provenance(1), 0), Ok(vec![]));
    }

    #[test]
    fn a_null_pointer_with_a_length_is_refused() {
        assert_eq!(check(std::ptr::null(), 1), Err(HostErrorKind::BadPointer));
    }

    #[test]
    fn a_length_that_no_memory_has_is_refused() {
        assert_eq!(check(std::ptr::without_provenance(8), usize::MAX), Err(HostErrorKind::BadLength));
        // SAFETY: refused before it is read.
        let many = unsafe { items(std::ptr::without_provenance::<u64>(8), usize::MAX / 4) };
        assert_eq!(many, Err(HostErrorKind::BadLength));
    }

    #[test]
    fn a_misaligned_pointer_is_refused() {
        // SAFETY: refused before it is read.
        let odd = unsafe { items(std::ptr::without_provenance::<u64>(9), 1) };
        assert_eq!(odd, Err(HostErrorKind::BadPointer));
    }

    #[test]
    fn bytes_come_as_they_are() {
        let bytes = [0xff_u8, 0, 7];
        assert_eq!(check(bytes.as_ptr(), 3), Ok(bytes.to_vec()));
    }
}
