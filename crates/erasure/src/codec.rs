//! The one codec of format 1: Leopard Reed-Solomon over GF(2^16), from the crate `reed-solomon-simd`.
//!
//! Invariants: a codec is made for one geometry and keeps its working memory between calls, so that a steady stream of
//! stripes allocates nothing; whatever it returns has the length of the shards it was given.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

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
    decoder: Option<ReedSolomonDecoder>,
}

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
        Ok(Self { data, parity, encoder: None, decoder: None })
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
    /// indices that were missing, with their bytes.
    ///
    /// Cost: one decode of all `data` shards however few are missing (about 1.2 GiB/s a core).
    ///
    /// # Errors
    /// [`ErasureError::TooFewShards`] with fewer than `data` slots present, [`ErasureError::Shape`] for wrong counts or
    /// lengths.
    pub fn reconstruct_data(&mut self, shards: &[Option<&[u8]>]) -> Result<Vec<(usize, Vec<u8>)>, ErasureError> {
        expect("slots", self.data + self.parity, shards.len())?;
        let present = shards.iter().flatten().count();
        if present < self.data {
            return Err(ErasureError::TooFewShards { present, needed: self.data });
        }
        let len = shard_len(shards.iter().flatten().copied())?;
        let (data, parity) = shards.split_at(self.data);
        if data.iter().all(Option::is_some) {
            return Ok(Vec::new());
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => {
                decoder.reset(self.data, self.parity, len)?;
                decoder
            }
            vacant => vacant.insert(ReedSolomonDecoder::new(self.data, self.parity, len)?),
        };
        // Exactly `data` shards are handed over: more would only be copied for nothing.
        let mut added = 0;
        for (index, shard) in data.iter().enumerate() {
            if let Some(shard) = shard {
                decoder.add_original_shard(index, shard)?;
                added += 1;
            }
        }
        for (index, shard) in parity.iter().enumerate() {
            if let Some(shard) = shard
                && added < self.data
            {
                decoder.add_recovery_shard(index, shard)?;
                added += 1;
            }
        }
        let restored = decoder.decode()?;
        Ok(restored.restored_original_iter().map(|(index, bytes)| (index, bytes.to_vec())).collect())
    }

    /// Rebuilds every missing shard, data and parity, in order of index.
    ///
    /// Cost: a decode if data is missing, and an encode if parity is (the library restores data only).
    ///
    /// # Errors
    /// As [`Codec::reconstruct_data`].
    pub fn reconstruct(&mut self, shards: &[Option<&[u8]>]) -> Result<Vec<(usize, Vec<u8>)>, ErasureError> {
        let mut rebuilt = self.reconstruct_data(shards)?;
        let (data, parity) = shards.split_at(self.data);
        if parity.iter().all(Option::is_some) {
            return Ok(rebuilt);
        }
        let mut whole: Vec<&[u8]> = Vec::with_capacity(self.data);
        let mut restored = rebuilt.iter();
        for shard in data {
            match shard {
                Some(shard) => whole.push(shard),
                None => whole.extend(restored.next().map(|(_, bytes)| bytes.as_slice())),
            }
        }
        let len = whole.first().map_or(0, |shard| shard.len());
        let mut coded = vec![vec![0; len]; self.parity];
        self.encode(&whole, &mut coded)?;
        let missing = coded.into_iter().zip(parity).enumerate().filter(|(_, (_, given))| given.is_none());
        rebuilt.extend(missing.map(|(index, (bytes, _))| (self.data + index, bytes)));
        Ok(rebuilt)
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
