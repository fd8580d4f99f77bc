//! Multipart uploads: create, parts sent or copied, complete, abort.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use s3s::dto::{
    CompleteMultipartUploadInput, CompletedPart, CopyPartResult, CreateMultipartUploadInput, ETag, UploadPartCopyInput,
    UploadPartInput,
};
use s3s::{S3Error, S3ErrorCode, S3Result};
use strata_namespace::{ObjectInfo, ObjectMeta, PartInfo, Reader, UploadInfo, Whole};

use super::write::{ChecksumFields, copy_source};
use crate::blocking::{blocking, toiling};
use crate::checksum::{ALGORITHMS, Algorithm, Hasher, check_form, combine, composite};
use crate::conditions::Conditions;
use crate::context::Context;
use crate::door::{Shared, timestamp};
use crate::error::{from_content, from_namespace, refuse};
use crate::etag::Etag;
use crate::headers::object_meta;
use crate::ingest::take_in;
use crate::range;

/// Most parts of one upload: the limit of S3.
const PARTS_MAX: usize = 10_000;
/// Parts asked of the name space at a time.
const PARTS_PAGE_LEN: usize = 1000;
/// Largest part in bytes: the limit of S3.
const PART_LEN_MAX: u64 = 5 << 30;
/// Bytes read at a time to hash a copied part.
const PIECE_LEN: u64 = 1024 * 1024;

/// Under these names an upload remembers which checksum its client asked for. They are no headers of the object.
const ALGORITHM: &str = "x-amz-checksum-algorithm";
const KIND: &str = "x-amz-checksum-type";

/// The checksum an upload was begun with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UploadChecksum {
    pub(super) algorithm: Algorithm,
    /// Over the whole content; otherwise over the checksums of the parts.
    pub(super) whole: bool,
}

impl UploadChecksum {
    /// The checksum of an upload whose client asked for none, as in S3.
    const DEFAULT: Self = Self { algorithm: Algorithm::Crc64Nvme, whole: true };

    /// # Errors
    /// `InvalidRequest` for unknown algorithms and combinations that S3 does not have.
    fn of_request(cx: &Context) -> S3Result<Option<Self>> {
        let bad = |what: &str| refuse(S3ErrorCode::InvalidRequest, what.to_owned());
        let Some(name) = cx.header(ALGORITHM) else {
            return if cx.header(KIND).is_some() {
                Err(bad("x-amz-checksum-type needs x-amz-checksum-algorithm"))
            } else {
                Ok(None)
            };
        };
        let algorithm = Algorithm::of_name(name).ok_or_else(|| bad("checksum algorithm provided is unsupported"))?;
        let can_combine =
            combine(algorithm, &[]).is_some() || !matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256);
        let whole = match cx.header(KIND) {
            None => algorithm == Algorithm::Crc64Nvme,
            Some("FULL_OBJECT") if can_combine => true,
            Some("COMPOSITE") if algorithm != Algorithm::Crc64Nvme => false,
            Some(_) => return Err(bad("this checksum type cannot be used with this checksum algorithm")),
        };
        Ok(Some(Self { algorithm, whole }))
    }

    /// What an upload remembers.
    pub(super) fn of_meta(meta: &ObjectMeta) -> Option<Self> {
        let algorithm = Algorithm::of_name(meta.system.get(ALGORITHM)?)?;
        Some(Self { algorithm, whole: meta.system.get(KIND).is_some_and(|kind| kind == "FULL_OBJECT") })
    }

    pub(super) fn kind(self) -> &'static str {
        if self.whole { "FULL_OBJECT" } else { "COMPOSITE" }
    }

    /// Lets a part or a completion through that names the algorithm of its upload, or none.
    ///
    /// # Errors
    /// `InvalidRequest` for another one, as in S3.
    fn demand(self, given: Option<Algorithm>) -> S3Result<()> {
        match given {
            Some(given) if given != self.algorithm => Err(refuse(
                S3ErrorCode::InvalidRequest,
                format!(
                    "checksum type mismatch occurred, expected checksum type: {}, actual checksum type: {}",
                    self.algorithm.name(),
                    given.name()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The checksum of the whole from its parts; `None` if a part has none.
    fn of_parts(self, parts: &[PartInfo]) -> Option<String> {
        let values: Option<Vec<_>> =
            parts.iter().map(|part| Some((part.checksums.get(self.algorithm.name())?.clone(), part.size))).collect();
        if self.whole { combine(self.algorithm, &values?) } else { composite(self.algorithm, &values?) }
    }
}

impl Shared {
    pub(super) fn create_upload(
        &self,
        cx: &Context,
        input: &CreateMultipartUploadInput,
    ) -> S3Result<(UploadInfo, Option<UploadChecksum>)> {
        let mut meta = object_meta(&cx.headers)?;
        let checksum = UploadChecksum::of_request(cx)?;
        if let Some(checksum) = checksum {
            meta.system.insert(ALGORITHM.to_owned(), checksum.algorithm.name().to_owned());
            meta.system.insert(KIND.to_owned(), checksum.kind().to_owned());
        }
        self.expect_owner(cx, &input.bucket, "x-amz-expected-bucket-owner")?;
        let upload =
            self.ns.create_upload(&cx.op, &input.bucket, input.key.as_bytes(), meta).map_err(from_namespace)?;
        Ok((upload, checksum))
    }

    pub(super) async fn put_part(&self, cx: &Context, input: &UploadPartInput) -> S3Result<PartInfo> {
        let number = part_number(input.part_number)?;
        let body = cx.take_body()?;
        if body.len() > PART_LEN_MAX {
            return Err(refuse(S3ErrorCode::EntityTooLarge, "a part may have at most 5 GiB"));
        }
        self.expect_owner(cx, &input.bucket, "x-amz-expected-bucket-owner")?;
        // Checked before the client sends all of the part: the upload must exist.
        let upload =
            self.ns.upload(&cx.op, &input.bucket, input.key.as_bytes(), &input.upload_id).map_err(from_namespace)?;
        let begun = UploadChecksum::of_meta(&upload.meta);
        let given = body.promise.algorithm;
        if let Some(begun) = begun {
            begun.demand(given)?;
        }
        let ingest = self.ns.ingest(&cx.op, &input.bucket).map_err(from_namespace)?;
        let taken = take_in(ingest, body, Some(begun.unwrap_or(UploadChecksum::DEFAULT).algorithm)).await?;
        let mut part = self
            .ns
            .put_part(
                &cx.op,
                &input.bucket,
                input.key.as_bytes(),
                &input.upload_id,
                number,
                taken.content,
                taken.etag,
                taken.checksums,
            )
            .map_err(from_namespace)?;
        // A checksum that nobody asked for is kept for that of the whole object, and not returned.
        let told = given.or(begun.map(|begun| begun.algorithm));
        part.checksums.retain(|name, _| told.is_some_and(|told| told.name() == name));
        Ok(part)
    }

    pub(super) async fn copy_part(&self, cx: &Arc<Context>, input: &UploadPartCopyInput) -> S3Result<CopyPartResult> {
        let number = part_number(input.part_number)?;
        let (from_bucket, from_key) = copy_source(&input.copy_source)?;
        self.expect_owner(cx, &input.bucket, "x-amz-expected-bucket-owner")?;
        self.expect_owner(cx, &from_bucket, "x-amz-source-expected-bucket-owner")?;
        let (info, reader) = self.ns.get_object(&cx.op, &from_bucket, from_key.as_bytes()).map_err(from_namespace)?;
        Conditions::of_copy_source(&cx.headers)?.allow_copy(&info)?;
        let range = range::of_copy(input.copy_source_range.as_deref(), info.attr.size)?;
        if range.end - range.start > PART_LEN_MAX {
            return Err(refuse(S3ErrorCode::EntityTooLarge, "a part may have at most 5 GiB"));
        }
        let to = (input.bucket.as_str(), input.key.as_bytes());
        let upload = self.ns.upload(&cx.op, to.0, to.1, &input.upload_id).map_err(from_namespace)?;
        let begun = UploadChecksum::of_meta(&upload.meta);
        let algorithm = begun.unwrap_or(UploadChecksum::DEFAULT).algorithm;
        let reader = Arc::new(reader);
        let (etag, checksum) = {
            let (reader, range) = (Arc::clone(&reader), range.clone());
            toiling(move || hashes_of(&reader, range, algorithm)).await?
        };
        let checksums = BTreeMap::from([(algorithm.name().to_owned(), checksum)]);
        let (ns, cx, input) = (Arc::clone(&self.ns), Arc::clone(cx), input.clone());
        let counted = move || {
            let to = (input.bucket.as_str(), input.key.as_bytes());
            ns.copy_part(&cx.op, &reader, range, to, &input.upload_id, number, etag, checksums).map_err(from_namespace)
        };
        let part = blocking(counted).await?;
        // A checksum that nobody asked for is kept for that of the whole object, and not returned.
        let told = if begun.is_some() { part.checksums } else { BTreeMap::new() };
        let sums = ChecksumFields::of(&told);
        Ok(CopyPartResult {
            e_tag: Some(ETag::Strong(part.tag)),
            last_modified: Some(timestamp(part.modified)),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
        })
    }

    pub(super) fn complete_upload(&self, cx: &Context, input: &CompleteMultipartUploadInput) -> S3Result<ObjectInfo> {
        let listed = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or_default();
        if listed.is_empty() || listed.len() > PARTS_MAX {
            return Err(refuse(S3ErrorCode::MalformedXML, "between 1 and 10000 parts must be listed"));
        }
        let parts: Vec<(u32, String)> = listed.iter().map(listed_part).collect::<S3Result<_>>()?;
        if parts.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(refuse(
                S3ErrorCode::InvalidPartOrder,
                "the list of parts was not in ascending order; parts must be ordered by part number",
            ));
        }
        let cond = Conditions::for_write(&cx.headers)?;
        self.expect_owner(cx, &input.bucket, "x-amz-expected-bucket-owner")?;
        let checksums = match self.check_parts(cx, input, listed) {
            Ok(checksums) => checksums,
            // The upload may have been completed already and the answer got lost, or is being completed now: the name space knows.
            Err(_) if self.ns.upload(&cx.op, &input.bucket, input.key.as_bytes(), &input.upload_id).is_err() => {
                BTreeMap::new()
            }
            Err(err) => return Err(err),
        };
        // Every uploaded part has an MD5 as its ETag: a list with any other is refused for that part, or for the upload.
        let etag = crate::etag::of_parts(parts.iter().map(|(_, etag)| etag.as_str())).unwrap_or_default();
        let whole = Whole { tag: strata_etag::read(&etag), checksums };
        self.ns
            .complete_upload(&cx.op, &input.bucket, input.key.as_bytes(), &input.upload_id, &parts, whole, &cond)
            .map_err(from_namespace)
    }

    /// Holds what the client says about size and checksums against what was uploaded. Returns the checksum of the whole.
    fn check_parts(
        &self,
        cx: &Context,
        input: &CompleteMultipartUploadInput,
        listed: &[CompletedPart],
    ) -> S3Result<BTreeMap<String, String>> {
        let upload =
            self.ns.upload(&cx.op, &input.bucket, input.key.as_bytes(), &input.upload_id).map_err(from_namespace)?;
        let begun = UploadChecksum::of_meta(&upload.meta);
        let mut kept = begun.unwrap_or(UploadChecksum::DEFAULT);
        if let Some(kind) = cx.header(KIND).filter(|kind| *kind != kept.kind()) {
            return Err(refuse(
                S3ErrorCode::InvalidRequest,
                format!(
                    "the upload was begun with the checksum type {}; the complete request says {kind}; nothing was changed",
                    kept.kind()
                ),
            ));
        }
        let said = said_checksum(cx)?;
        if let Some((algorithm, _)) = said {
            match begun {
                Some(begun) => begun.demand(Some(algorithm))?,
                None => kept.algorithm = algorithm,
            }
        }
        let stored = self.listed_parts(cx, input, listed)?;
        for (part, listed) in stored.iter().zip(listed) {
            for algorithm in ALGORITHMS {
                let Some(said) = part_value(listed, algorithm) else {
                    continue;
                };
                if part.checksums.get(algorithm.name()) != Some(said) {
                    return Err(refuse(
                        S3ErrorCode::InvalidPart,
                        format!("part {} was not found, or its checksum differs from the one listed", part.number),
                    ));
                }
            }
        }
        if let Some(size) = input.mpu_object_size {
            let sum: u64 = stored.iter().map(|part| part.size).sum();
            if u64::try_from(size).ok() != Some(sum) {
                return Err(refuse(
                    S3ErrorCode::InvalidRequest,
                    format!("x-amz-mp-object-size is {size}, but the parts have {sum} bytes"),
                ));
            }
        }
        let whole = kept.of_parts(&stored);
        if let Some((algorithm, said)) = said {
            // The number of parts behind a composite checksum may be left out.
            let matches = whole
                .as_ref()
                .is_some_and(|whole| *whole == said || whole.split_once('-').is_some_and(|(digest, _)| digest == said));
            if !matches {
                return Err(refuse(
                    S3ErrorCode::BadDigest,
                    format!(
                        "the {} you specified did not match the calculated checksum",
                        algorithm.name().to_uppercase()
                    ),
                ));
            }
        }
        Ok(whole.map(|whole| (kept.algorithm.name().to_owned(), whole)).into_iter().collect())
    }

    /// The stored parts that the client listed, in its order.
    fn listed_parts(
        &self,
        cx: &Context,
        input: &CompleteMultipartUploadInput,
        listed: &[CompletedPart],
    ) -> S3Result<Vec<PartInfo>> {
        let mut stored: Vec<PartInfo> = Vec::new();
        loop {
            let after = stored.last().map_or(0, |part| part.number);
            let (page, more) = self
                .ns
                .parts(&cx.op, &input.bucket, input.key.as_bytes(), &input.upload_id, after, PARTS_PAGE_LEN)
                .map_err(from_namespace)?;
            stored.extend(page);
            if !more {
                break;
            }
        }
        listed
            .iter()
            .map(|part| {
                let number = part_number(part.part_number.unwrap_or(0))?;
                let found =
                    stored.binary_search_by_key(&number, |part| part.number).ok().map(|index| stored[index].clone());
                found.ok_or_else(|| {
                    refuse(
                        S3ErrorCode::InvalidPart,
                        format!("part {number} was not found; it may not have been uploaded"),
                    )
                })
            })
            .collect()
    }

    pub(super) fn abort_upload(&self, cx: &Context, bucket: &str, key: &str, upload: &str) -> S3Result<()> {
        self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner")?;
        self.ns.abort_upload(&cx.op, bucket, key.as_bytes(), upload).map_err(from_namespace)
    }
}

/// A number that a part may have.
pub(super) fn part_number(number: i32) -> Result<u32, S3Error> {
    let number = u32::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(&(*number as usize)));
    number.ok_or_else(|| refuse(S3ErrorCode::InvalidArgument, "part number must be an integer between 1 and 10000"))
}

fn listed_part(part: &CompletedPart) -> S3Result<(u32, String)> {
    let (Some(number), Some(etag)) = (part.part_number, part.e_tag.as_ref()) else {
        return Err(refuse(S3ErrorCode::MalformedXML, "every part needs a PartNumber and an ETag"));
    };
    Ok((part_number(number)?, etag.value().trim_matches('"').to_owned()))
}

fn part_value(part: &CompletedPart, algorithm: Algorithm) -> Option<&String> {
    match algorithm {
        Algorithm::Crc32 => part.checksum_crc32.as_ref(),
        Algorithm::Crc32c => part.checksum_crc32c.as_ref(),
        Algorithm::Crc64Nvme => part.checksum_crc64nvme.as_ref(),
        Algorithm::Sha1 => part.checksum_sha1.as_ref(),
        Algorithm::Sha256 => part.checksum_sha256.as_ref(),
    }
}

/// The checksum of the whole that a completing client sends along.
fn said_checksum(cx: &Context) -> S3Result<Option<(Algorithm, String)>> {
    let mut said = None;
    for algorithm in ALGORITHMS {
        let Some(value) = cx.header(algorithm.header()) else {
            continue;
        };
        if !value.contains('-') {
            check_form(algorithm, value)?;
        }
        if said.replace((algorithm, value.to_owned())).is_some() {
            return Err(refuse(S3ErrorCode::InvalidRequest, "expecting a single x-amz-checksum- header"));
        }
    }
    Ok(said)
}

/// The ETag and a checksum of a range.
fn hashes_of(reader: &Reader, range: Range<u64>, algorithm: Algorithm) -> S3Result<(String, String)> {
    let (mut etag, mut checksum) = (Etag::new(), Hasher::new(algorithm));
    let mut offset = range.start;
    while offset < range.end {
        let len = usize::try_from(PIECE_LEN.min(range.end - offset)).unwrap_or(usize::MAX);
        let piece = reader.read(offset, len).map_err(from_content)?;
        if piece.is_empty() {
            return Err(refuse(S3ErrorCode::InternalError, "the source ended before its length; nothing was copied"));
        }
        etag.update(&piece);
        checksum.update(&piece);
        offset += piece.len() as u64;
    }
    Ok((hex::encode(etag.finish()), checksum.text()))
}
