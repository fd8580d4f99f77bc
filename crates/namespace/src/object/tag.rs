//! What tells one content from another, and conditions on it.

use super::EMPTY_ETAG;
use crate::error::{ErrorKind, Result, fail};
use crate::records::Inode;
use crate::types::Condition;

/// The ETag: the client's MD5 where one came, else derived from the manifest and marked by `-0` as no MD5.
pub(crate) fn etag(inode: &Inode) -> String {
    if let Some(etag) = &inode.etag {
        return etag.clone();
    }
    if inode.items.is_empty() {
        return EMPTY_ETAG.to_owned();
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
    format!("{}-0", &hasher.finalize().to_hex()[..32])
}

/// Evaluates a condition against the present object.
pub(crate) fn check(cond: &Condition, present: Option<&Inode>) -> Result<()> {
    if *cond == Condition::default() {
        return Ok(());
    }
    let present = present.map(etag);
    let among = |list: &[String]| {
        present.as_ref().is_some_and(|etag| list.iter().any(|wanted| wanted == "*" || wanted.trim_matches('"') == etag))
    };
    if cond.absent && present.is_some() {
        return Err(fail(ErrorKind::PreconditionFailed, "there is an object already"));
    }
    if !cond.etag_in.is_empty() && !among(&cond.etag_in) {
        return Err(match present {
            None => fail(ErrorKind::NotFound, "there is no object, and a certain one was expected"),
            Some(_) => fail(ErrorKind::PreconditionFailed, "the present object is not the one expected"),
        });
    }
    if among(&cond.etag_not_in) {
        return Err(fail(ErrorKind::PreconditionFailed, "the present object is one of those excluded"));
    }
    Ok(())
}
