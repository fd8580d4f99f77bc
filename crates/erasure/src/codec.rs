//! The one codec of format 1: Leopard Reed-Solomon over GF(2^16), from the crate `reed-solomon-simd`.
//!
//! Invariants: a codec is made for one geometry and keeps its working memory between calls, so that a steady stream of
//! stripes allocates nothing; whatever it returns has the length of the shards it was given.

use std::collections::HashMap;
use std::sync::Arc;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::combine::{Recipe, impulse};

/// Shard lengths are multiples of this many bytes: the codec spreads its 16-bit symbols over blocks of 64.
pub const SHARD_UNIT: usize = 64;
/// Most data shards of a stripe.
pub const DATA_SHARDS_MAX: usize = 16;
/// Most parity shards of a stripe.
pub const PARITY_SHARDS_MAX: usize = 4;

/// Which code made the parity, as stored in frame headers and superblocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CodecId {
    /// Leopard Reed-Solomon over GF(2^16) as in `reed-solomon-simd` 3.1.
    Leopard16 = 1,
}

impl CodecId {
    /// The codec with this stored number, if this version knows it.
    #[must_use]
    pub fn from_stored(id: u8) -> Option<Self> {
        (id == Self::Leopard16.stored()).then_some(Self::Leopard16)
    }
    /// The number that is stored.
    #[must_use]
    pub fn stored(self) -> u8 {
        self as u8
    }
}

/// Why a code could not be applied. The caller's shards are unchanged in every case.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ErasureError {
    /// The geometry is outside what stripes may have.
    #[error("{data} data and {parity} parity shards are not supported: 1 to 16 and 0 to 4 are")]
    Geometry {
        /// Data shards asked for.
        data: usize,
        /// Parity shards asked for.
        parity: usize,
    },
    /// The shards are not what this codec was made for.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// Which count or length is wrong.
        what: &'static str,
        /// What the codec works on.
        expected: usize,
        /// What it was given.
        got: usize,
    },
    /// Fewer shards are left than the code needs.
    #[error("{present} of the {needed} shards needed are present: the stripe cannot be rebuilt from these")]
    TooFewShards {
        /// Shards that were given.
        present: usize,
        /// Shards that are needed.
        needed: usize,
    },
    /// The coding library refused.
    #[error("the coding library refused: {0}")]
    Library(#[from] reed_solomon_simd::Error),
}

/// Encoder and decoder for one geometry. Keep one per worker: calls need `&mut self` and reuse its memory
/// (about `data + parity` shards, rounded up to a power of two).
pub struct Codec {
    data: usize,
    parity: usize,
    encoder: Option<ReedSolomonEncoder>,
    engine: Option<DefaultEngine>,
    /// By a bit per present shard. A set has few disks in trouble at a time, so few patterns come again and again.
    recipes: HashMap<u32, Arc<Recipe>>,
}

/// Patterns of missing shards that are remembered; beyond, all are forgotten and found out again (0.2 ms each).
const RECIPES_MAX: usize = 256;

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codec({}+{})", self.data, self.parity)
    }
}

impl Codec {
    /// A codec for `data` data and `parity` parity shards. Costs nothing until first used.
    ///
    /// # Errors
    /// [`ErasureError::Geometry`] outside 1 to 16 and 0 to 4.
    pub fn new(id: CodecId, data: usize, parity: usize) -> Result<Self, ErasureError> {
        let CodecId::Leopard16 = id;
        if data == 0 || data > DATA_SHARDS_MAX || parity > PARITY_SHARDS_MAX {
            return Err(ErasureError::Geometry { data, parity });
        }
        Ok(Self { data, parity, encoder: None, engine: None, recipes: HashMap::new() })
    }

    /// Data shards of a stripe.
    #[must_use]
    pub fn data_shards(&self) -> usize {
        self.data
    }

    /// Parity shards of a stripe.
    #[must_use]
    pub fn parity_shards(&self) -> usize {
        self.parity
    }

    /// Fills `parity` from `data`, both in shard order, all of one length, a multiple of [`SHARD_UNIT`].
    /// With no parity shards this does nothing.
    ///
    /// # Errors
    /// [`ErasureError::Shape`] for a wrong count or length; `parity` is then unchanged.
    pub fn encode<D: AsRef<[u8]>, P: AsMut<[u8]>>(&mut self, data: &[D], parity: &mut [P]) -> Result<(), ErasureError> {
        expect("data shards", self.data, data.len())?;
        expect("parity shards", self.parity, parity.len())?;
        let len = shard_len(data.iter().map(AsRef::as_ref))?;
        for shard in parity.iter_mut() {
            expect("bytes of a parity shard", len, shard.as_mut().len())?;
        }
        if self.parity == 0 {
            return Ok(());
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => {
                encoder.reset(self.data, self.parity, len)?;
                encoder
            }
            vacant => vacant.insert(ReedSolomonEncoder::new(self.data, self.parity, len)?),
        };
        for shard in data {
            encoder.add_original_shard(shard.as_ref())?;
        }
        let coded = encoder.encode()?;
        for (target, source) in parity.iter_mut().zip(coded.recovery_iter()) {
            target.as_mut().copy_from_slice(source);
        }
        Ok(())
    }

    /// Rebuilds the missing data shards only. `shards` has `data + parity` slots in shard order. Returns the shard
    /// indices that were missing, with their bytes, in order of index.
    ///
    /// Cost: a multiplication and a sum over every byte of `data` shards for each missing one, and 0.2 ms when this
    /// pattern of missing shards comes for the first time.
    ///
    /// # Errors
    /// [`ErasureError::TooFewShards`] with fewer than `data` slots present, [`ErasureError::Shape`] for wrong counts or
    /// lengths.
    pub fn reconstruct_data(&mut self, shards: &[Option<&[u8]>]) -> Result<Vec<(usize, Vec<u8>)>, ErasureError> {
        let data = self.data;
        self.rebuild(shards, |index| index < data)
    }

    /// Rebuilds every missing shard, data and parity, in order of index.
    ///
    /// Cost and errors as of [`Codec::reconstruct_data`].
    ///
    /// # Errors
    /// As [`Codec::reconstruct_data`].
    pub fn reconstruct(&mut self, shards: &[Option<&[u8]>]) -> Result<Vec<(usize, Vec<u8>)>, ErasureError> {
        self.rebuild(shards, |_| true)
    }

    fn rebuild(
        &mut self,
        shards: &[Option<&[u8]>],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<(usize, Vec<u8>)>, ErasureError> {
        expect("slots", self.data + self.parity, shards.len())?;
        let present = shards.iter().flatten().count();
        if present < self.data {
            return Err(ErasureError::TooFewShards { present, needed: self.data });
        }
        shard_len(shards.iter().flatten().copied())?;
        if shards.iter().enumerate().all(|(index, shard)| shard.is_some() || !wanted(index)) {
            return Ok(Vec::new());
        }
        let pattern =
            shards.iter().enumerate().fold(0, |mask, (index, shard)| mask | u32::from(shard.is_some()) << index);
        let recipe = match self.recipes.get(&pattern) {
            Some(recipe) => Arc::clone(recipe),
            None => {
                let found = Arc::new(self.find_recipe(pattern)?);
                if self.recipes.len() >= RECIPES_MAX {
                    self.recipes.clear();
                }
                self.recipes.insert(pattern, Arc::clone(&found));
                found
            }
        };
        let from: Vec<&[u8]> = recipe.from.iter().filter_map(|index| shards[*index]).collect();
        Ok(recipe.combine(self.engine.get_or_insert_with(DefaultEngine::new), &from, wanted))
    }

    /// How the shards that are missing in `pattern` follow from the first `data` present ones: the library decodes a stripe in
    /// which each of those holds a one in a place of its own.
    fn find_recipe(&mut self, pattern: u32) -> Result<Recipe, ErasureError> {
        let is_present = |index: &usize| pattern >> index & 1 == 1;
        let from: Vec<usize> = (0..self.data + self.parity).filter(is_present).take(self.data).collect();
        let mut units: Vec<Option<Vec<u8>>> = vec![None; self.data];
        let mut decoder = ReedSolomonDecoder::new(self.data, self.parity, SHARD_UNIT)?;
        for (place, index) in from.iter().enumerate() {
            let unit = impulse(place);
            if *index < self.data {
                decoder.add_original_shard(*index, unit)?;
                units[*index] = Some(unit.to_vec());
            } else {
                decoder.add_recovery_shard(*index - self.data, unit)?;
            }
        }
        for (index, unit) in decoder.decode()?.restored_original_iter() {
            units[index] = Some(unit.to_vec());
        }
        let units: Vec<Vec<u8>> = units.into_iter().flatten().collect();
        let mut coded = vec![vec![0; SHARD_UNIT]; self.parity];
        self.encode(&units, &mut coded)?;
        let missing = units.into_iter().chain(coded).enumerate().filter(|(index, _)| !is_present(index));
        Ok(Recipe::of(from, &missing.collect::<Vec<_>>()))
    }
}

fn expect(what: &'static str, expected: usize, got: usize) -> Result<(), ErasureError> {
    if expected == got { Ok(()) } else { Err(ErasureError::Shape { what, expected, got }) }
}

/// The common length of `shards`.
fn shard_len<'a>(shards: impl Iterator<Item = &'a [u8]>) -> Result<usize, ErasureError> {
    let mut common = None;
    for shard in shards {
        expect("bytes of a shard", *common.get_or_insert(shard.len()), shard.len())?;
    }
    let len = common.unwrap_or(0);
    if len == 0 || !len.is_multiple_of(SHARD_UNIT) {
        return Err(ErasureError::Shape {
            what: "bytes of a shard, a multiple of 64",
            expected: len.next_multiple_of(SHARD_UNIT).max(SHARD_UNIT),
            got: len,
        });
    }
    Ok(len)
}
