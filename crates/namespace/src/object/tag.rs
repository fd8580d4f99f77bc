//! The tag of a file's content, and conditions on it.

use crate::error::{ErrorKind, Result, fail};
use crate::records::Inode;
use crate::types::{Condition, ContentTag, Wanted};

/// The tag of a file's content: the one that came with it, or else one that follows from its manifest, so that the same content in the
/// same chunks has the same one.
pub(crate) fn tag(inode: &Inode) -> ContentTag {
    if let Some(tag) = &inode.tag {
        return tag.clone();
    }
    if inode.items.is_empty() {
        return ContentTag::Nothing;
    }
    let mut hasher = blake3::Hasher::new();
    for item in &inode.items {
        hasher.update(&item.len.to_le_bytes());
        match item.source {
            strata_content::Source::Hole => hasher.update(&[0]),
            strata_content::Source::Chunk { id, offset } => hasher.update(&id.0).update(&offset.to_le_bytes()),
            strata_content::Source::Page { id, .. } => hasher.update(&id.0),
        };
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    ContentTag::Derived(digest)
}

/// Evaluates a condition against the present object.
pub(crate) fn check(cond: &Condition, present: Option<&Inode>) -> Result<()> {
    if *cond == Condition::default() {
        return Ok(());
    }
    let present = present.map(tag);
    if cond.absent && present.is_some() {
        return Err(fail(ErrorKind::PreconditionFailed, "there is an object already"));
    }
    match (&cond.wanted, &present) {
        (None, _) | (Some(Wanted::Anything), Some(_)) => {}
        (Some(Wanted::OneOf(tags)), Some(present)) if tags.contains(present) => {}
        (Some(_), None) => {
            return Err(fail(ErrorKind::NotFound, "there is no object, and a certain one was expected"));
        }
        (Some(Wanted::OneOf(_)), Some(_)) => {
            return Err(fail(ErrorKind::PreconditionFailed, "the present object is not the one expected"));
        }
    }
    if present.is_some_and(|present| cond.unwanted.contains(&present)) {
        return Err(fail(ErrorKind::PreconditionFailed, "the present object is one of those excluded"));
    }
    Ok(())
}
