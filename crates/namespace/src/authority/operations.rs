//! An operation of a door, and the actions it may ask the authority for. Each door brings a table of its own ([`crate::Door`]).

use super::action::Action;

/// One operation of a door, under the door's own name for it: a WebDAV method, an NFS procedure, an S3 operation, a request of the
/// kernel, or a command. A row of [`crate::Door::operations`].
#[derive(PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its name there.
    pub name: &'static str,
    /// What it is made of: the authority is asked for these and for nothing else.
    pub actions: &'static [Action],
}

impl Operation {
    /// The operation `name`, which may ask the authority for these actions and no others.
    #[must_use]
    pub const fn new(name: &'static str, actions: &'static [Action]) -> Self {
        Self { name, actions }
    }
}
