//! What a fuzz target needs: mutation of inputs by a seeded generator, so that every run can be repeated.

use crate::world::Random;

/// Changes inputs at random, the same way for the same seed.
///
/// It knows nothing of coverage: it is meant for a bounded time in a plain `cargo run`, on inputs whose
/// form a dictionary of words and good examples give.
pub struct Mutator {
    random: Random,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// A generator for this seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), words: Vec::new() }
    }

    /// Words that are worth putting into inputs: names of headers and fields, limits, separators.
    #[must_use]
    pub fn words<W: AsRef<[u8]>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// A number below `bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { usize::try_from(self.random.next() >> 16).unwrap_or(0) % bound }
    }

    /// One of the examples, changed in a few places, at most `max` bytes long.
    pub fn mutate(&mut self, examples: &[Vec<u8>], max: usize) -> Vec<u8> {
        let which = self.below(examples.len());
        let mut input = examples.get(which).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            self.change(&mut input, examples);
        }
        input.truncate(max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, examples: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.below(7) {
            0 => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let byte = [0, 0x0a, 0x20, 0x2c, 0x3a, 0x7f, 0x80, 0xc3, 0xff][self.below(9)];
                input.insert(at, byte);
            }
            2 => {
                input.drain(at..end);
            }
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let which = self.below(self.words.len());
                let word = self.words.get(which).cloned().unwrap_or_default();
                input.splice(at..at, word);
            }
            5 => {
                let which = self.below(examples.len());
                let other = examples.get(which).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let mut noise = vec![0; self.below(16)];
                self.random.fill(&mut noise);
                input.splice(at..end, noise);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let examples = [b"authorization: Bearer a.b.c".to_vec()];
        let inputs = |seed| -> Vec<_> {
            let mut mutator = Mutator::new(seed).words(["eyJhbGciOiJub25lIn0"]);
            (0..500).map(|_| mutator.mutate(&examples, 64)).collect()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= 64));
    }
}
