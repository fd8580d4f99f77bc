//! The file of a form as a body: as long as it turns out to be, within what the policy allows.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use s3s::{S3Error, S3ErrorCode};
use strata_http::Received;

use super::reader::FormReader;
use crate::error::refuse;

/// How long everything before the file may take.
const FIELDS_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for what comes before the file.
///
/// # Errors
/// `RequestTimeout`, and those of `work`.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, S3Error>>) -> Result<T, S3Error> {
    tokio::time::timeout(FIELDS_TIMEOUT, work).await.map_err(|_| {
        refuse(S3ErrorCode::RequestTimeout, "the form's fields did not arrive within 60 seconds; nothing was stored")
    })?
}

/// A file being received, one piece ahead, so that the last one is known as such.
pub(crate) struct FormFile {
    reader: FormReader<Received>,
    ahead: Option<Bytes>,
    taken: u64,
    min: u64,
    max: u64,
}

impl FormFile {
    /// # Errors
    /// As [`Self::next`].
    pub(super) async fn open(reader: FormReader<Received>, (min, max): (u64, u64)) -> Result<Self, S3Error> {
        let mut file = Self { reader, ahead: None, taken: 0, min, max };
        in_time(file.look_ahead()).await?;
        Ok(file)
    }

    /// Whether nothing follows.
    pub(crate) fn ended(&self) -> bool {
        self.ahead.is_none()
    }

    /// # Errors
    /// `EntityTooLarge` and `EntityTooSmall` by the policy, `IncompleteBody`.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        let Some(piece) = self.ahead.take() else { return Ok(None) };
        self.look_ahead().await?;
        Ok(Some(piece))
    }

    async fn look_ahead(&mut self) -> Result<(), S3Error> {
        self.ahead = self.reader.next().await?;
        match &self.ahead {
            Some(piece) => {
                self.taken += piece.len() as u64;
                if self.taken > self.max {
                    return Err(refuse(
                        S3ErrorCode::EntityTooLarge,
                        "your proposed upload exceeds the maximum allowed object size; nothing was stored",
                    ));
                }
            }
            None if self.taken < self.min => {
                return Err(refuse(
                    S3ErrorCode::EntityTooSmall,
                    "your proposed upload is smaller than the minimum allowed object size; nothing was stored",
                ));
            }
            None => {}
        }
        Ok(())
    }
}
