//! Buckets: create, delete, look at, list.

use s3s::dto::{Bucket, CreateBucketInput, ListBucketsInput, ListBucketsOutput};
use s3s::{S3ErrorCode, S3Result};
use strata_namespace::ErrorKind;

use crate::context::Context;
use crate::door::{FIRST_REGION, Shared, timestamp};
use crate::error::{from_namespace, refuse};
use crate::keys;

impl Shared {
    pub(super) fn create_bucket(&self, cx: &Context, input: &CreateBucketInput) -> S3Result<()> {
        let wanted = input.create_bucket_configuration.as_ref().and_then(|config| config.location_constraint.as_ref());
        if let Some(wanted) =
            wanted.map(|wanted| wanted.as_str()).filter(|wanted| !wanted.is_empty() && *wanted != self.config.region)
        {
            return Err(refuse(
                S3ErrorCode::InvalidLocationConstraint,
                format!("the location constraint '{wanted}' is not valid; this store is in '{}'", self.config.region),
            ));
        }
        match self.ns.create_bucket(&cx.op, &input.bucket, None) {
            Ok(_) => Ok(()),
            Err(err) if err.kind == ErrorKind::BucketExists => {
                // An administrator acts with the rights of every user, but owns only what is the administrator's.
                let owned = self.ns.bucket(&cx.op, &input.bucket).is_ok_and(|info| info.uid == cx.op.caller.uid);
                match owned {
                    // S3's oldest region answers with success to this day.
                    true if self.config.region == FIRST_REGION => Ok(()),
                    true => Err(refuse(
                        S3ErrorCode::BucketAlreadyOwnedByYou,
                        "your previous request to create the named bucket succeeded and you already own it",
                    )),
                    false => Err(from_namespace(err)),
                }
            }
            Err(err) => Err(from_namespace(err)),
        }
    }

    pub(super) fn delete_bucket(&self, cx: &Context, bucket: &str) -> S3Result<()> {
        self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner")?;
        self.ns.delete_bucket(&cx.op, bucket).map_err(from_namespace)
    }

    pub(super) fn list_buckets(&self, cx: &Context, input: &ListBucketsInput) -> S3Result<ListBucketsOutput> {
        let limit = input.max_buckets.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(0));
        if limit == 0 || (limit != usize::MAX && limit > 10_000) {
            return Err(refuse(S3ErrorCode::InvalidArgument, "max-buckets must be between 1 and 10000"));
        }
        let after = input.continuation_token.as_deref().map(keys::place).transpose()?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let here = input.bucket_region.as_deref().is_none_or(|region| region == self.config.region);
        let mut infos = self.ns.buckets(&cx.op).map_err(from_namespace)?;
        infos.retain(|info| {
            here && info.name.starts_with(prefix)
                && after.as_ref().is_none_or(|after| info.name.as_bytes() > after.as_slice())
        });
        let more = infos.len() > limit;
        infos.truncate(limit);
        let continuation_token = infos.last().filter(|_| more).map(|info| keys::token(info.name.as_bytes()));
        let buckets = infos.into_iter().map(|info| Bucket {
            name: Some(info.name),
            creation_date: Some(timestamp(info.created)),
            bucket_region: Some(self.config.region.clone()),
        });
        Ok(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(self.owner(cx.user.uid)),
            prefix: input.prefix.clone(),
            continuation_token,
        })
    }
}
