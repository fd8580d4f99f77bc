//! PROPFIND: a streamed `multistatus`, one pass over the directory, one look at the object record where it is needed.
//!
//! The library's own handler builds an element tree per property and asks the file system again for each dead one; for
//! directories of thousands of entries that was too slow, so this one writes bytes.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use strata_http::Received;
use strata_namespace::{Access, Attr, DirEntry, LockRecord, ObjectInfo};

use super::{Live, Subject, push_empty, push_empty_name, push_live};
use crate::ask::{Ask, Found, Reply, is_dir};
use crate::body::ReplyBody;
use crate::error::{Refusal, Result};
use crate::headers::{self, Depth};
use crate::listing::{self, Render};
use crate::path::push_name;
use crate::upload;
use crate::xml::{self, Find, Name};

/// Head of every `multistatus`; the prefixes are those of [`super::Live`].
pub(crate) const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\" \
     xmlns:A=\"http://apache.org/dav/props/\" xmlns:Z=\"urn:schemas-microsoft-com:\">";
/// And its end.
pub(crate) const TAIL: &str = "</D:multistatus>\n";
/// Most looks at a member that is replaced again and again while it is listed.
const LOOKS_MAX: usize = 8;
/// Media type of XML replies.
pub(crate) const XML: &str = "application/xml; charset=utf-8";

/// Answers PROPFIND.
pub(crate) async fn propfind(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let body = upload::small(body, xml::BODY_LEN_MAX, &ask.door).await?;
    // Without the header the client asks for everything below (RFC 4918 section 9.1), which is not given.
    let depth = headers::depth(&ask.headers)?.unwrap_or(Depth::Infinity);
    let attr = ask.node()?;
    if depth == Depth::Infinity && is_dir(&attr) {
        return Err(Refusal::forbidden("PROPFIND is answered with Depth 0 and 1 only").because("propfind-finite-depth"));
    }
    let find = xml::propfind(&body)?;
    ask.conditions_hold(Some(&attr))?;
    let list = depth == Depth::One && is_dir(&attr);
    if list {
        ask.require(&attr, Access { read: true, exec: true, ..Access::default() })?;
    }
    let mut writer = Writer::new(ask.clone(), &find, attr)?;
    let dir = writer.attr.ino;
    let body = if list {
        listing::stream(ask, dir, Box::new(writer)).await?
    } else {
        let mut out = Vec::with_capacity(2048);
        writer.head(&mut out)?;
        writer.tail(&mut out);
        ReplyBody::whole(&ask.door.metrics, out)
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::MULTI_STATUS;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(reply)
}

enum Wanted {
    Live(Live),
    Dead(Name),
}

struct Writer {
    ask: Arc<Ask>,
    attr: Attr,
    wanted: Vec<Wanted>,
    names_only: bool,
    /// Whether a property the resource does not have is reported as 404; `allprop` leaves it out.
    report_missing: bool,
    /// Whether all dead properties are returned.
    all_dead: bool,
    needs_object: bool,
    needs_dead: bool,
    needs_locks: bool,
    quota: Option<(u64, u64)>,
    /// Kept between entries to spare allocations.
    missing: Vec<u8>,
}

impl Writer {
    fn new(ask: Arc<Ask>, find: &Find, attr: Attr) -> Result<Self> {
        let agent = ask.headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let windows = agent.contains("Microsoft");
        let named = |names: &[Name]| -> Vec<Wanted> {
            names.iter().map(|name| Live::of(name).map_or_else(|| Wanted::Dead(name.clone()), Wanted::Live)).collect()
        };
        let (wanted, names_only, report_missing, all_dead) = match find {
            Find::Names => (Live::all(false, windows).map(Wanted::Live).collect(), true, false, true),
            Find::These(names) => (named(names), false, true, false),
            Find::All(more) => {
                let mut wanted: Vec<Wanted> = Live::all(true, windows).map(Wanted::Live).collect();
                // Dead properties are returned anyway.
                wanted.extend(
                    more.iter()
                        .filter_map(Live::of)
                        .filter(|live| !Live::all(true, windows).any(|known| known == *live))
                        .map(Wanted::Live),
                );
                (wanted, false, false, true)
            }
        };
        let asks =
            |test: fn(Live) -> bool| wanted.iter().any(|wanted| matches!(wanted, Wanted::Live(live) if test(*live)));
        let needs_object = asks(Live::needs_object);
        let needs_locks = asks(|live| live == Live::LockDiscovery);
        let needs_dead = all_dead || wanted.iter().any(|wanted| matches!(wanted, Wanted::Dead(_)));
        let quota = if asks(|live| matches!(live, Live::QuotaAvailable | Live::QuotaUsed)) {
            let space = ask.ns().space(&ask.op)?;
            Some((space.total.saturating_sub(space.free), space.free))
        } else {
            None
        };
        Ok(Self {
            ask,
            attr,
            wanted,
            names_only,
            report_missing,
            all_dead,
            needs_object,
            needs_dead,
            needs_locks,
            quota,
            missing: Vec::new(),
        })
    }

    /// One `response`. `member` is the name of an entry of the request's directory, `None` for the resource itself.
    fn response(&mut self, member: Option<&[u8]>, attr: &Attr, out: &mut Vec<u8>) -> Result<()> {
        let dir = is_dir(attr);
        let ns = self.ask.ns();
        let object: Option<ObjectInfo> =
            if self.needs_object && !dir { Some(ns.object_info(&self.ask.op, attr.ino)?) } else { None };
        // The record and the attributes may be of two moments; one reply must not contradict itself.
        let attr = object.as_ref().map_or(attr, |object| &object.attr);
        let mut dead = if self.needs_dead { ns.properties(&self.ask.op, attr.ino)? } else { Vec::new() };
        let mut href = self.ask.path.href(member.is_some() || dir);
        if let Some(name) = member {
            push_name(&mut href, name);
            if dir {
                href.push('/');
            }
        }
        let locks: Vec<LockRecord> = if self.needs_locks { ns.locks_on(&self.ask.op, attr.ino)? } else { Vec::new() };
        let subject = Subject {
            name: member.unwrap_or_else(|| self.ask.path.name()),
            attr,
            dir,
            object: object.as_ref(),
            locks: &locks,
            now: ns.now(),
            quota: self.quota,
        };
        self.missing.clear();
        out.extend_from_slice(b"<D:response><D:href>");
        out.extend_from_slice(href.as_bytes());
        out.extend_from_slice(b"</D:href>");
        let start = out.len();
        out.extend_from_slice(b"<D:propstat><D:prop>");
        let inner = out.len();
        for wanted in &self.wanted {
            match wanted {
                Wanted::Live(live) if self.names_only => push_empty(out, *live),
                Wanted::Live(live) => {
                    if !push_live(out, *live, &subject) && self.report_missing {
                        push_empty(&mut self.missing, *live);
                    }
                }
                Wanted::Dead(name) => {
                    match dead.iter().position(|(ns, local, _)| *ns == name.ns && *local == name.local) {
                        Some(at) => out.extend_from_slice(&dead.swap_remove(at).2),
                        None if self.report_missing => push_empty_name(&mut self.missing, name),
                        None => {}
                    }
                }
            }
        }
        if self.all_dead {
            for (ns, local, fragment) in dead {
                if self.names_only {
                    push_empty_name(out, &Name { ns, local });
                } else {
                    out.extend_from_slice(&fragment);
                }
            }
        }
        if out.len() == inner && !self.missing.is_empty() {
            out.truncate(start);
        } else {
            out.extend_from_slice(b"</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
        }
        if !self.missing.is_empty() {
            out.extend_from_slice(b"<D:propstat><D:prop>");
            out.extend_from_slice(&self.missing);
            out.extend_from_slice(b"</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
        }
        out.extend_from_slice(b"</D:response>");
        Ok(())
    }

    /// The `response` of a member of which nothing but a status can be told.
    fn refused(&self, name: &[u8], attr: &Attr, refusal: &Refusal, out: &mut Vec<u8>) {
        let mut href = self.ask.path.href(true);
        push_name(&mut href, name);
        if is_dir(attr) {
            href.push('/');
        }
        let status = refusal.status;
        let line = format!("<D:response><D:href>{href}</D:href><D:status>HTTP/1.1 {status}</D:status></D:response>");
        out.extend_from_slice(line.as_bytes());
        tracing::warn!(ino = attr.ino.0, what = refusal.what, "the properties of a listed member cannot be read");
    }
}

impl Render for Writer {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(HEAD.as_bytes());
        let attr = self.attr.clone();
        self.response(None, &attr, out)
    }
    fn entry(&mut self, entry: &DirEntry, out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        let mut attr = entry.attr.clone();
        for _ in 0..LOOKS_MAX {
            let refusal = match self.response(Some(&entry.name), &attr, out) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            out.truncate(before);
            if refusal.status != StatusCode::NOT_FOUND {
                // One member that cannot be shown must not hide the others (RFC 4918 section 13: a status of its own).
                self.refused(&entry.name, &attr, &refusal, out);
                return Ok(());
            }
            // Gone since the page was read. Another may have taken its name, by a rename for example.
            match self.ask.look_in(&self.attr, &entry.name).map(Found::visible) {
                Ok(Some(other)) if other.ino != attr.ino => attr = other,
                Ok(_) => return Ok(()),
                Err(refusal) => {
                    self.refused(&entry.name, &attr, &refusal, out);
                    return Ok(());
                }
            }
        }
        let busy = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "it was replaced again and again; list it once more");
        self.refused(&entry.name, &attr, &busy, out);
        Ok(())
    }
    fn tail(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(TAIL.as_bytes());
    }
}
