//! Randomness from the operating system.

/// Random bytes.
///
/// # Panics
/// When the system has none: nothing safe can be done then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills many bytes at once.
///
/// # Panics
/// When the system has none: nothing safe can be done then.
pub fn fill(bytes: &mut [u8]) {
    #[allow(clippy::expect_used, reason = "without randomness every secret would be guessable")]
    getrandom::fill(bytes).expect("the operating system gives no random bytes");
}

/// A random number, for what is to differ and need not be secret.
#[must_use]
pub fn random_number() -> u32 {
    u32::from_ne_bytes(random())
}
