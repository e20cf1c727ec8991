//! Seeded random bytes (xorshift64*): the same seed gives the same run. Not for secrets.

pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The generator must not start at zero.
        Self { state: seed ^ 0x9e37_79b9_7f4a_7c15 | 1 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    /// A UUID as Envoy puts it into `x-request-id`.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let (b, high) = (b & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000, a >> 32);
        let (mid, low) = (a >> 16 & 0xffff, a & 0xfff | 0x4000);
        format!("{high:08x}-{mid:04x}-{low:04x}-{:04x}-{:012x}", b >> 48, b & 0xffff_ffff_ffff)
    }
}
