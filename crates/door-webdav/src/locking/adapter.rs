//! What dav-server needs to carry out LOCK and UNLOCK: a lock system over the name space, and of a file system only
//! the look-up of a resource. The library's types stay in this file.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavMetaData, FsError, FsFuture, FsStream, GuardedFileSystem, OpenOptions, ReadDirMeta,
};
use dav_server::ls::{DavLock, DavLockSystem, LsFuture};
use parking_lot::Mutex;
use strata_http::etag::quoted;
use strata_namespace::{Attr, ErrorKind, LockRecord, NewLock, Touch};
use strata_seam::{Ino, Timestamp};
use xmltree::{Element, EmitterConfig};

use crate::ask::{Ask, is_dir};
use crate::error::{Refusal, Result};
use crate::headers;
use crate::locks;
use crate::path::{self, UrlPath};
use crate::xml;

/// One request on its way through the library, and the refusal that the library cannot carry.
pub(super) struct Context {
    pub(super) ask: Arc<Ask>,
    pub(super) refusal: Mutex<Option<Refusal>>,
}

impl Context {
    fn note(&self, refusal: Refusal) {
        self.refusal.lock().get_or_insert(refusal);
    }
    /// The path of the request: the library knows the same one by another type.
    fn path(&self) -> &UrlPath {
        &self.ask.path
    }
    /// How long the lock is to last that the request asks for. The library's own reading of `Timeout` is passed over: it gives
    /// exclusive locks ten minutes at most, less than the half hour that davfs2 plans its refreshes by.
    fn seconds(&self) -> Option<u64> {
        headers::timeout_secs(&self.ask.headers)
    }
    /// The inode at the request's path.
    fn ino(&self) -> Result<Option<Ino>> {
        Ok(self.ask.look(self.path())?.visible().map(|attr| attr.ino))
    }
    /// Grants a lock, on a file that is made for it where there is none.
    fn grant(&self, owner_xml: Vec<u8>, shared: bool, deep: bool) -> Result<LockRecord> {
        let Self { ask, .. } = self;
        let wanted = NewLock {
            shared,
            deep,
            owner_xml,
            seconds: self.seconds(),
            ..locks::wanted(&ask.path, &*ask.door.entropy)
        };
        let parent = if ask.path.is_root() { None } else { Some(ask.parent_of(&ask.path)?.ino) };
        let at = parent.map(|parent| (parent, ask.path.name()));
        Ok(ask.ns().lock(&ask.op, at, &wanted).map_err(locks::not_granted)?.0)
    }
    fn release(&self, token: &str) -> Result<()> {
        let none = || {
            Refusal::conflict("no lock with this token covers the resource; nothing was unlocked")
                .because("lock-token-matches-request-uri")
        };
        let ino = self.ino()?.ok_or_else(none)?;
        self.ask.ns().unlock(&self.ask.op, ino, token).map_err(|error| match error.kind {
            ErrorKind::NotFound | ErrorKind::Stale => none(),
            _ => error.into(),
        })
    }
    fn renew(&self, token: &str) -> Result<LockRecord> {
        let none = |what: String| Refusal::precondition(what).because("lock-token-matches-request-uri");
        let ino = self.ino()?.ok_or_else(|| none("nothing is there; nothing was refreshed".to_owned()))?;
        self.ask.ns().refresh_lock(&self.ask.op, ino, token, self.seconds()).map_err(|error| match error.kind {
            ErrorKind::PreconditionFailed => none(error.what),
            _ => error.into(),
        })
    }
    /// Whether the resource may be changed with the tokens that the request submits.
    fn may_change(&self, path: &UrlPath) -> Result<()> {
        let Some(attr) = self.ask.look(path)?.visible() else { return Ok(()) };
        Ok(self.ask.ns().check_locks(&self.ask.op, &[Touch::Node(attr.ino)])?)
    }
    fn as_dav_lock(&self, record: &LockRecord) -> Option<DavLock> {
        let now = self.ask.ns().now();
        let left = record
            .expires
            .map(|end| Duration::from_secs(u64::try_from((end.0 - now.0 + 999_999_999) / 1_000_000_000).unwrap_or(0)));
        let owner =
            xml::check(&record.owner_xml).ok().and_then(|()| Element::parse(Cursor::new(&record.owner_xml)).ok());
        Some(DavLock {
            token: record.token.clone(),
            path: Box::new(DavPath::new(&path::href(&record.path, false)).ok()?),
            principal: Some(record.principal.clone()),
            owner: owner.map(Box::new),
            timeout_at: record.expires.map(Timestamp::to_system_time),
            timeout: left,
            shared: record.shared,
            deep: record.deep,
        })
    }
    /// What the library takes for the lock in the way; the true reason is in [`Context::refusal`].
    fn placeholder(path: &DavPath, shared: bool, deep: bool) -> DavLock {
        DavLock {
            token: String::new(),
            path: Box::new(path.clone()),
            principal: None,
            owner: None,
            timeout_at: None,
            timeout: None,
            shared,
            deep,
        }
    }
}

/// An owner element as bytes that stand on their own.
fn owner_bytes(owner: Option<&Element>) -> Result<Vec<u8>> {
    let Some(owner) = owner else { return Ok(Vec::new()) };
    let mut owner = owner.clone();
    // The library renames the prefix of this element to D.
    owner.namespaces.get_or_insert_with(xmltree::Namespace::empty).force_put("D", "DAV:");
    let mut out = Vec::new();
    let config = EmitterConfig::new().write_document_declaration(false).perform_indent(false);
    owner.write_with_config(&mut out, config).map_err(|error| {
        Refusal::bad_request(format!("the owner element cannot be kept: {error}; nothing was locked"))
    })?;
    Ok(out)
}

/// The library's view of the locks, for one request.
#[derive(Clone)]
pub(super) struct LockSystem(pub(super) Arc<Context>);

impl std::fmt::Debug for LockSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LockSystem").field(self.0.path()).finish()
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> LsFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl DavLockSystem for LockSystem {
    fn lock(
        &'_ self,
        path: &DavPath,
        _principal: Option<&str>,
        owner: Option<&Element>,
        _timeout: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> LsFuture<'_, Result<DavLock, DavLock>> {
        let context = &self.0;
        let granted = owner_bytes(owner).and_then(|owner_xml| context.grant(owner_xml, shared, deep));
        ready(match granted {
            Ok(record) => context.as_dav_lock(&record).ok_or_else(|| Context::placeholder(path, shared, deep)),
            Err(refusal) => {
                context.note(refusal);
                Err(Context::placeholder(path, shared, deep))
            }
        })
    }

    fn unlock(&'_ self, _path: &DavPath, token: &str) -> LsFuture<'_, Result<(), ()>> {
        ready(self.0.release(token).map_err(|refusal| self.0.note(refusal)))
    }

    fn refresh(
        &'_ self,
        _path: &DavPath,
        token: &str,
        _timeout: Option<Duration>,
    ) -> LsFuture<'_, Result<DavLock, ()>> {
        ready(match self.0.renew(token) {
            Ok(record) => self.0.as_dav_lock(&record).ok_or(()),
            Err(refusal) => {
                self.0.note(refusal);
                Err(())
            }
        })
    }

    /// With `ignore_principal` the library asks whether a condition `<token>` of an `If` header holds: whether a lock with
    /// this token covers the path. Without, it asks whether a change is permitted.
    fn check(
        &'_ self,
        path: &DavPath,
        _principal: Option<&str>,
        ignore_principal: bool,
        deep: bool,
        submitted_tokens: &[String],
    ) -> LsFuture<'_, Result<(), DavLock>> {
        let Ok(asked) = UrlPath::parse(&path.as_url_string()) else {
            return ready(Err(Context::placeholder(path, false, deep)));
        };
        let fine = if ignore_principal {
            locks::covering(&self.0.ask, &asked)
                .is_ok_and(|locks| locks.iter().any(|lock| submitted_tokens.contains(&lock.token)))
        } else {
            self.0.may_change(&asked).is_ok()
        };
        ready(if fine { Ok(()) } else { Err(Context::placeholder(path, false, deep)) })
    }

    fn discover(&'_ self, _path: &DavPath) -> LsFuture<'_, Vec<DavLock>> {
        let locks = locks::covering(&self.0.ask, self.0.path()).unwrap_or_default();
        ready(locks.iter().filter_map(|lock| self.0.as_dav_lock(lock)).collect())
    }

    fn delete(&'_ self, _path: &DavPath) -> LsFuture<'_, Result<(), ()>> {
        // A removed resource has no locks afterwards; see `strata_namespace`.
        ready(Ok(()))
    }
}

/// The library's view of the name space: LOCK looks at its resource.
#[derive(Clone)]
pub(super) struct Store;

#[derive(Clone, Debug)]
struct Meta {
    attr: Attr,
    etag: Option<String>,
}

impl DavMetaData for Meta {
    fn len(&self) -> u64 {
        self.attr.size
    }
    fn modified(&self) -> Result<SystemTime, FsError> {
        Ok(self.attr.mtime.to_system_time())
    }
    fn is_dir(&self) -> bool {
        is_dir(&self.attr)
    }
    /// With quotes, as the library compares it.
    fn etag(&self) -> Option<String> {
        self.etag.as_deref().map(quoted)
    }
}

/// The file that LOCK has made together with the lock: the library opens it and drops it.
#[derive(Debug)]
struct Made;

fn refused<'a, T: Send + 'a>() -> FsFuture<'a, T> {
    Box::pin(std::future::ready(Err(FsError::NotImplemented)))
}

impl DavFile for Made {
    fn metadata(&'_ mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        refused()
    }
    fn write_buf(&'_ mut self, _: Box<dyn bytes::Buf + Send>) -> FsFuture<'_, ()> {
        refused()
    }
    fn write_bytes(&'_ mut self, _: bytes::Bytes) -> FsFuture<'_, ()> {
        refused()
    }
    fn read_bytes(&'_ mut self, _: usize) -> FsFuture<'_, bytes::Bytes> {
        refused()
    }
    fn seek(&'_ mut self, _: std::io::SeekFrom) -> FsFuture<'_, u64> {
        refused()
    }
    fn flush(&'_ mut self) -> FsFuture<'_, ()> {
        refused()
    }
}

fn look(context: &Context, path: &DavPath) -> Result<Option<Meta>> {
    let path = UrlPath::parse(&path.as_url_string())?;
    let Some(attr) = context.ask.look(&path)?.visible() else { return Ok(None) };
    let etag = if is_dir(&attr) {
        None
    } else {
        Some(strata_etag::of(&context.ask.ns().object_info(&context.ask.op, attr.ino)?.tag))
    };
    Ok(Some(Meta { attr, etag }))
}

impl GuardedFileSystem<Arc<Context>> for Store {
    fn open<'a>(
        &'a self,
        _path: &'a DavPath,
        _options: OpenOptions,
        _context: &'a Arc<Context>,
    ) -> FsFuture<'a, Box<dyn DavFile>> {
        Box::pin(std::future::ready(Ok(Box::new(Made) as Box<dyn DavFile>)))
    }

    /// PROPFIND is answered without the library, so it never lists.
    fn read_dir<'a>(
        &'a self,
        _path: &'a DavPath,
        _meta: ReadDirMeta,
        _context: &'a Arc<Context>,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        refused()
    }

    fn metadata<'a>(&'a self, path: &'a DavPath, context: &'a Arc<Context>) -> FsFuture<'a, Box<dyn DavMetaData>> {
        let found = match look(context, path) {
            Ok(Some(meta)) => Ok(Box::new(meta) as Box<dyn DavMetaData>),
            Ok(None) => Err(FsError::NotFound),
            // An If header may ask about anything; only the request's own resource must be readable.
            Err(_) => Err(FsError::Forbidden),
        };
        Box::pin(std::future::ready(found))
    }
}
