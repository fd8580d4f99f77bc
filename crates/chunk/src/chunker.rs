//! Where content is cut into chunks: FastCDC (2020), over the caller's own buffers.
//!
//! Cut points are part of what is stored: two builds that cut differently do not share chunks. The crate is therefore
//! pinned, the parameters are kept beside the data, and the tests hold golden cuts. Sizes must be even: the scan rolls two
//! bytes at a time, and odd sizes silently move boundaries in release builds.
//!
//! Source: W. Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems",
//! IEEE TPDS 31(9), 2020.

use std::borrow::Cow;

use fastcdc::v2020::{self, Normalization};

/// Largest chunk any parameters may give, in bytes: a chunk must fit a block.
pub const CHUNK_LEN_MAX: usize = 1 << 20;

/// Which algorithm cut a dataset; kept beside it together with the [`ChunkParams`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChunkerId(pub u8);

impl ChunkerId {
    /// FastCDC 2020, normalisation level 1, the published gear table XORed with a seed (0 by default).
    pub const FASTCDC_2020: Self = Self(1);
}

/// Sizes of chunks in bytes. All even, `min <= avg <= max`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChunkParams {
    min: u32,
    avg: u32,
    max: u32,
}

/// Sizes no chunker can be built from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "chunk sizes {min} / {avg} / {max} bytes cannot be used: each must be even, 64 <= min <= avg <= max, avg at least \
     256, max from 1024 to {CHUNK_LEN_MAX}; correct the configuration"
)]
pub struct ParamsError {
    /// As asked for.
    pub min: u32,
    /// As asked for.
    pub avg: u32,
    /// As asked for.
    pub max: u32,
}

impl ChunkParams {
    /// 16 / 64 / 256 KiB.
    pub const DEFAULT: Self = Self { min: 16 << 10, avg: 64 << 10, max: 256 << 10 };

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ParamsError`] says which sizes would do.
    pub fn new(min: u32, avg: u32, max: u32) -> Result<Self, ParamsError> {
        let even = [min, avg, max].iter().all(|size| size % 2 == 0);
        let ordered = min >= 64 && min <= avg && avg >= 256 && avg <= max;
        if even && ordered && max >= 1024 && max as usize <= CHUNK_LEN_MAX {
            Ok(Self { min, avg, max })
        } else {
            Err(ParamsError { min, avg, max })
        }
    }

    /// Smallest chunk but for the last of a stream.
    #[must_use]
    pub fn min(self) -> usize {
        self.min as usize
    }

    /// What sizes gather around.
    #[must_use]
    pub fn avg(self) -> usize {
        self.avg as usize
    }

    /// Largest chunk.
    #[must_use]
    pub fn max(self) -> usize {
        self.max as usize
    }
}

impl Default for ChunkParams {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Finds cut points. Holds no state of a stream: any number of streams may share one.
#[derive(Clone, Debug)]
pub struct Chunker {
    params: ChunkParams,
    mask_below: u64,
    mask_above: u64,
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Chunker {
    /// With the published gear table.
    #[must_use]
    pub fn new(params: ChunkParams) -> Self {
        Self::with_seed(params, 0)
    }

    /// With a gear table of its own per `seed`, so that chunk lengths do not give the content of an encrypted dedup
    /// domain away. Seed 0 is the published table.
    #[must_use]
    pub fn with_seed(params: ChunkParams, seed: u64) -> Self {
        let (mask_below, mask_above) = v2020::select_masks(params.avg(), Normalization::Level1);
        let (gear, gear_shifted) = v2020::get_gear_with_seed(seed);
        Self { params, mask_below, mask_above, gear, gear_shifted }
    }

    /// The algorithm.
    #[must_use]
    pub fn id(&self) -> ChunkerId {
        ChunkerId::FASTCDC_2020
    }

    /// The sizes.
    #[must_use]
    pub fn params(&self) -> ChunkParams {
        self.params
    }

    /// Length of the chunk at the start of `buf`, or `None` if more bytes must be seen first: fewer than `max` are there
    /// and the stream has not ended. An empty `buf` gives `None`, also at the end of the stream.
    ///
    /// The same stream gives the same cuts however it is divided into calls. About 0.4 ns a byte.
    #[must_use]
    pub fn next_cut(&self, buf: &[u8], end_of_stream: bool) -> Option<usize> {
        if buf.is_empty() || (buf.len() < self.params.max() && !end_of_stream) {
            return None;
        }
        let (_, cut) = v2020::cut_gear(
            buf,
            self.params.min(),
            self.params.avg(),
            self.params.max(),
            self.mask_below,
            self.mask_above,
            self.mask_below << 1,
            self.mask_above << 1,
            &self.gear,
            &self.gear_shifted,
        );
        Some(cut)
    }
}

#[cfg(test)]
mod tests;
