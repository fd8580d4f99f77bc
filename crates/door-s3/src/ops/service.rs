//! The S3 library's trait, method by method: each names its operation, picks the fields it needs and hands over.
//!
//! Calls that touch one entry run where they are: they take microseconds (tests `inline` of `strata-runtime`). Calls that walk over many, or
//! over the parts or pages of one, run on a blocking thread. Every method that is missing here answers `NotImplemented`.

use std::pin::Pin;
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::read::{Head, Status, Wanted};
use super::unset;
use super::write::ChecksumFields;
use crate::blocking::blocking;
use crate::door::{FIRST_REGION, Operations, Shared, only_present_version};
use crate::error::from_namespace;
use crate::metrics::Operation;

/// Runs work over many entries on a blocking thread.
macro_rules! on_blocking_thread {
    ($door:ident, $cx:ident, $work:expr) => {{
        let (door, cx) = (Arc::clone(&$door), Arc::clone(&$cx));
        let work = $work;
        blocking(move || work(&door, &cx)).await
    }};
}

/// Methods that read a setting of a bucket which cannot be set here: what S3 answers where it never was.
macro_rules! unset {
    ($($method:ident, $operation:ident: $input:ty => $output:ty, $answer:expr;)*) => {$(
        // Written out as `async_trait` does, which does not look into macros.
        fn $method<'a, 'f>(
            &'a self,
            req: S3Request<$input>,
        ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<$output>>> + Send + 'f>>
        where
            'a: 'f,
            Self: 'f,
        {
            Box::pin(self.run(req, Operation::$operation, |door, cx, input| async move {
                door.bucket(&cx, &input.bucket)?;
                let answer: S3Result<$output> = $answer;
                answer.map(S3Response::new)
            }))
        }
    )*};
}

fn with_head<T>(output: T, head: Head) -> S3Response<T> {
    let mut response = S3Response::with_headers(output, head.headers);
    response.extensions.insert(Status(head.status));
    response
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        self.run(req, Operation::ListBuckets, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.list_buckets(cx, &input))
                .map(S3Response::new)
        })
        .await
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.run(req, Operation::CreateBucket, |door, cx, input| async move {
            door.create_bucket(&cx, &input)?;
            Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) }))
        })
        .await
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.run(req, Operation::DeleteBucket, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door
                .delete_bucket(cx, &input.bucket))?;
            Ok(S3Response::new(DeleteBucketOutput::default()))
        })
        .await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.run(req, Operation::HeadBucket, |door, cx, input| async move {
            door.bucket(&cx, &input.bucket)?;
            Ok(S3Response::new(HeadBucketOutput {
                bucket_region: Some(door.config.region.clone()),
                ..HeadBucketOutput::default()
            }))
        })
        .await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.run(req, Operation::GetBucketLocation, |door, cx, input| async move {
            door.bucket(&cx, &input.bucket)?;
            // The oldest region is answered without a name.
            let region = Some(&door.config.region).filter(|region| *region != FIRST_REGION);
            Ok(S3Response::new(GetBucketLocationOutput {
                location_constraint: region.map(|region| region.clone().into()),
            }))
        })
        .await
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.run(req, Operation::GetBucketVersioning, |door, cx, input| async move {
            door.bucket(&cx, &input.bucket)?;
            Ok(S3Response::new(GetBucketVersioningOutput::default()))
        })
        .await
    }

    async fn get_bucket_acl(&self, req: S3Request<GetBucketAclInput>) -> S3Result<S3Response<GetBucketAclOutput>> {
        self.run(req, Operation::GetBucketAcl, |door, cx, input| async move {
            let (owner, grants) = door.bucket_acl(&cx, &input.bucket)?;
            Ok(S3Response::new(GetBucketAclOutput { owner: Some(owner), grants: Some(grants) }))
        })
        .await
    }

    async fn get_object_acl(&self, req: S3Request<GetObjectAclInput>) -> S3Result<S3Response<GetObjectAclOutput>> {
        self.run(req, Operation::GetObjectAcl, |door, cx, input| async move {
            let (owner, grants) = door.object_acl(&cx, &input.bucket, &input.key, input.version_id.as_deref())?;
            Ok(S3Response::new(GetObjectAclOutput { owner: Some(owner), grants: Some(grants), request_charged: None }))
        })
        .await
    }

    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.run(req, Operation::GetObjectTagging, |door, cx, input| async move {
            only_present_version(input.version_id.as_deref())?;
            door.expect_owner(&cx, &input.bucket, "x-amz-expected-bucket-owner")?;
            door.ns.head_object(&cx.op, &input.bucket, input.key.as_bytes()).map_err(from_namespace)?;
            Ok(S3Response::new(GetObjectTaggingOutput::default()))
        })
        .await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.run(req, Operation::HeadObject, |door, cx, input| async move {
            let wanted = Wanted {
                bucket: input.bucket,
                key: input.key,
                part_number: input.part_number,
                version_id: input.version_id,
            };
            Ok(with_head(HeadObjectOutput::default(), door.head(&cx, &wanted)?))
        })
        .await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.run(req, Operation::GetObject, |door, cx, input| async move {
            let wanted = Wanted {
                bucket: input.bucket,
                key: input.key,
                part_number: input.part_number,
                version_id: input.version_id,
            };
            let (head, body) = door.get(&cx, &wanted).await?;
            Ok(with_head(GetObjectOutput { body: Some(body), ..GetObjectOutput::default() }, head))
        })
        .await
    }

    async fn get_object_attributes(
        &self,
        req: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        self.run(req, Operation::GetObjectAttributes, |door, cx, input| async move {
            door.attributes(&cx, &input).map(S3Response::new)
        })
        .await
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.run(req, Operation::PutObject, |door, cx, input| async move {
            let info = door.put(&cx, &input.bucket, &input.key).await?;
            let sums = ChecksumFields::of(&info.meta.checksums);
            Ok(S3Response::new(PutObjectOutput {
                e_tag: Some(ETag::Strong(strata_etag::of(&info.tag))),
                checksum_crc32: sums.crc32,
                checksum_crc32c: sums.crc32c,
                checksum_crc64nvme: sums.crc64nvme,
                checksum_sha1: sums.sha1,
                checksum_sha256: sums.sha256,
                checksum_type: sums.kind.map(Into::into),
                ..PutObjectOutput::default()
            }))
        })
        .await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.run(req, Operation::CopyObject, |door, cx, input| async move {
            let result = on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.copy(cx, &input))?;
            Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
        })
        .await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.run(req, Operation::DeleteObject, |door, cx, input| async move {
            door.delete(&cx, &input.bucket, &input.key, input.version_id.as_deref())?;
            Ok(S3Response::new(DeleteObjectOutput::default()))
        })
        .await
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.run(req, Operation::DeleteObjects, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.delete_many(
                cx,
                &input.bucket,
                input.delete
            ))
            .map(S3Response::new)
        })
        .await
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        self.run(req, Operation::ListObjects, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.list_v1(cx, input))
                .map(S3Response::new)
        })
        .await
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.run(req, Operation::ListObjectsV2, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.list_v2(cx, input))
                .map(S3Response::new)
        })
        .await
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.run(req, Operation::ListObjectVersions, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.list_versions(cx, input))
                .map(S3Response::new)
        })
        .await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.run(req, Operation::CreateMultipartUpload, |door, cx, input| async move {
            let (upload, checksum) = door.create_upload(&cx, &input)?;
            Ok(S3Response::new(CreateMultipartUploadOutput {
                bucket: Some(input.bucket),
                key: Some(input.key),
                upload_id: Some(upload.id),
                checksum_algorithm: checksum.map(|checksum| checksum.algorithm.name().to_uppercase().into()),
                checksum_type: checksum.map(|checksum| ChecksumType::from_static(checksum.kind())),
                ..CreateMultipartUploadOutput::default()
            }))
        })
        .await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.run(req, Operation::UploadPart, |door, cx, input| async move {
            let part = door.put_part(&cx, &input).await?;
            let sums = ChecksumFields::of(&part.checksums);
            Ok(S3Response::new(UploadPartOutput {
                e_tag: Some(ETag::Strong(part.tag)),
                checksum_crc32: sums.crc32,
                checksum_crc32c: sums.crc32c,
                checksum_crc64nvme: sums.crc64nvme,
                checksum_sha1: sums.sha1,
                checksum_sha256: sums.sha256,
                ..UploadPartOutput::default()
            }))
        })
        .await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.run(req, Operation::UploadPartCopy, |door, cx, input| async move {
            let result = door.copy_part(&cx, &input).await?;
            Ok(S3Response::new(UploadPartCopyOutput {
                copy_part_result: Some(result),
                ..UploadPartCopyOutput::default()
            }))
        })
        .await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.run(req, Operation::CompleteMultipartUpload, |door, cx, input| async move {
            let (bucket, key) = (input.bucket.clone(), input.key.clone());
            let host = cx.header("host").unwrap_or_default().to_owned();
            let info =
                on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.complete_upload(cx, &input))?;
            let sums = ChecksumFields::of(&info.meta.checksums);
            Ok(S3Response::new(CompleteMultipartUploadOutput {
                location: Some(format!("http://{host}/{bucket}/{}", crate::keys::Encoding::Url.write(key.as_bytes()))),
                bucket: Some(bucket),
                key: Some(key),
                e_tag: Some(ETag::Strong(strata_etag::of(&info.tag))),
                checksum_crc32: sums.crc32,
                checksum_crc32c: sums.crc32c,
                checksum_crc64nvme: sums.crc64nvme,
                checksum_sha1: sums.sha1,
                checksum_sha256: sums.sha256,
                checksum_type: sums.kind.map(Into::into),
                ..CompleteMultipartUploadOutput::default()
            }))
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.run(req, Operation::AbortMultipartUpload, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.abort_upload(
                cx,
                &input.bucket,
                &input.key,
                &input.upload_id
            ))?;
            Ok(S3Response::new(AbortMultipartUploadOutput::default()))
        })
        .await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.run(req, Operation::ListParts, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.list_parts(cx, input))
                .map(S3Response::new)
        })
        .await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.run(req, Operation::ListMultipartUploads, |door, cx, input| async move {
            on_blocking_thread!(door, cx, move |door: &Arc<Shared>, cx: &Arc<_>| door.list_uploads(cx, input))
                .map(S3Response::new)
        })
        .await
    }

    unset! {
        get_bucket_accelerate_configuration, GetBucketAccelerateConfiguration: GetBucketAccelerateConfigurationInput
            => GetBucketAccelerateConfigurationOutput, Ok(Default::default());
        get_bucket_analytics_configuration, GetBucketAnalyticsConfiguration: GetBucketAnalyticsConfigurationInput
            => GetBucketAnalyticsConfigurationOutput, Err(unset::no_such_configuration());
        get_bucket_cors, GetBucketCors: GetBucketCorsInput => GetBucketCorsOutput, Err(unset::cors());
        get_bucket_encryption, GetBucketEncryption: GetBucketEncryptionInput => GetBucketEncryptionOutput, Err(unset::encryption());
        get_bucket_intelligent_tiering_configuration, GetBucketIntelligentTieringConfiguration: GetBucketIntelligentTieringConfigurationInput
            => GetBucketIntelligentTieringConfigurationOutput, Err(unset::no_such_configuration());
        get_bucket_inventory_configuration, GetBucketInventoryConfiguration: GetBucketInventoryConfigurationInput
            => GetBucketInventoryConfigurationOutput, Err(unset::no_such_configuration());
        get_bucket_lifecycle_configuration, GetBucketLifecycleConfiguration: GetBucketLifecycleConfigurationInput
            => GetBucketLifecycleConfigurationOutput, Err(unset::lifecycle());
        get_bucket_logging, GetBucketLogging: GetBucketLoggingInput => GetBucketLoggingOutput, Ok(Default::default());
        get_bucket_metadata_table_configuration, GetBucketMetadataTableConfiguration: GetBucketMetadataTableConfigurationInput
            => GetBucketMetadataTableConfigurationOutput, Err(unset::metadata_table());
        get_bucket_metrics_configuration, GetBucketMetricsConfiguration: GetBucketMetricsConfigurationInput
            => GetBucketMetricsConfigurationOutput, Err(unset::no_such_configuration());
        get_bucket_notification_configuration, GetBucketNotificationConfiguration: GetBucketNotificationConfigurationInput
            => GetBucketNotificationConfigurationOutput, Ok(Default::default());
        get_bucket_ownership_controls, GetBucketOwnershipControls: GetBucketOwnershipControlsInput
            => GetBucketOwnershipControlsOutput, Ok(unset::ownership_controls());
        get_bucket_policy, GetBucketPolicy: GetBucketPolicyInput => GetBucketPolicyOutput, Err(unset::policy());
        get_bucket_policy_status, GetBucketPolicyStatus: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput, Err(unset::policy());
        get_bucket_replication, GetBucketReplication: GetBucketReplicationInput => GetBucketReplicationOutput, Err(unset::replication());
        get_bucket_request_payment, GetBucketRequestPayment: GetBucketRequestPaymentInput
            => GetBucketRequestPaymentOutput, Ok(unset::request_payment());
        get_bucket_tagging, GetBucketTagging: GetBucketTaggingInput => GetBucketTaggingOutput, Err(unset::tagging());
        get_bucket_website, GetBucketWebsite: GetBucketWebsiteInput => GetBucketWebsiteOutput, Err(unset::website());
        get_object_lock_configuration, GetObjectLockConfiguration: GetObjectLockConfigurationInput
            => GetObjectLockConfigurationOutput, Err(unset::object_lock());
        get_public_access_block, GetPublicAccessBlock: GetPublicAccessBlockInput
            => GetPublicAccessBlockOutput, Err(unset::public_access_block());
        list_bucket_analytics_configurations, ListBucketAnalyticsConfigurations: ListBucketAnalyticsConfigurationsInput
            => ListBucketAnalyticsConfigurationsOutput, Ok(ListBucketAnalyticsConfigurationsOutput {
                is_truncated: Some(false), ..Default::default()
            });
        list_bucket_intelligent_tiering_configurations, ListBucketIntelligentTieringConfigurations: ListBucketIntelligentTieringConfigurationsInput
            => ListBucketIntelligentTieringConfigurationsOutput, Ok(ListBucketIntelligentTieringConfigurationsOutput {
                is_truncated: Some(false), ..Default::default()
            });
        list_bucket_inventory_configurations, ListBucketInventoryConfigurations: ListBucketInventoryConfigurationsInput
            => ListBucketInventoryConfigurationsOutput, Ok(ListBucketInventoryConfigurationsOutput {
                is_truncated: Some(false), ..Default::default()
            });
        list_bucket_metrics_configurations, ListBucketMetricsConfigurations: ListBucketMetricsConfigurationsInput
            => ListBucketMetricsConfigurationsOutput, Ok(ListBucketMetricsConfigurationsOutput {
                is_truncated: Some(false), ..Default::default()
            });
    }

    async fn get_object_legal_hold(
        &self,
        req: S3Request<GetObjectLegalHoldInput>,
    ) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
        self.run(req, Operation::GetObjectLegalHold, |door, cx, input| async move {
            Err(door.without_object_lock(&cx, &input.bucket, &input.key, input.version_id.as_deref()))
        })
        .await
    }

    async fn get_object_retention(
        &self,
        req: S3Request<GetObjectRetentionInput>,
    ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
        self.run(req, Operation::GetObjectRetention, |door, cx, input| async move {
            Err(door.without_object_lock(&cx, &input.bucket, &input.key, input.version_id.as_deref()))
        })
        .await
    }
}
