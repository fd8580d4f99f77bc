//! Events: what users see change, as it is written in the commit of the change. Format: `docs/format/events.md`.
//!
//! Decoding is strict and never panics: what decodes encodes to the same bytes.

use std::sync::Arc;

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_content::Sequence;
use strata_seam::{Ino, Timestamp};

use crate::records::tag;
use crate::types::{ContentTag, DoorNumber, NodeKind};

const FORMAT: u8 = 1;
/// Longest key in an event; a longer path is left out of it.
pub const EVENT_KEY_LEN_MAX: usize = 4096;
/// Bounds of what else is text.
const BUCKET_LEN_MAX: usize = 255;
const USER_LEN_MAX: usize = 128;
const TAG_LEN_MAX: usize = 128;

/// How the new content of a file was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Made {
    /// Sent whole, by S3 or WebDAV.
    Put = 1,
    /// Copied by reference.
    Copy = 2,
    /// An upload in parts that was completed.
    Upload = 3,
    /// What was written to a file, stored by a sync, a close, or because it had waited.
    Write = 4,
    /// Changed in place: cut, extended, a hole made, a range taken over.
    Edit = 5,
}

/// What a change did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Something was made under a new name: an empty file, a directory, a link.
    Created,
    /// A file or object has new content: one for each seal, PUT, copy or completed upload.
    Content {
        /// How it came.
        made: Made,
        /// Whether the name is new, too.
        new: bool,
        /// How many of the directories above it came with it, the nearest ones. They have no event of their own.
        dirs: u32,
    },
    /// A file got one more name.
    Linked,
    /// A name was removed.
    Removed {
        /// Whether it was the last one.
        last: bool,
        /// How many of the directories above it went with it, the nearest ones: those that only the key had made.
        dirs: u32,
    },
    /// A name became another.
    Renamed {
        /// The one before.
        from: Before,
        /// Whether two inodes took each other's name: the other one's event is in the same commit.
        exchange: bool,
    },
    /// Mode, owner, times, extended attributes or properties changed.
    Attributes,
    /// A bucket was made; the inode is its root directory.
    BucketMade,
    /// A bucket was removed.
    BucketRemoved,
    /// The rules of a bucket changed.
    BucketChanged,
    /// The store was repaired. Single changes are not reported, so a reader has to look at everything anew.
    Repaired,
}

impl What {
    /// The word for it that `strata watch` shows and its JSON has.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Content { .. } => "content",
            Self::Linked => "linked",
            Self::Removed { .. } => "removed",
            Self::Renamed { .. } => "renamed",
            Self::Attributes => "attributes",
            Self::BucketMade => "bucket-made",
            Self::BucketRemoved => "bucket-removed",
            Self::BucketChanged => "bucket-changed",
            Self::Repaired => "repaired",
        }
    }
}

/// The place of something before it was renamed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Before {
    /// The directory.
    pub parent: Ino,
    /// The bucket, if that is what was renamed.
    pub bucket: Option<Arc<str>>,
    /// As [`Event::key`].
    pub key: Option<Vec<u8>>,
}

/// One change that users see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// To which inode; 0 is none.
    pub ino: Ino,
    /// What that is.
    pub kind: NodeKind,
    /// The directory that has the name; 0 where there is none.
    pub parent: Ino,
    /// The bucket's name; empty where there is none.
    pub bucket: Arc<str>,
    /// The key in the bucket as S3 has it, with `/` at the end for a directory; empty for the bucket itself. `None` where the
    /// inode has no name any more, or one above [`EVENT_KEY_LEN_MAX`].
    pub key: Option<Vec<u8>>,
    /// The inode's change number afterwards: the order of the events of one inode.
    pub change: u64,
    /// The number of its content.
    pub version: u64,
    /// Bytes of its content.
    pub size: u64,
    /// Distinguishes the content of a file from any other, if its content or its name is new.
    pub tag: Option<ContentTag>,
    /// Who did it.
    pub uid: u32,
    /// The user's name where the door knows one.
    pub user: Option<Arc<str>>,
    /// Through which door: its number, as this build need not know the door.
    pub door: DoorNumber,
    /// When, by the clock of the store.
    pub at: Timestamp,
    /// Whether the change is in a relaxed bucket: the event may be returned once it is written.
    pub relaxed: bool,
}

/// An event and its place in the order of all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventAt {
    /// Its place.
    pub sequence: Sequence,
    /// What it says.
    pub event: Event,
}

const CREATED: u8 = 1;
const CONTENT: u8 = 2;
const LINKED: u8 = 3;
const REMOVED: u8 = 4;
const RENAMED: u8 = 5;
const ATTRIBUTES: u8 = 6;
const BUCKET_MADE: u8 = 7;
const BUCKET_REMOVED: u8 = 8;
const BUCKET_CHANGED: u8 = 9;
const REPAIRED: u8 = 10;

const RELAXED: u8 = 1;
const HAS_KEY: u8 = 2;
const HAS_USER: u8 = 4;
/// The name is new, or the last one, or two were exchanged.
const WHOLLY: u8 = 8;
const HAD_KEY: u8 = 16;
const HAD_BUCKET: u8 = 32;

const NO_DOOR: WireError = WireError::Invalid("an event of no door");

const NO_TAG: u8 = 0;
const TAG_DIGEST: u8 = 1;
const TAG_COUNTED: u8 = 2;
const TAG_TEXT: u8 = 3;

impl Event {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let key_len = |key: &Option<Vec<u8>>| key.as_ref().map_or(0, Vec::len);
        let mut out = Encoder::with_capacity(80 + self.bucket.len() + key_len(&self.key));
        let (mut had_key, mut had_bucket, mut wholly) = (false, false, false);
        let kind = match &self.what {
            What::Created => CREATED,
            What::Content { new, .. } => {
                wholly = *new;
                CONTENT
            }
            What::Linked => LINKED,
            What::Removed { last, .. } => {
                wholly = *last;
                REMOVED
            }
            What::Renamed { from, exchange } => {
                (had_key, had_bucket, wholly) = (from.key.is_some(), from.bucket.is_some(), *exchange);
                RENAMED
            }
            What::Attributes => ATTRIBUTES,
            What::BucketMade => BUCKET_MADE,
            What::BucketRemoved => BUCKET_REMOVED,
            What::BucketChanged => BUCKET_CHANGED,
            What::Repaired => REPAIRED,
        };
        let flags = [
            (self.relaxed, RELAXED),
            (self.key.is_some(), HAS_KEY),
            (self.user.is_some(), HAS_USER),
            (wholly, WHOLLY),
            (had_key, HAD_KEY),
            (had_bucket, HAD_BUCKET),
        ];
        let flags: u8 = flags.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        out.u8(FORMAT).u8(kind).u8(flags).u8(self.door.get() << 4 | self.kind as u8);
        out.raw(&self.at.0.to_le_bytes());
        out.uvarint(self.ino.0).uvarint(self.parent.0).uvarint(self.change);
        out.uvarint(self.version).uvarint(self.size).uvarint(u64::from(self.uid));
        if let Some(user) = &self.user {
            out.bytes(user.as_bytes());
        }
        out.bytes(self.bucket.as_bytes());
        if let Some(key) = &self.key {
            out.bytes(key);
        }
        encode_tag(&mut out, self.tag.as_ref());
        match &self.what {
            What::Content { made, dirs, .. } => {
                out.u8(*made as u8).uvarint(u64::from(*dirs));
            }
            What::Removed { dirs, .. } => {
                out.uvarint(u64::from(*dirs));
            }
            What::Renamed { from, .. } => {
                out.uvarint(from.parent.0);
                if let Some(bucket) = &from.bucket {
                    out.bytes(bucket.as_bytes());
                }
                if let Some(key) = &from.key {
                    out.bytes(key);
                }
            }
            _ => {}
        }
        out.finish()
    }

    /// Reads an event of a commit.
    ///
    /// # Errors
    /// [`WireError`] where it is none, or of a newer kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("an event", FORMAT)?;
        let (what, flags, who) = (input.u8()?, input.u8()?, input.u8()?);
        let (door, kind) = (DoorNumber::read(who >> 4).ok_or(NO_DOOR)?, crate::records::kind(who & 15)?);
        let at = Timestamp(i64::from_le_bytes(input.array()?));
        let (ino, parent, change) = (Ino(input.uvarint()?), Ino(input.uvarint()?), input.uvarint()?);
        let (version, size, uid) = (input.uvarint()?, input.uvarint()?, input.uvarint32()?);
        let user = if flags & HAS_USER != 0 { Some(text(input.bytes(USER_LEN_MAX)?)?) } else { None };
        let bucket = text(input.bytes(BUCKET_LEN_MAX)?)?;
        let key = if flags & HAS_KEY != 0 { Some(input.bytes(EVENT_KEY_LEN_MAX)?.to_vec()) } else { None };
        let tag = decode_tag(&mut input)?;
        let mut known = RELAXED | HAS_KEY | HAS_USER;
        let what = match what {
            CREATED => What::Created,
            CONTENT => {
                known |= WHOLLY;
                What::Content { made: made_of(input.u8()?)?, new: flags & WHOLLY != 0, dirs: input.uvarint32()? }
            }
            LINKED => What::Linked,
            REMOVED => {
                known |= WHOLLY;
                What::Removed { last: flags & WHOLLY != 0, dirs: input.uvarint32()? }
            }
            RENAMED => {
                known |= HAD_KEY | HAD_BUCKET | WHOLLY;
                let parent = Ino(input.uvarint()?);
                let bucket = if flags & HAD_BUCKET != 0 { Some(text(input.bytes(BUCKET_LEN_MAX)?)?) } else { None };
                let key = if flags & HAD_KEY != 0 { Some(input.bytes(EVENT_KEY_LEN_MAX)?.to_vec()) } else { None };
                What::Renamed { from: Before { parent, bucket, key }, exchange: flags & WHOLLY != 0 }
            }
            ATTRIBUTES => What::Attributes,
            BUCKET_MADE => What::BucketMade,
            BUCKET_REMOVED => What::BucketRemoved,
            BUCKET_CHANGED => What::BucketChanged,
            REPAIRED => What::Repaired,
            _ => return Err(WireError::Invalid("an event of a kind this build does not know")),
        };
        if flags & !known != 0 {
            return Err(WireError::Invalid("unknown flags of an event"));
        }
        input.finish()?;
        let relaxed = flags & RELAXED != 0;
        Ok(Self { what, ino, kind, parent, bucket, key, change, version, size, tag, uid, user, door, at, relaxed })
    }

    /// Whether it is about a key of `bucket` that begins with `prefix`, by its name now or the one before. If a directory is renamed, removed
    /// or thrown away, that also concerns the keys below it.
    #[must_use]
    pub fn concerns(&self, bucket: &str, prefix: &[u8]) -> bool {
        // A directory takes everything below it along: in a rename, and in a move to a trash in another bucket (removed here, linked there).
        let takes_along =
            matches!(self.what, What::Renamed { .. } | What::Linked | What::Removed { .. } | What::BucketRemoved);
        let goes_with_all = takes_along && self.kind == NodeKind::Directory;
        let within = |bucket_of: &str, key: &Option<Vec<u8>>| {
            let above = |key: &[u8]| goes_with_all && prefix.starts_with(key);
            bucket_of == bucket && key.as_ref().map_or(prefix.is_empty(), |key| key.starts_with(prefix) || above(key))
        };
        let before = match &self.what {
            What::Renamed { from, .. } => within(from.bucket.as_deref().unwrap_or(&self.bucket), &from.key),
            What::Repaired => true,
            _ => false,
        };
        before || within(&self.bucket, &self.key)
    }
}

fn text(bytes: &[u8]) -> Result<Arc<str>, WireError> {
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| WireError::Invalid("a text of an event that is no UTF-8"))
}

fn made_of(number: u8) -> Result<Made, WireError> {
    [Made::Put, Made::Copy, Made::Upload, Made::Write, Made::Edit]
        .into_iter()
        .find(|made| *made as u8 == number)
        .ok_or(WireError::Invalid("an event of content that came in an unknown way"))
}

/// The 16 bytes of a text of so many hex digits, and what is behind the hyphen if there is one, where the number is in its shortest form.
fn parts_of(text: &str) -> Option<([u8; 16], Option<u64>)> {
    let (digits, count) = match text.split_once('-') {
        Some((digits, text)) => {
            let count: u64 = text.parse().ok()?;
            if count.to_string() != text {
                return None;
            }
            (digits, Some(count))
        }
        None => (text, None),
    };
    Some((tag::digest_of(digits)?, count))
}

fn encode_tag(out: &mut Encoder, tag: Option<&ContentTag>) {
    let text = tag.map(tag::written);
    match text.as_deref().map(|text| (text, parts_of(text))) {
        None => out.u8(NO_TAG),
        Some((_, Some((digest, None)))) => out.u8(TAG_DIGEST).raw(&digest),
        Some((_, Some((digest, Some(count))))) => out.u8(TAG_COUNTED).raw(&digest).uvarint(count),
        Some((text, None)) => out.u8(TAG_TEXT).bytes(text.as_bytes()),
    };
}

fn decode_tag(input: &mut Decoder<'_>) -> Result<Option<ContentTag>, WireError> {
    let hex = |digest: [u8; 16]| {
        use std::fmt::Write as _;
        digest.iter().fold(String::with_capacity(40), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let text = match input.u8()? {
        NO_TAG => return Ok(None),
        TAG_DIGEST => hex(input.array()?),
        TAG_COUNTED => format!("{}-{}", hex(input.array()?), input.uvarint()?),
        TAG_TEXT => {
            let text = text(input.bytes(TAG_LEN_MAX)?)?;
            if parts_of(&text).is_some() {
                return Err(WireError::Invalid("a tag of an event that is not in its shortest form"));
            }
            text.to_string()
        }
        _ => return Err(WireError::Invalid("a tag of an event in a form this build does not know")),
    };
    Ok(Some(tag::read(text)))
}

#[cfg(test)]
mod tests;
