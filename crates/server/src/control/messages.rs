//! The messages on the control socket: what a command asks, and what the server answers.
//!
//! One line of JSON each. Command and server are the same program, so names here may change with a release. The parts of an answer that
//! `--json` prints may not.

use serde::{Deserialize, Serialize};

use crate::buckets::messages::{BucketAnswer, BucketRequest, Removal};
use crate::disks::messages::{DiskList, DiskRequest};
use crate::fsck::messages::{CheckAt, Checked};
use crate::keeper::messages::{ScrubRequest, ScrubStatus};
use crate::keys::messages::KeyStatus;
use crate::locks::messages::{LockRequest, Shown as ShownLock};
use crate::passes::messages::{PassProgress, PassSummary};
use crate::reclaim::messages::{ReclaimRequest, ReclaimStatus};
use crate::sets::messages::{Moving, SetRequest, SetStatus};
use crate::status::messages::Status;
use crate::user::messages::{UserAnswer, UserRequest};
use crate::watch::messages::{WatchRequest, Watched};

/// What a command asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What `strata status` shows.
    Status,
    /// What `strata reclaim` does.
    Reclaim(ReclaimRequest),
    /// What `strata user` does.
    User(UserRequest),
    /// What `strata keys show` does.
    Keys,
    /// What `strata bucket` does.
    Bucket(BucketRequest),
    /// What `strata locks` does.
    Locks(LockRequest),
    /// What `strata fsck` does beside writers.
    Fsck {
        /// Whether every chunk is read.
        contents: bool,
    },
    /// What `strata disk` does.
    Disk(DiskRequest),
    /// What `strata set` does.
    Set(SetRequest),
    /// What `strata heal` does.
    Heal,
    /// What `strata scrub` does.
    Scrub(ScrubRequest),
    /// What `strata watch` does, page by page.
    Watch(WatchRequest),
}

impl Request {
    /// The command it is of, as the table of operations of the name space calls it.
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Reclaim(_) => "reclaim",
            Self::User(_) => "user",
            Self::Keys => "keys",
            Self::Bucket(_) => "bucket",
            Self::Locks(_) => "locks",
            Self::Fsck { .. } => "fsck",
            Self::Disk(_) => "disk",
            Self::Set(_) => "set",
            Self::Heal => "heal",
            Self::Scrub(_) => "scrub",
            Self::Watch(_) => "watch",
        }
    }
}

/// What the server says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    /// How far it is.
    Progress(Progress),
    /// Nothing new; it is at work.
    Alive,
    /// The answer.
    Done(Answer),
    /// Why there is none.
    Refused(String),
}

/// How far an answer is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    /// The progress of a heal or a scrub.
    Pass(PassProgress),
    /// The progress of a drain or a rebalance; `None` while another set is emptied first.
    Moving(Option<Moving>),
    /// The progress of a bucket's removal.
    Removal(Removal),
    /// The progress of a check.
    Check(CheckAt),
}

/// Makes [`Answer`] of what each request is answered with, and lets each be taken out again.
macro_rules! answers {
    ($($(#[doc = $help:literal])+ $name:ident($shape:ty)),+ $(,)?) => {
        /// What a request came to.
        #[derive(Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum Answer { $($(#[doc = $help])+ $name(Box<$shape>)),+ }
        $(
            impl From<$shape> for Answer {
                fn from(shape: $shape) -> Self {
                    Self::$name(Box::new(shape))
                }
            }
            impl TryFrom<Answer> for $shape {
                type Error = Strange;
                fn try_from(answer: Answer) -> Result<Self, Strange> {
                    match answer {
                        Answer::$name(shape) => Ok(*shape),
                        _ => Err(Strange),
                    }
                }
            }
        )+
    };
}

answers! {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Reclaim`].
    Reclaim(ReclaimStatus),
    /// To [`Request::User`].
    User(UserAnswer),
    /// To [`Request::Keys`].
    Keys(KeyStatus),
    /// To [`Request::Bucket`].
    Bucket(BucketAnswer),
    /// To [`Request::Locks`].
    Locks(Vec<ShownLock>),
    /// To [`Request::Fsck`].
    Checked(Checked),
    /// To [`Request::Disk`].
    Disks(DiskList),
    /// To [`Request::Set`].
    Sets(Vec<SetStatus>),
    /// To [`Request::Heal`], and to a scrub that was run.
    Pass(PassSummary),
    /// To a scrub that was paused or resumed.
    Scrub(ScrubStatus),
    /// To [`Request::Watch`].
    Watched(Watched),
}

/// An answer to another question.
#[derive(Debug)]
pub(crate) struct Strange;

impl std::fmt::Display for Strange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the server's answer does not fit the question; the command and the server may be of different versions",
        )
    }
}

impl std::error::Error for Strange {}
