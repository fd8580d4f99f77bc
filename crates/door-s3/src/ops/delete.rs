//! DeleteObject and DeleteObjects.

use s3s::dto::{Delete, DeleteObjectsOutput, DeletedObject, ETag, Error as DeleteError};
use s3s::{S3Error, S3ErrorCode, S3Result};
use strata_namespace::{Condition, Wanted};

use crate::conditions::Conditions;
use crate::context::Context;
use crate::door::{Shared, only_present_version};
use crate::error::{from_namespace, not_offered, refuse};

/// Most keys of one DeleteObjects: the limit of S3.
const DELETE_KEYS_MAX: usize = 1000;

impl Shared {
    pub(super) fn delete(&self, cx: &Context, bucket: &str, key: &str, version: Option<&str>) -> S3Result<()> {
        only_present_version(version)?;
        let cond = Conditions::for_write(&cx.headers)?;
        self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner")?;
        self.ns.delete_object(&cx.op, bucket, key.as_bytes(), &cond).map_err(from_namespace)?;
        Ok(())
    }

    pub(super) fn delete_many(&self, cx: &Context, bucket: &str, delete: Delete) -> S3Result<DeleteObjectsOutput> {
        if delete.objects.is_empty() || delete.objects.len() > DELETE_KEYS_MAX {
            return Err(refuse(S3ErrorCode::MalformedXML, "between 1 and 1000 keys can be deleted in one request"));
        }
        if delete.objects.iter().any(|object| object.key.is_empty()) {
            return Err(refuse(S3ErrorCode::MalformedXML, "a key to be deleted is empty; nothing was deleted"));
        }
        self.expect_owner(cx, bucket, "x-amz-expected-bucket-owner")?;
        let refused: Vec<Option<S3Error>> = delete
            .objects
            .iter()
            .map(|object| {
                let conditional = object.size.is_some() || object.last_modified_time.is_some();
                let offered =
                    if conditional { Err(not_offered("size or time as the condition of a delete")) } else { Ok(()) };
                offered.and_then(|()| only_present_version(object.version_id.as_deref())).err()
            })
            .collect();
        let keys: Vec<Vec<u8>> = delete
            .objects
            .iter()
            .zip(&refused)
            .filter(|(object, refused)| refused.is_none() && object.e_tag.is_none())
            .map(|(object, _)| object.key.as_bytes().to_vec())
            .collect();
        let mut results = self.ns.delete_objects(&cx.op, bucket, &keys).map_err(from_namespace)?.into_iter();
        let quiet = delete.quiet.unwrap_or(false);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for (object, refused) in delete.objects.into_iter().zip(refused) {
            let outcome = match (refused, &object.e_tag) {
                (Some(err), _) => Err(err),
                // A condition is checked in the commit of its own key.
                (None, Some(tag)) => self
                    .ns
                    .delete_object(&cx.op, bucket, object.key.as_bytes(), &only_if(tag))
                    .map(|_| ())
                    .map_err(from_namespace),
                (None, None) => results.next().unwrap_or(Ok(false)).map(|_| ()).map_err(from_namespace),
            };
            match outcome {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    version_id: object.version_id,
                    ..DeletedObject::default()
                }),
                Err(err) => errors.push(DeleteError {
                    code: Some(err.code().as_str().to_owned()),
                    message: err.message().map(ToOwned::to_owned),
                    key: Some(object.key),
                    version_id: object.version_id,
                }),
            }
        }
        Ok(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() })
    }
}

/// The condition that the present object has this tag. Tags here are strong: a weak one matches none.
fn only_if(tag: &ETag) -> Condition {
    let wanted = tag.as_strong().unwrap_or_default();
    let wanted = match wanted {
        "*" => Wanted::Anything,
        etag => Wanted::OneOf(vec![strata_etag::read(etag.trim_matches('"'))]),
    };
    Condition { wanted: Some(wanted), ..Condition::default() }
}
