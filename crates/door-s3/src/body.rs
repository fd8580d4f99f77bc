//! The body of a request on its way in: pulled piece by piece, taken out of its transfer encoding, counted against what
//! was promised. Nothing here gathers; whoever pulls decides how much is in memory.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use s3s::{S3Error, S3ErrorCode};
use strata_gate::{Budget, Patience};
use strata_http::Received;

use crate::auth::Payload;
use crate::checksum::Promise;
use crate::chunked::{ChunkedError, Decoder, Proof};
use crate::door::Shared;
use crate::error::refuse;
use crate::headers::is_chunked;
use crate::metrics::S3Metrics;
use crate::post_form::file::FormFile;

/// Longest body of one request in bytes: the largest object S3 knows.
const BODY_LEN_MAX: u64 = 5 << 40;

/// SHA-256 of nothing.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

enum Source {
    Wire(Received),
    /// A POST form's file.
    Form(Box<FormFile>),
}

/// A body being received.
pub(crate) struct Upload {
    source: Source,
    decoder: Option<Decoder>,
    pending: Bytes,
    len: u64,
    taken: u64,
    metrics: Arc<S3Metrics>,
    patience: Patience,
    /// What it may take of while it is received.
    pub(crate) budget: Arc<Budget>,
    /// What the whole body must hash to, where the signature says so.
    pub(crate) sha256: Option<[u8; 32]>,
    /// What its MD5 must be, where the client says so.
    pub(crate) md5: Option<[u8; 16]>,
    /// Which checksum it must have, where the client says so.
    pub(crate) promise: Promise,
}

/// How the body is framed. Clients that do not sign their chunks may say so by the content coding alone.
///
/// # Errors
/// `InvalidRequest` where the length of the body and that of what is in it cannot both be right.
pub(crate) fn framing(headers: &HeaderMap, payload: Payload) -> Result<Payload, S3Error> {
    let Some(decoded) = headers.get("x-amz-decoded-content-length") else { return Ok(payload) };
    // Framing always adds bytes: where the lengths are equal, there is none.
    if matches!(payload, Payload::SignedChunks { .. } | Payload::UnsignedChunks)
        || headers.get(http::header::CONTENT_LENGTH) == Some(decoded)
    {
        return Ok(payload);
    }
    let codings = headers.get_all(http::header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let chunked = codings.flat_map(|codings| codings.split(',')).any(is_chunked);
    match payload {
        Payload::Unsigned if chunked => Ok(Payload::UnsignedChunks),
        _ => Err(refuse(
            S3ErrorCode::InvalidRequest,
            "x-amz-decoded-content-length is not the length of the body, and the body is not said to be chunks that are not signed; nothing was stored; send x-amz-content-sha256 with a STREAMING- form",
        )),
    }
}

/// What a body's headers promise, before any of it is read.
pub(crate) struct Promised {
    len: u64,
    md5: Option<[u8; 16]>,
    checksum: Promise,
}

impl Promised {
    /// Reads the headers that describe a body; `with_checksum` says whether a checksum among them is that of this body.
    ///
    /// # Errors
    /// `MissingContentLength`, `EntityTooLarge`, `InvalidDigest`, `InvalidRequest`.
    pub(crate) fn of_headers(headers: &HeaderMap, payload: &Payload, with_checksum: bool) -> Result<Self, S3Error> {
        let number = |name: &str| -> Result<Option<u64>, S3Error> {
            let Some(value) = headers.get(name) else {
                return Ok(None);
            };
            let text = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()));
            let number = text.and_then(|text| text.parse().ok());
            number
                .map(Some)
                .ok_or_else(|| refuse(S3ErrorCode::InvalidArgument, format!("the header {name} is no length")))
        };
        let chunked = matches!(payload, Payload::SignedChunks { .. } | Payload::UnsignedChunks);
        let len = if chunked { number("x-amz-decoded-content-length")? } else { number("content-length")? };
        // Without either header there is no body, except where the transfer encoding says there is one.
        let absent = (!chunked && !headers.contains_key(http::header::TRANSFER_ENCODING)).then_some(0);
        let len = len.or(absent).ok_or_else(|| {
            refuse(
                S3ErrorCode::MissingContentLength,
                "you must provide the Content-Length HTTP header, or x-amz-decoded-content-length with a chunked body",
            )
        })?;
        if len > BODY_LEN_MAX {
            return Err(refuse(
                S3ErrorCode::EntityTooLarge,
                "your proposed upload exceeds the maximum allowed size of 5 TiB",
            ));
        }
        let checksum = if with_checksum { Promise::of_headers(headers)? } else { Promise::default() };
        Ok(Self { len, md5: content_md5(headers)?, checksum })
    }
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let bytes = value.to_str().ok().and_then(|text| BASE64.decode(text).ok()).and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or_else(|| refuse(S3ErrorCode::InvalidDigest, "the Content-MD5 you specified is not valid"))
}

impl Upload {
    /// The body of a proven request.
    pub(crate) fn of_wire(body: Received, payload: Payload, promised: Promised, door: &Shared) -> Self {
        let (decoder, sha256) = match payload {
            Payload::Unsigned => (None, None),
            Payload::Sha256(hash) => (None, Some(hash)),
            Payload::UnsignedChunks => (Some(Decoder::new(promised.len, Proof::None)), None),
            Payload::SignedChunks { chain, trailer } => {
                (Some(Decoder::new(promised.len, Proof::Chain { chain, trailer })), None)
            }
        };
        let Promised { len, md5, checksum: promise } = promised;
        Self {
            source: Source::Wire(body),
            decoder,
            pending: Bytes::new(),
            len,
            taken: 0,
            metrics: Arc::clone(&door.metrics),
            patience: Patience::new(door.config.pace),
            budget: Arc::clone(&door.config.bodies),
            sha256,
            md5,
            promise,
        }
    }

    /// The file of a POST form, at most `len` bytes; the length in `promised` is the form's own.
    pub(crate) fn of_form(file: FormFile, len: u64, promised: Promised, door: &Shared) -> Self {
        let Promised { md5, checksum: promise, .. } = promised;
        let len = if file.ended() { 0 } else { len.min(BODY_LEN_MAX) };
        Self {
            source: Source::Form(Box::new(file)),
            decoder: None,
            pending: Bytes::new(),
            len,
            taken: 0,
            metrics: Arc::clone(&door.metrics),
            patience: Patience::new(door.config.pace),
            budget: Arc::clone(&door.config.bodies),
            sha256: None,
            md5,
            promise,
        }
    }

    /// Bytes the client promised; of a form's file, the most it can have.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no body, and nothing was said of one that could be wrong.
    pub(crate) fn is_nothing(&self) -> bool {
        let ended = matches!(&self.source, Source::Wire(body) if body.is_end_stream());
        let unsaid = self.md5.is_none() && self.promise == Promise::default();
        ended
            && unsaid
            && self.len == 0
            && self.decoder.is_none()
            && self.sha256.is_none_or(|hash| hash == EMPTY_SHA256)
    }

    /// Whether it is known by now that nothing follows, although fewer bytes came than [`Self::len`] says.
    pub(crate) fn ended_early(&self) -> bool {
        matches!(&self.source, Source::Form(file) if file.ended())
    }

    /// The next piece; `None` at the end, after which [`Self::finish`] says whether the body was whole.
    ///
    /// Cancel-safe: a piece is handed on or still to come.
    ///
    /// # Errors
    /// `IncompleteBody`, `RequestTimeout`, `SignatureDoesNotMatch` and the like; the body is then lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                if let Some(data) = decoder.next(&mut self.pending).map_err(chunked_error)? {
                    return Ok(Some(data));
                }
            } else if !self.pending.is_empty() {
                let data = std::mem::take(&mut self.pending);
                self.taken += data.len() as u64;
                if self.taken > self.len {
                    return Err(refuse(
                        S3ErrorCode::IncompleteBody,
                        "the body is longer than it was said to be; nothing was stored",
                    ));
                }
                return Ok(Some(data));
            }
            let len = |piece: &Option<Result<Bytes, S3Error>>| match piece {
                Some(Ok(data)) => data.len() as u64,
                _ => 0,
            };
            let piece = self.patience.wait(self.source.next(), len).await.map_err(|slow| {
                refuse(S3ErrorCode::RequestTimeout, format!("{slow}; nothing was stored; send it again"))
            })?;
            match piece {
                Some(Ok(data)) => {
                    self.metrics.received(data.len());
                    self.pending = data;
                }
                Some(Err(err)) => return Err(err),
                None => return Ok(None),
            }
        }
    }

    /// Ends the body: it must have been exactly as long as promised. Returns the trailer's headers.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) fn finish(self) -> Result<Vec<(String, String)>, S3Error> {
        match self.decoder {
            Some(decoder) => decoder.finish().map_err(chunked_error),
            None if self.taken == self.len || self.ended_early() => Ok(Vec::new()),
            None => Err(incomplete()),
        }
    }
}

impl Source {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        match self {
            // Trailers of HTTP itself are not covered by any signature: they are dropped.
            Self::Wire(body) => body.piece().await.map(|piece| {
                piece.map_err(|err| {
                    tracing::debug!(error = %err, "a request body broke off");
                    incomplete()
                })
            }),
            Self::Form(file) => file.next().await.transpose(),
        }
    }
}

fn incomplete() -> S3Error {
    refuse(
        S3ErrorCode::IncompleteBody,
        "you did not provide the number of bytes specified by the Content-Length HTTP header; nothing was stored",
    )
}

fn chunked_error(err: ChunkedError) -> S3Error {
    let code = match err {
        ChunkedError::Malformed => S3ErrorCode::InvalidRequest,
        ChunkedError::TooLong | ChunkedError::Incomplete => S3ErrorCode::IncompleteBody,
        ChunkedError::Signature => S3ErrorCode::SignatureDoesNotMatch,
    };
    refuse(code, format!("{err}; nothing was stored"))
}
