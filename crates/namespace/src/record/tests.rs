//! Records read back, and hostile bytes are refused.

use proptest::prelude::*;
use strata_chunk::{Item, Source};
use strata_seam::ChunkId;

use super::*;

fn sample() -> Inode {
    let mut inode = Inode::new(Ino(7), NodeKind::File, 0o640, (1000, 1001), Timestamp(1_700_000_000_123_456_789));
    inode.attr.size = 70_000;
    inode.attr.atime = Timestamp(-5);
    inode.etag = Some("d41d8cd98f00b204e9800998ecf8427e".to_owned());
    inode.version = 99;
    inode.items =
        vec![Item::hole(4096), Item { len: 65_904, source: Source::Chunk { id: ChunkId([3; 32]), offset: 12 } }];
    inode.meta.user.insert("colour".to_owned(), "blue".to_owned());
    inode.parts = vec![5 << 20, 17];
    inode
}

#[test]
fn an_inode_reads_back_as_it_was_written() {
    let inode = sample();
    assert_eq!(Inode::decode(Ino(7), &inode.encode()).unwrap(), inode);
    let plain = Inode::new(Ino(8), NodeKind::Directory, 0o755, (0, 0), Timestamp(0));
    assert_eq!(Inode::decode(Ino(8), &plain.encode()).unwrap(), plain);
}

#[test]
fn a_record_cut_anywhere_or_continued_is_refused() {
    let bytes = sample().encode();
    for len in 0..bytes.len() {
        assert!(Inode::decode(Ino(7), &bytes[..len]).is_err(), "cut at {len}");
    }
    assert!(Inode::decode(Ino(7), &[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn buckets_and_uploads_of_before_there_were_modes_are_as_open_as_they_were() {
    let bucket =
        Bucket { root: Ino(5), created: Timestamp(9), uid: 1000, relaxed: true, versioned: false, mode: MODE_BEFORE };
    let mut old = Encoder::new();
    old.u8(1).uvarint(5).ivarint(9).uvarint(1000).u8(1).u8(0);
    assert_eq!(Bucket::decode(&old.finish()).unwrap(), bucket);
    let bucket = Bucket { mode: 0o600, ..bucket };
    assert_eq!(Bucket::decode(&bucket.encode()).unwrap(), bucket);
    let upload = Upload { created: Timestamp(9), uid: 1000, gid: 7, private: false, meta: ObjectMeta::default() };
    let mut old = Encoder::new();
    old.u8(1).ivarint(9).uvarint(1000).uvarint(7).uvarint(0).uvarint(0).uvarint(0);
    assert_eq!(Upload::decode(&old.finish()).unwrap(), upload);
    let upload = Upload { private: true, ..upload };
    assert_eq!(Upload::decode(&upload.encode()).unwrap(), upload);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>) {
        let _ = Inode::decode(Ino(1), &bytes);
        let _ = Dirent::decode(&bytes);
        let _ = Bucket::decode(&bytes);
        let _ = Upload::decode(&bytes);
        let _ = Part::decode(&bytes);
        let _ = Version::decode(&bytes);
        let _ = decode_lock(String::new(), &bytes);
    }

    #[test]
    fn a_flipped_record_decodes_to_something_or_to_an_error(at in 0usize..200, bit in 0u8..8) {
        let mut bytes = sample().encode();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = Inode::decode(Ino(7), &bytes);
    }
}
