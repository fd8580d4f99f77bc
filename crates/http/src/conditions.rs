//! Conditional requests (RFC 9110, section 13): what the headers ask, and whether it holds. The door decides how a failed
//! condition is answered, and which conditions a change may have.

use http::header::{ETAG, IF_RANGE, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use strata_seam::Timestamp;

use crate::date;
use crate::etag::{Tags, quoted};

/// The names of the headers that form one set of conditions. S3's copies have a second set, for their source.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// One of these tags is there.
    pub if_match: &'static str,
    /// None of these tags is there.
    pub if_none_match: &'static str,
    /// It was changed after this date.
    pub if_modified_since: &'static str,
    /// It was not changed after this date.
    pub if_unmodified_since: &'static str,
}

/// The standard names, for the target of the request.
pub const NAMES: Names = Names {
    if_match: "if-match",
    if_none_match: "if-none-match",
    if_modified_since: "if-modified-since",
    if_unmodified_since: "if-unmodified-since",
};

/// The conditions of one request on one resource.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// One of these tags has to be there.
    pub if_match: Option<Tags>,
    /// None of these tags may be there.
    pub if_none_match: Option<Tags>,
    modified_since: Option<i64>,
    unmodified_since: Option<i64>,
    /// A list of tags that could not be read, or not whole.
    pub unreadable_tags: Option<&'static str>,
    /// A date that could not be read.
    pub unreadable_date: Option<&'static str>,
}

/// Distinguishes one version of a resource from another (RFC 9110, section 8.8).
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its strong entity tag, without quotes; `None` where it has none.
    pub etag: Option<&'a str>,
    /// When it was last changed.
    pub modified: Timestamp,
}

/// How a conditional request goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All conditions hold.
    Proceed,
    /// The client has this version already: 304.
    NotModified,
    /// The client meant another version: 412.
    Failed,
}

/// Whether a tag of `If-Range` counts without its quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quotes {
    /// As the standard has it.
    Needed,
    /// As some clients write it.
    Optional,
}

impl Conditions {
    /// Reads the conditions with these header names. A date that is invalid or given twice is ignored, as sections 13.1.3 and 13.1.4
    /// demand. Of a list of tags the readable ones are kept, and it is noted that others could not be read.
    #[must_use]
    pub fn of(headers: &HeaderMap, names: &Names) -> Self {
        let (mut unreadable_tags, mut unreadable_date) = (None, None);
        let mut tags = |name| match Tags::of(headers, name)? {
            Ok(tags) => Some(tags),
            Err(readable) => {
                unreadable_tags.get_or_insert(name);
                Some(readable)
            }
        };
        let (if_match, if_none_match) = (tags(names.if_match), tags(names.if_none_match));
        let mut since = |name| {
            headers.get(name)?;
            let date = the_only(headers, name).and_then(date::parse);
            if date.is_none() {
                unreadable_date.get_or_insert(name);
            }
            date
        };
        let (modified_since, unmodified_since) = (since(names.if_modified_since), since(names.if_unmodified_since));
        Self { if_match, if_none_match, modified_since, unmodified_since, unreadable_tags, unreadable_date }
    }

    /// Whether the request has no condition that could be read.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.modified_since.is_none()
            && self.unmodified_since.is_none()
    }

    /// Decides by the order of section 13.2.2: `If-Match` before `If-Unmodified-Since`, which it makes void; then `If-None-Match`
    /// before `If-Modified-Since` likewise. `present` is what is there, `reading` whether the method is GET or HEAD: for others
    /// there is no 304, and no `If-Modified-Since`.
    #[must_use]
    pub fn judge(&self, present: Option<&Validators<'_>>, reading: bool) -> Verdict {
        let etag = present.and_then(|present| present.etag);
        // Dates have whole seconds: what was changed within the second of the date counts as unmodified.
        let changed_after = |limit: i64| present.is_none_or(|present| present.modified.secs() > limit);
        let kept = match (&self.if_match, self.unmodified_since) {
            (Some(tags), _) => tags.any && present.is_some() || etag.is_some_and(|etag| tags.has_strongly(etag)),
            (None, Some(limit)) => !changed_after(limit),
            (None, None) => true,
        };
        if !kept {
            return Verdict::Failed;
        }
        let changed = match (&self.if_none_match, self.modified_since) {
            (Some(tags), _) => !(tags.any && present.is_some() || etag.is_some_and(|etag| tags.has_weakly(etag))),
            (None, Some(limit)) if reading => changed_after(limit),
            (None, _) => true,
        };
        match changed {
            true => Verdict::Proceed,
            false if reading => Verdict::NotModified,
            false => Verdict::Failed,
        }
    }
}

impl Validators<'_> {
    /// Adds the headers that caches keep. What no header can carry is left out.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(Ok(etag)) = self.etag.map(|etag| HeaderValue::try_from(quoted(etag))) {
            headers.insert(ETAG, etag);
        }
        if let Ok(date) = HeaderValue::try_from(date::format(self.modified)) {
            headers.insert(LAST_MODIFIED, date);
        }
    }

    /// Whether a `Range` may be answered with a part: true if there is no `If-Range`, or if it names this version (section 13.1.5). An
    /// `If-Range` that cannot be read names no version.
    #[must_use]
    pub fn hold_if_range(&self, headers: &HeaderMap, quotes: Quotes) -> bool {
        if !headers.contains_key(IF_RANGE) {
            return true;
        }
        let Some(text) = the_only(headers, IF_RANGE.as_str()).map(str::trim) else { return false };
        match date::parse(text) {
            Some(secs) => secs == self.modified.secs(),
            // Compared with its quotes, a weak tag is equal to none.
            None => self.etag.is_some_and(|etag| text == quoted(etag) || quotes == Quotes::Optional && text == etag),
        }
    }
}

/// The text of a header that is there once.
fn the_only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next()?.to_str().ok().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests;
