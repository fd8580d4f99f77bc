//! GET and HEAD: one pinned version from the first byte to the last, whole or in ranges, and an index of a collection.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, EXPIRES, RANGE,
};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use strata_http::conditions::{Quotes, Validators};
use strata_http::range::{Asked, Wanted, content_range, unsatisfied};
use strata_namespace::{Access, Attr, DirEntry, NodeKind, ObjectInfo, Reader};

use crate::ask::{Ask, Reply, is_dir};
use crate::body::{ReplyBody, Segment};
use crate::error::Result;
use crate::listing::{self, Render};
use crate::path::{UrlPath, push_name};
use crate::xml::push_text;
use crate::{conditions, headers};

/// Most ranges answered in one reply; more, or ranges that overlap, get the whole resource instead.
const RANGES_MAX: usize = 32;

/// Between the parts of a multi-range reply. It need not be absent from the content: each part says its length.
const BOUNDARY: &str = "strata-part-7c1f2a9be4d8";

/// Most attempts at a file that others replace by MOVE all the while.
const ATTEMPTS_MAX: usize = 8;

/// Answers GET and HEAD.
pub(crate) async fn get(ask: &Arc<Ask>) -> Result<Reply> {
    for _ in 1..ATTEMPTS_MAX {
        match once(ask).await {
            // The file was removed between look-up and opening; if another file has its name now, that one is meant.
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND && ask.look(&ask.path)?.visible().is_some() => {}
            answer => return answer,
        }
    }
    once(ask).await
}

async fn once(ask: &Arc<Ask>) -> Result<Reply> {
    let attr = ask.node()?;
    if is_dir(&attr) {
        return index(ask, &attr).await;
    }
    ask.require(&attr, Access { read: true, ..Access::default() })?;
    let (info, reader) = if ask.method == Method::HEAD {
        (ask.ns().object_info(&ask.op, attr.ino)?, None)
    } else {
        let (info, reader) = ask.ns().open_object(&ask.op, attr.ino)?;
        (info, Some(reader))
    };
    let conditions = conditions::of(&ask.headers)?;
    let etag = strata_etag::of(&info.tag);
    let validators = Validators { etag: Some(&etag), modified: info.attr.mtime };
    if !ask.check(&conditions, Some(&info.attr), Some(&info.tag))? {
        let mut reply = ask.empty(StatusCode::NOT_MODIFIED);
        validators.add_to(reply.headers_mut());
        return Ok(reply);
    }
    let len = reader.as_ref().map_or(info.attr.size, Reader::len);
    let content_type = content_type(&info, ask.path.name()).to_owned();
    let wanted = match headers::text(&ask.headers, RANGE.as_str())? {
        // A range of HEAD is ignored, as RFC 9110 defines it for GET alone.
        Some(range) if reader.is_some() && validators.hold_if_range(&ask.headers, Quotes::Needed) => {
            Asked::parse(range, RANGES_MAX).map_or(Wanted::Whole, |asked| asked.of(len))
        }
        _ => Wanted::Whole,
    };
    let (status, segments, range_header, content_type) = match wanted {
        Wanted::Whole => (StatusCode::OK, VecDeque::from([Segment::Content(0..len)]), None, content_type),
        Wanted::Nothing => {
            let mut reply = ask.empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut reply, CONTENT_RANGE, &unsatisfied(len));
            return Ok(reply);
        }
        Wanted::Parts(parts) => match parts.as_slice() {
            [part] => {
                let header = content_range(part, len);
                (
                    StatusCode::PARTIAL_CONTENT,
                    VecDeque::from([Segment::Content(part.clone())]),
                    Some(header),
                    content_type,
                )
            }
            parts => {
                let segments = multipart(parts, len, &content_type);
                (StatusCode::PARTIAL_CONTENT, segments, None, format!("multipart/byteranges; boundary={BOUNDARY}"))
            }
        },
    };
    let body = match reader {
        Some(reader) => ReplyBody::file(&ask.door.metrics, reader, segments, &ask.door.config.bodies),
        None => ReplyBody::whole(&ask.door.metrics, ""),
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    validators.add_to(reply.headers_mut());
    set(&mut reply, ACCEPT_RANGES, "bytes");
    set(&mut reply, CONTENT_TYPE, &content_type);
    if ask.method == Method::HEAD {
        set(&mut reply, CONTENT_LENGTH, &len.to_string());
    }
    if let Some(range) = range_header {
        set(&mut reply, CONTENT_RANGE, &range);
    }
    for name in [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, EXPIRES] {
        if let Some(value) = info.meta.system.get(name.as_str()) {
            set(&mut reply, name, value);
        }
    }
    // A stored page must not run scripts with the credentials of whoever looks at it.
    set(&mut reply, CONTENT_SECURITY_POLICY, "sandbox");
    Ok(reply)
}

/// The media type of a file: as uploaded, else by the name's extension.
pub(crate) fn content_type<'a>(info: &'a ObjectInfo, name: &[u8]) -> &'a str {
    if let Some(known) = info.meta.system.get("content-type") {
        return known;
    }
    let extension = name.rsplit(|&byte| byte == b'.').next().filter(|extension| extension.len() < name.len());
    let extension = extension.and_then(|extension| std::str::from_utf8(extension).ok());
    extension.and_then(|extension| mime_guess::from_ext(extension).first_raw()).unwrap_or("application/octet-stream")
}

fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    // What was stored as metadata may not be a header value; it is then left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn multipart(parts: &[Range<u64>], len: u64, content_type: &str) -> VecDeque<Segment> {
    let mut segments = VecDeque::new();
    for (at, part) in parts.iter().enumerate() {
        let lead = if at == 0 { "" } else { "\r\n" };
        let head = format!(
            "{lead}--{BOUNDARY}\r\nContent-Type: {content_type}\r\nContent-Range: {}\r\n\r\n",
            content_range(part, len)
        );
        segments.push_back(Segment::Literal(Bytes::from(head)));
        segments.push_back(Segment::Content(part.clone()));
    }
    segments.push_back(Segment::Literal(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n"))));
    segments
}

/// A plain page with links to the members of a collection.
async fn index(ask: &Arc<Ask>, attr: &Attr) -> Result<Reply> {
    ask.require(attr, Access { read: true, exec: true, ..Access::default() })?;
    ask.conditions_hold(Some(attr))?;
    const HTML: &str = "text/html; charset=utf-8";
    if ask.method == Method::HEAD {
        return Ok(ask.reply(StatusCode::OK, HTML, ""));
    }
    let body = listing::stream(ask, attr.ino, Box::new(Index { path: ask.path.clone() })).await?;
    let mut reply = Response::new(body);
    set(&mut reply, CONTENT_TYPE, HTML);
    set(&mut reply, CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'");
    set(&mut reply, CACHE_CONTROL, "no-cache");
    Ok(reply)
}

struct Index {
    path: UrlPath,
}

impl Render for Index {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(b"<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
        push_text(out, &String::from_utf8_lossy(self.path.key()));
        out.extend_from_slice(
            b"</title><style>td{padding:0 1em 0 0}td+td{text-align:right}</style></head><body>\n<table>\n",
        );
        if !self.path.is_root() {
            out.extend_from_slice(
                format!("<tr><td><a href=\"{}\">..</a></td><td></td><td></td></tr>\n", self.path.parent().href(true))
                    .as_bytes(),
            );
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, out: &mut Vec<u8>) -> Result<()> {
        let dir = entry.attr.kind == NodeKind::Directory;
        let mut href = self.path.href(true);
        push_name(&mut href, &entry.name);
        let slash = if dir { "/" } else { "" };
        out.extend_from_slice(format!("<tr><td><a href=\"{href}{slash}\">").as_bytes());
        push_text(out, &String::from_utf8_lossy(&entry.name));
        let size = if dir { String::new() } else { entry.attr.size.to_string() };
        out.extend_from_slice(
            format!("{slash}</a></td><td>{size}</td><td>{}</td></tr>\n", strata_http::date::rfc3339(entry.attr.mtime))
                .as_bytes(),
        );
        Ok(())
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"</table></body></html>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multipart_reply_is_as_long_as_its_segments() {
        let segments = multipart(&[0..2, 5..6], 10, "text/plain");
        let text: Vec<String> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Segment::Content(range) => "x".repeat(usize::try_from(range.end - range.start).unwrap()),
            })
            .collect();
        assert_eq!(
            text.concat(),
            format!(
                "--{BOUNDARY}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\nxx\r\n\
                 --{BOUNDARY}\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-5/10\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
            )
        );
    }
}
