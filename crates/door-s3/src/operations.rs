//! What this door states of itself to the name space ([`DOOR`]), and the table of its operations.

use strata_namespace::Action::*;
use strata_namespace::{Door, DoorNumber, Operation};

/// The door: its callers are users of the store, and it shows nothing that is not durable.
pub static DOOR: Door = Door::of_users("s3", DoorNumber::new(1), OPERATIONS);

/// The table of its operations, and what each may ask the authority for. While one of
/// [`crate::OPERATIONS`] has no row, the door answers nothing, and its tests fail.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    Operation::new("Other", &[]),
    Operation::new("AbortMultipartUpload", &[Search, ReadBucket, UseUpload]),
    Operation::new("CompleteMultipartUpload", &[Search, Read, Write, Add, SetMode, ReadBucket, UseUpload]),
    Operation::new("CopyObject", &[Search, Read, Write, Add, SetMode, ReadBucket]),
    Operation::new("CreateBucket", &[Search, Add, ReadBucket]),
    Operation::new("CreateMultipartUpload", &[Search, Add, ReadBucket]),
    Operation::new("DeleteBucket", &[Remove, ReadBucket]),
    Operation::new("DeleteObject", &[Search, Remove, UnmarkFolder, ReadBucket]),
    Operation::new("DeleteObjects", &[Search, Remove, UnmarkFolder, ReadBucket]),
    Operation::new("GetBucketAccelerateConfiguration", &[ReadBucket]),
    Operation::new("GetBucketAcl", &[ReadBucket]),
    Operation::new("GetBucketAnalyticsConfiguration", &[ReadBucket]),
    Operation::new("GetBucketCors", &[ReadBucket]),
    Operation::new("GetBucketEncryption", &[ReadBucket]),
    Operation::new("GetBucketIntelligentTieringConfiguration", &[ReadBucket]),
    Operation::new("GetBucketInventoryConfiguration", &[ReadBucket]),
    Operation::new("GetBucketLifecycleConfiguration", &[ReadBucket]),
    Operation::new("GetBucketLocation", &[ReadBucket]),
    Operation::new("GetBucketLogging", &[ReadBucket]),
    Operation::new("GetBucketMetadataTableConfiguration", &[ReadBucket]),
    Operation::new("GetBucketMetricsConfiguration", &[ReadBucket]),
    Operation::new("GetBucketNotificationConfiguration", &[ReadBucket]),
    Operation::new("GetBucketOwnershipControls", &[ReadBucket]),
    Operation::new("GetBucketPolicy", &[ReadBucket]),
    Operation::new("GetBucketPolicyStatus", &[ReadBucket]),
    Operation::new("GetBucketReplication", &[ReadBucket]),
    Operation::new("GetBucketRequestPayment", &[ReadBucket]),
    Operation::new("GetBucketTagging", &[ReadBucket]),
    Operation::new("GetBucketVersioning", &[ReadBucket]),
    Operation::new("GetBucketWebsite", &[ReadBucket]),
    Operation::new("GetObject", &[Search, Read, ReadBucket]),
    Operation::new("GetObjectAcl", &[Search, Read, ReadBucket]),
    Operation::new("GetObjectAttributes", &[Search, Read, ReadBucket]),
    Operation::new("GetObjectLegalHold", &[Search, Read, ReadBucket]),
    Operation::new("GetObjectLockConfiguration", &[ReadBucket]),
    Operation::new("GetObjectRetention", &[Search, Read, ReadBucket]),
    Operation::new("GetObjectTagging", &[Search, Read, ReadBucket]),
    Operation::new("GetPublicAccessBlock", &[ReadBucket]),
    Operation::new("HeadBucket", &[ReadBucket]),
    Operation::new("HeadObject", &[Search, Read, ReadBucket]),
    Operation::new("ListBucketAnalyticsConfigurations", &[ReadBucket]),
    Operation::new("ListBucketIntelligentTieringConfigurations", &[ReadBucket]),
    Operation::new("ListBucketInventoryConfigurations", &[ReadBucket]),
    Operation::new("ListBucketMetricsConfigurations", &[ReadBucket]),
    Operation::new("ListBuckets", &[ReadBucket, ListBuckets]),
    Operation::new("ListMultipartUploads", &[Search, List, ReadBucket]),
    Operation::new("ListObjectVersions", &[Search, List, ReadAttributes, ReadBucket]),
    Operation::new("ListObjects", &[Search, List, ReadAttributes, ReadBucket]),
    Operation::new("ListObjectsV2", &[Search, List, ReadAttributes, ReadBucket]),
    Operation::new("ListParts", &[Search, ReadBucket, UseUpload]),
    Operation::new("PostObject", &[Search, Write, Add, SetMode, ReadBucket]),
    Operation::new("PutObject", &[Search, Write, Add, SetMode, ReadBucket]),
    Operation::new("UploadPart", &[Search, ReadBucket, UseUpload]),
    Operation::new("UploadPartCopy", &[Search, Read, ReadBucket, UseUpload]),
];
