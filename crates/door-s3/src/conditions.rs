//! Conditional requests. Readers' conditions are decided here, against the version that is answered; writers' become a
//! [`Condition`] that the name space checks in the same commit as the change.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use s3s::{S3Error, S3ErrorCode};
use strata_namespace::{Condition, ObjectInfo};

use crate::error::{not_offered, refuse};
use crate::etag::unquoted;
use crate::headers;

/// The four headers of one set of conditions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
    modified_since: Option<SystemTime>,
    unmodified_since: Option<SystemTime>,
    /// A header that is there and cannot be read.
    malformed: Option<&'static str>,
}

/// A list of ETags.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Tags {
    /// `*`, which stands for any object.
    any: bool,
    strong: Vec<String>,
    weak: Vec<String>,
}

/// What the conditions say about an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Go on.
    Proceed,
    /// The client has it already.
    NotModified,
    /// The client meant another one.
    Failed,
}

impl Conditions {
    /// Of a read, or of a write's target.
    pub(crate) fn of_request(map: &HeaderMap) -> Self {
        Self::read(map, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
    }
    /// Of a copy's source.
    ///
    /// # Errors
    /// `InvalidArgument` for what cannot be read.
    pub(crate) fn of_copy_source(map: &HeaderMap) -> Result<Self, S3Error> {
        Self::read(
            map,
            [
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-unmodified-since",
            ],
        )
        .readable()
    }

    fn read(map: &HeaderMap, [matches, none_matches, modified, unmodified]: [&'static str; 4]) -> Self {
        let mut malformed = None;
        let mut tags = |name| match tags(map, name) {
            Some(Err(readable)) => {
                malformed = Some(name);
                Some(readable)
            }
            Some(Ok(tags)) => Some(tags),
            None => None,
        };
        let (matches, none_matches) = (tags(matches), tags(none_matches));
        // As RFC 9110 says, a date that is none, or given twice, is ignored by those who only read.
        let mut date = |name| {
            let mut values = map.get_all(name).iter();
            let first = values.next()?;
            let text = first.to_str().ok().filter(|_| values.next().is_none());
            let date = text.and_then(|text| httpdate::parse_http_date(text.trim()).ok());
            if date.is_none() {
                malformed = Some(name);
            }
            date
        };
        let (modified_since, unmodified_since) = (date(modified), date(unmodified));
        Self { matches, none_matches, modified_since, unmodified_since, malformed }
    }

    /// Refuses conditions of a change that cannot be read: ignoring one would change what the client meant to keep.
    fn readable(self) -> Result<Self, S3Error> {
        match self.malformed {
            Some(name) => Err(refuse(
                S3ErrorCode::InvalidArgument,
                format!("the condition {name} cannot be read; nothing was changed"),
            )),
            None => Ok(self),
        }
    }

    /// Decides by the order of RFC 9110, section 13.2.2: `If-Match` before `If-Unmodified-Since`, which it makes void;
    /// then `If-None-Match` before `If-Modified-Since` likewise.
    pub(crate) fn judge(&self, etag: &str, modified: SystemTime) -> Verdict {
        // HTTP dates have whole seconds: an object changed within the second of the date counts as unmodified.
        let modified = whole_seconds(modified);
        let kept = match (&self.matches, self.unmodified_since) {
            (Some(tags), _) => tags.any || tags.strong.iter().any(|tag| tag == etag),
            (None, Some(since)) => modified <= since,
            (None, None) => true,
        };
        if !kept {
            return Verdict::Failed;
        }
        let changed = match (&self.none_matches, self.modified_since) {
            (Some(tags), _) => !(tags.any || tags.strong.iter().chain(&tags.weak).any(|tag| tag == etag)),
            (None, Some(since)) => modified > since,
            (None, None) => true,
        };
        if changed { Verdict::Proceed } else { Verdict::NotModified }
    }

    /// Lets a read go on, or answers 304 or 412 with the headers a cache needs.
    ///
    /// # Errors
    /// `NotModified`, `PreconditionFailed`.
    pub(crate) fn allow_read(&self, info: &ObjectInfo) -> Result<(), S3Error> {
        match self.judge(&info.etag, info.attr.mtime.to_system_time()) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified => {
                let mut err = S3Error::new(S3ErrorCode::NotModified);
                err.set_status_code(http::StatusCode::NOT_MODIFIED);
                err.set_headers(headers::validators(info));
                Err(err)
            }
            Verdict::Failed => Err(failed()),
        }
    }

    /// Lets a copy read its source; a copy knows no 304.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub(crate) fn allow_copy(&self, info: &ObjectInfo) -> Result<(), S3Error> {
        match self.judge(&info.etag, info.attr.mtime.to_system_time()) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(failed()),
        }
    }

    /// The ETag conditions, for the name space to hold in its commit.
    pub(crate) fn etags(&self) -> Condition {
        let etag_in = self.matches.as_ref().map(|tags| match tags.any {
            true => vec!["*".to_owned()],
            // A weak ETag never proves that bytes are the same: as it stands here, it is no object's.
            false => tags.strong.iter().cloned().chain(tags.weak.iter().map(|tag| format!("W/\"{tag}\""))).collect(),
        });
        let none = self.none_matches.as_ref();
        Condition {
            absent: none.is_some_and(|tags| tags.any),
            etag_in: etag_in.unwrap_or_default(),
            etag_not_in: none.into_iter().flat_map(|tags| tags.strong.iter().chain(&tags.weak)).cloned().collect(),
        }
    }

    /// The conditions of a write. S3 knows `If-Match` with an ETag and `If-None-Match: *`.
    ///
    /// # Errors
    /// `NotImplemented` for `If-None-Match` with an ETag, `InvalidArgument` for what cannot be read: ignoring one would
    /// overwrite what the client meant to keep.
    pub(crate) fn for_write(map: &HeaderMap) -> Result<Condition, S3Error> {
        let this = Self::of_request(map).readable()?;
        if this.none_matches.as_ref().is_some_and(|tags| !tags.strong.is_empty() || !tags.weak.is_empty()) {
            return Err(not_offered("If-None-Match with an ETag as the condition of a write"));
        }
        Ok(this.etags())
    }
}

fn failed() -> S3Error {
    refuse(S3ErrorCode::PreconditionFailed, "at least one of the pre-conditions you specified did not hold")
}

/// Whether the object is still the one `If-Range` names, so that a range of it may be answered.
pub(crate) fn if_range_holds(map: &HeaderMap, info: &ObjectInfo) -> bool {
    let Some(value) = map.get("if-range").and_then(|value| value.to_str().ok()) else {
        return true;
    };
    match httpdate::parse_http_date(value) {
        Ok(date) => whole_seconds(info.attr.mtime.to_system_time()) == date,
        // A weak ETag never proves that bytes are the same.
        Err(_) => !value.trim_start().starts_with("W/") && unquoted(value) == info.etag,
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let nanos = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    time.checked_sub(Duration::from_nanos(u64::from(nanos))).unwrap_or(time)
}

/// All ETags of a header that may come as a list and more than once; `Err` has those that could be read of a header that
/// is malformed or lists nothing. S3 also takes ETags without quotes.
fn tags(map: &HeaderMap, name: &str) -> Option<Result<Tags, Tags>> {
    let mut values = map.get_all(name).iter().peekable();
    values.peek()?;
    let (mut tags, mut well_formed) = (Tags::default(), true);
    for value in values {
        let mut rest = value.to_str().unwrap_or("\"");
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let weak = rest.strip_prefix("W/\"").map(|inside| (inside, &mut tags.weak));
            let quoted = weak.or_else(|| rest.strip_prefix('"').map(|inside| (inside, &mut tags.strong)));
            let tail;
            match quoted {
                Some((inside, list)) => {
                    let Some((tag, behind)) = inside.split_once('"') else {
                        well_formed = false;
                        break;
                    };
                    // With its quotes, this is a tag that no object has, and not the sign for any.
                    list.push(if tag == "*" { "\"*\"".to_owned() } else { tag.to_owned() });
                    (rest, tail) = behind
                        .trim_start()
                        .split_once(',')
                        .map_or(("", behind.trim()), |(gap, rest)| (rest, gap.trim()));
                }
                None => {
                    let (tag, behind) = rest.split_once(',').unwrap_or((rest, ""));
                    match tag.trim() {
                        "*" => tags.any = true,
                        tag => tags.strong.push(tag.to_owned()),
                    }
                    (rest, tail) = (behind, "");
                }
            }
            well_formed &= tail.is_empty();
        }
    }
    well_formed &= tags != Tags::default();
    Some(if well_formed { Ok(tags) } else { Err(tags) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn judge(pairs: &[(&'static str, &str)]) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        // Half a second past the date, as objects of this store are.
        let modified = httpdate::parse_http_date(AT).unwrap() + Duration::from_millis(500);
        Conditions::of_request(&map).judge("abc", modified)
    }

    #[test]
    fn each_condition_alone_decides() {
        for (name, value, verdict) in [
            ("if-match", "\"abc\"", Verdict::Proceed),
            ("if-match", "\"x\", \"abc\"", Verdict::Proceed),
            ("if-match", "*", Verdict::Proceed),
            ("if-match", "\"x\"", Verdict::Failed),
            ("if-match", "abc", Verdict::Proceed),
            // Only If-None-Match compares weakly.
            ("if-match", "W/\"abc\"", Verdict::Failed),
            // One tag with a comma in it, and one that looks like the sign for any.
            ("if-match", "\"x,abc\"", Verdict::Failed),
            ("if-match", "\"*\"", Verdict::Failed),
            ("if-match", "", Verdict::Failed),
            ("if-match", "\"abc", Verdict::Failed),
            ("if-none-match", "\"abc\"", Verdict::NotModified),
            ("if-none-match", "W/\"abc\"", Verdict::NotModified),
            ("if-none-match", "*", Verdict::NotModified),
            ("if-none-match", "\"x\"", Verdict::Proceed),
            ("if-modified-since", BEFORE, Verdict::Proceed),
            ("if-modified-since", AT, Verdict::NotModified),
            ("if-modified-since", AFTER, Verdict::NotModified),
            ("if-unmodified-since", BEFORE, Verdict::Failed),
            ("if-unmodified-since", AT, Verdict::Proceed),
            ("if-unmodified-since", AFTER, Verdict::Proceed),
            ("if-modified-since", "yesterday", Verdict::Proceed),
            ("if-unmodified-since", "yesterday", Verdict::Proceed),
        ] {
            assert_eq!(judge(&[(name, value)]), verdict, "{name}: {value}");
        }
    }

    #[test]
    fn etags_come_before_dates() {
        assert_eq!(judge(&[("if-match", "abc"), ("if-unmodified-since", BEFORE)]), Verdict::Proceed);
        assert_eq!(judge(&[("if-none-match", "abc"), ("if-modified-since", BEFORE)]), Verdict::NotModified);
        assert_eq!(judge(&[("if-none-match", "x"), ("if-modified-since", AFTER)]), Verdict::Proceed);
        assert_eq!(judge(&[("if-match", "x"), ("if-none-match", "abc")]), Verdict::Failed);
    }

    #[test]
    fn writes_take_if_match_and_if_none_match_star_and_refuse_the_rest() {
        let map = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
        };
        assert!(Conditions::for_write(&map("if-none-match", "*")).unwrap().absent);
        assert_eq!(Conditions::for_write(&map("if-match", "\"abc\"")).unwrap().etag_in, ["abc"]);
        for value in ["\"abc\"", "*, \"abc\"", "W/\"abc\""] {
            let refused = Conditions::for_write(&map("if-none-match", value)).unwrap_err();
            assert_eq!(refused.code(), &S3ErrorCode::NotImplemented, "{value}");
        }
        // A condition of which nothing is left would be none.
        for name in ["if-match", "if-none-match"] {
            for value in ["", " ", ",", "\"abc", "\"a\" b", "\"a\"\"b\""] {
                let refused = Conditions::for_write(&map(name, value)).unwrap_err();
                assert_eq!(refused.code(), &S3ErrorCode::InvalidArgument, "{name}: {value}");
            }
        }
        let weak = Conditions::for_write(&map("if-match", "W/\"abc\"")).unwrap();
        assert!(!weak.etag_in.is_empty() && !weak.etag_in.contains(&"abc".to_owned()));
        for value in ["yesterday", ""] {
            let name = "x-amz-copy-source-if-unmodified-since";
            assert_eq!(
                Conditions::of_copy_source(&map(name, value)).unwrap_err().code(),
                &S3ErrorCode::InvalidArgument
            );
        }
    }
}
