//! A directory reads back as it was, and nothing else reads as a directory.

use super::*;
use proptest::prelude::*;

fn entry(byte: u8, len: u32) -> BlockEntry {
    BlockEntry { id: ChunkId([byte; 32]), len }
}

#[test]
fn a_directory_has_the_bytes_the_format_page_gives() {
    let directory =
        BlockDirectory::new(Codec::Zstd, DedupDomain::COMMON, vec![entry(0xaa, 5), entry(0xbb, 300)]).unwrap();
    let mut expected = vec![1, 2, 0xb1, 0x02, 2, 5];
    expected.extend([0xaa; 32]);
    expected.extend([0xac, 0x02]);
    expected.extend([0xbb; 32]);
    assert_eq!(directory.encode(), expected);
    assert_eq!(directory.placed().map(|(offset, chunk)| (offset, chunk.len)).collect::<Vec<_>>(), [(0, 5), (5, 300)]);
}

#[test]
fn a_directory_of_another_domain_or_a_sealed_block_has_the_bytes_the_format_page_gives() {
    let directory = BlockDirectory::new(Codec::Zstd, DedupDomain::of(7, 300), vec![entry(0xaa, 5)]).unwrap();
    let expected = |key: &[u8]| [&[3, 2, 7, 0xac, 0x02], key, &[5, 1, 5], &[0xaa; 32]].concat();
    assert_eq!(directory.encode(), expected(&[0]));
    let sealed = directory.sealed_with(KeyId::new(9).unwrap());
    assert_eq!(sealed.encode(), expected(&[9]));
    let decoded = BlockDirectory::decode(&sealed.encode()).unwrap();
    assert_eq!((decoded.domain(), decoded.key().map(KeyId::get)), (DedupDomain::of(7, 300), Some(9)));
}

#[test]
fn the_common_domain_has_one_form() {
    let mut long = vec![3, 0, 0, 0, 0, 9, 1, 9];
    long.extend([1; 32]);
    assert!(matches!(BlockDirectory::decode(&long), Err(WireError::Invalid(_))));
    long[2] = 1;
    assert_eq!(BlockDirectory::decode(&long).unwrap().domain(), DedupDomain::of(1, 0));
}

#[test]
fn what_no_block_may_be_is_refused() {
    let chunk_max = u32::try_from(CHUNK_LEN_MAX).unwrap();
    for chunks in [
        vec![],
        vec![entry(1, 0)],
        vec![entry(1, chunk_max + 1)],
        vec![entry(1, chunk_max), entry(2, chunk_max)],
        vec![entry(1, 1); BLOCK_CHUNKS_MAX + 1],
        vec![entry(1, u32::MAX), entry(2, 2)],
    ] {
        assert!(BlockDirectory::new(Codec::Raw, DedupDomain::COMMON, chunks).is_err());
    }
    assert!(BlockDirectory::new(Codec::Raw, DedupDomain::COMMON, vec![entry(1, 1); BLOCK_CHUNKS_MAX]).is_ok());
}

#[test]
fn a_length_that_is_not_the_sum_another_version_and_an_unknown_codec_are_refused() {
    let good = BlockDirectory::new(Codec::Raw, DedupDomain::COMMON, vec![entry(1, 9)]).unwrap().encode().to_vec();
    for (at, value) in [(0, 2), (1, 3), (2, 8), (3, 2), (4, 0)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(BlockDirectory::decode(&bad).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn directories_read_back(
        codec in 0_u8..3, lens in proptest::collection::vec(1_u32..200, 1..300),
        class in 0_u8..3, encryption in prop_oneof![Just(0_u32), any::<u32>()], key in prop_oneof![Just(0_u32), any::<u32>()],
    ) {
        let chunks = lens.iter().map(|&len| BlockEntry { id: crate::chunk_id(&len.to_le_bytes()), len }).collect();
        let domain = DedupDomain::of(class, encryption);
        let mut directory = BlockDirectory::new(Codec::from_u8(codec).unwrap(), domain, chunks).unwrap();
        if let Some(key) = KeyId::new(key) {
            directory = directory.sealed_with(key);
        }
        let record = directory.encode();
        prop_assert_eq!(&BlockDirectory::decode(&record).unwrap(), &directory);
        for len in 0..record.len() {
            prop_assert!(BlockDirectory::decode(&record[..len]).is_err());
        }
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        head in proptest::collection::vec(0_u8..4, 5), tail in proptest::collection::vec(any::<u8>(), 0..70),
    ) {
        let record = [head, tail].concat();
        if let Ok(directory) = BlockDirectory::decode(&record) {
            prop_assert_eq!(directory.encode(), record);
        }
    }
}
