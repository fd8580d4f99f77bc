//! CopyObject: by reference, no data moves.

use s3s::dto::{CopyObjectInput, CopyObjectResult, ETag};
use s3s::{S3ErrorCode, S3Result};

use super::write::{ChecksumFields, copy_source};
use crate::conditions::Conditions;
use crate::context::Context;
use crate::door::{Shared, timestamp};
use crate::error::{from_namespace, refuse};
use crate::headers::object_meta;

impl Shared {
    pub(super) fn copy(&self, cx: &Context, input: &CopyObjectInput) -> S3Result<CopyObjectResult> {
        let (from_bucket, from_key) = copy_source(&input.copy_source)?;
        let directive = input.metadata_directive.as_ref().map_or("COPY", |directive| directive.as_str());
        let meta = match directive {
            "COPY" => None,
            "REPLACE" => Some(object_meta(&cx.headers)?),
            _ => return Err(refuse(S3ErrorCode::InvalidArgument, "unknown metadata directive")),
        };
        if meta.is_none() && from_bucket == input.bucket && from_key == input.key {
            return Err(refuse(
                S3ErrorCode::InvalidRequest,
                "this copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes",
            ));
        }
        self.expect_owner(cx, &input.bucket, "x-amz-expected-bucket-owner")?;
        self.expect_owner(cx, &from_bucket, "x-amz-source-expected-bucket-owner")?;
        let conditions = Conditions::of_copy_source(&cx.headers)?;
        let target = Conditions::for_write(&cx.headers)?;
        // Dates are checked here; the ETags again in the commit, so that the source cannot change in between.
        let source = self.ns.head_object(&cx.op, &from_bucket, from_key.as_bytes()).map_err(from_namespace)?;
        conditions.allow_copy(&source)?;
        let (from, to) = ((from_bucket.as_str(), from_key.as_bytes()), (input.bucket.as_str(), input.key.as_bytes()));
        let info = self.ns.copy_object(&cx.op, from, &conditions.etags(), to, &target, meta).map_err(from_namespace)?;
        let sums = ChecksumFields::of(&info.meta.checksums);
        Ok(CopyObjectResult {
            e_tag: Some(ETag::Strong(strata_etag::of(&info.tag))),
            last_modified: Some(timestamp(info.attr.mtime)),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            checksum_type: sums.kind.map(Into::into),
        })
    }
}
