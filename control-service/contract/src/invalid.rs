/// Longest time in seconds for which something and what is in its place are good together.
pub const MAX_OVERLAP_S: u64 = 30 * 86_400;
/// Longest life of a key, an administrator's token or a revocation with an end, in seconds: ten years.
pub const MAX_LIFE_S: u64 = 3660 * 86_400;

/// What is wrong with a request, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// When something ends that is to live for so long from now, seconds since the Unix epoch.
///
/// # Errors
/// [`Invalid`] when that is too long.
pub fn end(expires_in_s: Option<u64>, now_ms: u64) -> Result<Option<u64>, Invalid> {
    if expires_in_s.is_some_and(|s| s == 0 || s > MAX_LIFE_S) {
        return Err(Invalid("expires_in_s: must be from 1 second to ten years"));
    }
    Ok(expires_in_s.map(|s| now_ms / 1000 + s))
}

/// How long what is replaced may stay good.
///
/// # Errors
/// [`Invalid`] when that is too long.
pub fn overlap(overlap_s: u64) -> Result<u64, Invalid> {
    if overlap_s > MAX_OVERLAP_S { Err(Invalid("overlap_s: must be at most 30 days")) } else { Ok(overlap_s) }
}
