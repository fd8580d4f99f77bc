//! Settings of buckets that cannot be set here, read: answered as S3 does for a bucket where nobody ever set them, because
//! tools that look around first take anything else for a failure.

use http::StatusCode;
use s3s::dto::{
    GetBucketOwnershipControlsOutput, GetBucketRequestPaymentOutput, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, Payer,
};
use s3s::{S3Error, S3ErrorCode};

use crate::context::Context;
use crate::door::{Shared, only_present_version};
use crate::error::{from_namespace, refuse};

pub(super) fn cors() -> S3Error {
    not_found(S3ErrorCode::NoSuchCORSConfiguration, "the CORS configuration does not exist")
}
pub(super) fn encryption() -> S3Error {
    let code = S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError;
    not_found(code, "the server side encryption configuration was not found")
}
pub(super) fn lifecycle() -> S3Error {
    not_found(S3ErrorCode::NoSuchLifecycleConfiguration, "the lifecycle configuration does not exist")
}
pub(super) fn metadata_table() -> S3Error {
    not_found(S3ErrorCode::Custom("MetadataConfigurationNotFound".into()), "the metadata configuration does not exist")
}
pub(super) fn no_such_configuration() -> S3Error {
    not_found(S3ErrorCode::Custom("NoSuchConfiguration".into()), "the specified configuration does not exist")
}
pub(super) fn object_lock() -> S3Error {
    let code = S3ErrorCode::ObjectLockConfigurationNotFoundError;
    not_found(code, "object lock configuration does not exist for this bucket")
}
pub(super) fn policy() -> S3Error {
    not_found(S3ErrorCode::NoSuchBucketPolicy, "the bucket policy does not exist")
}
pub(super) fn public_access_block() -> S3Error {
    let code = S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into());
    not_found(code, "the public access block configuration was not found")
}
pub(super) fn replication() -> S3Error {
    not_found(S3ErrorCode::ReplicationConfigurationNotFoundError, "the replication configuration was not found")
}
pub(super) fn tagging() -> S3Error {
    not_found(S3ErrorCode::NoSuchTagSet, "the TagSet does not exist")
}
pub(super) fn website() -> S3Error {
    let code = S3ErrorCode::NoSuchWebsiteConfiguration;
    not_found(code, "the specified bucket does not have a website configuration")
}

/// Access control lists change nothing here.
pub(super) fn ownership_controls() -> GetBucketOwnershipControlsOutput {
    let rule = OwnershipControlsRule {
        object_ownership: ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED),
    };
    GetBucketOwnershipControlsOutput { ownership_controls: Some(OwnershipControls { rules: vec![rule] }) }
}

pub(super) fn request_payment() -> GetBucketRequestPaymentOutput {
    GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) }
}

fn not_found(code: S3ErrorCode, message: &'static str) -> S3Error {
    let mut err = refuse(code, message);
    err.set_status_code(StatusCode::NOT_FOUND);
    err
}

impl Shared {
    /// The answer to a client that asks how an object is locked.
    pub(super) fn without_object_lock(&self, cx: &Context, bucket: &str, key: &str, version: Option<&str>) -> S3Error {
        let there = only_present_version(version)
            .and_then(|()| self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner"))
            .and_then(|()| self.ns.head_object(&cx.op, bucket, key.as_bytes()).map_err(from_namespace));
        match there {
            Ok(_) => refuse(S3ErrorCode::InvalidRequest, "the bucket is missing an object lock configuration"),
            Err(err) => err,
        }
    }
}
