//! Request bodies: taken in window by window, and found whole or refused.
//!
//! A body counts as whole only if it ended as announced: all bytes of `Content-Length`, the last chunk of a chunked body
//! (hyper checks both), and the length that Finder announces beside its chunked bodies. Everything else is an error, and
//! the caller must then leave the name space as it was.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use strata_gate::Patience;
use strata_http::Received;
use strata_http::range::number;

use crate::door::WebDavDoor;
use crate::error::{Refusal, Result};
use crate::headers;
use crate::metrics::add;

/// Bytes gathered before they are written into the middle of a file, or on their way to be stored.
pub(crate) const WINDOW_LEN: u64 = 1024 * 1024;
/// Bodies up to this length are taken in on the connection's own thread: the hop would cost more than the work.
pub(crate) const INLINE_LEN_MAX: u64 = 4 * 1024;
/// Bodies up to this length are gathered and handed over once.
pub(crate) const GATHERED_LEN_MAX: u64 = 64 * 1024;
/// How much of an unwanted body is read so that the client gets to see the refusal.
const DRAIN_LEN_MAX: usize = 1024 * 1024;
/// How long that may take: a client that has not authenticated holds a place among the requests meanwhile.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(200);

/// A body being read.
pub(crate) struct Upload<'a> {
    body: Received,
    door: &'a WebDavDoor,
    patience: Patience,
    /// From `Content-Length` or Finder's header.
    expected: Option<u64>,
    read: u64,
    ended: bool,
}

impl<'a> Upload<'a> {
    /// # Errors
    /// 400 for announcements that contradict each other or cannot be read.
    pub(crate) fn new(body: Received, request: &HeaderMap, door: &'a WebDavDoor) -> Result<Self> {
        let announced = match headers::text(request, "x-expected-entity-length")? {
            Some(text) => Some(number(text.trim()).ok_or_else(|| {
                Refusal::bad_request("X-Expected-Entity-Length is not a number; nothing was changed")
            })?),
            None => None,
        };
        let exact = body.size_hint().exact();
        if let (Some(exact), Some(announced)) = (exact, announced)
            && exact != announced
        {
            return Err(Refusal::bad_request(
                "Content-Length and X-Expected-Entity-Length differ; nothing was changed",
            ));
        }
        let expected = exact.or(announced);
        Ok(Self { body, door, patience: Patience::new(door.config.pace), expected, read: 0, ended: false })
    }

    /// The announced length, if there is one.
    pub(crate) fn expected(&self) -> Option<u64> {
        self.expected
    }
    /// Whether the body has been read to its end.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next pieces, [`WINDOW_LEN`] bytes of them or what the budget allows, unless the body ends.
    ///
    /// # Errors
    /// As [`Upload::piece`].
    pub(crate) async fn window(&mut self) -> Result<Vec<Bytes>> {
        let room = self.door.config.bodies.piece(WINDOW_LEN);
        let mut pieces = Vec::new();
        let mut len = 0;
        while len < room.len() && !self.ended {
            let piece = self.piece().await?;
            len += piece.len() as u64;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// The next piece; an empty one may be the last. [`Upload::ended`] then tells.
    ///
    /// # Errors
    /// 400 if the body ended early or is longer than announced, 408 if the client fell silent.
    pub(crate) async fn piece(&mut self) -> Result<Bytes> {
        let len = |piece: &Option<Result<Bytes, _>>| match piece {
            Some(Ok(data)) => data.len() as u64,
            _ => 0,
        };
        let piece = self.patience.wait(self.body.piece(), len).await.map_err(|slow| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("{slow}; nothing of the body was kept")).closing()
        })?;
        match piece {
            Some(Ok(data)) => {
                self.read += data.len() as u64;
                add(&self.door.metrics.bytes_in, data.len() as u64);
                if self.expected.is_some_and(|expected| self.read > expected) {
                    return Err(
                        Refusal::bad_request("the body is longer than announced; nothing of it was kept").closing()
                    );
                }
                // A body with a length is known to have ended as soon as its last byte is here.
                if self.body.is_end_stream() {
                    self.end()?;
                }
                Ok(data)
            }
            Some(Err(error)) => {
                Err(Refusal::bad_request(format!("the body broke off: {error}; nothing of it was kept")).closing())
            }
            None => {
                self.end()?;
                Ok(Bytes::new())
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        self.ended = true;
        if self.expected.is_some_and(|expected| self.read != expected) {
            return Err(Refusal::bad_request("the body is shorter than announced; nothing of it was kept"));
        }
        Ok(())
    }
}

/// The whole of a small body.
///
/// # Errors
/// 413 above `limit` bytes, else as [`Upload::window`].
pub(crate) async fn small(body: Received, limit: usize, door: &WebDavDoor) -> Result<Vec<u8>> {
    let patience = Patience::new(door.config.pace);
    let mut upload = Upload { body, door, patience, expected: None, read: 0, ended: false };
    let mut out = Vec::new();
    let too_large = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body of this request may have at most {limit} bytes"))
            .closing()
    };
    if upload.body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    while !upload.ended {
        for piece in upload.window().await? {
            if out.len() + piece.len() > limit {
                return Err(too_large());
            }
            out.extend_from_slice(&piece);
        }
    }
    Ok(out)
}

/// Reads what is left of a refused request's body if that is little and comes at once, so that the client reads the reply instead of
/// meeting a reset connection. Whether the connection may be used again.
pub(crate) async fn drain(mut body: Received) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if body.size_hint().lower() > DRAIN_LEN_MAX as u64 {
        return false;
    }
    let rest = async {
        let mut read = 0;
        while read <= DRAIN_LEN_MAX {
            match body.piece().await {
                Some(Ok(data)) => read += data.len(),
                None => return true,
                Some(Err(_)) => return false,
            }
        }
        false
    };
    tokio::time::timeout(DRAIN_TIME_MAX, rest).await.unwrap_or(false)
}
