//! What shrinks is stored small, what does not is stored as it is, and no stored bytes can do harm.

use super::*;
use proptest::prelude::*;

fn text(len: usize) -> Vec<u8> {
    (0_u64..).flat_map(|n| format!("line {n}: the quick brown fox, {} times\n", n * n).into_bytes()).take(len).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn check(raw: &[u8], policy: CompressPolicy) -> (Codec, usize) {
    let (codec, stored) = compress(raw, policy);
    let mut out = b"left over".to_vec();
    decompress(codec, &stored, raw.len(), &mut out).unwrap();
    assert_eq!(out, raw);
    (codec, stored.len())
}

#[test]
fn text_is_stored_with_the_codec_asked_for() {
    let raw = text(256 << 10);
    for policy in [CompressPolicy::HOT, CompressPolicy::COLD, CompressPolicy::LZ4] {
        let (codec, len) = check(&raw, policy);
        assert_eq!(codec, policy.codec);
        assert!(len * 2 < raw.len());
    }
    assert_eq!(check(&raw, CompressPolicy::RAW), (Codec::Raw, raw.len()));
}

#[test]
fn noise_is_stored_as_it_is_without_a_copy() {
    for len in [1, 100, 8 << 10, 256 << 10, BLOCK_RAW_MAX] {
        let raw = noise(len);
        assert!(matches!(compress(&raw, CompressPolicy::HOT), (Codec::Raw, Cow::Borrowed(_))));
    }
}

#[test]
fn a_text_header_does_not_make_noise_compressible() {
    let mut raw = noise(256 << 10);
    raw[..3 << 10].fill(b'-');
    assert!(looks_compressible(&raw), "a third of the sample shrinks to nothing, so the codec is tried");
    assert_eq!(check(&raw, CompressPolicy::LZ4).0, Codec::Raw, "and what it saves is too little");
}

#[test]
fn an_empty_block_and_a_byte_read_back() {
    check(&[], CompressPolicy::HOT);
    check(&[7], CompressPolicy::LZ4);
}

#[test]
fn levels_may_change_between_calls() {
    let raw = text(64 << 10);
    for zstd_level in [3, -1, 9, 3] {
        check(&raw, CompressPolicy { codec: Codec::Zstd, zstd_level });
    }
}

#[test]
fn a_recorded_length_that_is_wrong_is_an_error_for_every_codec() {
    let raw = text(20_000);
    let mut out = Vec::new();
    for policy in [CompressPolicy::HOT, CompressPolicy::LZ4, CompressPolicy::RAW] {
        let (codec, stored) = compress(&raw, policy);
        for raw_len in [0, 19_999, 20_001, BLOCK_RAW_MAX] {
            assert_eq!(decompress(codec, &stored, raw_len, &mut out), Err(DecompressError::Damaged { codec, raw_len }));
        }
        assert_eq!(
            decompress(codec, &stored, BLOCK_RAW_MAX + 1, &mut out),
            Err(DecompressError::TooLong(BLOCK_RAW_MAX + 1))
        );
    }
}

#[test]
fn a_stored_bomb_is_stopped_at_the_recorded_length() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let mut out = Vec::new();
    assert!(decompress(Codec::Zstd, &bomb, 4096, &mut out).is_err());
    assert!(out.capacity() <= 8192);
}

proptest! {
    #[test]
    fn any_bytes_read_back(raw in proptest::collection::vec(0_u8..9, 0..20_000), codec in 0_u8..3) {
        check(&raw, CompressPolicy { codec: Codec::from_u8(codec).unwrap(), zstd_level: -1 });
    }

    #[test]
    fn any_stored_bytes_give_an_error_or_the_recorded_length(
        stored in proptest::collection::vec(any::<u8>(), 0..300), codec in 0_u8..3, raw_len in 0_usize..5000,
    ) {
        let mut out = Vec::new();
        if decompress(Codec::from_u8(codec).unwrap(), &stored, raw_len, &mut out).is_ok() {
            prop_assert_eq!(out.len(), raw_len);
        }
    }

    #[test]
    fn a_flipped_bit_gives_an_error_or_the_recorded_length(flip in 0_usize..1000, codec in 1_u8..3) {
        let raw = text(5000);
        let codec = Codec::from_u8(codec).unwrap();
        let (codec, stored) = compress(&raw, CompressPolicy { codec, zstd_level: 1 });
        let mut stored = stored.into_owned();
        let bits = stored.len() * 8;
        stored[flip % bits / 8] ^= 1 << (flip % 8);
        let mut out = Vec::new();
        if decompress(codec, &stored, raw.len(), &mut out).is_ok() {
            prop_assert_eq!(out.len(), raw.len());
        }
    }
}
