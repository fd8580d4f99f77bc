//! PUT of whole files: streamed into content beside the name space, and committed in one step when the body is whole.
//!
//! Until that commit nobody sees anything of an upload; a dropped connection, a short body or a silent client leaves
//! nothing but chunks to reclaim. Locks and conditions are checked twice: before the body, to spare it, and in the commit.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use strata_gate::bridge;
use strata_http::Received;
use strata_http::etag::quoted;
use strata_http::range::number;
use strata_namespace::{Access, Attr, Content, Intake, ObjectMeta, SetAttr, SetTime, Touch, Wanted};
use strata_seam::{Ino, Timestamp};

use crate::ask::{Ask, Found, Reply, is_dir};
use crate::conditions;
use crate::error::{Refusal, Result};
use crate::headers;
use crate::if_header::Matcher;
use crate::metrics::add;
use crate::range;
use crate::range_write;
use crate::upload::{GATHERED_LEN_MAX, INLINE_LEN_MAX, Upload, WINDOW_LEN};

/// Where a PUT goes, after all checks that need no body.
pub(crate) struct Target {
    pub(crate) parent: Attr,
    pub(crate) existing: Option<Attr>,
    pub(crate) condition: strata_namespace::Condition,
}

/// Answers PUT.
pub(crate) async fn put(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    if let Some(range) = headers::text(&ask.headers, "content-range")? {
        let at = range::content_range(range)?;
        return range_write::write(ask, body, at, true).await;
    }
    let target = target(ask)?;
    let modified = oc_mtime(ask)?;
    let upload = Upload::new(body, &ask.headers, &ask.door)?;
    let content =
        ingest(ask, target.parent.ino, upload).await.inspect_err(|_| add(&ask.door.metrics.aborted_uploads, 1))?;
    commit(ask, &target, content, modified)
}

/// How often a PUT looks again at a name whose file was removed during the checks, before it refuses.
const LOOKS: usize = 16;

/// Finds out where a PUT goes and whether it may.
///
/// A file that is removed between being found and being judged is no obstacle: the name is looked up again.
pub(crate) fn target(ask: &Ask) -> Result<Target> {
    let mut looks = 1;
    loop {
        match look_and_judge(ask) {
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND && looks < LOOKS => looks += 1,
            judged => return judged,
        }
    }
}

/// Looks up where a PUT goes, and judges what is there. 404 says that what was found was removed meanwhile.
fn look_and_judge(ask: &Ask) -> Result<Target> {
    let path = &ask.path;
    if path.is_root() {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the root is a collection; nothing was changed"));
    }
    let parent = ask.parent_of(path)?;
    let existing = match ask.look_in(&parent, path.name())? {
        Found::Node(attr) if is_dir(&attr) => {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "there is a collection of this name; nothing was changed",
            ));
        }
        Found::Hidden => return Err(Refusal::conflict("something that is no file has this name; nothing was changed")),
        Found::Node(attr) => Some(attr),
        Found::Nothing if path.has_slash() => {
            return Err(Refusal::conflict("a file's URL does not end in a slash; nothing was changed"));
        }
        Found::Nothing => None,
    };
    match &existing {
        Some(attr) => ask.require(attr, Access { write: true, ..Access::default() })?,
        None => ask.require(&parent, Access { write: true, exec: true, ..Access::default() })?,
    }
    let conditions = conditions::of(&ask.headers)?;
    let mut condition = strata_etag::condition(&conditions);
    let needs_etag = !conditions.are_none() || ask.if_header.is_some();
    let tag = match &existing {
        Some(attr) if needs_etag => Some(ask.ns().object_info(&ask.op, attr.ino)?.tag),
        _ => None,
    };
    ask.check(&conditions, existing.as_ref(), tag.as_ref())?;
    // An If header with an ETag was evaluated against this very version: the commit must find the same one.
    if let (Some(header), Some(tag)) = (&ask.if_header, tag)
        && condition.wanted.is_none()
        && header
            .lists
            .iter()
            .flat_map(|list| &list.conditions)
            .any(|condition| matches!(condition.what, Matcher::ETag(_)))
    {
        condition.wanted = Some(Wanted::OneOf(vec![tag]));
    }
    ask.ns()
        .check_locks(&ask.op, &[existing.as_ref().map_or(Touch::Members(parent.ino), |attr| Touch::Node(attr.ino))])?;
    Ok(Target { parent, existing, condition })
}

/// Makes the content visible.
pub(crate) fn commit(ask: &Ask, target: &Target, content: Content, modified: Option<Timestamp>) -> Result<Reply> {
    let (parent, name) = (target.parent.ino, ask.path.name());
    // Content and time are two commits, and nobody locks the file in between.
    let _claim = modified.map(|_| ask.ns().keep_unlocked(&ask.op, parent, name)).transpose()?;
    let (info, created) = ask.ns().put_file(&ask.op, parent, name, content, None, meta(ask), &target.condition)?;
    if let Some(time) = modified {
        let set = SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() };
        ask.ns().setattr(&ask.op, info.attr.ino, &set)?;
    }
    let mut reply = ask.empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT });
    if let Ok(etag) = HeaderValue::try_from(quoted(&strata_etag::of(&info.tag))) {
        reply.headers_mut().insert(ETAG, etag);
    }
    if modified.is_some() {
        reply.headers_mut().insert("x-oc-mtime", HeaderValue::from_static("accepted"));
    }
    Ok(reply)
}

/// Headers of the upload that come back with the download.
fn meta(ask: &Ask) -> ObjectMeta {
    let mut meta = ObjectMeta::default();
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        if let Some(value) = ask.headers.get(&name).and_then(|value| value.to_str().ok())
            // The types that clients send by default say less than the name's extension.
            && !matches!(value, "application/x-www-form-urlencoded" | "application/octet-stream" | "")
        {
            meta.system.insert(name.as_str().to_owned(), value.to_owned());
        }
    }
    meta
}

/// `X-OC-Mtime`: seconds since 1970, the way ownCloud clients and rclone keep modification times.
fn oc_mtime(ask: &Ask) -> Result<Option<Timestamp>> {
    let Some(text) = headers::text(&ask.headers, "x-oc-mtime")? else { return Ok(None) };
    let refuse = || Refusal::bad_request("X-OC-Mtime is not a number of seconds; nothing was changed");
    let text = text.trim();
    // A fraction is allowed and dropped.
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (sign, digits) = secs.strip_prefix('-').map_or((1, secs), |digits| (-1, digits));
    let secs = number(digits).and_then(|secs| i64::try_from(secs).ok()).ok_or_else(refuse)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    Ok(Some(Timestamp::from_parts(sign * secs, 0)))
}

/// Turns a body into content. It is chunked and hashed on another thread while it is read from the connection.
async fn ingest(ask: &Arc<Ask>, parent: Ino, mut upload: Upload<'_>) -> Result<Content> {
    let mut ingest = ask.ns().ingest_in(&ask.op, parent)?;
    if upload.expected().is_some_and(|len| len <= INLINE_LEN_MAX) {
        while !upload.ended() {
            ingest.push(&upload.piece().await?)?;
        }
        return Ok(ingest.finish()?);
    }
    if upload.expected().is_some_and(|len| len <= GATHERED_LEN_MAX) {
        let mut pieces = Vec::new();
        while !upload.ended() {
            pieces.push(upload.piece().await?);
        }
        let work = move || {
            pieces.iter().try_for_each(|piece| ingest.push(piece))?;
            ingest.finish()
        };
        return Ok(bridge::toil(work).await.map_err(|error| Refusal::task(&error))??);
    }
    let mut intake = Intake::new(ingest, |job| drop(bridge::toil(job)));
    let bodies = &ask.door.config.bodies;
    let (mut room, mut taken) = (bodies.piece(WINDOW_LEN), 0);
    while !upload.ended() {
        let piece = upload.piece().await?;
        taken += piece.len() as u64;
        intake.push(piece, upload.ended(), room.len()).await?;
        if taken >= room.len() {
            // Taken anew for every window, because others have taken or released room meanwhile.
            drop(room);
            (room, taken) = (bodies.piece(WINDOW_LEN), 0);
        }
    }
    Ok(intake.finish().await?)
}
