//! ListParts and ListMultipartUploads.

use s3s::S3Result;
use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, CommonPrefix, ETag, Initiator, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part, StorageClass,
};
use s3s::{S3ErrorCode, dto::Owner};

use super::multipart::UploadChecksum;
use super::write::ChecksumFields;
use crate::context::Context;
use crate::door::{Shared, timestamp};
use crate::error::{from_namespace, refuse};
use crate::keys::{Encoding, page_len};

/// Sorts behind every upload id.
const LAST_ID: &str = "\u{10ffff}";

impl Shared {
    pub(super) fn list_parts(&self, cx: &Context, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let limit = page_len(input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let after = u32::try_from(marker)
            .map_err(|_| refuse(S3ErrorCode::InvalidArgument, "part-number-marker must not be negative"))?;
        self.bucket(cx, &input.bucket)?;
        let key = input.key.as_bytes();
        let upload = self.ns.upload(&cx.op, &input.bucket, key, &input.upload_id).map_err(from_namespace)?;
        let (parts, more) =
            self.ns.parts(&cx.op, &input.bucket, key, &input.upload_id, after, limit).map_err(from_namespace)?;
        // As in S3, a page of nothing is the last one.
        let more = more && limit > 0;
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let next = parts.last().map(|part| number(part.number));
        let checksum = UploadChecksum::of_meta(&upload.meta);
        let parts = parts.into_iter().map(|part| {
            let sums = ChecksumFields::of(&part.checksums);
            Part {
                part_number: Some(number(part.number)),
                e_tag: Some(ETag::Strong(part.tag)),
                last_modified: Some(timestamp(part.modified)),
                size: Some(i64::try_from(part.size).unwrap_or(i64::MAX)),
                checksum_crc32: sums.crc32,
                checksum_crc32c: sums.crc32c,
                checksum_crc64nvme: sums.crc64nvme,
                checksum_sha1: sums.sha1,
                checksum_sha256: sums.sha256,
            }
        });
        let owner = self.owner(upload.uid);
        Ok(ListPartsOutput {
            parts: Some(parts.collect()),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(i32::try_from(limit).unwrap_or(i32::MAX)),
            part_number_marker: Some(marker),
            next_part_number_marker: next.filter(|_| more),
            is_truncated: Some(more),
            initiator: Some(initiator(&owner)),
            owner: Some(owner),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            checksum_algorithm: checksum.map(algorithm_of),
            checksum_type: checksum.map(kind_of),
            ..ListPartsOutput::default()
        })
    }

    pub(super) fn list_uploads(
        &self,
        cx: &Context,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let encoding = Encoding::of_parameter(input.encoding_type.as_ref().map(|kind| kind.as_str()))?;
        let limit = page_len(input.max_uploads)?;
        self.bucket(cx, &input.bucket)?;
        if limit == 0 {
            // As in S3, an empty page is the last one. It needs the permission to list all the same.
            self.ns.uploads(&cx.op, &input.bucket, b"", None, 0).map_err(from_namespace)?;
        }
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let key_marker = input.key_marker.filter(|marker| !marker.is_empty());
        // As in S3, an upload id counts only together with a key; a key alone means behind all uploads of that key.
        let id_marker = input.upload_id_marker.filter(|id| key_marker.is_some() && !id.is_empty());
        let rolled_up = |key: &str| {
            id_marker.is_none() && delimiter.as_ref().is_some_and(|delimiter| key.ends_with(delimiter.as_str()))
        };
        let mut after = key_marker.as_ref().map(|key| match &id_marker {
            _ if rolled_up(key) => (behind(key.as_bytes()), LAST_ID.to_owned()),
            Some(id) => (key.as_bytes().to_vec(), id.clone()),
            None => (key.as_bytes().to_vec(), LAST_ID.to_owned()),
        });
        let (mut uploads, mut prefixes): (Vec<strata_namespace::UploadInfo>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let mut truncated = false;
        'pages: loop {
            // As in S3, a page of nothing is the last one.
            if limit == 0 {
                break;
            }
            let (page, more) = self
                .ns
                .uploads(&cx.op, &input.bucket, prefix.as_bytes(), after.clone(), limit)
                .map_err(from_namespace)?;
            for upload in page {
                if uploads.len() + prefixes.len() == limit {
                    truncated = true;
                    break 'pages;
                }
                let rolled = delimiter
                    .as_ref()
                    .and_then(|delimiter| common_prefix(&upload.key, prefix.len(), delimiter.as_bytes()));
                if let Some(rolled) = rolled {
                    after = Some((behind(&rolled), LAST_ID.to_owned()));
                    prefixes.push(rolled);
                    continue 'pages;
                }
                after = Some((upload.key.clone(), upload.id.clone()));
                uploads.push(upload);
            }
            if !more {
                break;
            }
        }
        let next = after.filter(|_| truncated);
        let shown = uploads.into_iter().map(|upload| {
            let owner = self.owner(upload.uid);
            let checksum = UploadChecksum::of_meta(&upload.meta);
            MultipartUpload {
                key: Some(encoding.write(&upload.key)),
                upload_id: Some(upload.id),
                initiated: Some(timestamp(upload.created)),
                initiator: Some(initiator(&owner)),
                owner: Some(owner),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                checksum_algorithm: checksum.map(algorithm_of),
                checksum_type: checksum.map(kind_of),
            }
        });
        Ok(ListMultipartUploadsOutput {
            uploads: Some(shown.collect()),
            common_prefixes: Some(
                prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.write(prefix)) }).collect(),
            ),
            bucket: Some(input.bucket),
            prefix: Some(encoding.write(prefix.as_bytes())),
            delimiter: delimiter.map(|delimiter| encoding.write(delimiter.as_bytes())),
            key_marker: Some(encoding.write(key_marker.unwrap_or_default().as_bytes())),
            upload_id_marker: Some(id_marker.unwrap_or_default()),
            next_key_marker: next.as_ref().map(|(key, _)| encoding.write(key.strip_suffix(&[0xff]).unwrap_or(key))),
            next_upload_id_marker: next.map(|(_, id)| id).filter(|id| id != LAST_ID),
            max_uploads: Some(i32::try_from(limit).unwrap_or(i32::MAX)),
            is_truncated: Some(truncated),
            encoding_type: input.encoding_type,
            ..ListMultipartUploadsOutput::default()
        })
    }
}

fn algorithm_of(checksum: UploadChecksum) -> ChecksumAlgorithm {
    ChecksumAlgorithm::from(checksum.algorithm.name().to_uppercase())
}

fn kind_of(checksum: UploadChecksum) -> ChecksumType {
    ChecksumType::from_static(checksum.kind())
}

/// An upload belongs to the user who began it.
fn initiator(owner: &Owner) -> Initiator {
    Initiator { display_name: owner.display_name.clone(), id: owner.id.clone() }
}

/// The place behind all keys that start with `prefix`: no UTF-8 key has a byte of 0xff.
fn behind(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[0xff]].concat()
}

/// The part of `key` up to and with the first delimiter behind the prefix.
fn common_prefix(key: &[u8], prefix_len: usize, delimiter: &[u8]) -> Option<Vec<u8>> {
    let rest = key.get(prefix_len..)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(key[..prefix_len + at + delimiter.len()].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_prefix_ends_with_the_first_delimiter_behind_the_prefix() {
        assert_eq!(common_prefix(b"a/b/c", 0, b"/"), Some(b"a/".to_vec()));
        assert_eq!(common_prefix(b"a/b/c", 2, b"/"), Some(b"a/b/".to_vec()));
        assert_eq!(common_prefix(b"a/b/c", 4, b"/"), None);
        assert_eq!(common_prefix(b"a--b", 0, b"--"), Some(b"a--".to_vec()));
    }
}
