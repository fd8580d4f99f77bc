//! The bytes are pinned. Any bytes are refused, or decode to what they were made of.

use proptest::prelude::*;

use super::*;

fn block(n: u32) -> BlockRef {
    let location =
        Location { segment: SegmentId(n), sector: n + 1, shard_len: 64, offset: 5, len: 1000, crc: 0xdead_beef };
    BlockRef { hash: [u8::try_from(n & 0xff).unwrap_or(0); 32], location, codec: 2, raw_len: 260_000 + n }
}

fn root() -> Root {
    let position = Position { segment: SegmentId(9), offset: 8192, next_lsn: Lsn(1235) };
    let sum = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    Root { stamp: Stamp { applied: Lsn(1234), position, sum }, pairs: 77, top: block(3) }
}

fn node() -> Node {
    Node { level: 0, refs: vec![block(1), block(2)], kept: [0, 1, 2, 5, 7, 8].map(SegmentId).into() }
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}

#[test]
fn the_checkpoint_of_format_1_is_what_it_was() {
    let golden = include_str!("../../../fixtures/checkpoint-v1.hex");
    let shown = format!("{}\n{}\n{}", hex(&root().encode()), hex(&node().encode()), hex(&directory(&[7; 32], 2, 300)));
    assert_eq!(shown, golden, "\n{shown}");
}

#[test]
fn what_is_encoded_comes_back() {
    assert_eq!(Root::decode(&root().encode()), Ok(root()));
    assert_eq!(Node::decode(&node().encode()), Ok(node()));
    let top = Node { level: 1, refs: (0..4096).map(block).collect(), kept: BTreeSet::new() };
    assert_eq!(Node::decode(&top.encode()), Ok(top));
    assert_eq!(parse_directory(&directory(&[7; 32], 2, 300)), Some(Ok(([7; 32], 2, 300))));
    assert_eq!(parse_directory(&[1, 2, 3]), None);
}

#[test]
fn a_list_that_claims_endless_segments_reserves_nothing_for_them() {
    let mut out = Encoder::new();
    out.u8(1).u8(0).uvarint(0).uvarint(1).uvarint(0).uvarint(u64::from(u32::MAX));
    assert!(Node::decode(&out.finish()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_encode_to_themselves(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for bytes in [bytes.clone(), [&[1, 0][..], &bytes].concat()] {
            if let Ok(node) = Node::decode(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_list_cut_off_is_refused_and_one_with_a_changed_byte_is_refused_or_read_alike(at in 0..200_usize, byte in any::<u8>()) {
        let mut bytes = node().encode();
        let at = at.min(bytes.len() - 1);
        prop_assert!(Node::decode(&bytes[..at]).is_err());
        bytes[at] = byte;
        if let Ok(node) = Node::decode(&bytes) {
            prop_assert_eq!(node.encode(), bytes);
        }
        let mut root = root().encode();
        root[at.min(127)] = byte;
        // Reserved bytes in it mean nothing yet.
        if let Ok(read) = Root::decode(&root) {
            prop_assert_eq!(Root::decode(&read.encode()), Ok(read));
        }
        let mut described = directory(&[7; 32], 2, 300).to_vec();
        let at = at.min(described.len() - 1);
        described[at] = byte;
        if let Some(Ok((hash, codec, len))) = parse_directory(&described) {
            prop_assert_eq!(directory(&hash, codec, len), described);
        }
    }
}
