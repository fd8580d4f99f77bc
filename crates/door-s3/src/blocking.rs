//! The one place where the door crosses from its asynchronous threads to blocking ones.

use s3s::{S3Error, S3ErrorCode};
use strata_gate::bridge;
use tokio::task::JoinError;

use crate::error::refuse;

/// Runs `work` on a blocking thread. Dropping the future does not stop it.
///
/// # Errors
/// What `work` returns, or `InternalError` if it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, S3Error> + Send + 'static,
) -> Result<T, S3Error> {
    bridge::wait(work).await.map_err(died)?
}

/// As [`blocking`], for work that keeps a core busy.
///
/// # Errors
/// As [`blocking`].
pub(crate) async fn toiling<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, S3Error> + Send + 'static,
) -> Result<T, S3Error> {
    bridge::toil(work).await.map_err(died)?
}

/// The error for a blocking thread that ended without a result.
pub(crate) fn died(err: JoinError) -> S3Error {
    tracing::error!(error = %err, "a blocking task of the S3 door died");
    refuse(S3ErrorCode::InternalError, "the store failed inside; nothing was stored")
}
