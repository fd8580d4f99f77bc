//! Names and refusals in words.

use anyhow::anyhow;
use strata_namespace::{BucketUse, ErrorKind};

use super::{SHOWN_LEN_MAX, uploads};

/// A name as a terminal can show it on one line and in one direction.
pub(super) fn printable(name: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().fold(String::new(), |mut shown, c| {
        if c.is_control() || turns(c) || matches!(c, '\u{2028}' | '\u{2029}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// A name in quotation marks, as it can be shown to people.
pub(super) fn shortened(name: &str) -> String {
    let start: String = name.chars().take(SHOWN_LEN_MAX).collect();
    let rest = if start.len() < name.len() { "..." } else { "" };
    format!("'{}{rest}'", start.escape_debug())
}

pub(super) fn missing(name: &str) -> anyhow::Error {
    anyhow!("there is no bucket '{}'; nothing was changed; `strata bucket list` shows all", name.escape_debug())
}

pub(super) fn taken(name: &str) -> anyhow::Error {
    anyhow!("'{}' exists already; nothing was changed; choose another name", name.escape_debug())
}

/// What the name space has refused, with what is true now and what to do.
pub(super) fn unchanged(error: strata_namespace::Error) -> anyhow::Error {
    match error.kind {
        ErrorKind::NoSuchBucket => anyhow!("{}; nothing was changed; `strata bucket list` shows all", error.what),
        ErrorKind::BucketExists | ErrorKind::Exists | ErrorKind::InvalidName => {
            anyhow!("{}; nothing was changed; choose another name", error.what)
        }
        _ => error.into(),
    }
}

pub(super) fn in_the_way(what: &str) -> anyhow::Error {
    anyhow!("{what}; nothing was removed; empty it first, or remove it with everything in it by --yes")
}

/// Refuses to remove a bucket that is in use.
pub(super) fn check_unused(name: &str, hinders: &BucketUse) -> anyhow::Result<()> {
    let name = printable(name);
    let uploads = match hinders.uploads {
        0 => String::new(),
        count => format!("{} to it would be aborted", uploads(count)),
    };
    let what = match &hinders.first {
        None if uploads.is_empty() => return Ok(()),
        None => format!("bucket '{name}' is in use: {uploads}"),
        Some(first) if uploads.is_empty() => format!("bucket '{name}' is not empty: it holds {first}"),
        Some(first) => format!("bucket '{name}' is not empty: it holds {first}, and {uploads}"),
    };
    Err(in_the_way(&what))
}
