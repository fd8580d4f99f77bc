//! The door itself: what all its requests share, and the steps around every operation.

use std::future::Future;
use std::sync::Arc;

use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};
use strata_iam::Users;
use strata_namespace::{BucketInfo, Namespace};

use crate::auth::Verifier;
use crate::config::{S3Config, S3ConfigError};
use crate::context::{Context, Marks};
use crate::error::{from_namespace, refuse};
use crate::host::Domains;
use crate::metrics::{Operation, S3Metrics};

/// Documents up to this many bytes are not counted: there are no more of them than requests.
const DOCUMENT_LEN_FREE: usize = 32 << 10;

/// The S3 door of a store. Cheap to clone; all clones are the same door.
#[derive(Clone)]
pub struct S3Door {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) ns: Arc<Namespace>,
    pub(crate) users: Arc<Users>,
    pub(crate) verifier: Verifier,
    pub(crate) config: S3Config,
    pub(crate) domains: Domains,
    pub(crate) metrics: Arc<S3Metrics>,
}

impl S3Door {
    /// A door to `ns` for `users`.
    ///
    /// # Errors
    /// [`S3ConfigError`] names the setting that cannot be used.
    pub fn new(ns: Arc<Namespace>, users: Arc<Users>, config: S3Config) -> Result<Self, S3ConfigError> {
        config.check()?;
        crate::lanes::prepare();
        let domains = Domains::new(&config.domains)?;
        let known = Arc::clone(&users);
        let verifier = Verifier::new(
            Box::new(move |key| known.by_access_key(key)),
            config.region.clone(),
            domains.clone(),
            config.sigv2,
        );
        let metrics = Arc::new(S3Metrics::default());
        Ok(Self { shared: Arc::new(Shared { ns, users, verifier, config, domains, metrics }) })
    }

    /// What the door has done so far.
    #[must_use]
    pub fn metrics(&self) -> Arc<S3Metrics> {
        Arc::clone(&self.shared.metrics)
    }
}

/// The operations, as the S3 library calls them.
pub(crate) struct Operations {
    pub(crate) door: Arc<Shared>,
}

impl Operations {
    /// The steps around every operation: demand the proof, note what is done, hold the bucket's owner against the one
    /// the client expects, run, and let nothing leave before all it depends on is durable.
    pub(crate) async fn run<I, O, F>(
        &self,
        req: S3Request<I>,
        operation: Operation,
        work: impl FnOnce(Arc<Shared>, Arc<Context>, I) -> F,
    ) -> S3Result<O>
    where
        F: Future<Output = S3Result<O>>,
    {
        if let Some(marks) = req.extensions.get::<Arc<Marks>>() {
            marks.enter(operation);
        }
        let Some(cx) = req.extensions.get::<Arc<Context>>().cloned() else {
            return Err(refuse(
                S3ErrorCode::AccessDenied,
                "the request was not proven to come from a user of this store",
            ));
        };
        if cx.operation != operation {
            // The library reads requests once more: its operation must be the one that was checked.
            tracing::error!(
                judged = cx.operation.name(),
                found = operation.name(),
                "two readings of one request differ"
            );
            return Err(refuse(
                S3ErrorCode::InternalError,
                "the request was understood in two ways; nothing was changed",
            ));
        }
        let result = work(Arc::clone(&self.door), Arc::clone(&cx), req.input).await;
        // An error also shows what was read: a key that is gone, a condition that does not hold.
        self.door.ns.settle(&cx.op).await.map_err(from_namespace)?;
        result
    }
}

impl Shared {
    /// The bucket, if it is there and belongs to whom the client expects.
    ///
    /// # Errors
    /// `NoSuchBucket`, `AccessDenied`.
    pub(crate) fn bucket(&self, cx: &Context, name: &str) -> Result<BucketInfo, S3Error> {
        let info = self.ns.bucket(&cx.op, name).map_err(from_namespace)?;
        self.check_owner(&info, cx.header("x-amz-expected-bucket-owner"))?;
        Ok(info)
    }

    /// Holds a bucket against the owner a header names; without the header nothing is looked up.
    ///
    /// # Errors
    /// `AccessDenied`, as in S3, if the bucket belongs to somebody else.
    pub(crate) fn expect_owner(&self, cx: &Context, bucket: &str, header: &str) -> Result<(), S3Error> {
        match cx.headers.contains_key(header) {
            true => self
                .check_owner(&self.ns.bucket(&cx.op, bucket).map_err(from_namespace)?, cx.header(header).or(Some(""))),
            false => Ok(()),
        }
    }

    fn check_owner(&self, info: &BucketInfo, expected: Option<&str>) -> Result<(), S3Error> {
        match expected {
            Some(expected) if expected != account_id(info.uid) => {
                Err(refuse(S3ErrorCode::AccessDenied, "the bucket does not belong to the expected owner"))
            }
            _ => Ok(()),
        }
    }

    /// Counts a document against what all may take, until the answer has left.
    ///
    /// # Errors
    /// `SlowDown` where there is no more room, or the user has a share of it.
    pub(crate) fn hold_document(&self, uid: u32, len: usize, marks: &Marks) -> Result<(), S3Error> {
        if len <= DOCUMENT_LEN_FREE {
            return Ok(());
        }
        let Some(room) = self.config.documents.take_many(uid, len) else {
            self.metrics.refused_for_load();
            return Err(refuse(
                S3ErrorCode::SlowDown,
                "too many long documents are on their way; reduce your request rate",
            ));
        };
        marks.hold(room);
        Ok(())
    }

    /// The name shown for the owner of something.
    pub(crate) fn owner(&self, uid: u32) -> s3s::dto::Owner {
        let known = self.users.list().into_iter().find(|user| user.uid == uid);
        let name = known.map_or_else(|| format!("uid {uid}"), |user| user.name.clone());
        s3s::dto::Owner { id: Some(canonical_id(uid)), display_name: Some(name) }
    }
}

/// The account of a uid, in the twelve digits S3 gives accounts.
pub(crate) fn account_id(uid: u32) -> String {
    format!("{uid:012}")
}

/// The canonical id of a uid, in the 64 hex digits S3 gives users.
pub(crate) fn canonical_id(uid: u32) -> String {
    format!("{uid:064x}")
}

/// The oldest region of S3, which answers some requests in its own way.
pub(crate) const FIRST_REGION: &str = "us-east-1";

/// What S3 calls the version of an object in a bucket that keeps no others.
pub(crate) const PRESENT_VERSION: &str = "null";

/// Versions do not exist here yet: only the present one can be named.
///
/// # Errors
/// `NoSuchVersion` for any other.
pub(crate) fn only_present_version(version: Option<&str>) -> Result<(), S3Error> {
    match version {
        None | Some(PRESENT_VERSION) => Ok(()),
        Some(_) => Err(refuse(S3ErrorCode::NoSuchVersion, "the specified version does not exist")),
    }
}

/// A time as the S3 library writes it.
pub(crate) fn timestamp(time: strata_seam::Timestamp) -> s3s::dto::Timestamp {
    time.to_system_time().into()
}
