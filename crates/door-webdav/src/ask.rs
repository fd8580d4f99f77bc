//! One request, authenticated and with its path decoded: what every method starts from.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use strata_http::conditions::{Conditions, Validators, Verdict};
use strata_http::etag::quoted;
use strata_iam::User;
use strata_namespace::{Access, Attr, Condition, ContentTag, ErrorKind, Guard, Namespace, NodeKind, Op, ROOT_INO};
use strata_seam::Ino;

use crate::body::ReplyBody;
use crate::conditions;
use crate::door::WebDavDoor;
use crate::error::{Refusal, Result};
use crate::here::Here;
use crate::if_header::{IfHeader, State};
use crate::locks;
use crate::path::UrlPath;

/// Most walks in search of one resource while others move the tree.
const WALKS_MAX: usize = 8;

/// A reply.
pub(crate) type Reply = Response<ReplyBody>;

/// A request without its body. `op` collects what the reply must wait for.
pub(crate) struct Ask {
    pub(crate) door: Arc<WebDavDoor>,
    pub(crate) op: Arc<Op>,
    pub(crate) user: Arc<User>,
    pub(crate) method: Method,
    pub(crate) path: UrlPath,
    pub(crate) headers: HeaderMap,
    /// The request's own target, and who sent it.
    pub(crate) uri: Uri,
    pub(crate) peer: IpAddr,
    pub(crate) if_header: Option<IfHeader>,
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Nothing, or a path through something that is no directory.
    Nothing,
    /// A node that WebDAV cannot show: symbolic link, FIFO, socket or device.
    Hidden,
    /// A file or a directory.
    Node(Attr),
}

impl Found {
    fn of(looked: strata_namespace::Result<Attr>) -> Result<Self> {
        match looked {
            Ok(attr) if matches!(attr.kind, NodeKind::File | NodeKind::Directory) => Ok(Self::Node(attr)),
            Ok(_) => Ok(Self::Hidden),
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::NotFound | ErrorKind::NoSuchBucket | ErrorKind::NotDirectory | ErrorKind::Stale
                ) =>
            {
                Ok(Self::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The node, if it can be seen.
    pub(crate) fn visible(self) -> Option<Attr> {
        match self {
            Self::Node(attr) => Some(attr),
            Self::Nothing | Self::Hidden => None,
        }
    }
}

pub(crate) fn is_dir(attr: &Attr) -> bool {
    attr.kind == NodeKind::Directory
}

/// What is at a path now, as the caller of `op` sees it. `key` is as [`UrlPath::key`].
///
/// # Errors
/// Whatever keeps the caller from knowing.
pub(crate) fn look(ns: &Namespace, op: &Op, key: &[u8]) -> Result<Found> {
    let (mut end, mut found) = walk(ns, op, key)?;
    // A walk takes a step at a time: while it runs, a MOVE may put another tree under the path and remove the one the
    // walk is in. Nothing is there only if two walks come to the same end.
    for _ in 0..WALKS_MAX {
        if !matches!(found, Found::Nothing) {
            break;
        }
        let (again_end, again) = walk(ns, op, key)?;
        if matches!(again, Found::Nothing) && again_end == end {
            break;
        }
        (end, found) = (again_end, again);
    }
    Ok(found)
}

/// One walk from the root: the directory it came to, and what it found.
fn walk(ns: &Namespace, op: &Op, key: &[u8]) -> Result<(Ino, Found)> {
    let mut dir = ROOT_INO;
    let mut looked = ns.getattr(op, ROOT_INO);
    for name in key.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        let Ok(attr) = &looked else { break };
        dir = attr.ino;
        looked = ns.lookup_in(op, attr, name);
    }
    Ok((dir, Found::of(looked)?))
}

impl Ask {
    pub(crate) fn ns(&self) -> &Namespace {
        &self.door.ns
    }

    /// The names of this share for the client.
    pub(crate) fn here(&self) -> Here {
        Here::of(&self.headers, &self.uri, self.peer, &self.door.config)
    }

    /// What is at a path now.
    ///
    /// # Errors
    /// Whatever keeps the caller from knowing.
    pub(crate) fn look(&self, path: &UrlPath) -> Result<Found> {
        look(self.ns(), &self.op, path.key())
    }

    /// What is at a name in a collection now: the walk from the root is spared.
    ///
    /// # Errors
    /// Whatever keeps the caller from knowing.
    pub(crate) fn look_in(&self, parent: &Attr, name: &[u8]) -> Result<Found> {
        Found::of(self.ns().lookup(&self.op, parent.ino, name))
    }

    /// The file or directory of the request.
    ///
    /// # Errors
    /// 404 if there is none.
    pub(crate) fn node(&self) -> Result<Attr> {
        self.look(&self.path)?.visible().ok_or_else(|| Refusal::not_found("there is no such file or collection"))
    }

    /// The collection that holds `path`.
    ///
    /// # Errors
    /// 409 if there is none (RFC 4918 asks for this status wherever a parent is missing).
    pub(crate) fn parent_of(&self, path: &UrlPath) -> Result<Attr> {
        match self.look(&path.parent())? {
            Found::Node(attr) if is_dir(&attr) => Ok(attr),
            _ => Err(Refusal::conflict("the parent collection does not exist; nothing was changed")),
        }
    }

    /// Refuses with 403 unless the caller has these permissions on an inode.
    pub(crate) fn require(&self, attr: &Attr, access: Access) -> Result<()> {
        let granted = self.ns().access(&self.op, attr.ino, access)?;
        if (access.read && !granted.read) || (access.write && !granted.write) || (access.exec && !granted.exec) {
            return Err(Refusal::forbidden("you may not do this here; nothing was changed"));
        }
        Ok(())
    }

    /// Checks the `If` header and the conditional headers of HTTP against what is there. 304 comes back as `false`.
    ///
    /// # Errors
    /// 412 if a condition does not hold, 400 if one cannot be read.
    pub(crate) fn conditions_hold(&self, attr: Option<&Attr>) -> Result<bool> {
        let conditions = conditions::of(&self.headers)?;
        let tag = match attr {
            Some(attr) if !is_dir(attr) && !conditions.are_none() => {
                Some(self.ns().object_info(&self.op, attr.ino)?.tag)
            }
            _ => None,
        };
        self.check(&conditions, attr, tag.as_ref())
    }

    /// Has the change that follows check the ETags of the request again in its commit. `parent` is the directory of the
    /// request's path, `attr` what was found there when [`Ask::conditions_hold`] judged it.
    ///
    /// # Errors
    /// 400 if a condition cannot be read.
    pub(crate) fn guard(&self, parent: Ino, attr: &Attr) -> Result<()> {
        let condition = strata_etag::condition(&conditions::of(&self.headers)?);
        if condition != Condition::default() && !is_dir(attr) {
            let entry = Some((parent, self.path.name().to_vec()));
            self.op.guard(Guard { ino: attr.ino, entry, condition, ctime: None });
        }
        Ok(())
    }

    /// [`Ask::conditions_hold`] with a tag that is known already.
    pub(crate) fn check(&self, conditions: &Conditions, attr: Option<&Attr>, tag: Option<&ContentTag>) -> Result<bool> {
        if let Some(header) = &self.if_header
            && !header.holds(&mut Now { ask: self })
        {
            return Err(Refusal::precondition("the If header does not hold; nothing was changed"));
        }
        let reading = matches!(self.method, Method::GET | Method::HEAD);
        let etag = tag.map(strata_etag::of);
        let present = attr.map(|attr| Validators { etag: etag.as_deref(), modified: attr.mtime });
        match conditions.judge(present.as_ref(), reading) {
            Verdict::Proceed => Ok(true),
            Verdict::NotModified => Ok(false),
            Verdict::Failed => {
                Err(Refusal::precondition("a condition of the request does not hold; nothing was changed"))
            }
        }
    }

    /// A reply with only a status line and a length of zero.
    pub(crate) fn empty(&self, status: StatusCode) -> Reply {
        let mut reply = Response::new(ReplyBody::whole(&self.door.metrics, ""));
        *reply.status_mut() = status;
        reply
    }

    /// A reply with a small body.
    pub(crate) fn reply(&self, status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Reply {
        let mut reply = Response::new(ReplyBody::whole(&self.door.metrics, body));
        *reply.status_mut() = status;
        reply.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        reply
    }
}

/// The present state, for an `If` header. What cannot be known is not there: a condition on it fails.
struct Now<'a> {
    ask: &'a Ask,
}

impl Now<'_> {
    fn path(&self, resource: Option<&str>) -> Option<UrlPath> {
        resource.map_or_else(|| Some(self.ask.path.clone()), |tag| self.ask.here().path_of(tag).ok())
    }
}

impl State for Now<'_> {
    fn has_token(&mut self, resource: Option<&str>, token: &str) -> bool {
        self.path(resource)
            .and_then(|path| locks::covering(self.ask, &path).ok())
            .is_some_and(|locks| locks.iter().any(|lock| lock.token == token))
    }
    fn etag(&mut self, resource: Option<&str>) -> Option<String> {
        let attr = self.ask.look(&self.path(resource)?).ok()?.visible().filter(|attr| !is_dir(attr))?;
        self.ask.ns().object_info(&self.ask.op, attr.ino).ok().map(|info| quoted(&strata_etag::of(&info.tag)))
    }
}
