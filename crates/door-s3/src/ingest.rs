//! From the body of a request to content of the store: bounded windows, hashed and chunked in parallel.
//!
//! Small bodies stay on the thread that received them, because handing them over would cost more than the work.
//! Larger ones are gathered into windows of about 1 MiB; while one window is chunked on one blocking thread and hashed
//! on another, the next is gathered. So a request holds two windows and what the content layer holds, whatever its
//! length, and the client is slowed down by not being read from.
//!
//! Content comes out only if the body was whole and every promised hash was right.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use s3s::{S3Error, S3ErrorCode};
use sha2::{Digest, Sha256};
use strata_namespace::{Content, ContentError, Ingest};
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;

use crate::blocking::{blocking, died};
use crate::body::Upload;
use crate::checksum::{Hasher, Promise};
use crate::error::{from_content, refuse};
use crate::etag::Etag;

/// Bodies up to this many bytes are taken in on the thread that received them: about 0.2 ms of work.
const INLINE_LEN_MAX: u64 = 64 * 1024;
/// Bytes gathered before they are handed to the blocking threads.
const WINDOW_LEN: usize = 1024 * 1024;

/// Content that was received whole, not yet part of the name space.
pub(crate) struct Taken {
    /// The content.
    pub(crate) content: Content,
    /// Its MD5 in hex.
    pub(crate) etag: String,
    /// Checksums the client sent, verified.
    pub(crate) checksums: BTreeMap<String, String>,
}

/// Everything that is computed over the bytes beside chunking them.
struct Hashes {
    etag: Etag,
    sha256: Option<Sha256>,
    checksum: Option<Hasher>,
}

impl Hashes {
    fn for_body(body: &Upload) -> Self {
        Self {
            etag: Etag::new(),
            sha256: body.sha256.map(|_| Sha256::new()),
            checksum: body.promise.algorithm.map(Hasher::new),
        }
    }
    fn update(&mut self, data: &[u8]) {
        self.etag.update(data);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(data);
        }
    }
}

/// What has to be true of the body, kept while it is consumed.
struct Demands {
    sha256: Option<[u8; 32]>,
    md5: Option<[u8; 16]>,
    promise: Promise,
}

impl Demands {
    fn of_body(body: &Upload) -> Self {
        Self {
            sha256: body.sha256,
            md5: body.md5,
            promise: body.promise.clone(),
        }
    }

    /// Returns the ETag and the checksums to keep.
    fn verify(
        &self,
        hashes: Hashes,
        trailer: &[(String, String)],
    ) -> Result<(String, BTreeMap<String, String>), S3Error> {
        if let (Some(wanted), Some(sha256)) = (self.sha256, hashes.sha256) {
            let computed: [u8; 32] = sha256.finalize().into();
            if !bool::from(computed.ct_eq(&wanted)) {
                return Err(sha256_mismatch());
            }
        }
        let md5 = hashes.etag.finish();
        if self.md5.is_some_and(|wanted| wanted != md5) {
            return Err(refuse(
                S3ErrorCode::BadDigest,
                "the Content-MD5 you specified did not match what we received; nothing was stored; send it again",
            ));
        }
        let checksum = hashes.checksum.map(Hasher::finish);
        Ok((hex::encode(md5), self.promise.verify(checksum.as_deref(), trailer)?))
    }
}

fn sha256_mismatch() -> S3Error {
    let mut err = refuse(
        S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
        "the provided x-amz-content-sha256 does not match what was computed; nothing was stored",
    );
    err.set_status_code(http::StatusCode::BAD_REQUEST);
    err
}

/// Takes a body in.
///
/// # Errors
/// The S3 error to answer with. Nothing is visible then; chunks already written are reclaimed by the store.
pub(crate) async fn take_in(ingest: Ingest, body: Upload) -> Result<Taken, S3Error> {
    if body.len() <= INLINE_LEN_MAX {
        inline(ingest, body).await
    } else {
        windowed(ingest, body).await
    }
}

/// Receives a small body whole and verifies it: documents, and what [`take_in`] takes in without a hop.
///
/// # Errors
/// As [`take_in`]; `EntityTooLarge` above `limit` bytes, before anything is read.
pub(crate) async fn collect(mut body: Upload, limit: u64) -> Result<Bytes, S3Error> {
    if body.len() > limit {
        return Err(refuse(
            S3ErrorCode::MaxMessageLengthExceeded,
            format!("the request's document is longer than {limit} bytes"),
        ));
    }
    let (data, hashes, demands) = gather_all(&mut body).await?;
    demands.verify(hashes, &body.finish()?)?;
    Ok(data)
}

async fn gather_all(body: &mut Upload) -> Result<(Bytes, Hashes, Demands), S3Error> {
    let (mut hashes, demands) = (Hashes::for_body(body), Demands::of_body(body));
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(piece) = body.next().await? {
        hashes.update(&piece);
        match &first {
            None => first = Some(piece),
            Some(start) => {
                if rest.is_empty() {
                    rest.extend_from_slice(start);
                }
                rest.extend_from_slice(&piece);
            }
        }
    }
    let data = if rest.is_empty() {
        first.unwrap_or_default()
    } else {
        rest.freeze()
    };
    Ok((data, hashes, demands))
}

async fn inline(mut ingest: Ingest, mut body: Upload) -> Result<Taken, S3Error> {
    let (data, hashes, demands) = gather_all(&mut body).await?;
    let (etag, checksums) = demands.verify(hashes, &body.finish()?)?;
    if !data.is_empty() {
        ingest.push(&data).map_err(from_content)?;
    }
    let content = ingest.finish().map_err(from_content)?;
    Ok(Taken {
        content,
        etag,
        checksums,
    })
}

type Window = Arc<Vec<Bytes>>;

async fn windowed(ingest: Ingest, mut body: Upload) -> Result<Taken, S3Error> {
    let demands = Demands::of_body(&body);
    let (mut ingest, mut hashes) = (Stage::Idle(ingest), Stage::Idle(Hashes::for_body(&body)));
    while let Some(window) = gather(&mut body).await? {
        // Each stage takes the window as soon as it is through with the one before; both work at the same time.
        ingest = ingest
            .start(Arc::clone(&window), |ingest, data| ingest.push(data))
            .await?;
        hashes = hashes
            .start(window, |hashes, data| {
                hashes.update(data);
                Ok(())
            })
            .await?;
    }
    let (ingest, hashes) = (ingest.idle().await?, hashes.idle().await?);
    let (etag, checksums) = demands.verify(hashes, &body.finish()?)?;
    let content = blocking(move || ingest.finish().map_err(from_content)).await?;
    Ok(Taken {
        content,
        etag,
        checksums,
    })
}

/// The next window, `None` at the end of the body.
async fn gather(body: &mut Upload) -> Result<Option<Window>, S3Error> {
    let (mut pieces, mut len) = (Vec::new(), 0);
    while len < WINDOW_LEN {
        let Some(piece) = body.next().await? else { break };
        len += piece.len();
        pieces.push(piece);
    }
    Ok((!pieces.is_empty()).then(|| Arc::new(pieces)))
}

/// A stage of the pipeline: its state rests here or is on a blocking thread with a window.
enum Stage<T> {
    Idle(T),
    Busy(JoinHandle<Result<T, ContentError>>),
}

impl<T: Send + 'static> Stage<T> {
    async fn idle(self) -> Result<T, S3Error> {
        match self {
            Self::Idle(state) => Ok(state),
            Self::Busy(task) => task.await.map_err(died)?.map_err(from_content),
        }
    }
    async fn start(self, window: Window, work: fn(&mut T, &[u8]) -> Result<(), ContentError>) -> Result<Self, S3Error> {
        let mut state = self.idle().await?;
        Ok(Self::Busy(tokio::task::spawn_blocking(move || {
            window.iter().try_for_each(|piece| work(&mut state, piece))?;
            Ok(state)
        })))
    }
}
