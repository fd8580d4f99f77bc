//! What a request expects to find; see [`crate::Op`].

use strata_seam::{Ino, Timestamp};

use super::Condition;

/// What a request expects of one inode; it is given to [`Op::guard`](crate::Op::guard), and checked in the commit of the first change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// The inode that was judged.
    pub ino: Ino,
    /// The entry it was found under, which must still lead to it: its directory and its name.
    pub entry: Option<(Ino, Vec<u8>)>,
    /// The condition on its content. A directory has none.
    pub condition: Condition,
    /// The change time that was seen.
    pub ctime: Option<Timestamp>,
}
