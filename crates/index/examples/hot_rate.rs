//! How long a look-up of one key takes with and without memory for pairs that are asked for again and again, in both engines.
//!
//! `cargo run --release -p strata-index --example hot_rate [PAIRS]`. Prints microseconds per look-up for so many keys, asked for in turns:
//! the second turn finds them in the engine's cache or in front of it, whatever fits there.

use std::time::Instant;

use strata_index::{Batch, Drained, EngineKind, Index, IndexOptions, Mutation};
use strata_seam::{Lsn, Position, SegmentId, SetId};

const PAIRS: u64 = 300_000;
/// Of the engine's cache, and of what is in front of it.
const CACHE_BYTES: u64 = 16 << 20;
const VALUE_LEN: usize = 120;
const TURNS: usize = 4;

/// Scattered as the numbers of inodes are in a listing.
fn key(number: u64) -> Vec<u8> {
    [&[1][..], &number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()].concat()
}

#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pairs = std::env::args().nth(1).map_or(Ok(PAIRS), |pairs| pairs.parse())?;
    let dir = tempfile::tempdir()?;
    for (engine, hot_bytes) in
        [EngineKind::Sled, EngineKind::Fjall].into_iter().flat_map(|kind| [(kind, 0), (kind, CACHE_BYTES)])
    {
        let options = IndexOptions {
            engine: Some(engine),
            cache_capacity: CACHE_BYTES,
            hot_bytes,
            ..IndexOptions::new(SetId([1; 16]))
        };
        let index = Index::open(&dir.path().join(format!("{engine}-{hot_bytes}")), options)?;
        for from in (0..pairs).step_by(1000) {
            let put = |number| Mutation::Put { key: key(number), value: vec![7; VALUE_LEN] };
            index.apply(Lsn(from + 1), &Batch((from..pairs.min(from + 1000)).map(put).collect()));
        }
        index.note_written(Position { segment: SegmentId(1), offset: 0, next_lsn: Lsn(pairs + 1) });
        index.freeze();
        while index.drain_frozen(Lsn(pairs))? != Drained::Idle {}
        for keys in [1000, 10_000, 100_000].into_iter().filter(|keys| 3 * keys <= pairs) {
            let mut took = Vec::new();
            for _ in 0..TURNS {
                let start = Instant::now();
                for number in 0..keys {
                    assert!(index.get(&key(number * 3))?.is_some());
                }
                took.push(format!("{:6.2}", start.elapsed().as_secs_f64() * 1e6 / keys as f64));
            }
            println!("{engine:6} {:2} MiB in front, {keys:6} keys: {} us", hot_bytes >> 20, took.join(" "));
        }
    }
    Ok(())
}
