//! ListObjects in both versions and ListObjectVersions: one walk over the name space, three documents.

use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion,
    ObjectVersionStorageClass,
};
use s3s::{S3ErrorCode, S3Result};
use strata_namespace::{ListPage, ListQuery};

use crate::context::Context;
use crate::door::{PRESENT_VERSION, Shared, timestamp};
use crate::error::{from_namespace, refuse};
use crate::keys::{self, Encoding};

/// The entries of a page as both documents show them.
struct Shown {
    objects: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
}

impl Shared {
    pub(super) fn list_v1(&self, cx: &Context, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
        let encoding = Encoding::of_parameter(input.encoding_type.as_ref().map(|kind| kind.as_str()))?;
        let marker = input.marker.filter(|marker| !marker.is_empty());
        let after = marker.as_ref().map(|marker| marker.as_bytes().to_vec());
        let page =
            self.page(cx, &input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, input.max_keys)?;
        let delimited = input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty());
        let write = |text: String| encoding.write(text.as_bytes());
        // As in S3, the next marker is said only with a delimiter; without one it is the last key.
        let next_marker = page.next.as_deref().filter(|_| delimited).map(|next| encoding.write(next));
        let is_truncated = page.next.is_some();
        let Shown { objects, prefixes } = self.show(page, encoding, true);
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(write(input.prefix.unwrap_or_default())),
            marker: Some(write(marker.unwrap_or_default())),
            max_keys: Some(capped(input.max_keys)),
            is_truncated: Some(is_truncated),
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(write),
            next_marker,
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        })
    }

    pub(super) fn list_v2(&self, cx: &Context, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        let encoding = Encoding::of_parameter(input.encoding_type.as_ref().map(EncodingType::as_str))?;
        let start_after = input.start_after.filter(|start| !start.is_empty());
        let after = match input.continuation_token.as_deref() {
            Some(token) => Some(keys::place(token)?),
            None => start_after.as_ref().map(|start| start.as_bytes().to_vec()),
        };
        let page =
            self.page(cx, &input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, input.max_keys)?;
        let write = |text: String| encoding.write(text.as_bytes());
        let next_continuation_token = page.next.as_deref().map(keys::token);
        let Shown { objects, prefixes } = self.show(page, encoding, input.fetch_owner.unwrap_or(false));
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(write(input.prefix.unwrap_or_default())),
            max_keys: Some(capped(input.max_keys)),
            key_count: Some(i32::try_from(objects.len() + prefixes.len()).unwrap_or(i32::MAX)),
            continuation_token: input.continuation_token,
            is_truncated: Some(next_continuation_token.is_some()),
            next_continuation_token,
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(write),
            encoding_type: input.encoding_type,
            start_after: start_after.map(write),
            ..ListObjectsV2Output::default()
        })
    }

    /// Every object has one version, the present one.
    pub(super) fn list_versions(
        &self,
        cx: &Context,
        input: ListObjectVersionsInput,
    ) -> S3Result<ListObjectVersionsOutput> {
        let encoding = Encoding::of_parameter(input.encoding_type.as_ref().map(EncodingType::as_str))?;
        let marker = input.key_marker.filter(|marker| !marker.is_empty());
        let version = input.version_id_marker.filter(|version| !version.is_empty());
        if version.is_some() && marker.is_none() {
            return Err(refuse(
                S3ErrorCode::InvalidArgument,
                "a version-id marker cannot be specified without a key marker",
            ));
        }
        if version.as_ref().is_some_and(|version| version != PRESENT_VERSION) {
            return Err(refuse(S3ErrorCode::InvalidArgument, "invalid version id specified"));
        }
        // With or without the version: no other version of the marked key comes behind it.
        let after = marker.as_ref().map(|marker| marker.as_bytes().to_vec());
        let page =
            self.page(cx, &input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, input.max_keys)?;
        let write = |text: String| encoding.write(text.as_bytes());
        let next_key_marker = page.next.as_deref().map(|next| encoding.write(next));
        // A page that ends with a common prefix goes on behind all versions below it.
        let ends_with_object = page.objects.last().is_some_and(|(key, _)| page.next.as_ref() == Some(key));
        let Shown { objects, prefixes } = self.show(page, encoding, true);
        let versions = objects.into_iter().map(|object| ObjectVersion {
            e_tag: object.e_tag,
            is_latest: Some(true),
            key: object.key,
            last_modified: object.last_modified,
            owner: object.owner,
            size: object.size,
            storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
            version_id: Some(PRESENT_VERSION.to_owned()),
            ..ObjectVersion::default()
        });
        Ok(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(write(input.prefix.unwrap_or_default())),
            key_marker: Some(write(marker.unwrap_or_default())),
            version_id_marker: Some(version.unwrap_or_default()),
            max_keys: Some(capped(input.max_keys)),
            is_truncated: Some(next_key_marker.is_some()),
            next_version_id_marker: next_key_marker
                .as_ref()
                .filter(|_| ends_with_object)
                .map(|_| PRESENT_VERSION.to_owned()),
            next_key_marker,
            versions: Some(versions.collect()),
            common_prefixes: Some(prefixes),
            delimiter: input.delimiter.filter(|delimiter| !delimiter.is_empty()).map(write),
            encoding_type: input.encoding_type,
            ..ListObjectVersionsOutput::default()
        })
    }

    fn page(
        &self,
        cx: &Context,
        bucket: &str,
        prefix: Option<&str>,
        delimiter: Option<&str>,
        after: Option<Vec<u8>>,
        max_keys: Option<i32>,
    ) -> S3Result<ListPage> {
        let limit = keys::page_len(max_keys)?;
        self.bucket(cx, bucket)?;
        let query = ListQuery {
            prefix: prefix.unwrap_or_default().as_bytes().to_vec(),
            delimiter: delimiter
                .filter(|delimiter| !delimiter.is_empty())
                .map(|delimiter| delimiter.as_bytes().to_vec()),
            after,
            limit,
        };
        self.ns.list(&cx.op, bucket, &query).map_err(from_namespace)
    }

    fn show(&self, page: ListPage, encoding: Encoding, owners: bool) -> Shown {
        // Most pages have one owner: ask for each only once in a row.
        let mut last_owner: Option<(u32, s3s::dto::Owner)> = None;
        let mut owner_of = |uid: u32| match &last_owner {
            Some((known, owner)) if *known == uid => owner.clone(),
            _ => {
                let owner = self.owner(uid);
                last_owner = Some((uid, owner.clone()));
                owner
            }
        };
        let objects = page.objects.into_iter().map(|(key, info)| Object {
            key: Some(encoding.write(&key)),
            e_tag: Some(ETag::Strong(strata_etag::of(&info.tag))),
            last_modified: Some(timestamp(info.attr.mtime)),
            size: Some(i64::try_from(info.attr.size).unwrap_or(i64::MAX)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            owner: owners.then(|| owner_of(info.attr.uid)),
            ..Object::default()
        });
        let objects = objects.collect();
        let prefixes =
            page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.write(prefix)) }).collect();
        Shown { objects, prefixes }
    }
}

/// The page length as it is echoed.
fn capped(max_keys: Option<i32>) -> i32 {
    max_keys.unwrap_or(1000).min(1000)
}
