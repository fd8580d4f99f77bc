//! A fingerprint of everything the engine holds, kept up to date with every batch and compared at every opening.
//!
//! Sled checks its pages, but after damage in the middle of its log it may come back without an error and with some keys as
//! they were earlier, or gone (seen for about one flipped bit in ten). Each batch therefore records, in the same atomic
//! write, the sum over all pairs of a hash of the pair. Adding and removing a pair is one hash; order does not matter; and a
//! lost, stale or changed pair changes the sum, but for a chance of 2^-128.

use crate::engine::{EngineError, OrderedKv};
use crate::mutation::KEY_LEN_MAX;
use crate::stored::{FIRST_KEY, STATUS_KEY};

/// Pairs read at once when all are read.
const PAGE: usize = 4096;

/// Sum of the hashes of all pairs but the one that records it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sum(pub(crate) u128);

impl Sum {
    /// With this pair put in.
    #[must_use]
    pub(crate) fn with(self, key: &[u8], value: &[u8]) -> Self {
        Self(self.0.wrapping_add(hash(key, value)))
    }

    /// With this pair taken out.
    #[must_use]
    pub(crate) fn without(self, key: &[u8], value: &[u8]) -> Self {
        Self(self.0.wrapping_sub(hash(key, value)))
    }

    /// Of what the engine really holds, and how many bytes that are: reads all of it, about a microsecond a pair.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn of(engine: &dyn OrderedKv) -> Result<(Self, u64), EngineError> {
        // Behind the longest key that may be.
        let end = [0xff; KEY_LEN_MAX + 1];
        let (mut sum, mut bytes) = (Self::default(), 0);
        let mut from = Vec::new();
        loop {
            let pairs = engine.range(&from, &end, PAGE)?;
            for (key, value) in pairs.iter().filter(|(key, _)| key != STATUS_KEY) {
                sum = sum.with(key, value);
                bytes += (key.len() + value.len()) as u64;
            }
            match pairs.into_iter().next_back() {
                Some((last, _)) => from = [&last[..], &[0]].concat(),
                None => return Ok((sum, bytes)),
            }
        }
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    let mut half = [0; 16];
    hasher.finalize_xof().fill(&mut half);
    u128::from_le_bytes(half)
}

// The record about the engine sorts below all others, or the scan would have to look for it elsewhere.
const _: () = assert!(STATUS_KEY[0] < FIRST_KEY[0]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryEngine;

    #[test]
    fn putting_in_and_taking_out_gives_the_sum_of_what_is_left() {
        let engine = MemoryEngine::default();
        let writes = (0..10_000_u32).map(|n| ([&[1], &n.to_be_bytes()[..]].concat(), Some(vec![7]))).collect();
        engine.write(writes).unwrap();
        engine.write(vec![(STATUS_KEY.to_vec(), Some(vec![1, 2, 3]))]).unwrap();
        let (before, bytes) = Sum::of(&engine).unwrap();
        assert_eq!(bytes, 10_000 * 6);
        engine.write(vec![(vec![9], Some(b"new".to_vec())), (vec![1, 0, 0, 0, 5], None)]).unwrap();
        let after = before.with(&[9], b"new").without(&[1, 0, 0, 0, 5], &[7]);
        assert_eq!(Sum::of(&engine).unwrap(), (after, bytes + 4 - 6));
    }

    #[test]
    fn where_a_key_ends_and_its_value_begins_counts() {
        assert_ne!(Sum::default().with(b"ab", b"c"), Sum::default().with(b"a", b"bc"));
    }
}
