//! What is written: contents that neither deduplication nor a cache can recognise, made at almost no cost.
//!
//! A source is a buffer of [`BUFFER_BYTES`] that is read round and round. Before a part of it is sent, every
//! [`STAMP_EVERY`] bytes get a number that was never used before, so that no chunk of 4 KiB or more ever comes twice. The
//! buffer is longer than the blocks that stores compress together, so that its repetition does not help compression.

use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Length of a source's buffer.
const BUFFER_BYTES: usize = 4 << 20;
/// Distance of the stamps that make content unique.
const STAMP_EVERY: usize = 4096;
/// Length of a stamp.
const STAMP_BYTES: usize = 16;
/// Longest run of bytes handed out at once.
const PIECE_BYTES: usize = 256 << 10;

/// How content is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Does not compress, never comes twice.
    Random,
    /// Program sources: compresses about threefold, never comes twice.
    Text,
    /// Random, and the same for every object.
    Same,
}

impl Kind {
    /// The word in the tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Text => "text",
            Self::Same => "same",
        }
    }
}

/// A fast generator of random numbers (splitmix64), seeded so that runs are alike.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Numbers that depend on `seed` alone.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            part.copy_from_slice(&number[..part.len()]);
        }
    }
}

/// The text that compressible content is made of, read once.
pub(crate) struct Corpus(Vec<u8>);

impl Corpus {
    /// Program sources found on this machine: those of the crates cargo has unpacked, else those of this repository.
    pub(crate) fn gather() -> Rc<Self> {
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let mut text = Vec::new();
        if let Some(cargo) = cargo {
            collect(&cargo.join("registry/src"), &mut text);
        }
        if text.len() < BUFFER_BYTES {
            collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut text);
        }
        if text.is_empty() {
            text.extend_from_slice(include_bytes!("content.rs"));
        }
        Rc::new(Self(text))
    }

    /// Fills `bytes` with text from about `start` on.
    pub(crate) fn fill(&self, bytes: &mut [u8], start: usize) {
        let mut from = start % self.0.len();
        let mut filled = 0;
        while filled < bytes.len() {
            let take = (self.0.len() - from).min(bytes.len() - filled);
            bytes[filled..filled + take].copy_from_slice(&self.0[from..from + take]);
            filled += take;
            from = 0;
        }
    }
}

/// Enough text for every client to start elsewhere.
const CORPUS_BYTES_MAX: usize = 64 << 20;

fn collect(folder: &Path, text: &mut Vec<u8>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if text.len() >= CORPUS_BYTES_MAX {
            return;
        }
        if path.is_dir() && !path.ends_with("target") && !path.is_symlink() {
            collect(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
}

/// An endless supply of objects for one client.
pub(crate) struct Source {
    kind: Kind,
    buffer: Vec<u8>,
    at: usize,
    stamps: Random,
    /// Bytes until the one that is to be changed.
    change: Option<u64>,
}

impl Source {
    /// The source of client `client` in the measurement `epoch`; no two pairs share content, [`Kind::Same`] aside.
    pub(crate) fn new(kind: Kind, corpus: &Corpus, epoch: u64, client: usize) -> Self {
        let mut stamps = Random::new((epoch << 16) | client as u64);
        let mut buffer = vec![0; BUFFER_BYTES];
        match kind {
            Kind::Random => Random::new(stamps.next()).fill(&mut buffer),
            Kind::Text => corpus.fill(&mut buffer, stamps.next() as usize),
            Kind::Same => Random::new(0).fill(&mut buffer),
        }
        Self { kind, buffer, at: 0, stamps, change: None }
    }

    /// Begins an object.
    pub(crate) fn start_object(&mut self) {
        if self.kind == Kind::Same || self.at == self.buffer.len() {
            self.at = 0;
        }
    }

    /// Changes the byte at `offset` of the next object, a multiple of [`STAMP_EVERY`] and short of a buffer's end.
    pub(crate) fn change_at(&mut self, offset: u64) {
        self.change = Some(offset);
    }

    /// The next bytes of the object, of which `left` remain: as many as are handed out at once, none when `left` is zero.
    pub(crate) fn piece(&mut self, left: u64) -> &[u8] {
        if self.at == self.buffer.len() {
            self.at = 0;
        }
        let length = (self.buffer.len() - self.at).min(PIECE_BYTES);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        let piece = &mut self.buffer[self.at..self.at + length];
        for place in piece.chunks_mut(STAMP_EVERY) {
            let number = self.stamps.next();
            if self.kind != Kind::Same && place.len() >= STAMP_BYTES {
                stamp(&mut place[..STAMP_BYTES], number, self.kind);
            }
        }
        if let Some(offset) = &mut self.change {
            match usize::try_from(*offset) {
                // The byte is part of a stamp, which is written anew in the next round.
                Ok(place) if place < length => {
                    piece[place] ^= 1;
                    self.change = None;
                }
                _ => *offset -= length as u64,
            }
        }
        // The next piece starts on a stamp again.
        let start = self.at;
        self.at += length.next_multiple_of(STAMP_EVERY);
        &self.buffer[start..start + length]
    }

    /// A whole object in memory, for small ones and for comparing.
    pub(crate) fn object(&mut self, bytes: u64) -> Vec<u8> {
        self.start_object();
        let mut object = Vec::new();
        while (object.len() as u64) < bytes {
            let left = bytes - object.len() as u64;
            let piece = self.piece(left);
            object.extend_from_slice(piece);
        }
        object
    }
}

fn stamp(place: &mut [u8], number: u64, kind: Kind) {
    if kind == Kind::Text {
        for (index, byte) in place.iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (4 * index)) as usize & 15];
        }
    } else {
        place[..8].copy_from_slice(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_page_ever_comes_twice() {
        let corpus = Corpus(b"fn main() { println!(); }\n".repeat(1000));
        for kind in [Kind::Random, Kind::Text] {
            let mut seen = BTreeSet::new();
            for client in 0..2 {
                let mut source = Source::new(kind, &corpus, 7, client);
                for bytes in [4096, 100, 9 << 20, 5000] {
                    let object = source.object(bytes);
                    assert_eq!(object.len() as u64, bytes);
                    for page in object.chunks_exact(STAMP_EVERY) {
                        assert!(seen.insert(page.to_vec()), "a page of {bytes} bytes of {kind:?} came twice");
                    }
                }
            }
        }
    }

    #[test]
    fn a_change_is_one_byte_of_one_object() {
        let corpus = Corpus(vec![b' '; 10]);
        let source = || Source::new(Kind::Random, &corpus, 1, 1);
        let (mut one, mut other) = (source(), source());
        other.change_at(5 << 20);
        let (plain, changed) = (one.object(9 << 20), other.object(9 << 20));
        let differ: Vec<usize> = (0..plain.len()).filter(|at| plain[*at] != changed[*at]).collect();
        assert_eq!(differ, [5 << 20]);
        assert_eq!(one.object(9 << 20), other.object(9 << 20));
    }

    #[test]
    fn the_same_object_is_the_same_for_every_client() {
        let corpus = Corpus(vec![b' '; 10]);
        let mut one = Source::new(Kind::Same, &corpus, 1, 1);
        let mut other = Source::new(Kind::Same, &corpus, 2, 2);
        other.object(77);
        assert_eq!(one.object(10_000), other.object(10_000));
    }
}
