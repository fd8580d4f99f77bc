//! Records read back, and hostile bytes are refused.

use proptest::prelude::*;
use strata_chunk::wire::Encoder;
use strata_chunk::{Item, Source};
use strata_seam::{ChunkId, Ino, Timestamp};

use super::bucket::MODE_BEFORE;
use super::*;
use crate::types::{ContentTag, LockRecord, NodeKind, ObjectMeta};

fn sample() -> Inode {
    let mut inode = Inode::new(Ino(7), NodeKind::File, 0o640, (1000, 1001), Timestamp(1_700_000_000_123_456_789));
    inode.attr.size = 70_000;
    inode.attr.atime = Timestamp(-5);
    inode.tag = Some(ContentTag::Nothing);
    inode.version = 99;
    inode.items =
        vec![Item::hole(4096), Item { len: 65_904, source: Source::Chunk { id: ChunkId([3; 32]), offset: 12 } }];
    inode.meta.user.insert("colour".to_owned(), "blue".to_owned());
    inode.parts = vec![5 << 20, 17];
    inode.beside = Beside { attributes: true, properties: false, versions: true };
    (inode.parent, inode.name) = (Ino(5), b"film.mkv".to_vec());
    inode
}

#[test]
fn an_inode_reads_back_as_it_was_written() {
    let inode = sample();
    let read = |ino, bytes: &[u8]| Inode { counted: None, ..Inode::decode(ino, bytes).unwrap() };
    assert_eq!(read(Ino(7), &inode.encode()), inode);
    let plain = Inode::new(Ino(8), NodeKind::Directory, 0o755, (0, 0), Timestamp(0));
    assert_eq!(read(Ino(8), &plain.encode()), plain);
    let counted = Inode::decode(Ino(7), &inode.encode()).unwrap().counted;
    assert_eq!(counted, Some(inode.counts()), "what is read was counted");
}

fn meta() -> ObjectMeta {
    let map = |name: &str, value: &str| std::iter::once((name.to_owned(), value.to_owned())).collect();
    ObjectMeta { system: map("content-type", "text/plain"), user: map("k", "v"), checksums: map("crc32c", "AAAAAA==") }
}

fn lock(ino: Option<Ino>) -> LockRecord {
    LockRecord {
        token: String::new(),
        path: b"/a/\xff".to_vec(),
        ino,
        deep: true,
        shared: true,
        principal: "ada".to_owned(),
        owner_xml: b"<o/>".to_vec(),
        expires: Some(Timestamp(77)),
    }
}

/// Reads a record and writes it again, if it can be read.
type Rewrite = fn(&[u8]) -> Option<Vec<u8>>;

/// One record of every kind, with every field set, and how that kind is read and written again.
fn kinds() -> Vec<(&'static str, Vec<u8>, Rewrite)> {
    let items = sample().items;
    let (root, created) = (Ino(300), Timestamp(-9));
    let name = b"films\xff".to_vec();
    let bucket = Bucket {
        root,
        name,
        created,
        uid: 70_000,
        relaxed: true,
        versioned: true,
        mode: 0o640,
        locks: LockCount { count: 2, last: 300 },
    };
    let upload = Upload { created: Timestamp(5), uid: 1, gid: 2, private: true, meta: meta() };
    let part = Part {
        size: 1 << 33,
        tag: "abc".to_owned(),
        modified: Timestamp(1 << 60),
        checksums: meta().checksums,
        items: items.clone(),
    };
    let tag = Some(ContentTag::Given("abc".to_owned()));
    let version = Version { tag, mtime: Timestamp(8), size: 9, items, meta: meta() };
    let entry = Dirent { ino: Ino(1 << 40), kind: NodeKind::Fifo, shadowed: true };
    vec![
        ("inode", sample().encode(), |bytes| Inode::decode(Ino(7), bytes).ok().map(|record| record.encode())),
        ("entry", entry.encode(), |bytes| Dirent::decode(bytes).ok().map(|record| record.encode())),
        ("bucket", bucket.encode(), |bytes| Bucket::decode(Ino(300), bytes).ok().map(|record| record.encode())),
        ("upload", upload.encode(), |bytes| Upload::decode(bytes).ok().map(|record| record.encode())),
        ("part", part.encode(), |bytes| Part::decode(bytes).ok().map(|record| record.encode())),
        ("version", version.encode(), |bytes| Version::decode(bytes).ok().map(|record| record.encode())),
        ("lock", encode_lock(&lock(Some(Ino(300)))), |bytes| {
            decode_lock(String::new(), bytes).ok().map(|record| encode_lock(&record))
        }),
    ]
}

/// What can be read is read the same when it was written again.
fn reads_alike(name: &str, rewrite: Rewrite, bytes: &[u8]) -> Option<Vec<u8>> {
    let again = rewrite(bytes)?;
    assert_eq!(rewrite(&again).as_ref(), Some(&again), "{name}: {bytes:02x?}");
    Some(again)
}

#[test]
fn a_record_of_any_kind_is_read_whole_and_cut_anywhere_or_continued_it_is_refused() {
    for (name, bytes, rewrite) in kinds() {
        assert_eq!(rewrite(&bytes).as_ref(), Some(&bytes), "{name}");
        for len in 0..bytes.len() {
            // A lock cut before its inode is a valid record of an older store.
            let older = bytes[..len] == encode_lock(&lock(None))[..];
            assert_eq!(rewrite(&bytes[..len]).is_some(), older, "{name} cut at {len}");
        }
        assert_eq!(rewrite(&[&bytes[..], &[0]].concat()), None, "{name} continued");
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_refused_or_means_something_else() {
    for (name, bytes, rewrite) in kinds() {
        let (mut refused, mut read) = (0, 0);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match reads_alike(name, rewrite, &flipped) {
                None => refused += 1,
                Some(again) => {
                    assert_ne!(again, bytes, "{name}: bit {bit} means nothing");
                    read += 1;
                }
            }
        }
        assert!(refused >= 8 && read > 8, "{name}: {refused} refused, {read} read: the decoder was hardly tried");
    }
}

#[test]
fn buckets_and_uploads_of_before_there_were_modes_are_as_open_as_they_were() {
    let (name, created) = (b"films".to_vec(), Timestamp(9));
    let bucket = Bucket {
        root: Ino(5),
        name,
        created,
        uid: 1000,
        relaxed: true,
        versioned: false,
        mode: MODE_BEFORE,
        locks: LockCount::default(),
    };
    let mut old = Encoder::new();
    old.u8(1).uvarint(5).ivarint(9).uvarint(1000).u8(1).u8(0);
    assert_eq!(Bucket::decode_by_name(b"films".to_vec(), &old.finish()).unwrap(), bucket);
    let mut later = Encoder::new();
    later.u8(2).uvarint(5).ivarint(9).uvarint(1000).u8(1).u8(0).uvarint(0o600);
    assert_eq!(Bucket::decode_by_name(b"films".to_vec(), &later.finish()).unwrap(), Bucket { mode: 0o600, ..bucket });
    let upload = Upload { created: Timestamp(9), uid: 1000, gid: 7, private: false, meta: ObjectMeta::default() };
    let mut old = Encoder::new();
    old.u8(1).ivarint(9).uvarint(1000).uvarint(7).uvarint(0).uvarint(0).uvarint(0);
    assert_eq!(Upload::decode(&old.finish()).unwrap(), upload);
    let upload = Upload { private: true, ..upload };
    assert_eq!(Upload::decode(&upload.encode()).unwrap(), upload);
}

proptest! {
    #[test]
    fn a_record_of_any_kind_with_bytes_in_place_of_others_is_refused_or_read_alike(
        kind in 0_usize..7,
        at: prop::sample::Index,
        taken in 0_usize..6,
        given in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let (name, mut bytes, rewrite) = kinds().swap_remove(kind);
        // The version stays, so that the bytes behind it are decoded.
        let from = 1 + at.index(bytes.len() - 1);
        let to = bytes.len().min(from + taken);
        bytes.splice(from..to, given);
        reads_alike(name, rewrite, &bytes);
    }

    #[test]
    fn no_bytes_behind_a_version_make_a_decoder_panic(bytes: Vec<u8>) {
        for (name, sample, rewrite) in kinds() {
            reads_alike(name, rewrite, &[&sample[..1], &bytes[..]].concat());
        }
    }
}
