//! Why a request is refused, and the one place where kinds of failure become HTTP statuses.
//!
//! A [`Refusal`] carries the status, the DAV precondition element that names the reason where RFC 4918 has one, and a
//! sentence for the person at the other end. It never carries a secret: its text goes to the client and into the log.

use http::StatusCode;
use strata_namespace::{ContentError, Error, ErrorKind};

use crate::path;

/// Shorthand for results inside the door.
pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// The text for a failure inside the store: its cause is for the operator only.
const INSIDE: &str =
    "the store failed inside; the operator finds the cause in its log; what was stored before is untouched";

/// A request that is not carried out. What is true of the data is said in `what`; unless it says otherwise, nothing changed.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The status line.
    pub(crate) status: StatusCode,
    /// Local name of a precondition element in the `DAV:` name space (RFC 4918 section 16).
    pub(crate) condition: Option<&'static str>,
    /// The resource that the precondition element names: the root of a lock that is in the way, percent-encoded.
    pub(crate) href: Option<String>,
    /// What happened, in words.
    pub(crate) what: String,
    /// Whether the rest of the request body is of no use, so that the connection is closed.
    pub(crate) close: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, condition: None, href: None, what: what.into(), close: false }
    }

    /// With a precondition element in the reply's body.
    pub(crate) fn because(mut self, condition: &'static str) -> Self {
        self.condition = Some(condition);
        self
    }

    /// With a resource in the precondition element, percent-encoded.
    pub(crate) fn at(mut self, href: String) -> Self {
        self.href = Some(href);
        self
    }

    /// The connection cannot be used again: the request's body was not read to its end.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) fn bad_request(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }
    pub(crate) fn conflict(what: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, what)
    }
    pub(crate) fn forbidden(what: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, what)
    }
    pub(crate) fn precondition(what: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, what)
    }
    /// A task of ours died: a bug, reported as such.
    pub(crate) fn task(error: &tokio::task::JoinError) -> Self {
        tracing::error!(%error, "a webdav worker task died");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed while working on this request; check the resource before trying again",
        )
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = status_of(error.kind);
        match error.kind {
            ErrorKind::Corrupt | ErrorKind::Io => {
                tracing::warn!(kind = ?error.kind, error = %error, cause = ?error.source, "a webdav request failed");
            }
            // Lack of room or of a quorum is reported once, and by readiness.
            _ => tracing::debug!(kind = ?error.kind, error = %error, "a webdav request was refused"),
        }
        match (status, error.lock) {
            (StatusCode::INTERNAL_SERVER_ERROR, _) => Self::new(status, INSIDE),
            (_, Some(root)) => {
                Self::new(status, error.what).because("lock-token-submitted").at(path::href(&root, false))
            }
            _ => Self::new(status, error.what),
        }
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        // Mapped by its kind: a full store is no fault of the server.
        Error::from(error).into()
    }
}

/// The HTTP status of each kind of failure, where the method has no better one.
pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound
        | ErrorKind::NoSuchBucket
        | ErrorKind::NoSuchUpload
        | ErrorKind::NoAttribute
        | ErrorKind::Stale => StatusCode::NOT_FOUND,
        ErrorKind::Exists | ErrorKind::BucketExists | ErrorKind::NotDirectory | ErrorKind::NotEmpty => {
            StatusCode::CONFLICT
        }
        ErrorKind::IsDirectory | ErrorKind::NotSupported => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::AccessDenied
        | ErrorKind::NotPermitted
        | ErrorKind::TooManyLinks
        | ErrorKind::CrossDevice
        | ErrorKind::Loop => StatusCode::FORBIDDEN,
        ErrorKind::NameTooLong => StatusCode::URI_TOO_LONG,
        ErrorKind::InvalidName
        | ErrorKind::Invalid
        | ErrorKind::BadBody
        | ErrorKind::PartTooSmall
        | ErrorKind::InvalidPart
        | ErrorKind::InvalidPartOrder => StatusCode::BAD_REQUEST,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::InvalidRange => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorKind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ErrorKind::Locked => StatusCode::LOCKED,
        ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Busy | ErrorKind::ReadOnly => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Corrupt | ErrorKind::Io => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
