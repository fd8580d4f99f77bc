//! GetObjectAttributes: what is known about an object, without the object.

use s3s::dto::{
    Checksum, ETag, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts, ObjectAttributes,
    ObjectPart, StorageClass,
};
use s3s::{S3ErrorCode, S3Result};
use strata_namespace::ObjectInfo;

use super::write::ChecksumFields;
use crate::context::Context;
use crate::door::{Shared, only_present_version, timestamp};
use crate::error::{from_namespace, refuse};
use crate::keys::page_len;

impl Shared {
    pub(super) fn attributes(
        &self,
        cx: &Context,
        input: &GetObjectAttributesInput,
    ) -> S3Result<GetObjectAttributesOutput> {
        only_present_version(input.version_id.as_deref())?;
        // The header may be a list and may come more than once.
        let asked: Vec<&str> = cx
            .headers
            .get_all("x-amz-object-attributes")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .collect();
        let known = [
            ObjectAttributes::ETAG,
            ObjectAttributes::CHECKSUM,
            ObjectAttributes::OBJECT_PARTS,
            ObjectAttributes::STORAGE_CLASS,
            ObjectAttributes::OBJECT_SIZE,
        ];
        if asked.is_empty() || asked.iter().any(|name| !known.contains(name)) {
            return Err(refuse(S3ErrorCode::InvalidArgument, "invalid attribute name specified"));
        }
        self.expect_owner(cx, &input.bucket, "x-amz-expected-bucket-owner")?;
        let info = self.ns.head_object(&cx.op, &input.bucket, input.key.as_bytes()).map_err(from_namespace)?;
        let wants = |name: &str| asked.contains(&name);
        let size = |len: u64| i64::try_from(len).unwrap_or(i64::MAX);
        Ok(GetObjectAttributesOutput {
            last_modified: Some(timestamp(info.attr.mtime)),
            e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(strata_etag::of(&info.tag))),
            object_size: wants(ObjectAttributes::OBJECT_SIZE).then(|| size(info.attr.size)),
            storage_class: wants(ObjectAttributes::STORAGE_CLASS)
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            checksum: wants(ObjectAttributes::CHECKSUM).then(|| checksum(&info)).flatten(),
            object_parts: if wants(ObjectAttributes::OBJECT_PARTS) { parts(&info, input)? } else { None },
            ..GetObjectAttributesOutput::default()
        })
    }
}

fn checksum(info: &ObjectInfo) -> Option<Checksum> {
    if info.meta.checksums.is_empty() {
        return None;
    }
    let sums = ChecksumFields::of(&info.meta.checksums);
    Some(Checksum {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind.map(Into::into),
    })
}

fn parts(info: &ObjectInfo, input: &GetObjectAttributesInput) -> S3Result<Option<GetObjectAttributesParts>> {
    if info.parts.is_empty() {
        return Ok(None);
    }
    let limit = page_len(input.max_parts)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let skip = usize::try_from(marker)
        .map_err(|_| refuse(S3ErrorCode::InvalidArgument, "the part number marker must not be negative"))?;
    let number = |index: usize| i32::try_from(index).unwrap_or(i32::MAX);
    let page = info.parts.iter().enumerate().skip(skip).take(limit).map(|(index, len)| ObjectPart {
        part_number: Some(number(index + 1)),
        size: Some(i64::try_from(*len).unwrap_or(i64::MAX)),
        ..ObjectPart::default()
    });
    let page: Vec<_> = page.collect();
    Ok(Some(GetObjectAttributesParts {
        // As in S3, a page of nothing is the last one.
        is_truncated: Some(limit > 0 && skip + page.len() < info.parts.len()),
        max_parts: Some(number(limit)),
        next_part_number_marker: Some(page.last().and_then(|part| part.part_number).unwrap_or(marker)),
        part_number_marker: Some(marker),
        total_parts_count: Some(number(info.parts.len())),
        parts: Some(page),
    }))
}
