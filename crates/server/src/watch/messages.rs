//! What `strata watch` asks, and what is shown of changes and of their readers.

use serde::{Deserialize, Serialize};

use super::sequence::{From, Sequence};

/// What the command asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WatchRequest {
    /// Asks where to begin, and, with a name, where that reader is.
    Begin {
        from: From,
        cursor: Option<String>,
    },
    /// What comes behind a place, as far as it concerns a bucket and keys that begin so.
    Next {
        after: Sequence,
        only: Option<(String, String)>,
    },
    /// Notes that a reader has everything up to a place.
    Confirm {
        cursor: String,
        after: Sequence,
    },
    List,
    Forget {
        cursor: String,
    },
    /// What S3 calls the bucket that is meant by a name, as changes name it.
    Bucket {
        name: String,
    },
}

/// What the server answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Watched {
    /// The reader is here.
    At(Sequence),
    /// The next events.
    Page(Page),
    /// All readers that have a name.
    Readers(Vec<ReaderShown>),
    /// Whether there was such a reader.
    Forgotten(bool),
    /// The bucket that is meant; `None` where there is none now.
    Bucket(Option<String>),
}

/// One page.
#[derive(Serialize, Deserialize)]
pub(crate) struct Page {
    pub(super) events: Vec<Shown>,
    pub(super) gap: Option<GapShown>,
    /// Everything up to here was looked at.
    pub(super) after: Sequence,
    /// Whether there may be more at once.
    pub(super) more: bool,
}

/// A reader that has a name, as `strata watch --list --json` shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReaderShown {
    pub(super) name: String,
    /// The reader has everything up to here.
    pub(super) after: Sequence,
    /// When it said so last.
    pub(super) moved: String,
    /// Commits behind that.
    pub(super) commits_behind: u64,
}

/// Changes that are not kept any more, as `strata watch --json` shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct GapShown {
    /// "missed".
    pub(super) what: String,
    pub(super) after: Sequence,
    /// Changes are returned again behind this place.
    pub(super) until: Sequence,
    /// "given-back" or "damaged".
    pub(super) why: String,
}

/// A change as `strata watch --json` shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(super) seq: Sequence,
    pub(super) at: String,
    pub(super) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<String>,
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) new: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) last: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    pub(super) exchange: bool,
    #[serde(skip_serializing_if = "is_zero", default)]
    pub(super) dirs: u32,
    pub(super) bucket: String,
    #[serde(flatten)]
    pub(super) key: KeyShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<FromShown>,
    pub(super) kind: String,
    pub(super) inode: u64,
    pub(super) parent: u64,
    pub(super) change: u64,
    pub(super) version: u64,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    pub(super) door: String,
    pub(super) uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}

/// A key: as text, or where it is none as hex.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct KeyShown {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_hex: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FromShown {
    pub(super) bucket: String,
    pub(super) parent: u64,
    #[serde(flatten)]
    pub(super) key: KeyShown,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
