//! What `strata bucket` asks, and what is shown of buckets.

use serde::{Deserialize, Serialize};

use crate::config::DurabilityClass;

/// A change or question about buckets, as it goes to the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BucketRequest {
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its name.
        name: String,
    },
    /// A new one.
    Create {
        /// Its folder's name.
        name: String,
        /// Mode of what is made in it.
        mode: Option<u32>,
        /// Its class; the store's if not said.
        durability: Option<DurabilityClass>,
        /// The user it belongs to; the owner of the root directory if not said.
        owner: Option<String>,
    },
    /// Another mode for what is made in it, or another class.
    Set {
        /// Its name.
        name: String,
        /// The mode; as it is if not said.
        mode: Option<u32>,
        /// The class; as it is if not said.
        durability: Option<DurabilityClass>,
    },
    /// Another name.
    Rename {
        /// The name it has.
        old: String,
        /// The name it gets.
        new: String,
    },
    /// No such bucket any more.
    Remove {
        /// Its name.
        name: String,
        /// Also with something in it.
        yes: bool,
    },
}

/// What is answered, as `--json` shows it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum BucketAnswer {
    /// All of them.
    Buckets(Vec<Shown>),
    /// A bucket that was removed.
    Removed(Removed),
    /// The bucket that was asked for, made or changed.
    Bucket(Shown),
}

/// What went with a bucket.
#[derive(Serialize, Deserialize)]
pub(crate) struct Removed {
    /// The name it had.
    pub(super) removed: String,
    /// Files and folders that were in it.
    pub(super) names: u64,
    /// Uploads to it.
    pub(super) uploads_aborted: u64,
}

/// A bucket as it is shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown {
    /// The name of its folder at the top; of the bucket of the files there what S3 calls it. What is no UTF-8 is shown by what S3
    /// calls it, too.
    pub(super) name: String,
    /// What S3 calls it.
    #[serde(default)]
    pub(super) s3_name: String,
    /// Whether it is the bucket of the files at the top.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) top: bool,
    /// Octal, as people write it.
    pub(super) mode: String,
    pub(super) uid: u32,
    pub(super) durability: String,
    /// Bytes of content in it, each file by itself and without its holes.
    #[serde(default)]
    pub(super) bytes: u64,
    /// Files and directories in it, its own directory included.
    #[serde(default)]
    pub(super) inodes: u64,
    /// The name it had before this change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) renamed_from: Option<String>,
}

/// How far the removal of a bucket is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// Whether its files and folders are still being counted.
    pub(crate) counting: bool,
    /// Names in it that were removed.
    pub(crate) removed: u64,
    /// How many there were at the beginning, or were counted so far.
    pub(crate) total: u64,
    /// Uploads aborted.
    pub(crate) uploads_aborted: u64,
    /// How many there were at the beginning.
    pub(crate) uploads: u64,
}
