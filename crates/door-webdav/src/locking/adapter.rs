//! What dav-server needs to carry out LOCK and UNLOCK: its lock system over our table, and of its file system only
//! looking at a resource and creating an empty one. Its types stay in this file.

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
use strata_namespace::{Attr, Condition, LockRecord, ObjectMeta};
use strata_seam::Timestamp;
use xmltree::{Element, EmitterConfig};

use crate::ask::{Ask, is_dir};
use crate::error::{Refusal, Result};
use crate::headers;
use crate::locks::{Holder, TIMEOUT_SECS_MAX, Touch};
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
    /// When the lock ends that the request asks for. The library's own reading of `Timeout` is passed over: it gives
    /// exclusive locks ten minutes at most, less than the half hour that davfs2 plans its refreshes by.
    fn expires(&self) -> Timestamp {
        let secs =
            headers::timeout_secs(&self.ask.headers).map_or(TIMEOUT_SECS_MAX, |asked| asked.clamp(1, TIMEOUT_SECS_MAX));
        let secs = i64::try_from(secs).unwrap_or(i64::MAX);
        let now = self.ask.ns().now();
        Timestamp::from_parts(now.secs().saturating_add(secs), now.nanos())
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

/// The library's view of the lock table, for one request.
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
        principal: Option<&str>,
        owner: Option<&Element>,
        _timeout: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> LsFuture<'_, Result<DavLock, DavLock>> {
        let context = &self.0;
        let granted = owner_bytes(owner).and_then(|owner_xml| {
            let wanted = LockRecord {
                token: String::new(),
                path: context.path().key().to_vec(),
                ino: context.ask.look(context.path())?.visible().map(|attr| attr.ino),
                deep,
                shared,
                principal: principal.unwrap_or_default().to_owned(),
                owner_xml,
                expires: Some(context.expires()),
            };
            context.ask.door.locks.grant(&context.ask.op, wanted)
        });
        ready(match granted {
            Ok(record) => context.as_dav_lock(&record).ok_or_else(|| Context::placeholder(path, shared, deep)),
            Err(refusal) => {
                context.note(refusal);
                Err(Context::placeholder(path, shared, deep))
            }
        })
    }

    fn unlock(&'_ self, _path: &DavPath, token: &str) -> LsFuture<'_, Result<(), ()>> {
        let Context { ask, .. } = &*self.0;
        let released = ask.door.locks.release(&ask.op, &ask.path, token, &ask.user.name, ask.user.admin);
        ready(released.map_err(|refusal| self.0.note(refusal)))
    }

    fn refresh(
        &'_ self,
        _path: &DavPath,
        token: &str,
        _timeout: Option<Duration>,
    ) -> LsFuture<'_, Result<DavLock, ()>> {
        let Context { ask, .. } = &*self.0;
        let expires = self.0.expires();
        let renewed = ask.door.locks.refresh(&ask.op, &ask.path, token, &ask.user.name, expires);
        ready(match renewed {
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
        principal: Option<&str>,
        ignore_principal: bool,
        deep: bool,
        submitted_tokens: &[String],
    ) -> LsFuture<'_, Result<(), DavLock>> {
        let locks = &self.0.ask.door.locks;
        let Ok(asked) = UrlPath::parse(&path.as_url_string()) else {
            return ready(Err(Context::placeholder(path, false, deep)));
        };
        let fine = if ignore_principal {
            locks.covering(&asked).iter().any(|lock| submitted_tokens.contains(&lock.token))
        } else {
            let holder =
                Holder { principal: principal.unwrap_or_default().to_owned(), tokens: submitted_tokens.to_vec() };
            locks.check(&[Touch { path: asked, deep }], &holder).is_ok()
        };
        ready(if fine { Ok(()) } else { Err(Context::placeholder(path, false, deep)) })
    }

    fn discover(&'_ self, _path: &DavPath) -> LsFuture<'_, Vec<DavLock>> {
        let locks = self.0.ask.door.locks.covering(self.0.path());
        ready(locks.iter().filter_map(|lock| self.0.as_dav_lock(lock)).collect())
    }

    fn delete(&'_ self, _path: &DavPath) -> LsFuture<'_, Result<(), ()>> {
        let Context { ask, .. } = &*self.0;
        ready(ask.door.locks.forget_tree(&ask.op, &ask.path).map_err(|refusal| self.0.note(refusal)))
    }
}

/// The library's view of the name space: LOCK looks at its resource and creates it empty if it is not there.
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

/// The file that LOCK made: the library opens it and drops it.
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
    let etag = if is_dir(&attr) { None } else { Some(context.ask.ns().object_info(&context.ask.op, attr.ino)?.etag) };
    Ok(Some(Meta { attr, etag }))
}

fn make_empty(context: &Context) -> Result<()> {
    let Context { ask, .. } = context;
    let parent = ask.parent_of(&ask.path)?;
    let content = ask.ns().ingest_in(&ask.op, parent.ino)?.finish()?;
    let absent = Condition { absent: true, ..Condition::default() };
    let (made, _) =
        ask.ns().put_file(&ask.op, parent.ino, ask.path.name(), content, None, ObjectMeta::default(), &absent)?;
    ask.door.locks.made(&ask.op, &ask.path, made.attr.ino)
}

impl GuardedFileSystem<Arc<Context>> for Store {
    fn open<'a>(
        &'a self,
        _path: &'a DavPath,
        _options: OpenOptions,
        context: &'a Arc<Context>,
    ) -> FsFuture<'a, Box<dyn DavFile>> {
        let made = make_empty(context).map(|()| Box::new(Made) as Box<dyn DavFile>).map_err(|refusal| {
            context.note(refusal);
            FsError::GeneralFailure
        });
        Box::pin(std::future::ready(made))
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
