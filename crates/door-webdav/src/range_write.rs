//! Partial writes: `PUT` with `Content-Range` (Apache) and `PATCH` with `X-Update-Range` (SabreDAV).
//!
//! Unlike a whole PUT these write in place, as a `pwrite` would: what arrived before a connection broke stays written.
//! The reply comes after everything that was written is durable.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use strata_http::Received;
use strata_http::etag::quoted;
use strata_namespace::{Access, FILE_LEN_MAX, Namespace, Op, Permit};

use crate::ask::{Ask, Reply};
use crate::error::{Refusal, Result};
use crate::headers;
use crate::put;
use crate::range::{self, WriteAt};
use crate::upload::Upload;

/// The body type of a SabreDAV partial update.
const PARTIAL_UPDATE: &str = "application/x-sabredav-partialupdate";

/// Answers PATCH.
pub(crate) async fn patch(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let content_type = headers::text(&ask.headers, CONTENT_TYPE.as_str())?.unwrap_or_default();
    if !content_type.trim().eq_ignore_ascii_case(PARTIAL_UPDATE) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("PATCH takes {PARTIAL_UPDATE} only; nothing was changed"),
        ));
    }
    let Some(range) = headers::text(&ask.headers, "x-update-range")? else {
        return Err(Refusal::bad_request("PATCH needs X-Update-Range; nothing was changed"));
    };
    write(ask, body, range::update_range(range)?, false).await
}

/// Writes the body into the file at the request's path; `create` makes the file if it is not there.
pub(crate) async fn write(ask: &Arc<Ask>, body: Received, at: WriteAt, create: bool) -> Result<Reply> {
    let target = put::target(ask)?;
    let mut upload = Upload::new(body, &ask.headers, &ask.door)?;
    if let (WriteAt::Offset(_, Some(asked)), Some(sent)) = (at, upload.expected())
        && asked != sent
    {
        return Err(Refusal::bad_request("the range and the body have different lengths; nothing was changed"));
    }
    let access = Access { write: true, ..Access::default() };
    if target.existing.is_none() && !create {
        return Err(Refusal::not_found("there is no such file to update"));
    }
    let opened = match &target.existing {
        Some(attr) => ask.ns().open(&ask.op, attr.ino, access, false)?,
        None => {
            let mode = ask.ns().bucket_of(&ask.op, target.parent.ino)?.mode;
            ask.ns().create(&ask.op, target.parent.ino, ask.path.name(), mode, access, false, false)?
        }
    };
    let file = Arc::new(OpenFile { ask: ask.clone(), permit: opened.permit });
    let (mut offset, limit) = match at {
        WriteAt::Offset(offset, len) => (Some(offset), len),
        WriteAt::FromEnd(back) => (Some(opened.size.saturating_sub(back)), None),
        WriteAt::Append => (None, None),
    };
    let end_max = limit.and_then(|len| offset.map(|offset| offset.saturating_add(len))).unwrap_or(FILE_LEN_MAX);
    let mut ends = offset.unwrap_or(0);
    while !upload.ended() {
        let pieces = upload.window().await?;
        let len: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        ends = ends.saturating_add(len);
        if ends > end_max {
            return Err(Refusal::bad_request(
                "the body is longer than its range; the range is written, the rest is not",
            )
            .closing());
        }
        let (file, from) = (file.clone(), offset);
        let work = move || write_pieces(file.ns(), &file.ask.op, file.permit, from, &pieces);
        strata_gate::bridge::wait(work).await.map_err(|error| Refusal::task(&error))??;
        offset = offset.map(|offset| offset + len);
    }
    if limit.is_some() && ends != end_max {
        return Err(Refusal::bad_request("the body is shorter than its range; what came is written"));
    }
    let sync = move || {
        let ino = file.permit.ino();
        file.ns().fsync(&file.ask.op, ino)?;
        // Closing the file completes the version whose ETag is reported.
        let ask = file.ask.clone();
        drop(file);
        ask.ns().object_info(&ask.op, ino)
    };
    let info = strata_gate::bridge::wait(sync).await.map_err(|error| Refusal::task(&error))??;
    let mut reply = ask.empty(if target.existing.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED });
    if let Ok(etag) = HeaderValue::try_from(quoted(&strata_etag::of(&info.tag))) {
        reply.headers_mut().insert(ETAG, etag);
    }
    Ok(reply)
}

fn write_pieces(ns: &Namespace, op: &Op, file: Permit, mut offset: Option<u64>, pieces: &[Bytes]) -> Result<()> {
    for piece in pieces {
        match &mut offset {
            Some(offset) => {
                ns.write(op, file, *offset, piece)?;
                *offset += piece.len() as u64;
            }
            None => {
                ns.append(op, file, piece)?;
            }
        }
    }
    Ok(())
}

/// An open file of the name space: closed when it is dropped, also when the client goes away in the middle.
struct OpenFile {
    ask: Arc<Ask>,
    permit: Permit,
}

impl OpenFile {
    fn ns(&self) -> &Namespace {
        self.ask.ns()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Err(error) = self.ns().close(&self.ask.op, self.permit.ino(), true) {
            tracing::warn!(%error, ino = %self.permit.ino(), "a file written through webdav could not be closed");
        }
    }
}
