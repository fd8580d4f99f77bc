//! What the authority answers: a permit, by which content is reached.

use strata_seam::Ino;

use crate::types::access::Access;

/// What the authority permitted: reading, writing or both, of one inode. Nobody but the authority makes one, and no content is read
/// or written without.
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

/// By what right an operation reaches the content of a file: by a permit that it got when it opened the file, or by asking now.
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
