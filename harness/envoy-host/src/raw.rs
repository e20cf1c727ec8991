//! What crosses the boundary, as Envoy's header has it.

/// Bytes, whoever owns them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) data: *const u8,
    pub(crate) size: usize,
}

impl Buffer {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), size: bytes.len() }
    }

    /// The bytes; none for a null pointer.
    ///
    /// # Safety
    /// They stay valid and unchanged for `'a`.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.size == 0 {
            return &[];
        }
        // SAFETY: not null, and the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data, self.size) }
    }

    /// The bytes as text.
    ///
    /// # Safety
    /// As for [`Self::bytes`].
    pub(crate) unsafe fn text(self) -> String {
        // SAFETY: the caller's promise.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }
}

/// A header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) name: Buffer,
    pub(crate) value: Buffer,
}

/// Headers that the module hands over.
///
/// # Safety
/// `first` and `count` name live headers.
pub(crate) unsafe fn headers<'a>(first: *const Header, count: usize) -> Vec<(&'a [u8], &'a [u8])> {
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let headers = unsafe { std::slice::from_raw_parts(first, count) };
    // SAFETY: the caller's promise.
    headers.iter().map(|header| unsafe { (header.name.bytes(), header.value.bytes()) }).collect()
}
