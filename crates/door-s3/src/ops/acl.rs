//! Access control lists, read only: common clients ask for them. The answer is what the mode bits say: the owner may do
//! everything.

use s3s::S3Result;
use s3s::dto::{Grant, Grantee, Owner, Permission, Type};

use crate::context::Context;
use crate::door::{Shared, only_present_version};
use crate::error::from_namespace;

impl Shared {
    pub(super) fn bucket_acl(&self, cx: &Context, bucket: &str) -> S3Result<(Owner, Vec<Grant>)> {
        let info = self.bucket(cx, bucket)?;
        Ok(self.full_control(info.uid))
    }

    pub(super) fn object_acl(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<(Owner, Vec<Grant>)> {
        only_present_version(version)?;
        self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner")?;
        let info = self.ns.head_object(&cx.op, bucket, key.as_bytes()).map_err(from_namespace)?;
        Ok(self.full_control(info.attr.uid))
    }

    fn full_control(&self, uid: u32) -> (Owner, Vec<Grant>) {
        let owner = self.owner(uid);
        let grantee = Grantee {
            display_name: owner.display_name.clone(),
            id: owner.id.clone(),
            email_address: None,
            uri: None,
            type_: Type::from_static(Type::CANONICAL_USER),
        };
        let grant =
            Grant { grantee: Some(grantee), permission: Some(Permission::from_static(Permission::FULL_CONTROL)) };
        (owner, vec![grant])
    }
}
