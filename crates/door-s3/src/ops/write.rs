//! PutObject, and what PostObject stores.

use std::collections::BTreeMap;

use s3s::{S3ErrorCode, S3Result};
use strata_namespace::{ObjectInfo, ObjectMeta};

use crate::body::Upload;
use crate::checksum::Algorithm;
use crate::conditions::Conditions;
use crate::context::Context;
use crate::door::Shared;
use crate::error::{from_namespace, refuse};
use crate::headers::object_meta;
use crate::ingest::take_in;

impl Shared {
    pub(super) async fn put(&self, cx: &Context, bucket: &str, key: &str) -> S3Result<ObjectInfo> {
        let meta = object_meta(&cx.headers)?;
        let body = cx.take_body()?;
        self.store(cx, bucket, key, meta, body).await
    }

    /// Takes a body in and makes it the object `key`. Fails early where it can: before the client has sent it all.
    pub(crate) async fn store(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        mut meta: ObjectMeta,
        body: Upload,
    ) -> S3Result<ObjectInfo> {
        let cond = Conditions::for_write(&cx.headers)?;
        self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner")?;
        self.ns.check_locks_of_object(&cx.op, bucket, key.as_bytes()).map_err(from_namespace)?;
        let ingest = self.ns.ingest(&cx.op, bucket).map_err(from_namespace)?;
        // As in S3, every object has a checksum of its whole, whatever its client sent.
        let own = body.promise.algorithm.is_none().then_some(Algorithm::Crc64Nvme);
        let taken = take_in(ingest, body, own).await?;
        meta.checksums = taken.checksums;
        self.ns
            .put_object(
                &cx.op,
                bucket,
                key.as_bytes(),
                taken.content,
                Some(strata_etag::read(&taken.etag)),
                meta,
                &cond,
            )
            .map_err(from_namespace)
    }
}

/// The checksums of an object or part, as the fields of an answer.
pub(super) struct ChecksumFields {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) kind: Option<String>,
}

impl ChecksumFields {
    pub(super) fn of(map: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| map.get(name).cloned();
        let composite = map.values().any(|value| value.contains('-'));
        let kind = (!map.is_empty()).then(|| if composite { "COMPOSITE" } else { "FULL_OBJECT" }.to_owned());
        Self {
            crc32: get("crc32"),
            crc32c: get("crc32c"),
            crc64nvme: get("crc64nvme"),
            sha1: get("sha1"),
            sha256: get("sha256"),
            kind,
        }
    }
}

/// Bucket and key of a copy's source.
pub(super) fn copy_source(source: &s3s::dto::CopySource) -> S3Result<(String, String)> {
    match source {
        s3s::dto::CopySource::Bucket { bucket, key, version_id } => {
            crate::door::only_present_version(version_id.as_deref())?;
            Ok((bucket.to_string(), key.to_string()))
        }
        s3s::dto::CopySource::AccessPoint { .. } | s3s::dto::CopySource::Outpost { .. } => {
            Err(refuse(S3ErrorCode::InvalidArgument, "the copy source must be bucket/key"))
        }
    }
}
