//! Properties: which ones there are, and how each is written.
//!
//! Live properties are computed from what the name space knows; all others are dead ones, kept in the store as the XML
//! the client sent. `displayname` is live: it is the resource's name and changes with MOVE alone.

pub(crate) mod find;
pub(crate) mod patch;

use strata_namespace::{Attr, LockRecord, ObjectInfo};
use strata_seam::Timestamp;

use crate::get;
use crate::path;
use crate::xml::{Name, push_text};

/// The name space of RFC 4918.
pub(crate) const DAV: &str = "DAV:";
/// The name space of mod_dav, for the executable bit.
pub(crate) const APACHE: &str = "http://apache.org/dav/props/";
/// The name space of the Windows client.
pub(crate) const MICROSOFT: &str = "urn:schemas-microsoft-com:";

/// A live property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Live {
    CreationDate,
    DisplayName,
    ContentLength,
    ContentType,
    ETag,
    LastModified,
    LockDiscovery,
    ResourceType,
    SupportedLock,
    QuotaAvailable,
    QuotaUsed,
    Executable,
    Win32Creation,
    Win32Access,
    Win32Modified,
    Win32Attributes,
}

/// Name space, local name, property, and whether `allprop` returns it. Quota is left out there as RFC 4331 asks; the
/// properties of the Windows client are added for that client.
const TABLE: [(&str, &str, Live, bool); 16] = [
    (DAV, "creationdate", Live::CreationDate, true),
    (DAV, "displayname", Live::DisplayName, true),
    (DAV, "getcontentlength", Live::ContentLength, true),
    (DAV, "getcontenttype", Live::ContentType, true),
    (DAV, "getetag", Live::ETag, true),
    (DAV, "getlastmodified", Live::LastModified, true),
    (DAV, "lockdiscovery", Live::LockDiscovery, true),
    (DAV, "resourcetype", Live::ResourceType, true),
    (DAV, "supportedlock", Live::SupportedLock, true),
    (DAV, "quota-available-bytes", Live::QuotaAvailable, false),
    (DAV, "quota-used-bytes", Live::QuotaUsed, false),
    (APACHE, "executable", Live::Executable, true),
    (MICROSOFT, "Win32CreationTime", Live::Win32Creation, false),
    (MICROSOFT, "Win32LastAccessTime", Live::Win32Access, false),
    (MICROSOFT, "Win32LastModifiedTime", Live::Win32Modified, false),
    (MICROSOFT, "Win32FileAttributes", Live::Win32Attributes, false),
];

impl Live {
    /// The live property of this name, if it is one.
    pub(crate) fn of(name: &Name) -> Option<Self> {
        TABLE.iter().find(|(ns, local, ..)| *ns == name.ns && *local == name.local).map(|row| row.2)
    }
    /// All of them, or those that `allprop` returns.
    pub(crate) fn all(only_allprop: bool, windows: bool) -> impl Iterator<Item = Self> {
        TABLE.iter().filter(move |row| !only_allprop || row.3 || windows && row.0 == MICROSOFT).map(|row| row.2)
    }
    /// Prefix and local name in replies.
    fn tag(self) -> (char, &'static str) {
        let row = TABLE.iter().find(|row| row.2 == self);
        row.map_or(('D', ""), |row| (prefix(row.0), row.1))
    }
    /// Whether it is read from the object record instead of the attributes.
    pub(crate) fn needs_object(self) -> bool {
        matches!(self, Self::ETag | Self::ContentType)
    }
}

fn prefix(ns: &str) -> char {
    match ns {
        APACHE => 'A',
        MICROSOFT => 'Z',
        _ => 'D',
    }
}

/// A resource whose properties are asked for.
pub(crate) struct Subject<'a> {
    /// Its last name.
    pub(crate) name: &'a [u8],
    pub(crate) attr: &'a Attr,
    pub(crate) dir: bool,
    /// The object of a file, if [`Live::needs_object`] asked for it.
    pub(crate) object: Option<&'a ObjectInfo>,
    pub(crate) locks: &'a [LockRecord],
    pub(crate) now: Timestamp,
    /// Bytes used and free, of the whole store.
    pub(crate) quota: Option<(u64, u64)>,
}

/// Opens `<P:name>`.
fn open(out: &mut Vec<u8>, live: Live) {
    let (prefix, local) = live.tag();
    out.extend_from_slice(&[b'<', prefix as u8, b':']);
    out.extend_from_slice(local.as_bytes());
    out.push(b'>');
}

fn close(out: &mut Vec<u8>, live: Live) {
    let (prefix, local) = live.tag();
    out.extend_from_slice(&[b'<', b'/', prefix as u8, b':']);
    out.extend_from_slice(local.as_bytes());
    out.push(b'>');
}

/// `<P:name/>`.
pub(crate) fn push_empty(out: &mut Vec<u8>, live: Live) {
    let (prefix, local) = live.tag();
    out.extend_from_slice(&[b'<', prefix as u8, b':']);
    out.extend_from_slice(local.as_bytes());
    out.extend_from_slice(b"/>");
}

/// An empty element of any name, its name space declared in place.
pub(crate) fn push_empty_name(out: &mut Vec<u8>, name: &Name) {
    if let Some(live) = Live::of(name) {
        return push_empty(out, live);
    }
    if name.ns.is_empty() {
        out.push(b'<');
        out.extend_from_slice(name.local.as_bytes());
    } else {
        out.extend_from_slice(b"<R:");
        out.extend_from_slice(name.local.as_bytes());
        out.extend_from_slice(b" xmlns:R=\"");
        push_text(out, &name.ns);
        out.push(b'"');
    }
    out.extend_from_slice(b"/>");
}

/// Writes a live property with its value. `false` if this resource has none of it; then nothing is written.
pub(crate) fn push_live(out: &mut Vec<u8>, live: Live, subject: &Subject<'_>) -> bool {
    let attr = subject.attr;
    let text: String = match live {
        Live::CreationDate => strata_http::date::rfc3339(attr.btime),
        Live::Win32Creation => strata_http::date::format(attr.btime),
        Live::LastModified | Live::Win32Modified => strata_http::date::format(attr.mtime),
        Live::Win32Access => strata_http::date::format(attr.atime),
        Live::ContentLength if !subject.dir => attr.size.to_string(),
        Live::ETag => match subject.object {
            Some(object) => strata_http::etag::quoted(&strata_etag::of(&object.tag)),
            None => return false,
        },
        Live::Executable if !subject.dir => if attr.mode & 0o111 == 0 { "F" } else { "T" }.to_owned(),
        Live::Win32Attributes => {
            // Directory or archive, read-only where nobody may write, hidden by the dot.
            let kind = if subject.dir { 0x10 } else { 0x20 };
            let read_only = u32::from(attr.mode & 0o222 == 0);
            let hidden = if subject.name.starts_with(b".") { 2 } else { 0 };
            format!("{:08x}", kind | read_only | hidden)
        }
        Live::QuotaAvailable | Live::QuotaUsed if subject.dir => match subject.quota {
            Some((used, free)) => (if live == Live::QuotaUsed { used } else { free }).to_string(),
            None => return false,
        },
        Live::DisplayName => {
            open(out, live);
            push_text(out, &String::from_utf8_lossy(subject.name));
            close(out, live);
            return true;
        }
        Live::ContentType => {
            let text = match subject.object {
                _ if subject.dir => "httpd/unix-directory",
                Some(object) => get::content_type(object, subject.name),
                None => return false,
            };
            open(out, live);
            push_text(out, text);
            close(out, live);
            return true;
        }
        Live::ResourceType => {
            out.extend_from_slice(if subject.dir {
                b"<D:resourcetype><D:collection/></D:resourcetype>" as &[u8]
            } else {
                b"<D:resourcetype/>"
            });
            return true;
        }
        Live::SupportedLock => {
            open(out, live);
            for scope in ["exclusive", "shared"] {
                out.extend_from_slice(
                    format!("<D:lockentry><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>").as_bytes(),
                );
            }
            close(out, live);
            return true;
        }
        Live::LockDiscovery => {
            open(out, live);
            subject.locks.iter().for_each(|lock| push_active_lock(out, lock, subject.now));
            close(out, live);
            return true;
        }
        Live::ContentLength | Live::Executable | Live::QuotaAvailable | Live::QuotaUsed => return false,
    };
    // All of these are ASCII without markup; an ETag's quotes may stand as they are in text.
    open(out, live);
    out.extend_from_slice(text.as_bytes());
    close(out, live);
    true
}

/// `activelock` of RFC 4918 section 14.1.
fn push_active_lock(out: &mut Vec<u8>, lock: &LockRecord, now: Timestamp) {
    let scope = if lock.shared { "shared" } else { "exclusive" };
    let depth = if lock.deep { "infinity" } else { "0" };
    let timeout = lock
        .expires
        .map_or_else(|| "Infinite".to_owned(), |end| format!("Second-{}", (end.secs() - now.secs()).max(0)));
    out.extend_from_slice(
        format!("<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope><D:depth>{depth}</D:depth>").as_bytes(),
    );
    out.extend_from_slice(&lock.owner_xml);
    out.extend_from_slice(format!("<D:timeout>{timeout}</D:timeout><D:locktoken><D:href>").as_bytes());
    push_text(out, &lock.token);
    out.extend_from_slice(b"</D:href></D:locktoken><D:lockroot><D:href>");
    out.extend_from_slice(path::href(&lock.path, false).as_bytes());
    out.extend_from_slice(b"</D:href></D:lockroot></D:activelock>");
}
