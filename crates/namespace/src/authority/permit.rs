//! The permit that the authority gives, without which no content is read or written.

use strata_seam::Ino;

use crate::types::access::Access;

/// The authority's permission to read, write or both, for the content of one inode. Only the authority makes one, and every read and
/// write of content needs one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permit {
    pub(super) ino: Ino,
    pub(super) access: Access,
}

impl Permit {
    /// The inode it is about.
    #[must_use]
    pub fn ino(self) -> Ino {
        self.ino
    }

    /// What it permits.
    #[must_use]
    pub fn access(self) -> Access {
        self.access
    }
}

/// How a call that reads or writes content gets its permission: with the permit of an earlier open, or by asking the authority now.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// Asked for with this very call, of the inode with this number.
    Now(Ino),
    /// Permitted before.
    By(Permit),
}

impl Reach {
    /// The inode it is about.
    #[must_use]
    pub fn ino(self) -> Ino {
        match self {
            Self::Now(ino) => ino,
            Self::By(permit) => permit.ino,
        }
    }
}

impl From<Ino> for Reach {
    fn from(ino: Ino) -> Self {
        Self::Now(ino)
    }
}

impl From<Permit> for Reach {
    fn from(permit: Permit) -> Self {
        Self::By(permit)
    }
}
