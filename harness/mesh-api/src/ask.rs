//! A request, and what becomes of it.

/// A request to the mesh API.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Names the request: one that waits is asked again under the same number.
    pub call: u64,
    /// Path and query.
    pub path: &'a str,
    /// The `authorization` header.
    pub authorization: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200 with this body.
    Body(Vec<u8>),
    /// This status without a body.
    Status(u16),
    /// The connection is cut.
    Reset,
    /// Nothing yet: ask again when something has changed.
    Wait,
}
