//! MKCOL, DELETE, COPY and MOVE: one call of the name space each, so that no half-done tree is ever left by a crash.
//!
//! The library's own handlers delete the target of an overwrite first and then work file by file; these do not.
//! A collection at the top is a bucket: made by MKCOL, renamed by MOVE, removed by DELETE when it is empty, and never overwritten.

use std::sync::Arc;

use http::StatusCode;
use strata_http::Received;
use strata_namespace::{Access, Attr, ErrorKind, RenameMode};

use crate::ask::{Ask, Found, Reply, is_dir};
use crate::error::{Refusal, Result};
use crate::headers::{self, Depth};
use crate::path::UrlPath;
use crate::upload;

/// Mode of a new bucket: its owner's alone.
const BUCKET_MODE: u32 = 0o700;
const WRITE: Access = Access { read: false, write: true, exec: true };

/// Answers MKCOL: 201; 405 if the name is taken, 409 without a parent, 415 with a body.
pub(crate) async fn mkcol(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let body = upload::small(body, crate::xml::BODY_LEN_MAX, &ask.door).await?;
    if !body.is_empty() {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MKCOL takes no body; nothing was made"));
    }
    let taken = || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this name is taken; nothing was changed");
    let path = &ask.path;
    let existing = ask.look(path)?;
    if matches!(existing, Found::Hidden) {
        return Err(Refusal::conflict("something that WebDAV cannot show has this name; nothing was changed"));
    }
    if path.is_root() || !matches!(existing, Found::Nothing) {
        return Err(taken());
    }
    let parent = ask.parent_of(path)?;
    ask.conditions_hold(None)?;
    let mode = if path.is_top() { BUCKET_MODE } else { ask.ns().bucket_of(&ask.op, parent.ino)?.dir_mode() };
    match ask.ns().mkdir(&ask.op, parent.ino, path.name(), mode) {
        Ok(_) => Ok(ask.empty(StatusCode::CREATED)),
        Err(error) if matches!(error.kind, ErrorKind::Exists | ErrorKind::BucketExists) => Err(taken()),
        Err(error) => Err(error.into()),
    }
}

/// Answers DELETE: 204 when the whole tree is gone.
pub(crate) async fn delete(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    refuse_body(ask, body).await?;
    let path = &ask.path;
    let attr = ask.node()?;
    if path.is_root() {
        return Err(Refusal::forbidden("the root cannot be removed"));
    }
    if is_dir(&attr) && !matches!(headers::depth(&ask.headers)?, None | Some(Depth::Infinity)) {
        return Err(Refusal::bad_request("a collection is deleted with Depth infinity; nothing was changed"));
    }
    ask.conditions_hold(Some(&attr))?;
    let parent = ask.parent_of(path)?;
    ask.guard(parent.ino, &attr)?;
    if path.is_top() && is_dir(&attr) {
        let tree = ask.clone();
        let removal = move || {
            tree.ns().rmdir(&tree.op, parent.ino, tree.path.name()).map_err(|error| match error.kind {
                ErrorKind::NotEmpty => Refusal::conflict(format!(
                    "{}; a bucket is deleted when it is empty; nothing was changed",
                    error.what
                )),
                _ => error.into(),
            })
        };
        on_blocking_thread(removal).await?;
    } else if is_dir(&attr) {
        ask.require(&parent, WRITE)?;
        let tree = ask.clone();
        on_blocking_thread(move || Ok(tree.ns().remove_tree(&tree.op, parent.ino, tree.path.name())?)).await?;
    } else {
        ask.ns().unlink(&ask.op, parent.ino, path.name())?;
    }
    Ok(ask.empty(StatusCode::NO_CONTENT))
}

/// The two ends of a COPY or MOVE, checked as far as they have checks in common.
struct Ends {
    source: Attr,
    from: Attr,
    target: Option<Attr>,
    to: Attr,
    destination: UrlPath,
    overwrite: bool,
}

async fn ends(ask: &Arc<Ask>, body: Received) -> Result<Ends> {
    refuse_body(ask, body).await?;
    let destination = ask.here().path_of(headers::destination(&ask.headers)?)?;
    let overwrite = headers::overwrite(&ask.headers)?;
    let path = &ask.path;
    let source = ask.node()?;
    if destination == *path || destination.key() == path.key() {
        return Err(Refusal::forbidden("source and destination are the same; nothing was changed"));
    }
    if path.is_root() || destination.is_root() {
        return Err(Refusal::forbidden("the root is neither copied nor moved, nor replaced; nothing was changed"));
    }
    if path.covers(&destination) && is_dir(&source) || destination.covers(path) {
        return Err(Refusal::forbidden("one of source and destination contains the other; nothing was changed"));
    }
    let from = ask.parent_of(path)?;
    let to = ask.parent_of(&destination)?;
    let target = match ask.look_in(&to, destination.name())? {
        Found::Hidden => {
            return Err(Refusal::conflict(
                "something that WebDAV cannot show has the destination's name; nothing was changed",
            ));
        }
        found => found.visible(),
    };
    if target.is_some() && !overwrite {
        return Err(Refusal::precondition("the destination exists and Overwrite is F; nothing was changed"));
    }
    if destination.is_top() && target.as_ref().is_some_and(is_dir) {
        return Err(Refusal::forbidden(
            "a collection at the top is a bucket, which nothing replaces; nothing was changed; choose another name, or remove it first",
        ));
    }
    ask.conditions_hold(Some(&source))?;
    ask.guard(from.ino, &source)?;
    ask.require(&to, WRITE)?;
    Ok(Ends { source, from, target, to, destination, overwrite })
}

/// Answers COPY: no data moves. 201 for a new destination, 204 for a replaced one.
pub(crate) async fn copy(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let ends = ends(ask, body).await?;
    let deep = match headers::depth(&ask.headers)? {
        None | Some(Depth::Infinity) => true,
        Some(Depth::Zero) => false,
        // Nothing is below a file, so every depth means the same there (RFC 4918 section 10.2).
        Some(Depth::One) if !is_dir(&ends.source) => true,
        Some(Depth::One) => return Err(Refusal::bad_request("COPY takes Depth 0 or infinity; nothing was changed")),
    };
    ask.require(&ends.source, Access { read: true, ..Access::default() })?;
    let created = ends.target.is_none();
    let tree = ask.clone();
    let work = move || {
        let from = (ends.from.ino, tree.path.name());
        let to = (ends.to.ino, ends.destination.name());
        tree.ns()
            .copy_tree(&tree.op, from, to, deep, ends.overwrite)
            .map_err(|error| target_error(error, &ends.destination))
    };
    on_blocking_thread(work).await?;
    Ok(ask.empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT }))
}

/// Answers MOVE: a rename within a bucket, or at the top. What was at the destination is out of the way in the same step.
pub(crate) async fn r#move(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let ends = ends(ask, body).await?;
    let path = &ask.path;
    if is_dir(&ends.source) && !matches!(headers::depth(&ask.headers)?, None | Some(Depth::Infinity)) {
        return Err(Refusal::bad_request("a collection is moved with Depth infinity; nothing was changed"));
    }
    ask.ns().may_take_out(&ask.op, &ends.from, &ends.source)?;
    let destination = &ends.destination;
    // A rename replaces a file by a file. Anything else is exchanged with the source first, then removed in the source's place:
    // at no moment is the destination missing, and a crash in between loses neither.
    let swap = ends.target.as_ref().is_some_and(|target| is_dir(target) || is_dir(&ends.source));
    let mode = match &ends.target {
        None => RenameMode::NoReplace,
        Some(_) if swap => RenameMode::Exchange,
        Some(_) => RenameMode::Replace,
    };
    if !path.shares_bucket(destination) {
        if path.is_top() && is_dir(&ends.source) {
            refuse_uploads(ask)?;
        }
        return move_across(ask, ends).await;
    }
    let (tree, to_name, href) = (ask.clone(), destination.name().to_vec(), destination.clone());
    let (from_ino, to_ino) = (ends.from.ino, ends.to.ino);
    let (from_dir, target) = (ends.from.clone(), ends.target.clone());
    let rename = move || {
        // The replaced tree is removed after the exchange, so a caller that may not remove all of it is refused before that.
        if let Some(target) = target.filter(|_| swap) {
            tree.ns().check_removal(&tree.op, to_ino, &to_name)?;
            // It is removed from the directory that the source was in.
            tree.ns().may_take_out(&tree.op, &from_dir, &target)?;
        }
        let renamed = tree.ns().rename(&tree.op, (from_ino, tree.path.name()), (to_ino, &to_name), mode);
        renamed.map_err(|error| target_error(error, &href))
    };
    on_blocking_thread(rename).await?;
    if swap {
        let replaced_is_dir = ends.target.as_ref().is_some_and(is_dir);
        let tree = ask.clone();
        let parent = ends.from.ino;
        on_blocking_thread(move || {
            let name = tree.path.name();
            Ok(if replaced_is_dir {
                tree.ns().remove_tree(&tree.op, parent, name)
            } else {
                tree.ns().unlink(&tree.op, parent, name)
            }?)
        })
        .await?;
    }
    Ok(ask.empty(if ends.target.is_none() { StatusCode::CREATED } else { StatusCode::NO_CONTENT }))
}

/// Refuses to have a bucket become a collection of another while there are uploads to it, which would end with it.
fn refuse_uploads(ask: &Ask) -> Result<()> {
    let bucket = ask.ns().bucket_of_folder(&ask.op, ask.path.name())?;
    match ask.ns().bucket_use(&ask.op, &bucket.name)?.uploads {
        0 => Ok(()),
        uploads => Err(Refusal::conflict(format!(
            "there are {uploads} unfinished uploads to this collection, which is a bucket; nothing was changed; complete or abort them"
        ))),
    }
}

/// Answers a MOVE into another bucket: by reference, and nothing is removed before the destination is whole.
async fn move_across(ask: &Arc<Ask>, ends: Ends) -> Result<Reply> {
    ask.require(&ends.source, Access { read: true, ..Access::default() })?;
    let created = ends.target.is_none();
    let tree = ask.clone();
    let work = move || {
        let (from, to) = ((ends.from.ino, tree.path.name()), (ends.to.ino, ends.destination.name()));
        let moved = tree.ns().move_across(&tree.op, from, to, ends.overwrite);
        moved.map_err(|error| target_error(error, &ends.destination))
    };
    on_blocking_thread(work).await?;
    Ok(ask.empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT }))
}

/// What a taken or vanished destination means in these methods.
fn target_error(error: strata_namespace::Error, destination: &UrlPath) -> Refusal {
    match error.kind {
        ErrorKind::Exists | ErrorKind::NotEmpty => Refusal::precondition(format!(
            "{} was made meanwhile, or an object of that name stands beside a collection; nothing was changed",
            destination.href(false)
        )),
        _ => error.into(),
    }
}

async fn refuse_body(ask: &Arc<Ask>, body: Received) -> Result<()> {
    let body = upload::small(body, crate::xml::BODY_LEN_MAX, &ask.door).await?;
    if body.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this method takes no body; nothing was changed"))
}

/// Trees may be large: they are walked off the connection's thread. The walk goes on if the client leaves.
async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    strata_gate::bridge::wait(work).await.map_err(|error| Refusal::task(&error))?
}
