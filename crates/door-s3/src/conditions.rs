//! Conditional requests. Conditions of reads are decided here, against the version that is returned; those of writes become a
//! [`Condition`] that the name space checks in the same commit as the change.

use http::HeaderMap;
use s3s::{S3Error, S3ErrorCode};
use strata_http::conditions::{self, NAMES, Names, Verdict};
use strata_namespace::{Condition, ObjectInfo};

use crate::error::{not_offered, refuse};
use crate::headers::with_validators;

/// Names of the conditions on a copy's source.
const OF_SOURCE: Names = Names {
    if_match: "x-amz-copy-source-if-match",
    if_none_match: "x-amz-copy-source-if-none-match",
    if_modified_since: "x-amz-copy-source-if-modified-since",
    if_unmodified_since: "x-amz-copy-source-if-unmodified-since",
};

/// One set of conditions.
#[derive(Clone, Debug)]
pub(crate) struct Conditions(conditions::Conditions);

impl Conditions {
    /// The conditions of a read, or of a write's target. For a read, conditions that cannot be read are ignored, as RFC 9110 says.
    pub(crate) fn of_request(map: &HeaderMap) -> Self {
        Self(conditions::Conditions::of(map, &NAMES))
    }
    /// The conditions on a copy's source.
    ///
    /// # Errors
    /// `InvalidArgument` for what cannot be read.
    pub(crate) fn of_copy_source(map: &HeaderMap) -> Result<Self, S3Error> {
        Self(conditions::Conditions::of(map, &OF_SOURCE)).readable()
    }

    /// Refuses conditions of a change that cannot be read: ignoring one would change what the client meant to keep.
    fn readable(self) -> Result<Self, S3Error> {
        match self.0.unreadable_tags.or(self.0.unreadable_date) {
            Some(name) => Err(refuse(
                S3ErrorCode::InvalidArgument,
                format!("the condition {name} cannot be read; nothing was changed"),
            )),
            None => Ok(self),
        }
    }

    fn judge(&self, info: &ObjectInfo) -> Verdict {
        with_validators(info, |validators| self.0.judge(Some(validators), true))
    }

    /// Lets a read go on, or answers 304 or 412 with the headers a cache needs.
    ///
    /// # Errors
    /// `NotModified`, `PreconditionFailed`.
    pub(crate) fn allow_read(&self, info: &ObjectInfo) -> Result<(), S3Error> {
        match self.judge(info) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified => {
                let mut err = S3Error::new(S3ErrorCode::NotModified);
                err.set_status_code(http::StatusCode::NOT_MODIFIED);
                let mut headers = HeaderMap::new();
                with_validators(info, |validators| validators.add_to(&mut headers));
                err.set_headers(headers);
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
        match self.judge(info) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(failed()),
        }
    }

    /// The ETag conditions, for the name space to hold in its commit.
    pub(crate) fn etags(&self) -> Condition {
        strata_etag::condition(&self.0)
    }

    /// The conditions of a write. S3 knows `If-Match` with an ETag and `If-None-Match: *`.
    ///
    /// # Errors
    /// `NotImplemented` for `If-None-Match` with an ETag, `InvalidArgument` for what cannot be read: ignoring one would
    /// overwrite what the client meant to keep.
    pub(crate) fn for_write(map: &HeaderMap) -> Result<Condition, S3Error> {
        let this = Self::of_request(map).readable()?;
        if this.0.if_none_match.as_ref().is_some_and(|tags| !tags.list.is_empty()) {
            return Err(not_offered("If-None-Match with an ETag as the condition of a write"));
        }
        Ok(this.etags())
    }
}

fn failed() -> S3Error {
    refuse(S3ErrorCode::PreconditionFailed, "at least one of the pre-conditions you specified did not hold")
}

#[cfg(test)]
mod tests {
    use strata_namespace::Wanted;

    use super::*;

    #[test]
    fn writes_take_if_match_and_if_none_match_star_and_refuse_the_rest() {
        let map = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
        };
        assert!(Conditions::for_write(&map("if-none-match", "*")).unwrap().absent);
        let one = Wanted::OneOf(vec![strata_etag::read("abc")]);
        assert_eq!(Conditions::for_write(&map("if-match", "\"abc\"")).unwrap().wanted, Some(one));
        for value in ["\"abc\"", "*, \"abc\"", "W/\"abc\""] {
            let refused = Conditions::for_write(&map("if-none-match", value)).unwrap_err();
            assert_eq!(refused.code(), &S3ErrorCode::NotImplemented, "{value}");
        }
        // A header without a usable tag would be no condition, so it is refused.
        for name in ["if-match", "if-none-match"] {
            for value in ["", " ", ",", "\"abc", "\"a\" b", "\"a\"\"b\""] {
                let refused = Conditions::for_write(&map(name, value)).unwrap_err();
                assert_eq!(refused.code(), &S3ErrorCode::InvalidArgument, "{name}: {value}");
            }
        }
        let weak = Conditions::for_write(&map("if-match", "W/\"abc\"")).unwrap();
        assert_eq!(weak.wanted, Some(Wanted::OneOf(Vec::new())));
        for value in ["yesterday", ""] {
            let name = "x-amz-copy-source-if-unmodified-since";
            assert_eq!(
                Conditions::of_copy_source(&map(name, value)).unwrap_err().code(),
                &S3ErrorCode::InvalidArgument
            );
        }
    }
}
