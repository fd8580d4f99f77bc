//! Pieces of a checkpoint: runs of the index's pairs in order of key, cut where the keys say so. Format:
//! `docs/format/checkpoint.md`.
//!
//! Whether a piece ends behind a pair depends on that pair's key alone (and on a least and a greatest length), so a change
//! somewhere leaves all pieces but its own as they were, and the next checkpoint shares them with this one. Values are left
//! out of that choice: counts change more often than keys come and go.

use strata_chunk::wire::{Decoder, Encoder, WireError};

use crate::engine::Pair;
use crate::mutation::{KEY_LEN_MAX, VALUE_LEN_MAX};

/// Longest piece in bytes: one pair of the longest key and value, tagged, or the length at which a piece is cut.
pub const PIECE_LEN_MAX: usize = VALUE_LEN_MAX + KEY_LEN_MAX + 64;
/// No cut before this many bytes, unless the greatest length is smaller than four times it.
const LEN_MIN: usize = 64 << 10;
/// A cut at the latest here.
const LEN_MAX: usize = 1 << 20;
/// One key in so many ends a piece: with records of about a hundred bytes, pieces of about 256 KiB.
const CUT_EVERY: u32 = 2048;

/// Cuts a sorted stream of pairs into pieces.
#[derive(Debug)]
pub struct PieceCutter {
    open: Encoder,
    len_min: usize,
    len_max: usize,
}

impl PieceCutter {
    /// Pieces of at most `len_max` bytes (1 MiB if that is less), but for a pair that is longer by itself.
    #[must_use]
    pub fn new(len_max: usize) -> Self {
        let len_max = len_max.clamp(1024, LEN_MAX);
        Self { open: Encoder::new(), len_min: LEN_MIN.min(len_max / 4), len_max }
    }

    /// Takes the next pair; gives the pieces that are complete with it, at most two.
    pub fn push(&mut self, (key, value): &Pair) -> Vec<Vec<u8>> {
        let mut done = Vec::new();
        if !self.open.is_empty() && self.open.len() + key.len() + value.len() + 8 > self.len_max {
            done.extend(self.finish());
        }
        self.open.bytes(key).bytes(value);
        if self.open.len() >= self.len_max || (self.open.len() >= self.len_min && ends_piece(key)) {
            done.extend(self.finish());
        }
        done
    }

    /// Whether it begins a new piece with the next pair, so that what comes is cut as if nothing had come before.
    #[must_use]
    pub fn is_at_cut(&self) -> bool {
        self.open.is_empty()
    }

    /// The last piece, if there is one.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.open.is_empty()).then(|| std::mem::take(&mut self.open).finish())
    }
}

fn ends_piece(key: &[u8]) -> bool {
    let hash = blake3::hash(key);
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d]).is_multiple_of(CUT_EVERY)
}

/// The pairs of a piece.
///
/// # Errors
/// [`WireError`] where it is not what [`PieceCutter`] makes: cut off, keys out of order, empty or reserved.
pub fn decode_piece(piece: &[u8]) -> Result<Vec<Pair>, WireError> {
    let mut input = Decoder::new(piece);
    let mut pairs: Vec<Pair> = Vec::new();
    while input.remaining() > 0 {
        let key = input.bytes(KEY_LEN_MAX)?.to_vec();
        // Tag, number and count of a cell come on top of what a caller may store.
        let value = input.bytes(VALUE_LEN_MAX + 17)?.to_vec();
        if matches!(key.first(), None | Some(0)) || pairs.last().is_some_and(|(last, _)| *last >= key) {
            return Err(WireError::Invalid("keys of a checkpoint that are empty, reserved or out of order"));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(count: u32) -> Vec<Pair> {
        let pair = |n: u32| ([b"C", &blake3::hash(&n.to_le_bytes()).as_bytes()[..]].concat(), vec![7; 63]);
        let mut pairs: Vec<Pair> = (0..count).map(pair).collect();
        pairs.sort();
        pairs
    }

    fn cut(pairs: &[Pair], len_max: usize) -> Vec<Vec<u8>> {
        let mut cutter = PieceCutter::new(len_max);
        let mut pieces: Vec<_> = pairs.iter().flat_map(|pair| cutter.push(pair)).collect();
        pieces.extend(cutter.finish());
        pieces
    }

    #[test]
    fn pieces_put_together_are_the_pairs() {
        let pairs = pairs(20_000);
        let pieces = cut(&pairs, 1 << 20);
        let back: Vec<Pair> = pieces.iter().flat_map(|piece| decode_piece(piece).unwrap()).collect();
        assert_eq!(back, pairs);
        let mean = pieces.iter().map(Vec::len).sum::<usize>() / pieces.len();
        assert!((100 << 10..500 << 10).contains(&mean), "pieces of {mean} bytes");
    }

    #[test]
    fn a_change_in_one_place_leaves_the_other_pieces_as_they_were() {
        let mut pairs = pairs(50_000);
        let before = cut(&pairs, 1 << 20);
        pairs[20_000].1 = vec![8; 63];
        pairs.remove(40_000);
        let after = cut(&pairs, 1 << 20);
        let new = after.iter().filter(|piece| !before.contains(piece)).count();
        assert!(new <= 6, "{new} of {} pieces are new", after.len());
    }

    #[test]
    fn a_pair_longer_than_a_piece_is_one_by_itself() {
        let long = (vec![3], vec![1; 300_000]);
        let pieces = cut(&[(vec![2], vec![0; 10]), long.clone(), (vec![4], vec![0; 10])], 64 << 10);
        assert_eq!(pieces.len(), 3);
        assert_eq!(decode_piece(&pieces[1]).unwrap(), [long]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_are_a_piece(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(pairs) = decode_piece(&bytes) {
                let mut out = Encoder::new();
                pairs.iter().for_each(|(key, value)| { out.bytes(key).bytes(value); });
                prop_assert_eq!(out.finish(), bytes);
            }
        }

        #[test]
        fn a_piece_cut_off_anywhere_gives_no_other_pairs(count in 1..40_u32, keep in 0.0..1.0_f64) {
            let pairs = pairs(count);
            let piece = cut(&pairs, 1 << 20).remove(0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a short length")]
            let kept = (piece.len() as f64 * keep) as usize;
            if let Ok(found) = decode_piece(&piece[..kept]) {
                prop_assert_eq!(&found[..], &pairs[..found.len()]);
            }
        }
    }
}
