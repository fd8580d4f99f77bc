//! Cuts are reproducible: golden vectors, and the same stream however it is handed over.

use super::*;
use proptest::prelude::*;

/// Bytes from a fixed linear congruential generator, so that the golden cuts depend on nothing else.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
    .collect()
}

fn cuts(chunker: &Chunker, stream: &[u8]) -> Vec<usize> {
    let mut lens = Vec::new();
    let mut rest = stream;
    while let Some(len) = chunker.next_cut(rest, true) {
        lens.push(len);
        rest = &rest[len..];
    }
    assert_eq!(lens.iter().sum::<usize>(), stream.len());
    lens
}

#[test]
fn default_parameters_cut_noise_at_the_golden_places() {
    let lens = cuts(&Chunker::new(ChunkParams::DEFAULT), &noise(1 << 20, 1));
    assert_eq!(lens, GOLDEN_DEFAULT);
}

#[test]
fn small_parameters_cut_noise_at_the_golden_places() {
    let params = ChunkParams::new(4 << 10, 16 << 10, 64 << 10).unwrap();
    assert_eq!(cuts(&Chunker::new(params), &noise(1 << 18, 2)), GOLDEN_16K);
}

#[test]
fn a_seed_moves_the_cuts_to_other_golden_places() {
    let lens = cuts(&Chunker::with_seed(ChunkParams::DEFAULT, 0x5eed), &noise(1 << 20, 1));
    assert_eq!(lens, GOLDEN_SEEDED);
    assert_ne!(lens, GOLDEN_DEFAULT);
}

#[test]
fn zeros_are_cut_at_the_maximum_and_a_short_stream_is_one_chunk() {
    let chunker = Chunker::new(ChunkParams::DEFAULT);
    assert_eq!(cuts(&chunker, &vec![0; 600 << 10]), [256 << 10, 256 << 10, 88 << 10]);
    assert_eq!(cuts(&chunker, b"short"), [5]);
    assert_eq!(cuts(&chunker, b""), [0_usize; 0]);
}

#[test]
fn an_inserted_byte_changes_only_the_chunks_around_it() {
    let chunker = Chunker::new(ChunkParams::DEFAULT);
    let mut stream = noise(4 << 20, 3);
    let before = cuts(&chunker, &stream);
    stream.insert(2 << 20, 7);
    let after = cuts(&chunker, &stream);
    let same_start = before.iter().zip(&after).take_while(|(old, new)| old == new).count();
    let same_end = before.iter().rev().zip(after.iter().rev()).take_while(|(old, new)| old == new).count();
    assert!(same_start + same_end + 3 >= before.len(), "{same_start} + {same_end} of {}", before.len());
}

#[test]
fn more_bytes_are_asked_for_until_the_maximum_is_there_or_the_stream_ends() {
    let chunker = Chunker::new(ChunkParams::DEFAULT);
    let stream = noise(256 << 10, 4);
    assert_eq!(chunker.next_cut(&stream[..(256 << 10) - 1], false), None);
    assert_eq!(chunker.next_cut(&[], true), None);
    assert!(chunker.next_cut(&stream, false).is_some());
}

#[test]
fn sizes_that_misbehave_are_refused() {
    for (min, avg, max) in
        [(0, 0, 0), (17, 64, 256), (1024, 4097, 8192), (8192, 4096, 65536), (4096, 65536, 16384), (64, 1024, 2 << 20)]
    {
        assert_eq!(ChunkParams::new(min, avg, max), Err(ParamsError { min, avg, max }));
    }
    assert_eq!(ChunkParams::new(16 << 10, 64 << 10, 256 << 10), Ok(ChunkParams::default()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cuts_do_not_depend_on_how_the_stream_arrives(seed: u64, len in 0_usize..400_000, step in 1_usize..70_000) {
        let chunker = Chunker::new(ChunkParams::new(2048, 8192, 32768).unwrap());
        let stream = noise(len, seed);
        let whole = cuts(&chunker, &stream);
        let mut lens = Vec::new();
        let mut start = 0;
        let mut seen = 0;
        while start < len {
            match chunker.next_cut(&stream[start..seen], seen == len) {
                Some(cut) => { lens.push(cut); start += cut; }
                None => seen = (seen + step).min(len),
            }
        }
        prop_assert_eq!(lens, whole);
    }

    #[test]
    fn every_chunk_but_the_last_is_within_the_sizes(
        seed: u64, min in 32_u32..2000, avg_more in 128_u32..4000, max_more in 512_u32..8000,
    ) {
        let params = ChunkParams::new(min * 2, (min + avg_more) * 2, (min + avg_more + max_more) * 2).unwrap();
        let lens = cuts(&Chunker::new(params), &noise(100_000, seed));
        for len in &lens[..lens.len() - 1] {
            prop_assert!(*len >= params.min() && *len <= params.max());
        }
    }
}

const GOLDEN_DEFAULT: [usize; 13] =
    [125_811, 78_145, 101_666, 83_949, 47_712, 79_075, 41_827, 73_610, 78_850, 68_194, 98_023, 155_785, 15_929];
const GOLDEN_16K: [usize; 12] =
    [19_427, 10_856, 14_567, 9_767, 6_917, 42_735, 19_248, 39_700, 37_437, 10_282, 33_893, 17_315];
const GOLDEN_SEEDED: [usize; 15] = [
    69_286, 75_638, 76_270, 115_332, 66_393, 97_280, 48_364, 138_008, 62_811, 51_591, 76_957, 46_974, 74_237, 23_568,
    25_867,
];
