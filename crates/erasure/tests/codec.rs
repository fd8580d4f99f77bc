//! What the codec promises: pinned parity bytes, and every shard back from any `data` of them.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use proptest::prelude::*;
use strata_erasure::{Codec, CodecId, ErasureError};

const LAYOUTS: [(usize, usize); 10] =
    [(1, 0), (1, 1), (1, 4), (2, 1), (2, 2), (3, 2), (4, 2), (8, 3), (16, 1), (16, 4)];

fn sample(data: usize, len: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..data).map(|_| (0..len).map(|_| byte()).collect()).collect()
}

fn stripe(data: usize, parity: usize, len: usize, seed: u64) -> (Codec, Vec<Vec<u8>>) {
    let mut codec = Codec::new(CodecId::Leopard16, data, parity).unwrap();
    let mut shards = sample(data, len, seed);
    let mut coded = vec![vec![0; len]; parity];
    codec.encode(&shards, &mut coded).unwrap();
    shards.extend(coded);
    (codec, shards)
}

/// Loses the shards of `mask` and checks that all of them come back, or that the loss is refused by name.
fn check(codec: &mut Codec, shards: &[Vec<u8>], mask: u32) {
    let slots: Vec<Option<&[u8]>> =
        shards.iter().enumerate().map(|(index, shard)| (mask >> index & 1 == 0).then_some(shard.as_slice())).collect();
    let lost = slots.iter().filter(|slot| slot.is_none()).count();
    let rebuilt = codec.reconstruct(&slots);
    if lost > codec.parity_shards() {
        assert!(matches!(rebuilt, Err(ErasureError::TooFewShards { .. })));
        return;
    }
    let rebuilt = rebuilt.unwrap();
    assert_eq!(rebuilt.len(), lost);
    for (index, bytes) in rebuilt {
        assert!(slots[index].is_none());
        assert_eq!(bytes, shards[index], "shard {index} of mask {mask:b}");
    }
}

#[test]
fn every_loss_pattern_of_every_layout_is_rebuilt_or_refused() {
    for (data, parity) in LAYOUTS {
        let (mut codec, shards) = stripe(data, parity, 64, 7);
        for mask in 0_u32..1 << (data + parity) {
            // One lost shard more than the parity shows the refusal; further ones add only time.
            if mask.count_ones() as usize <= parity + 1 {
                check(&mut codec, &shards, mask);
            }
        }
    }
}

#[test]
fn a_range_of_columns_is_rebuilt_without_the_rest() {
    let (mut codec, shards) = stripe(4, 2, 64 * 40, 3);
    let cut: Vec<&[u8]> = shards.iter().map(|shard| &shard[64 * 7..64 * 19]).collect();
    let slots: Vec<_> = cut.iter().enumerate().map(|(index, cut)| (index != 1 && index != 4).then_some(*cut)).collect();
    let rebuilt = codec.reconstruct(&slots).unwrap();
    assert_eq!(rebuilt, [(1, cut[1].to_vec()), (4, cut[4].to_vec())]);
}

#[test]
fn one_data_shard_is_mirrored() {
    let (_, shards) = stripe(1, 4, 128, 9);
    assert!(shards.iter().all(|shard| *shard == shards[0]));
}

#[test]
fn no_parity_is_no_work_and_no_help() {
    let (mut codec, shards) = stripe(3, 0, 64, 1);
    assert_eq!(codec.reconstruct(&[Some(&shards[0]), Some(&shards[1]), Some(&shards[2])]).unwrap(), []);
    assert_eq!(
        codec.reconstruct(&[Some(&shards[0]), None, Some(&shards[2])]),
        Err(ErasureError::TooFewShards { present: 2, needed: 3 })
    );
}

#[test]
fn wrong_shapes_are_refused_by_name() {
    assert!(matches!(Codec::new(CodecId::Leopard16, 0, 1), Err(ErasureError::Geometry { .. })));
    assert!(matches!(Codec::new(CodecId::Leopard16, 17, 1), Err(ErasureError::Geometry { .. })));
    assert!(matches!(Codec::new(CodecId::Leopard16, 4, 5), Err(ErasureError::Geometry { .. })));
    let mut codec = Codec::new(CodecId::Leopard16, 2, 1).unwrap();
    let shape = |result| matches!(result, Err(ErasureError::Shape { .. }));
    assert!(shape(codec.encode(&[[0; 64]], &mut [[0; 64]])));
    assert!(shape(codec.encode(&[vec![0; 64], vec![0; 128]], &mut [[0; 64]])));
    assert!(shape(codec.encode(&[[0; 63], [0; 63]], &mut [[0; 63]])));
    assert!(shape(codec.encode(&[[0; 0], [0; 0]], &mut [[0; 0]])));
    assert!(shape(codec.encode(&[[0; 64], [0; 64]], &mut [[0; 128]])));
}

/// The parity bytes are on-disk format: a change of any of them makes written stores unreadable.
#[test]
fn parity_bytes_are_pinned() {
    fn fold(shards: &[Vec<u8>]) -> u64 {
        // FNV-1a, 64 bits.
        shards
            .iter()
            .flatten()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }
    let golden = [
        0xcbf2_9ce4_8422_2325_u64,
        0xbf17_ab66_739f_5eaa,
        0x7687_ade2_6f82_6ce5,
        0x93de_d91b_60a7_ceb1,
        0x2848_4fe5_499f_7e19,
        0x24bd_3acb_7754_72a3,
        0x69b1_8152_4056_d55e,
        0xd550_cc7a_6679_bc32,
        0x580f_8ef5_452c_7984,
        0xb189_909a_0b45_9d10,
    ];
    for ((data, parity), expected) in LAYOUTS.into_iter().zip(golden) {
        let (_, shards) = stripe(data, parity, 192, 42);
        assert_eq!(fold(&shards[data..]), expected, "layout {data}+{parity}");
    }
    let (_, shards) = stripe(2, 1, 64, 5);
    assert_eq!(shards[2][..8], [219, 157, 252, 54, 218, 27, 234, 192]);
}

proptest! {
    #[test]
    fn any_loss_within_parity_comes_back(layout in 0..LAYOUTS.len(), units in 1_usize..140, seed: u64, mask: u32) {
        let (data, parity) = LAYOUTS[layout];
        let (mut codec, shards) = stripe(data, parity, units * 64, seed);
        check(&mut codec, &shards, mask & ((1 << (data + parity)) - 1));
        // The codec keeps no trace of the stripe before.
        let (_, other) = stripe(data, parity, 64, seed.wrapping_add(1));
        check(&mut codec, &other, 1);
    }
}
