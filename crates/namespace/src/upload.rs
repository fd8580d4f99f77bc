//! Multipart uploads. Parts are content of their own; completing joins their manifests and moves no data.

use std::collections::BTreeMap;
use std::ops::Range;

use strata_content::{Content, Reader, Tx};
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::authority::{Action, Resource};
use crate::domain::dedup_domain;
use crate::error::{ErrorKind, Result, fail};
use crate::event::Made;
use crate::key;
use crate::namespace::Namespace;
use crate::object::NewContent;
use crate::records::{Part, Upload};
use crate::top;
use crate::types::{Condition, ContentTag, ObjectInfo, ObjectMeta, Op, PartInfo, UploadInfo, Whole};
use crate::view::{View, damaged};

/// Highest part number.
pub const PART_NUMBER_MAX: u32 = 10_000;
/// Least bytes of every part but the last.
pub const PART_LEN_MIN: u64 = 5 << 20;

/// An upload's number as clients see it.
fn parse_id(upload: &str) -> Option<[u8; 8]> {
    if upload.len() != 16 {
        return None;
    }
    u64::from_str_radix(upload, 16).ok().map(u64::to_be_bytes)
}

fn upload_key(bucket: Ino, key: &[u8], id: [u8; 8]) -> Vec<u8> {
    key::under(key::TABLE_UPLOAD, bucket, &[&key::terminated(key)[..], &id].concat())
}

fn part_key(id: [u8; 8], number: u32) -> Vec<u8> {
    key::under(key::TABLE_PART, Ino(u64::from_be_bytes(id)), &number.to_be_bytes())
}

fn decode_part(bytes: &[u8]) -> Result<Part> {
    Part::decode(bytes).map_err(|_| damaged("a part of an upload".to_owned()))
}

impl Namespace {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`] and those of names.
    pub fn create_upload(&self, op: &Op, bucket: &str, key: &[u8], meta: ObjectMeta) -> Result<UploadInfo> {
        crate::name::split_key(key)?;
        self.change(op, |tx, effects| {
            let (record, root) = self.open_bucket(tx, op, bucket)?;
            top::refuse_folders(record.root, key)?;
            self.authorize(op, Action::Add, &root.attr)?;
            effects.within(&record);
            let id = self.numbers.draw(tx)?.to_be_bytes();
            let created = self.clock.now();
            let (uid, gid, meta) = (op.caller.uid, op.caller.gid, meta.clone());
            let upload = Upload { created, uid, gid, private: op.is_private(), meta };
            tx.put(upload_key(record.root, key, id), upload.encode());
            tx.tally(&key::added(record.root.0), 1);
            Ok(upload_info(format!("{:016x}", u64::from_be_bytes(id)), key.to_vec(), upload))
        })
    }

    fn find_upload(
        &self,
        view: &mut impl View,
        op: &Op,
        bucket: &str,
        key: &[u8],
        upload: &str,
    ) -> Result<(Vec<u8>, [u8; 8], Upload, Ino)> {
        let (record, _) = self.open_bucket(view, op, bucket)?;
        let missing =
            || fail(ErrorKind::NoSuchUpload, "there is no such upload; it may have been completed or aborted");
        let id = parse_id(upload).ok_or_else(missing)?;
        let at = upload_key(record.root, key, id);
        let bytes = view.record(&at)?.ok_or_else(missing)?;
        let found = Upload::decode(&bytes).map_err(|_| damaged("an upload".to_owned()))?;
        self.authorize(op, Action::UseUpload, Resource::Of { uid: found.uid })?;
        Ok((at, id, found, record.root))
    }

    /// What is known of an unfinished upload.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`].
    pub fn upload(&self, op: &Op, bucket: &str, key: &[u8], upload: &str) -> Result<UploadInfo> {
        let mut snap = self.snap(op);
        let (_, _, found, root) = self.find_upload(&mut snap, op, bucket, key, upload)?;
        snap.bucket = root;
        Ok(upload_info(upload.to_owned(), key.to_vec(), found))
    }

    /// Stores a part; replaces one of the same number.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`], [`ErrorKind::Invalid`] for a number outside `1 ..= 10000`.
    #[allow(clippy::too_many_arguments, reason = "what a part consists of")]
    pub fn put_part(
        &self,
        op: &Op,
        bucket: &str,
        key: &[u8],
        upload: &str,
        number: u32,
        content: Content,
        tag: String,
        checksums: BTreeMap<String, String>,
    ) -> Result<PartInfo> {
        if !(1..=PART_NUMBER_MAX).contains(&number) {
            return Err(fail(ErrorKind::Invalid, format!("part numbers go from 1 to {PART_NUMBER_MAX}")));
        }
        self.change(op, |tx, effects| {
            let (_, id, _, root) = self.find_upload(tx, op, bucket, key, upload)?;
            effects.bucket = root;
            let at = part_key(id, number);
            if let Some(old) = tx.record(&at)? {
                tx.release(&decode_part(&old)?.items)?;
            }
            let (size, modified) = (content.len(), self.clock.now());
            let items = tx.attach(&content)?;
            let (tag, checksums) = (tag.clone(), checksums.clone());
            let part = Part { size, tag, modified, checksums, items };
            tx.put(at, part.encode());
            tx.tally(&key::added(u64::from_be_bytes(id)), 1);
            Ok(info(number, part))
        })
    }

    /// A part from a range of existing content, by reference.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRange`] and those of [`Namespace::put_part`].
    #[allow(clippy::too_many_arguments, reason = "what a copied part consists of")]
    pub fn copy_part(
        &self,
        op: &Op,
        from: &Reader,
        range: Range<u64>,
        to: (&str, &[u8]),
        upload: &str,
        number: u32,
        tag: String,
        checksums: BTreeMap<String, String>,
    ) -> Result<PartInfo> {
        if range.start > range.end || range.end > from.len() {
            return Err(fail(ErrorKind::InvalidRange, "the range lies outside the source"));
        }
        let items = self.store.slice(from.items(), range)?;
        let bucket = self.bucket_in(&mut self.snap(op), to.0)?.root;
        let content = self.store.content(dedup_domain(bucket), items)?;
        self.put_part(op, to.0, to.1, upload, number, content, tag, checksums)
    }

    /// Parts behind number `after`, at most `limit`; and whether more follow.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`].
    pub fn parts(
        &self,
        op: &Op,
        bucket: &str,
        key: &[u8],
        upload: &str,
        after: u32,
        limit: usize,
    ) -> Result<(Vec<PartInfo>, bool)> {
        let mut snap = self.snap(op);
        let (_, id, _, root) = self.find_upload(&mut snap, op, bucket, key, upload)?;
        snap.bucket = root;
        let from = part_key(id, after.saturating_add(1));
        let end = key::behind(key::TABLE_PART, Ino(u64::from_be_bytes(id)));
        let mut found = snap.records(&from, &end, limit.min(1000) + 1)?;
        let more = found.len() > limit.min(1000);
        found.truncate(limit.min(1000));
        let parts = found.into_iter().map(|(key, value)| Ok(info(number_of(&key)?, decode_part(&value)?)));
        Ok((parts.collect::<Result<_>>()?, more))
    }

    /// Uploads in order of key, then of id; `after` = (key, id). The flag says whether more follow.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`].
    pub fn uploads(
        &self,
        op: &Op,
        bucket: &str,
        prefix: &[u8],
        after: Option<(Vec<u8>, String)>,
        limit: usize,
    ) -> Result<(Vec<UploadInfo>, bool)> {
        let mut snap = self.snap(op);
        let (record, root) = self.open_bucket(&mut snap, op, bucket)?;
        snap.bucket = record.root;
        self.authorize(op, Action::List, &root.attr)?;
        let mut start = key::under(key::TABLE_UPLOAD, record.root, &[]);
        // Keys with the prefix lie together because the terminator sorts below every byte a key may have there.
        start.extend(key::terminated(prefix).split_last_chunk::<2>().map_or(&[][..], |(rest, _)| rest));
        let end = key::prefix_end(&start).unwrap_or_else(|| key::behind(key::TABLE_UPLOAD, record.root));
        let mut from = start;
        if let Some((key, id)) = after {
            let id = parse_id(&id).unwrap_or([0xff; 8]);
            from = from.max([&upload_key(record.root, &key, id)[..], &[0]].concat());
        }
        let limit = limit.min(1000);
        let mut found = snap.records(&from, &end, limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let uploads = found.into_iter().map(|(at, value)| {
            let upload = Upload::decode(&value).map_err(|_| damaged("an upload".to_owned()))?;
            let (key, id) =
                key::split_terminated(&at[9..]).ok_or_else(|| damaged("the key of an upload".to_owned()))?;
            let id = <[u8; 8]>::try_from(id).map_err(|_| damaged("the id of an upload".to_owned()))?;
            Ok(upload_info(format!("{:016x}", u64::from_be_bytes(id)), key, upload))
        });
        Ok((uploads.collect::<Result<_>>()?, more))
    }

    /// Makes the object from the listed parts (number and tag, in the client's order), with the tag and checksums in `whole`. One commit;
    /// no data moves. Completing again with the same parts returns the same object, also if both calls run at once.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`], [`ErrorKind::InvalidPart`], [`ErrorKind::InvalidPartOrder`],
    /// [`ErrorKind::PartTooSmall`], [`ErrorKind::PreconditionFailed`].
    #[allow(clippy::too_many_arguments, reason = "what a completion consists of")]
    pub fn complete_upload(
        &self,
        op: &Op,
        bucket: &str,
        key: &[u8],
        upload: &str,
        parts: &[(u32, String)],
        whole: Whole,
        cond: &Condition,
    ) -> Result<ObjectInfo> {
        let tag = whole.tag.clone();
        match self.join_parts(op, bucket, key, upload, parts, whole, cond) {
            // If another call completed the upload during this one, the upload may still be found and its parts not.
            Err(error)
                if matches!(error.kind, ErrorKind::NoSuchUpload | ErrorKind::InvalidPart)
                    && self.upload(op, bucket, key, upload).is_err() =>
            {
                self.completed_before(op, bucket, key, (parts, &tag), error)
            }
            done => done,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what a completion consists of")]
    fn join_parts(
        &self,
        op: &Op,
        bucket: &str,
        key: &[u8],
        upload: &str,
        parts: &[(u32, String)],
        whole: Whole,
        cond: &Condition,
    ) -> Result<ObjectInfo> {
        if parts.is_empty() || parts.len() > PART_NUMBER_MAX as usize {
            return Err(fail(ErrorKind::InvalidPart, "1 to 10000 parts have to be listed"));
        }
        if parts.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(fail(ErrorKind::InvalidPartOrder, "parts have to be listed in ascending order"));
        }
        let (mut found, mut records) = (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
        let (id, root) = {
            let mut snap = self.snap(op);
            let (_, id, _, root) = self.find_upload(&mut snap, op, bucket, key, upload)?;
            let keys: Vec<Vec<u8>> = parts.iter().map(|(number, _)| part_key(id, *number)).collect();
            for ((number, wanted), record) in parts.iter().zip(snap.records_at(&keys)?) {
                let invalid = || fail(ErrorKind::InvalidPart, format!("part {number} was not uploaded as listed"));
                let record = record.ok_or_else(invalid)?;
                let part = decode_part(&record)?;
                if part.tag != *wanted {
                    return Err(invalid());
                }
                found.push(part);
                records.push(record);
            }
            (id, root)
        };
        if let Some((n, part)) =
            found.iter().enumerate().find(|(n, part)| n + 1 < found.len() && part.size < PART_LEN_MIN)
        {
            let (number, size) = (parts[n].0, part.size);
            return Err(fail(
                ErrorKind::PartTooSmall,
                format!("part {number} has {size} bytes; only the last may be below 5 MiB"),
            ));
        }
        // Hashing the joined manifest happens outside of the change.
        let items = found.iter().flat_map(|part| part.items.clone()).collect();
        let content = self.store.content(dedup_domain(root), items)?;
        let allocated = self.store.allocated_of(&content)?;
        let meta = ObjectMeta { checksums: whole.checksums, ..ObjectMeta::default() };
        let sizes = found.iter().map(|part| part.size).collect();
        let mut new = NewContent { content, tag: Some(whole.tag), meta, parts: sizes, allocated, made: Made::Upload };
        self.seal_before_replacing(op, bucket, key)?;
        self.change(op, |tx, effects| {
            let (at, _, record, _) = self.find_upload(tx, op, bucket, key, upload)?;
            // There may be ten thousand parts: one scan reads them all, and most are compared in their stored form.
            let unused = key::behind(key::TABLE_PART, Ino(u64::from_be_bytes(id)));
            let added = key::added(u64::from_be_bytes(id));
            let present = tx.members(&added, &part_key(id, 0), &unused, PART_NUMBER_MAX as usize)?;
            let mut rest = present.iter();
            for ((number, _), expected) in parts.iter().zip(&records) {
                let at = part_key(id, *number);
                if rest.find(|(key, _)| *key >= at).is_none_or(|(key, value)| *key != at || value != expected) {
                    return Err(fail(
                        ErrorKind::InvalidPart,
                        format!("part {number} was replaced meanwhile; list it again"),
                    ));
                }
            }
            new.meta.system = record.meta.system;
            new.meta.user = record.meta.user;
            if record.private {
                op.keep_private();
            }
            let object = self.put_at(tx, effects, op, bucket, key, &new, cond)?;
            for (part_at, value) in present {
                match parts.binary_search_by_key(&number_of(&part_at)?, |(number, _)| *number) {
                    // The object takes over the references of the part.
                    Ok(listed) => tx.hand_over(&found[listed].items),
                    Err(_) => tx.release(&decode_part(&value)?.items)?,
                }
                tx.delete(part_at);
            }
            tx.delete(added);
            tx.delete(at);
            Ok(object)
        })
    }

    /// The answer to a repeated completion.
    fn completed_before(
        &self,
        op: &Op,
        bucket: &str,
        key: &[u8],
        (parts, tag): (&[(u32, String)], &ContentTag),
        error: crate::Error,
    ) -> Result<ObjectInfo> {
        match self.head_object(op, bucket, key) {
            Ok(info) if info.tag == *tag && info.parts.len() == parts.len() => Ok(info),
            _ => Err(error),
        }
    }

    /// Ends an upload without an object; its parts become garbage.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`].
    pub fn abort_upload(&self, op: &Op, bucket: &str, key: &[u8], upload: &str) -> Result<()> {
        self.change(op, |tx, effects| {
            let (at, _, _, root) = self.find_upload(tx, op, bucket, key, upload)?;
            effects.bucket = root;
            self.erase_upload(tx, &at)
        })
    }

    /// Removes an upload with its parts, if it is still there.
    pub(crate) fn erase_upload(&self, tx: &mut Tx<'_>, upload_key: &[u8]) -> Result<()> {
        let id = upload_key.last_chunk::<8>().copied().ok_or_else(|| damaged("the key of an upload".to_owned()))?;
        let end = key::behind(key::TABLE_PART, Ino(u64::from_be_bytes(id)));
        if tx.record(upload_key)?.is_none() {
            return Ok(());
        }
        let added = key::added(u64::from_be_bytes(id));
        for (at, value) in tx.members(&added, &part_key(id, 0), &end, PART_NUMBER_MAX as usize)? {
            if !planted(Bug::PartsKept) {
                tx.release(&decode_part(&value)?.items)?;
            }
            tx.delete(at);
        }
        tx.delete(added);
        tx.delete(upload_key);
        Ok(())
    }
}

fn number_of(part_key: &[u8]) -> Result<u32> {
    part_key
        .last_chunk::<4>()
        .map(|bytes| u32::from_be_bytes(*bytes))
        .ok_or_else(|| damaged("the key of a part".to_owned()))
}

fn upload_info(id: String, key: Vec<u8>, upload: Upload) -> UploadInfo {
    UploadInfo { id, key, uid: upload.uid, created: upload.created, meta: upload.meta }
}

fn info(number: u32, part: Part) -> PartInfo {
    PartInfo { number, size: part.size, tag: part.tag, modified: part.modified, checksums: part.checksums }
}
