//! The frame's bytes are pinned, and no other bytes pass for a frame.

use bytes::Bytes;
use proptest::prelude::*;
use strata_erasure::{Codec, CodecId};
use strata_seam::{Epoch, Lsn, SegmentId, SetId};

use super::*;
use crate::api::{Append, BlockRecord};
use crate::queue::Queued;
use crate::stripe::{Frames, Identity};

/// The three frames of a small stripe over 2+1 disks.
fn sample() -> (StripeHead, Vec<Vec<u8>>) {
    let geometry = Geometry { data_shards: 2, parity_shards: 1 };
    let mut frames = Frames::new(Codec::new(CodecId::Leopard16, 2, 1).unwrap());
    let identity =
        Identity { set: SetId(*b"0123456789abcdef"), geometry, epoch: Epoch(3), opening: 0x1122_3344_5566_7788 };
    let mut batch = vec![
        Queued::new(Append {
            blocks: vec![BlockRecord {
                directory: Bytes::from_static(b"dir"),
                data: Bytes::from_static(b"the data of a block"),
            }],
            commit: Some(Bytes::from_static(b"commit")),
            relaxed: false,
        }),
        Queued::new(Append::default()),
    ];
    batch[0].lsn = Lsn(41);
    batch[1].lsn = Lsn(42);
    let laid = frames.lay_out(&batch, &identity, SegmentId(5), 9, Lsn(40)).unwrap();
    (laid.head, frames.by_shard.iter().map(|buf| buf[..laid.frame_len].to_vec()).collect())
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Header, table and the payload of the first frame; the rest of it is zero.
#[test]
fn the_frame_of_format_1_is_what_it_was() {
    let (head, frames) = sample();
    let golden = unhex(include_str!("../../fixtures/frame-v1.hex"));
    assert_eq!(frames[0].len(), 4096);
    let (begin, rest) = frames[0].split_at(golden.len());
    assert_eq!(begin, golden, "{}", golden_text(begin));
    assert!(rest.iter().all(|byte| *byte == 0));
    let decoded = decode_head(&golden).unwrap();
    assert_eq!((decoded.stripe, decoded.shard, decoded.table.len()), (head, 0, 1));
    assert!(decoded.proves(0, &frames[0][192..192 + head.shard_len as usize]));
    assert_eq!((head.first_lsn, head.last_lsn, head.durable_lsn), (Lsn(41), Lsn(42), Lsn(40)));
}

fn golden_text(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn frames_of_a_stripe_differ_in_shard_table_and_checksum_alone() {
    let (head, frames) = sample();
    for (shard, frame) in frames.iter().enumerate() {
        let decoded = decode_head(frame).unwrap();
        assert_eq!((decoded.stripe, usize::from(decoded.shard)), (head, shard));
        assert_eq!(frame[..at::SHARD], frames[0][..at::SHARD]);
        assert_eq!(frame[at::DATA..at::HEADER_CRC], frames[0][at::DATA..at::HEADER_CRC]);
    }
}

#[test]
fn every_bit_of_header_and_table_is_covered() {
    let (_, frames) = sample();
    for bit in 0..192 * 8 {
        let mut damaged = frames[1].clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_head(&damaged), None, "bit {bit}");
    }
}

#[test]
fn a_piece_in_any_place_is_proven_by_its_own_checksum() {
    let shard: Vec<u8> = (0..4096 * 3 + 64_u32).map(|n| (n % 251) as u8).collect();
    let (head, _) = sample();
    let head = FrameHead { stripe: head, shard: 0, table: table_of(&shard) };
    assert!(head.proves(0, &shard) && head.proves(1, &shard[4096..8192]) && head.proves(3, &shard[4096 * 3..]));
    assert!(!head.proves(0, &shard[4096..8192]) && !head.proves(3, &shard) && !head.proves(4, &shard[..64]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), magic: bool) {
        if magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&MAGIC);
        }
        prop_assert_eq!(decode_head(&bytes), None);
    }

    /// Fields of any value under a checksum that is right: decoded consistently or refused.
    #[test]
    fn foreign_fields_under_a_valid_checksum_do_not_panic(field in 8_usize..124, value: [u8; 4]) {
        let (_, mut frames) = sample();
        let frame = &mut frames[0];
        let end = (field + 4).min(124);
        frame[field..end].copy_from_slice(&value[..end - field]);
        let shard_len = get_u32(frame, at::SHARD_LEN);
        if shard_len > 0 && shard_len <= SHARD_LEN_MAX {
            let len = layout::header_len(shard_len) as usize;
            if len <= frame.len() {
                let crc = head_crc(&frame[..len]);
                put_u32(frame, at::HEADER_CRC, crc);
            }
        }
        if let Some(head) = decode_head(frame) {
            prop_assert!(head.stripe.first_lsn <= head.stripe.last_lsn);
            prop_assert_eq!(head.stripe.meta_offset + head.stripe.meta_len, head.stripe.payload_len);
        }
    }
}
