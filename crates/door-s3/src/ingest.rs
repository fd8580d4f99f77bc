//! From the body of a request to content of the store, hashed and chunked in parallel.
//!
//! Small bodies stay on the thread that received them, because handing them over would cost more than the work. Those that are a little
//! larger are gathered and handed over once. Of larger ones every piece goes to an [`Intake`], which chunks on one blocking thread from
//! the first piece on. For the hashes pieces are gathered into windows of about 1 MiB. While one window is hashed on other blocking
//! threads (the MD5 together with those of other requests: `lanes`), the next is gathered. So a request holds two windows and what the
//! content layer holds, whatever its length, and the client is slowed down by not being read from.
//!
//! Content comes out only if the body was whole and every promised hash was right.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use s3s::{S3Error, S3ErrorCode};
use sha2::{Digest, Sha256};
use strata_gate::{Budget, Piece, bridge};
use strata_namespace::{Content, ContentError, Ingest, Intake};
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;

use crate::auth::hex_of;
use crate::blocking::{died, toiling};
use crate::body::Upload;
use crate::checksum::{Algorithm, Hasher, Promise};
use crate::error::{from_content, refuse};
use crate::etag::Etag;
use crate::lanes::{Died, Stream, Window};

/// Bodies up to this many bytes are taken in on the thread that received them: below 50 us of work (`inline` of the runtime's tests, and the
/// MD5).
const INLINE_LEN_MAX: u64 = 4 * 1024;
/// Bodies up to this many are handed over whole.
const GATHERED_LEN_MAX: u64 = 64 * 1024;
/// Bytes gathered before they are handed to the threads that hash.
const WINDOW_LEN: u64 = 1024 * 1024;
/// The first window of a lone body is shorter, so that hashing starts while the rest is on its way.
const FIRST_WINDOW_LEN: u64 = 256 * 1024;

/// Content that was received whole, not yet part of the name space.
pub(crate) struct Taken {
    /// The content.
    pub(crate) content: Content,
    /// Its MD5 in hex.
    pub(crate) etag: String,
    /// Checksums: the one the client sent, verified, and the one that was wanted here.
    pub(crate) checksums: BTreeMap<String, String>,
}

/// What the client wants computed over the bytes beside the ETag.
struct Hashes {
    sha256: Option<Sha256>,
    checksum: Option<Hasher>,
}

impl Hashes {
    fn for_body(body: &Upload) -> Self {
        Self { sha256: body.sha256.map(|_| Sha256::new()), checksum: body.promise.algorithm.map(Hasher::new) }
    }
    fn update(&mut self, data: &[u8]) {
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
        Self { sha256: body.sha256, md5: body.md5, promise: body.promise.clone() }
    }

    /// Returns the ETag and the checksums to keep.
    fn verify(
        &self,
        md5: [u8; 16],
        hashes: Hashes,
        trailer: &[(String, String)],
    ) -> Result<(String, BTreeMap<String, String>), S3Error> {
        if let (Some(wanted), Some(sha256)) = (self.sha256, hashes.sha256) {
            let computed: [u8; 32] = sha256.finalize().into();
            if !bool::from(computed.ct_eq(&wanted)) {
                return Err(sha256_mismatch());
            }
        }
        if self.md5.is_some_and(|wanted| wanted != md5) {
            return Err(refuse(
                S3ErrorCode::BadDigest,
                "the Content-MD5 you specified did not match what we received; nothing was stored; send it again",
            ));
        }
        let checksum = hashes.checksum.map(Hasher::finish);
        Ok((hex_of(&md5), self.promise.verify(checksum.as_deref(), trailer)?))
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

/// A checksum that is wanted of every body, whatever its client promised. CRCs only: 0.04 ns a byte, done where the
/// bytes go by.
struct Own(Option<(Algorithm, Hasher)>);

impl Own {
    fn update(&mut self, data: &[u8]) {
        if let Some((_, hasher)) = &mut self.0 {
            hasher.update(data);
        }
    }
    fn add_to(self, checksums: &mut BTreeMap<String, String>) {
        if let Some((algorithm, hasher)) = self.0 {
            checksums.insert(algorithm.name().to_owned(), hasher.text());
        }
    }
}

/// Takes a body in, and computes the checksum `own` beside the one its client promised.
///
/// # Errors
/// The S3 error to answer with. Nothing is visible then; chunks already written are reclaimed by the store.
pub(crate) async fn take_in(ingest: Ingest, body: Upload, own: Option<Algorithm>) -> Result<Taken, S3Error> {
    let own = own.filter(|own| body.promise.algorithm != Some(*own));
    let own = Own(own.map(|own| (own, Hasher::new(own))));
    match body.len() {
        len if len <= INLINE_LEN_MAX => inline(ingest, body, own).await,
        len if len <= GATHERED_LEN_MAX => gathered(ingest, body, own).await,
        _ => windowed(ingest, body, own).await,
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
    if body.is_nothing() {
        return Ok(Bytes::new());
    }
    let (data, md5, hashes, demands) = gather_all(&mut body).await?;
    demands.verify(md5, hashes, &body.finish()?)?;
    Ok(data)
}

async fn gather_all(body: &mut Upload) -> Result<(Bytes, [u8; 16], Hashes, Demands), S3Error> {
    let (mut etag, mut hashes, demands) = (Etag::new(), Hashes::for_body(body), Demands::of_body(body));
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(piece) = body.next().await? {
        etag.update(&piece);
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
    let data = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
    Ok((data, etag.finish(), hashes, demands))
}

async fn inline(mut ingest: Ingest, mut body: Upload, mut own: Own) -> Result<Taken, S3Error> {
    let (data, md5, hashes, demands) = gather_all(&mut body).await?;
    let (etag, mut checksums) = demands.verify(md5, hashes, &body.finish()?)?;
    own.update(&data);
    own.add_to(&mut checksums);
    if !data.is_empty() {
        ingest.push(&data).map_err(from_content)?;
    }
    let content = ingest.finish().map_err(from_content)?;
    Ok(Taken { content, etag, checksums })
}

async fn gathered(mut ingest: Ingest, mut body: Upload, mut own: Own) -> Result<Taken, S3Error> {
    let (mut hashes, demands) = (Hashes::for_body(&body), Demands::of_body(&body));
    let mut pieces = Vec::new();
    while let Some(piece) = body.next().await? {
        pieces.push(piece);
    }
    let promised = body.finish()?;
    let work = move || {
        let mut md5 = Etag::new();
        for piece in &pieces {
            md5.update(piece);
            hashes.update(piece);
            own.update(piece);
        }
        let (etag, mut checksums) = demands.verify(md5.finish(), hashes, &promised)?;
        own.add_to(&mut checksums);
        pieces.iter().try_for_each(|piece| ingest.push(piece)).map_err(from_content)?;
        Ok(Taken { content: ingest.finish().map_err(from_content)?, etag, checksums })
    };
    toiling(work).await
}

async fn windowed(ingest: Ingest, mut body: Upload, mut own: Own) -> Result<Taken, S3Error> {
    let (demands, mut left) = (Demands::of_body(&body), body.len());
    let (mut etag, mut hashes) = (Stream::open(), Stage::Idle(Hashes::for_body(&body)));
    let hashing = body.sha256.is_some() || body.promise.algorithm.is_some();
    let mut intake = Intake::new(ingest, |job| drop(bridge::toil(job)));
    let first = if etag.is_alone() { FIRST_WINDOW_LEN } else { WINDOW_LEN };
    let mut window = Gathered { pieces: Vec::new(), len: 0, room: body.budget.piece(first), _before: None };
    // If the body ends early, `finish` below reports the bytes that are missing.
    while left > 0
        && let Some(piece) = body.next().await?
    {
        left = left.saturating_sub(piece.len() as u64);
        own.update(&piece);
        window.add(piece.clone());
        let last = left == 0 || body.ended_early();
        intake.push(piece, last, window.room.len()).await.map_err(from_content)?;
        if last || window.is_full() {
            let window = window.take(&body.budget);
            if hashing {
                let (hashed, mut state) = (Arc::clone(&window), hashes.idle().await?);
                hashes = Stage::of(move || {
                    hashed.iter().for_each(|piece| state.update(piece));
                    Ok(state)
                });
            }
            etag = etag.start(window).await.map_err(lost)?;
        }
    }
    // A trailer may follow the last byte; anything more is an error of the body itself.
    while body.next().await?.is_some() {}
    let trailer = body.finish()?;
    let (md5, hashes) = (etag.finish().await.map_err(lost)?, hashes.idle().await?);
    let content = intake.finish().await.map_err(from_content)?;
    let (etag, mut checksums) = demands.verify(md5, hashes, &trailer)?;
    own.add_to(&mut checksums);
    Ok(Taken { content, etag, checksums })
}

fn lost(err: Died) -> S3Error {
    tracing::error!(error = %err, "a PUT failed");
    refuse(S3ErrorCode::InternalError, "the store failed inside; nothing was stored")
}

/// Pieces on their way to be hashed.
struct Gathered {
    pieces: Vec<Bytes>,
    len: u64,
    room: Piece,
    /// The previous window, which is being hashed.
    _before: Option<Piece>,
}

impl Gathered {
    fn add(&mut self, piece: Bytes) {
        self.len += piece.len() as u64;
        self.pieces.push(piece);
    }
    fn is_full(&self) -> bool {
        self.len >= self.room.len()
    }
    fn take(&mut self, budget: &Arc<Budget>) -> Window {
        self.len = 0;
        self._before = Some(std::mem::replace(&mut self.room, budget.piece(WINDOW_LEN)));
        Arc::new(std::mem::take(&mut self.pieces))
    }
}

/// A stage of the pipeline: its state rests here or is on a blocking thread with a window.
enum Stage<T> {
    Idle(T),
    Busy(JoinHandle<Result<T, ContentError>>),
}

impl<T: Send + 'static> Stage<T> {
    fn of(work: impl FnOnce() -> Result<T, ContentError> + Send + 'static) -> Self {
        Self::Busy(bridge::toil(work))
    }
    async fn idle(self) -> Result<T, S3Error> {
        match self {
            Self::Idle(state) => Ok(state),
            Self::Busy(task) => task.await.map_err(died)?.map_err(from_content),
        }
    }
}
