//! Which operation a request asks for: a closed table.
//!
//! `model/operations.tsv` lists every operation of S3 with what selects it. A request is the one operation whose selectors
//! it has, or it is refused and touches nothing: a sub-resource that this store does not have must never fall through to
//! the object or the bucket it belongs to. The S3 library behind sees only the query keys of the operation found here.

use std::sync::LazyLock;

use http::header::{ALLOW, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use s3s::{S3Error, S3ErrorCode};

use crate::auth::query_pairs;
use crate::error::{not_offered, refuse};
use crate::metrics::{OPERATIONS, Operation};

/// What the path of a request names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// The store itself.
    Root,
    Bucket,
    Object,
}

/// One line of the table.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    /// `None` for the one operation that is sent elsewhere than to the store, a bucket or an object.
    pub(crate) level: Option<Level>,
    /// Query keys that must be there, all of them.
    pub(crate) selectors: Vec<&'static str>,
    /// Query keys that may be there beside.
    pub(crate) query: Vec<&'static str>,
    /// Headers it knows, in lower case: one that must be there ends with `!`, one that ends with a hyphen stands for all
    /// that start so.
    pub(crate) headers: Vec<&'static str>,
    /// The operation of this door, if it has it.
    pub(crate) offered: Option<Operation>,
}

/// Every operation of S3.
pub(crate) static TABLE: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let lines = include_str!("../model/operations.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(Known::of_line).collect()
});

/// What most requests are: of an object, without a query.
const PLAIN: [(Method, Operation); 4] = [
    (Method::GET, Operation::GetObject),
    (Method::PUT, Operation::PutObject),
    (Method::HEAD, Operation::HeadObject),
    (Method::DELETE, Operation::DeleteObject),
];

/// Query keys whose values are numbers. The library takes a sign for part of one.
const NUMBERS: [&str; 6] = ["max-buckets", "max-keys", "max-parts", "max-uploads", "part-number-marker", "partNumber"];

/// Header that turns a PUT into a copy.
const COPY_SOURCE: &str = "x-amz-copy-source";

impl Known {
    fn of_line(line: &'static str) -> Option<Self> {
        let mut columns = line.split('\t');
        let mut next = || columns.next();
        let (name, method, level) = (next()?, next()?, next()?);
        let [selectors, query, headers] =
            [next()?, next()?, next()?].map(|list| list.split(' ').filter(|item| *item != "-").collect::<Vec<_>>());
        let level = match level {
            "root" => Some(Level::Root),
            "bucket" => Some(Level::Bucket),
            "object" => Some(Level::Object),
            _ => None,
        };
        let required = query.iter().filter_map(|key| key.strip_suffix('!'));
        Some(Self {
            name,
            method,
            level,
            selectors: selectors
                .iter()
                .map(|selector| selector.split('=').next().unwrap_or(selector))
                .chain(required)
                .collect(),
            query: query.iter().map(|key| key.trim_end_matches('!')).collect(),
            headers,
            offered: OPERATIONS.iter().copied().find(|operation| operation.name() == name),
        })
    }

    /// Whether it is the copying form of a write.
    fn copies(&self) -> bool {
        self.headers.contains(&"x-amz-copy-source!")
    }

    fn takes(&self, key: &str) -> bool {
        self.selectors.contains(&key) || self.query.contains(&key)
    }
}

/// Whether a query key selects an operation, at whatever level and with whatever method.
fn selects(key: &str) -> bool {
    // The numbers of parts also choose among the parts of an object that is read.
    key != "partNumber" && key != "id" && TABLE.iter().any(|known| known.selectors.contains(&key))
}

/// What a path names, first decoded and then taken apart, as the S3 library does. `in_host`: the host names the bucket.
pub(crate) fn level_of(path: &str, in_host: bool) -> Level {
    let path = percent_decode_str(path).decode_utf8_lossy();
    let path = path.strip_prefix('/').unwrap_or(&path);
    match path.split_once('/') {
        _ if in_host => {
            if path.is_empty() {
                Level::Bucket
            } else {
                Level::Object
            }
        }
        _ if path.is_empty() => Level::Root,
        None | Some((_, "")) => Level::Bucket,
        Some(_) => Level::Object,
    }
}

/// The operation of a request, and its target with no query keys but those of that operation.
///
/// # Errors
/// `NotImplemented` for an operation this store does not have; `MethodNotAllowed` where S3 has none; `InvalidArgument` for
/// keys that contradict each other, that come twice, or that a changing operation does not know; `InvalidURI`.
pub(crate) fn resolve(
    method: &Method,
    level: Level,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Operation, Uri), S3Error> {
    let escaped = well_escaped(uri.path()) && well_escaped(uri.query().unwrap_or_default());
    if !escaped {
        return Err(refuse(
            S3ErrorCode::InvalidURI,
            "the request target is not percent-encoded UTF-8: a percent sign is followed by two hex digits",
        ));
    }
    let copies = headers.contains_key(COPY_SOURCE);
    if uri.query().is_none()
        && level == Level::Object
        && !copies
        && let Some((_, operation)) = PLAIN.iter().find(|(plain, _)| plain == method)
    {
        // There is nothing to select by, and nothing to leave out.
        return Ok((*operation, uri.clone()));
    }
    let raw: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    let pairs: Vec<(&str, (String, String))> =
        raw.into_iter().filter_map(|raw| Some((raw, query_pairs(raw).into_iter().next()?))).collect();
    let keys: Vec<&str> = pairs.iter().map(|(_, (key, _))| key.as_str()).filter(|key| !is_ignored(key)).collect();
    let here = || TABLE.iter().filter(|known| known.method == method.as_str() && known.level == Some(level));
    let found = here()
        .filter(|known| (!known.copies() || copies) && known.selectors.iter().all(|selector| keys.contains(selector)))
        .max_by_key(|known| (known.selectors.len(), known.copies(), known.offered.is_some()));
    let Some(found) = found else {
        return Err(match keys.iter().find(|key| selects(key)) {
            Some(key) => unmatched(method, level, key, None),
            None => not_allowed(level, |known| known.selectors.is_empty()),
        });
    };
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    for key in keys.iter().filter(|key| !found.takes(key)) {
        if selects(key) {
            return Err(unmatched(method, level, key, Some(found)));
        }
        if changes {
            return Err(refuse(
                S3ErrorCode::InvalidArgument,
                format!("{} has no query parameter '{key}'; nothing was changed", found.name),
            ));
        }
    }
    let operation = found.offered.ok_or_else(|| not_offered(found.name))?;
    let source = headers.get(COPY_SOURCE).and_then(|source| std::str::from_utf8(source.as_bytes()).ok());
    if found.copies() && !source.is_some_and(well_escaped) {
        return Err(refuse(
            S3ErrorCode::InvalidArgument,
            "the copy source is not percent-encoded UTF-8: a percent sign is followed by two hex digits; nothing was changed",
        ));
    }
    for (at, key) in keys.iter().enumerate() {
        if found.takes(key) && keys[..at].contains(key) {
            return Err(refuse(S3ErrorCode::InvalidArgument, format!("the query parameter '{key}' is given twice")));
        }
    }
    if pairs.iter().any(|(_, (key, value))| key == "list-type" && value != "2") {
        return Err(refuse(S3ErrorCode::InvalidArgument, "invalid list type specified in request; it must be 2"));
    }
    let signed = |(key, value): &(String, String)| NUMBERS.contains(&&**key) && value.starts_with('+');
    if let Some((_, (key, _))) = pairs.iter().find(|(_, pair)| signed(pair)) {
        return Err(refuse(S3ErrorCode::InvalidArgument, format!("the query parameter '{key}' is a number: digits")));
    }
    let kept: Vec<&str> = pairs.iter().filter(|(_, (key, _))| found.takes(key)).map(|(raw, _)| *raw).collect();
    Ok((operation, with_query(uri, &kept)?))
}

/// Whether every percent sign is that of an escape, and the whole is UTF-8: anything else two readers take for two things.
fn well_escaped(text: &str) -> bool {
    let digits = |rest: &str| rest.len() > 1 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    text.split('%').skip(1).all(digits) && percent_decode_str(text).decode_utf8().is_ok()
}

/// Keys that clients add for logs and proxies; S3 ignores them.
pub(crate) fn is_ignored(key: &str) -> bool {
    let start = |len: usize| key.get(..len).unwrap_or_default();
    start(2).eq_ignore_ascii_case("x-") && !start(6).eq_ignore_ascii_case("x-amz-")
}

/// The answer if `key` selects an operation, but not one of this method and level, or not beside the rest of the request.
fn unmatched(method: &Method, level: Level, key: &str, found: Option<&Known>) -> S3Error {
    let mut with_key = TABLE.iter().filter(|known| {
        known.method == method.as_str() && known.level == Some(level) && known.selectors.contains(&key)
    });
    match (with_key.next(), found) {
        (None, _) => not_allowed(level, |known| known.selectors.contains(&key)),
        (Some(known), _) if known.offered.is_none() => not_offered(known.name),
        (Some(known), Some(found)) if !found.selectors.is_empty() => refuse(
            S3ErrorCode::InvalidArgument,
            format!(
                "conflicting query string parameters: {} and {} cannot be asked for at once",
                found.name, known.name
            ),
        ),
        (Some(known), _) => refuse(
            S3ErrorCode::InvalidArgument,
            format!("{} needs the query parameters {}", known.name, known.selectors.join(" and ")),
        ),
    }
}

/// The answer to a method that the resource does not have, with those it has.
fn not_allowed(level: Level, of: impl Fn(&Known) -> bool) -> S3Error {
    let mut methods: Vec<&str> = TABLE
        .iter()
        .filter(|known| known.level == Some(level) && known.offered.is_some() && of(known))
        .map(|known| known.method)
        .collect();
    methods.sort_unstable();
    methods.dedup();
    let mut err = refuse(
        S3ErrorCode::MethodNotAllowed,
        "the specified method is not allowed against this resource; nothing was changed",
    );
    err.set_status_code(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(allow) = HeaderValue::try_from(methods.join(", ")) {
        err.set_headers(HeaderMap::from_iter([(ALLOW, allow)]));
    }
    err
}

fn with_query(uri: &Uri, kept: &[&str]) -> Result<Uri, S3Error> {
    let path = uri.path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    let unusable = || refuse(S3ErrorCode::InvalidURI, "the request target cannot be parsed");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_| unusable())?);
    Uri::from_parts(parts).map_err(|_| unusable())
}

#[cfg(test)]
mod tests;
