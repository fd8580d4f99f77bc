//! Rebuilding as what it is: each missing shard is a sum of present ones, each times a factor.
//!
//! The factors depend on which shards are missing and on nothing else. The library finds them anew with every decode, by
//! a transform over all 65,536 elements of its field: as much work as decoding 200 KiB. Here it is asked once per pattern, by
//! decoding shards that hold a one in a place of their own; after that small stripes cost what their bytes cost.
//! The arithmetic is the library's.

use reed_solomon_simd::engine::{DefaultEngine, Engine, GfElement, tables, utils};

use crate::codec::SHARD_UNIT;

/// Symbols of a unit: the low bytes of all come first, then the high bytes.
const UNIT_SYMBOLS: usize = SHARD_UNIT / 2;
/// Units that are combined at a time: the working memory stays in the processor's first cache.
const BLOCK_UNITS: usize = 64;

/// A unit whose symbol `place` is one and whose others are zero.
pub(crate) fn impulse(place: usize) -> [u8; SHARD_UNIT] {
    let [low, high] = tables::get_exp_log().exp[0].to_le_bytes();
    let mut unit = [0; SHARD_UNIT];
    (unit[place], unit[UNIT_SYMBOLS + place]) = (low, high);
    unit
}

/// How the missing shards of one pattern follow from as many present ones as there is data.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Indices of the present shards that are taken.
    pub(crate) from: Vec<usize>,
    /// Index of each missing shard, and by place in `from` the logarithm of the factor; `None` is a factor of zero.
    rows: Vec<(usize, Vec<Option<GfElement>>)>,
}

impl Recipe {
    /// What was found out with shards `from` that held [`impulse`]s, the first in place 0 and so on: the units of the
    /// missing shards that were rebuilt from them.
    pub(crate) fn of(from: Vec<usize>, rebuilt: &[(usize, Vec<u8>)]) -> Self {
        let log = &tables::get_exp_log().log;
        let factor = |unit: &[u8], place: usize| {
            let value = GfElement::from_le_bytes([unit[place], unit[UNIT_SYMBOLS + place]]);
            (value != 0).then(|| log[usize::from(value)])
        };
        let row = |unit: &[u8]| (0..from.len()).map(|place| factor(unit, place)).collect();
        let rows = rebuilt.iter().map(|(index, unit)| (*index, row(unit))).collect();
        Self { from, rows }
    }

    /// The missing shards of which `wanted` says so, in order of index. `present` are the shards of `from`, of one length,
    /// a multiple of [`SHARD_UNIT`].
    pub(crate) fn combine(
        &self,
        engine: &DefaultEngine,
        present: &[&[u8]],
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Vec<u8>)> {
        let len = present.first().map_or(0, |shard| shard.len());
        let rows: Vec<_> = self.rows.iter().filter(|(index, _)| wanted(*index)).collect();
        let mut all: Vec<(usize, Vec<u8>)> = rows.iter().map(|(index, _)| (*index, vec![0; len])).collect();
        let mut product = [[0; SHARD_UNIT]; BLOCK_UNITS];
        for start in (0..len).step_by(BLOCK_UNITS * SHARD_UNIT) {
            let end = len.min(start + BLOCK_UNITS * SHARD_UNIT);
            for (place, shard) in present.iter().enumerate() {
                let (units, _) = shard[start..end].as_chunks::<SHARD_UNIT>();
                for ((_, factors), (_, sum)) in rows.iter().zip(&mut all) {
                    let Some(factor) = factors[place] else { continue };
                    let product = &mut product[..units.len()];
                    product.copy_from_slice(units);
                    engine.mul(product, factor);
                    let (sum, _) = sum[start..end].as_chunks_mut::<SHARD_UNIT>();
                    utils::xor(sum, product);
                }
            }
        }
        all
    }
}
