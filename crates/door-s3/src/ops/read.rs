//! GetObject and HeadObject: conditions, ranges, and a body that leaves as it is read.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{Body, S3Error, S3ErrorCode, S3Result, StdError};
use strata_gate::Budget;
use strata_http::conditions::Quotes;
use strata_namespace::{ContentError, ObjectInfo, Reader};
use tokio::task::JoinHandle;

use crate::blocking::died;
use crate::conditions::Conditions;
use crate::context::Context;
use crate::door::{Shared, only_present_version};
use crate::error::{from_content, from_namespace, refuse};
use crate::headers::{add_checksums, apply_overrides, of_object, with_validators};
use crate::range::{self, of_part};

/// Bytes read from the store at a time, where the budget allows. Two such pieces are in memory per reader, one leaving and one
/// being read, and what the connection has not sent yet of the one before.
const PIECE_LEN: u64 = 1024 * 1024;

/// An answer's status, where the library would choose another.
#[derive(Clone, Copy)]
pub(crate) struct Status(pub(crate) StatusCode);

/// What a read asks for.
pub(super) struct Wanted {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) part_number: Option<i32>,
    pub(super) version_id: Option<String>,
}

/// The head of the answer to a read, with the bytes that belong to it.
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    pub(super) status: StatusCode,
    range: Range<u64>,
}

impl Shared {
    pub(super) fn head(&self, cx: &Context, wanted: &Wanted) -> S3Result<Head> {
        self.check_read(cx, wanted)?;
        let info = self.ns.head_object(&cx.op, &wanted.bucket, wanted.key.as_bytes()).map_err(from_namespace)?;
        answer(cx, wanted, &info)
    }

    pub(super) async fn get(&self, cx: &Context, wanted: &Wanted) -> S3Result<(Head, StreamingBlob)> {
        self.check_read(cx, wanted)?;
        let (info, reader) =
            self.ns.get_object(&cx.op, &wanted.bucket, wanted.key.as_bytes()).map_err(from_namespace)?;
        let head = answer(cx, wanted, &info)?;
        let body = body(reader, head.range.clone(), &self.config.bodies).await?;
        Ok((head, body))
    }

    fn check_read(&self, cx: &Context, wanted: &Wanted) -> S3Result<()> {
        only_present_version(wanted.version_id.as_deref())?;
        self.expect_owner(cx, &wanted.bucket, "x-amz-expected-bucket-owner")
    }
}

fn answer(cx: &Context, wanted: &Wanted, info: &ObjectInfo) -> S3Result<Head> {
    Conditions::of_request(&cx.headers).allow_read(info)?;
    let len = info.attr.size;
    // As in lists, S3 takes ETags without quotes.
    let same = with_validators(info, |validators| validators.hold_if_range(&cx.headers, Quotes::Optional));
    let asked = cx.header("range").and_then(range::asked).filter(|_| same);
    let range = match (wanted.part_number, asked) {
        (Some(_), Some(_)) => {
            return Err(refuse(
                S3ErrorCode::InvalidRequest,
                "cannot specify both Range header and partNumber query parameter",
            ));
        }
        (Some(number), None) => Some(of_part(number, &info.parts, len)?),
        (None, Some(asked)) => Some(range::resolve(&asked, len)?),
        (None, None) => None,
    };
    let mut headers = of_object(info, range.as_ref());
    if wanted.part_number.is_some() && !info.parts.is_empty() {
        headers.insert("x-amz-mp-parts-count", HeaderValue::from(info.parts.len()));
    }
    if range.is_none() && cx.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")) {
        add_checksums(&mut headers, info);
    }
    apply_overrides(&mut headers, &cx.query)?;
    let partial = range.as_ref().is_some_and(|range| !range.is_empty());
    let status = if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    Ok(Head { headers, status, range: range.unwrap_or(0..len) })
}

/// The bytes of `range`. The first piece is there when this returns, so that a small object leaves in one write with its
/// head, and a failure to read it is still an error with a name.
async fn body(reader: Reader, range: Range<u64>, budget: &Arc<Budget>) -> S3Result<StreamingBlob> {
    if range.is_empty() {
        return Ok(StreamingBlob::from(Body::empty()));
    }
    let mut pieces = Pieces {
        reader: Arc::new(reader),
        next: range.start,
        end: range.end,
        left: range.end - range.start,
        state: State::Empty,
        budget: Arc::clone(budget),
    };
    pieces.fetch();
    let first = match std::mem::replace(&mut pieces.state, State::Empty) {
        State::Ready(piece) => Ok(piece),
        State::Reading(task) => task.await.map_err(died)?,
        State::Empty => Ok(Bytes::new()),
    };
    let first = first.map_err(from_content)?;
    if pieces.next == pieces.end {
        return Ok(StreamingBlob::from(Body::from(first)));
    }
    pieces.state = State::Ready(first);
    Ok(StreamingBlob::new(pieces))
}

enum State {
    Empty,
    Ready(Bytes),
    Reading(JoinHandle<Result<Bytes, ContentError>>),
}

/// A body read piece by piece, one ahead of the connection.
struct Pieces {
    reader: Arc<Reader>,
    /// Where the next piece to be read begins.
    next: u64,
    end: u64,
    /// Bytes not yet handed on.
    left: u64,
    state: State,
    budget: Arc<Budget>,
}

impl Pieces {
    /// Reads the next piece: at once if it is in memory, else on a blocking thread.
    fn fetch(&mut self) {
        let (offset, wanted) = (self.next, PIECE_LEN.min(self.end - self.next));
        if wanted == 0 {
            return;
        }
        let piece = self.budget.piece(wanted);
        self.next += piece.len();
        let len = usize::try_from(piece.len()).unwrap_or(usize::MAX);
        self.state = match self.reader.read_cached(offset, len) {
            Some(bytes) => State::Ready(piece.of(bytes)),
            None => {
                let reader = Arc::clone(&self.reader);
                State::Reading(strata_gate::bridge::wait(move || reader.read(offset, len).map(|bytes| piece.of(bytes))))
            }
        };
    }

    fn hand_on(&mut self, piece: Bytes) -> Result<Bytes, StdError> {
        self.left = self
            .left
            .checked_sub(piece.len() as u64)
            .filter(|_| !piece.is_empty())
            .ok_or("the store gave another number of bytes than the object has")?;
        self.fetch();
        Ok(piece)
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let piece = match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => return Poll::Ready(None),
            State::Ready(piece) => piece,
            State::Reading(mut reading) => match Pin::new(&mut reading).poll(task) {
                Poll::Pending => {
                    self.state = State::Reading(reading);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(Ok(piece))) => piece,
                // The head has left: only breaking the connection remains, which the client sees as a short body.
                Poll::Ready(Ok(Err(err))) => {
                    tracing::error!(error = %err, "reading an object failed in the middle of an answer; the connection is closed");
                    return Poll::Ready(Some(Err(Box::new(err))));
                }
                Poll::Ready(Err(err)) => return Poll::Ready(Some(Err(Box::<S3Error>::from(died(err))))),
            },
        };
        Poll::Ready(Some(self.hand_on(piece)))
    }
}

impl ByteStream for Pieces {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.left).unwrap_or(usize::MAX))
    }
}
