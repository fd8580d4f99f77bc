//! What is written is read back; anything else is refused.

use proptest::prelude::*;
use strata_seam::{Epoch, SegmentId, SetId};

use super::*;
use crate::api::{BlockRecord, Geometry};

fn head(first: u64, count: u64, meta_offset: u32, meta_len: usize) -> StripeHead {
    StripeHead {
        set: SetId([0; 16]),
        epoch: Epoch(1),
        opening: 0,
        first_lsn: Lsn(first),
        last_lsn: Lsn(first + count - 1),
        durable_lsn: Lsn(0),
        segment: SegmentId(1),
        sector: 2,
        payload_len: meta_offset + meta_len as u32,
        shard_len: 1 << 20,
        meta_offset,
        meta_len: meta_len as u32,
        meta_crc: 0,
        stripe_crc: 0,
        geometry: Geometry { data_shards: 2, parity_shards: 1 },
        codec: 1,
    }
}

fn appends() -> impl Strategy<Value = Vec<Append>> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from);
    let block = (bytes(40), bytes(60)).prop_map(|(directory, data)| BlockRecord { directory, data });
    let append = (proptest::collection::vec(block, 0..4), proptest::option::of(bytes(50)));
    let append = append.prop_map(|(blocks, commit)| Append { blocks, commit, relaxed: false });
    proptest::collection::vec(append, 1..6)
}

/// Lays the appends out as the writer does.
fn area(appends: &[Append], first: u64) -> (Vec<u8>, Vec<Vec<PlacedBlock>>, u32) {
    let mut writer = MetaWriter::new(Vec::new(), appends.len() as u32);
    let mut offset = 0;
    let mut all = Vec::new();
    for (lsn, append) in (first..).map(Lsn).zip(appends) {
        let placed: Vec<PlacedBlock> = append
            .blocks
            .iter()
            .map(|block| {
                let len = block.data.len() as u32;
                let location = Location { segment: SegmentId(1), sector: 2, shard_len: 1 << 20, offset, len, crc: 77 };
                offset += len;
                PlacedBlock { lsn, directory: block.directory.clone(), location }
            })
            .collect();
        writer.push(lsn, append, &placed);
        all.push(placed);
    }
    (writer.finish(), all, offset)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(appends in appends(), first in 1_u64..u64::MAX / 2) {
        let (bytes, placed, data_len) = area(&appends, first);
        let expected: usize = PREFIX_LEN + appends.iter().map(append_len).sum::<usize>();
        prop_assert_eq!(bytes.len(), expected);
        let head = head(first, appends.len() as u64, data_len, bytes.len());
        let decoded = decode(&head, &Bytes::from(bytes)).unwrap();
        for ((replayed, append), placed) in decoded.iter().zip(&appends).zip(&placed) {
            prop_assert_eq!(&replayed.commit, &append.commit);
            prop_assert_eq!(replayed.blocks.len(), placed.len());
            for (one, other) in replayed.blocks.iter().zip(placed) {
                prop_assert_eq!((one.lsn, &one.directory, one.location), (other.lsn, &other.directory, other.location));
            }
        }
    }

    #[test]
    fn changed_or_cut_bytes_never_panic(appends in appends(), at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
        let (mut bytes, _, data_len) = area(&appends, 5);
        let head = head(5, appends.len() as u64, data_len, bytes.len());
        let index = at.index(bytes.len());
        bytes[index] = value;
        drop(decode(&head, &Bytes::from(bytes.clone())));
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(decode(&head, &Bytes::from(bytes)).is_none());
    }

    #[test]
    fn bytes_in_place_of_others_are_refused_or_stay_within_the_stripe(
        appends in appends(),
        at: prop::sample::Index,
        given in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 1..9),
    ) {
        let (mut bytes, _, data_len) = area(&appends, 5);
        let from = at.index(bytes.len());
        let to = bytes.len().min(from + given.len());
        bytes.splice(from..to, given[..to - from].iter().copied());
        let head = head(5, appends.len() as u64, data_len, bytes.len());
        let Some(decoded) = decode(&head, &Bytes::from(bytes.clone())) else { return Ok(()) };
        prop_assert_eq!(decoded.len(), appends.len());
        let mut described = PREFIX_LEN;
        for (lsn, replayed) in (5..).map(Lsn).zip(&decoded) {
            prop_assert_eq!(replayed.lsn, lsn);
            described += 16 + replayed.commit.as_ref().map_or(0, Bytes::len);
            for block in &replayed.blocks {
                prop_assert!(u64::from(block.location.offset) + u64::from(block.location.len) <= u64::from(data_len));
                described += BLOCK_LEN + block.directory.len();
            }
        }
        prop_assert_eq!(described, bytes.len(), "every byte of it is one of something");
    }
}
