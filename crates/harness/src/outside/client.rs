//! The smallest clients that will do, one per door. They know nothing of the inside, send one request at a time, and take
//! a server that dies under them as an answer ([`Failure::Lost`]), not as an accident.

pub(crate) mod drive;
pub(crate) mod http;
pub(crate) mod nfs;
pub(crate) mod s3;
pub(crate) mod webdav;
mod xdr;

use std::io;

/// Why a request has no good answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server is gone: whether the request was carried out is not known.
    Lost(io::Error),
    /// The server said no, with the protocol's own code and words.
    Refused {
        /// HTTP status, NFS status or errno.
        code: u32,
        /// What it said.
        said: String,
    },
}

impl Failure {
    /// Whether there is no such file, in the words of any protocol.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { code: 404 | 2, .. })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(error) => write!(f, "the server is gone: {error}"),
            Self::Refused { code, said } => write!(f, "refused with {code}: {said}"),
        }
    }
}

/// What a client gives back.
pub(crate) type Reply<T> = Result<T, Failure>;
