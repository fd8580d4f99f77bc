//! PROPPATCH: all instructions or none. Each is checked first; only if none is refused are they carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;
use strata_http::{Received, date};
use strata_namespace::{Access, Attr, SetAttr, SetTime, Touch};
use strata_seam::Timestamp;

use super::find::{HEAD, TAIL, XML};
use super::{APACHE, DAV, MICROSOFT, push_empty_name};
use crate::ask::{Ask, Reply, is_dir};
use crate::error::Result;
use crate::upload;
use crate::xml::{self, Patch};

/// Most dead properties of one resource.
const DEAD_MAX: usize = 256;
/// Longest value of a dead property in bytes (the store's limit).
const DEAD_LEN_MAX: usize = 16 * 1024;
/// Longest name of a dead property with its name space, in bytes (the store's limit).
const DEAD_NAME_LEN_MAX: usize = 2048;

/// What one instruction comes to.
enum Effect {
    /// Kept in, or removed from, the store.
    Dead,
    /// A change of attributes.
    Attributes(SetAttr),
    /// Accepted without effect: the Windows client insists on it.
    Nothing,
    /// Refused, with a status and the precondition that fails.
    Refused(StatusCode, &'static str),
}

/// Answers PROPPATCH.
pub(crate) async fn proppatch(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let body = upload::small(body, xml::BODY_LEN_MAX, &ask.door).await?;
    let attr = ask.node()?;
    ask.require(&attr, Access { write: true, ..Access::default() })?;
    ask.conditions_hold(Some(&attr))?;
    let patches = xml::propertyupdate(&body)?;
    let mut effects: Vec<Effect> = patches.iter().map(|patch| judge(patch, &attr)).collect();
    let dead = ask.ns().properties(&ask.op, attr.ino)?;
    if most_dead(&dead, &patches, &effects) > DEAD_MAX {
        for effect in effects.iter_mut().filter(|effect| matches!(effect, Effect::Dead)) {
            *effect = Effect::Refused(StatusCode::INSUFFICIENT_STORAGE, "");
        }
    }
    let refused = effects.iter().any(|effect| matches!(effect, Effect::Refused(..)));
    ask.ns().check_locks(&ask.op, &[Touch::Node(attr.ino)])?;
    if !refused {
        let parent = if ask.path.is_root() { None } else { Some(ask.parent_of(&ask.path)?.ino) };
        // Each instruction is a commit, and nobody locks the resource in between.
        let several = parent.filter(|_| patches.len() > 1);
        let _claim = several.map(|parent| ask.ns().keep_unlocked(&ask.op, parent, ask.path.name())).transpose()?;
        parent.map_or(Ok(()), |parent| ask.guard(parent, &attr))?;
        carry_out(ask, &attr, &patches, &effects)?;
    }
    Ok(ask.reply(StatusCode::MULTI_STATUS, XML, report(ask, &attr, &patches, &effects, refused)))
}

/// How many dead properties the resource has at most while the instructions are carried out; replacing one adds none.
fn most_dead(present: &[(String, String, Vec<u8>)], patches: &[Patch], effects: &[Effect]) -> usize {
    let mut names: BTreeSet<(&str, &str)> =
        present.iter().map(|(ns, local, _)| (ns.as_str(), local.as_str())).collect();
    let mut most = names.len();
    for (patch, _) in patches.iter().zip(effects).filter(|(_, effect)| matches!(effect, Effect::Dead)) {
        let name = (patch.name.ns.as_str(), patch.name.local.as_str());
        match patch.value {
            Some(_) => names.insert(name),
            None => names.remove(&name),
        };
        most = most.max(names.len());
    }
    most
}

fn judge(patch: &Patch, attr: &Attr) -> Effect {
    const PROTECTED: Effect = Effect::Refused(StatusCode::FORBIDDEN, "cannot-modify-protected-property");
    let invalid = || Effect::Refused(StatusCode::CONFLICT, "");
    let text = patch.value.as_ref().map(|value| value.text.trim());
    let modified = |secs: Option<i64>| match secs {
        Some(secs) => Effect::Attributes(SetAttr {
            mtime: Some(SetTime::At(Timestamp::from_parts(secs, 0))),
            ..SetAttr::default()
        }),
        None => invalid(),
    };
    match (patch.name.ns.as_str(), patch.name.local.as_str(), text) {
        (DAV, "getlastmodified", Some(text)) | (MICROSOFT, "Win32LastModifiedTime", Some(text)) => {
            modified(date::parse(text))
        }
        // Seconds since 1970: what ownCloud and rclone set.
        (DAV, "lastmodified", Some(text)) => modified(text.parse().ok()),
        (MICROSOFT, "Win32LastAccessTime", Some(text)) => match date::parse(text) {
            Some(secs) => Effect::Attributes(SetAttr {
                atime: Some(SetTime::At(Timestamp::from_parts(secs, 0))),
                ..SetAttr::default()
            }),
            None => invalid(),
        },
        (MICROSOFT, "Win32CreationTime" | "Win32FileAttributes", Some(_)) => Effect::Nothing,
        (APACHE, "executable", Some(text)) if !is_dir(attr) => match text {
            // As chmod does it: whoever may read may then execute.
            "T" => {
                Effect::Attributes(SetAttr { mode: Some(attr.mode | (attr.mode & 0o444) >> 2), ..SetAttr::default() })
            }
            "F" => Effect::Attributes(SetAttr { mode: Some(attr.mode & !0o111), ..SetAttr::default() }),
            _ => invalid(),
        },
        (DAV, "getcontentlanguage", _) => dead(patch),
        (DAV | APACHE | MICROSOFT, ..) => PROTECTED,
        _ => dead(patch),
    }
}

fn dead(patch: &Patch) -> Effect {
    let name_len = patch.name.ns.len() + patch.name.local.len();
    if patch.value.as_ref().is_some_and(|value| value.fragment.len() > DEAD_LEN_MAX || name_len > DEAD_NAME_LEN_MAX) {
        return Effect::Refused(StatusCode::INSUFFICIENT_STORAGE, "");
    }
    Effect::Dead
}

fn carry_out(ask: &Ask, attr: &Attr, patches: &[Patch], effects: &[Effect]) -> Result<()> {
    for (patch, effect) in patches.iter().zip(effects) {
        match effect {
            Effect::Dead => {
                let value = patch.value.as_ref().map(|value| value.fragment.as_slice());
                ask.ns().set_property(&ask.op, attr.ino, &patch.name.ns, &patch.name.local, value)?;
            }
            Effect::Attributes(set) => {
                ask.ns().setattr(&ask.op, attr.ino, set)?;
            }
            Effect::Nothing | Effect::Refused(..) => {}
        }
    }
    Ok(())
}

fn report(ask: &Ask, attr: &Attr, patches: &[Patch], effects: &[Effect], refused: bool) -> Vec<u8> {
    let mut groups: BTreeMap<(u16, &str), Vec<u8>> = BTreeMap::new();
    for (patch, effect) in patches.iter().zip(effects) {
        let key = match effect {
            Effect::Refused(status, condition) => (status.as_u16(), *condition),
            _ if refused => (StatusCode::FAILED_DEPENDENCY.as_u16(), ""),
            _ => (StatusCode::OK.as_u16(), ""),
        };
        push_empty_name(groups.entry(key).or_default(), &patch.name);
    }
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(HEAD.as_bytes());
    out.extend_from_slice(format!("<D:response><D:href>{}</D:href>", ask.path.href(is_dir(attr))).as_bytes());
    for ((code, condition), names) in groups {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        out.extend_from_slice(b"<D:propstat><D:prop>");
        out.extend_from_slice(&names);
        out.extend_from_slice(format!("</D:prop><D:status>HTTP/1.1 {status}</D:status>").as_bytes());
        if !condition.is_empty() {
            out.extend_from_slice(format!("<D:error><D:{condition}/></D:error>").as_bytes());
        }
        out.extend_from_slice(b"</D:propstat>");
    }
    out.extend_from_slice(b"</D:response>");
    out.extend_from_slice(TAIL.as_bytes());
    out
}
