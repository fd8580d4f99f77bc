//! Unfinished uploads with their parts, and earlier versions: what owns content beside inodes.

use std::collections::BTreeMap;

use strata_chunk::Item;
use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_seam::Timestamp;

use super::parts::{
    FORMAT, FORMAT_WITH_MODE, decode_items, decode_map, encode_items, encode_map, flag, second_format, text,
};
use super::tag;
use crate::types::{ContentTag, ObjectMeta};

/// A multipart upload; bucket, key and id are in its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upload {
    /// When it was begun.
    pub created: Timestamp,
    /// Who began it.
    pub uid: u32,
    /// The group of the user who began it.
    pub gid: u32,
    /// The object is for its owner alone.
    pub private: bool,
    /// What the object is to have.
    pub meta: ObjectMeta,
}

impl Upload {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(64);
        out.u8(FORMAT_WITH_MODE).ivarint(self.created.0).uvarint(u64::from(self.uid)).uvarint(u64::from(self.gid));
        out.u8(u8::from(self.private));
        for map in [&self.meta.system, &self.meta.user, &self.meta.checksums] {
            encode_map(&mut out, map);
        }
        out.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        let with_mode = second_format(&mut input, "an upload")?;
        let upload = Self {
            created: Timestamp(input.ivarint()?),
            uid: input.uvarint32()?,
            gid: input.uvarint32()?,
            private: with_mode && flag(input.u8()?)?,
            meta: ObjectMeta {
                system: decode_map(&mut input)?,
                user: decode_map(&mut input)?,
                checksums: decode_map(&mut input)?,
            },
        };
        input.finish()?;
        Ok(upload)
    }
}

/// A part of an upload; upload and number are in its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its length in bytes.
    pub size: u64,
    /// Its tag, as the door gave it.
    pub tag: String,
    /// When it was stored.
    pub modified: Timestamp,
    /// Checksums by algorithm.
    pub checksums: BTreeMap<String, String>,
    /// Its content.
    pub items: Vec<Item>,
}

impl Part {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(96 + self.items.len() * 40);
        out.u8(FORMAT).uvarint(self.size).bytes(self.tag.as_bytes()).ivarint(self.modified.0);
        encode_map(&mut out, &self.checksums);
        encode_items(&mut out, &self.items);
        out.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a part", FORMAT)?;
        let part = Self {
            size: input.uvarint()?,
            tag: text(&mut input)?,
            modified: Timestamp(input.ivarint()?),
            checksums: decode_map(&mut input)?,
            items: decode_items(&mut input)?,
        };
        input.finish()?;
        Ok(part)
    }
}

/// An earlier version of an inode's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// The tag, where one came with the content.
    pub tag: Option<ContentTag>,
    /// When the content was last changed.
    pub mtime: Timestamp,
    /// Its length in bytes.
    pub size: u64,
    /// The content.
    pub items: Vec<Item>,
    /// What its client gave with it.
    pub meta: ObjectMeta,
}

impl Version {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(96 + self.items.len() * 40);
        out.u8(FORMAT).bytes(self.tag.as_ref().map(tag::written).unwrap_or_default().as_bytes());
        out.ivarint(self.mtime.0).uvarint(self.size);
        encode_items(&mut out, &self.items);
        for map in [&self.meta.system, &self.meta.user, &self.meta.checksums] {
            encode_map(&mut out, map);
        }
        out.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a version", FORMAT)?;
        let version = Self {
            tag: Some(text(&mut input)?).filter(|text| !text.is_empty()).map(tag::read),
            mtime: Timestamp(input.ivarint()?),
            size: input.uvarint()?,
            items: decode_items(&mut input)?,
            meta: ObjectMeta {
                system: decode_map(&mut input)?,
                user: decode_map(&mut input)?,
                checksums: decode_map(&mut input)?,
            },
        };
        input.finish()?;
        Ok(version)
    }
}
