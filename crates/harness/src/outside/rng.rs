//! Random choices that a seed repeats: SplitMix64.
//!
//! Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

use std::ops::Range;

/// A sequence of choices.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The sequence that `seed` begins.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another sequence, for `who`.
    pub(crate) fn fork(&mut self, who: u64) -> Self {
        let mut fork = Self(self.next() ^ who.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        fork.next();
        fork
    }

    /// 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`, which is not empty.
    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start).max(1)
    }

    /// An index into something of `len` elements, at least one.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        (self.next() % len.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }

    /// A number up to `max` whose magnitude, not whose value, is evenly spread.
    pub(crate) fn magnitude(&mut self, max: u64) -> u64 {
        let bits = u64::from(64 - max.leading_zeros());
        let bits = self.within(0..bits + 1);
        self.next().checked_shr(64 - bits as u32).unwrap_or(0).min(max)
    }

    /// One of them.
    pub(crate) fn choose<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.index(among.len())) }
    }

    /// Bytes that neither compress nor repeat.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(len).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_reach_from_nothing_to_the_greatest() {
        let mut rng = Rng::new(1);
        let found: Vec<u64> = (0..10_000).map(|_| rng.magnitude(65_536)).collect();
        assert!(found.contains(&0) && found.iter().all(|value| *value <= 65_536));
        assert!(found.iter().filter(|value| **value > 30_000).count() > 100);
        assert!(found.iter().filter(|value| **value < 16).count() > 1000);
    }
}
