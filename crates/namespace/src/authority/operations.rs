//! An operation of a door, and the actions it may ask the authority for. Each door brings a table of its own ([`crate::Door`]).

use super::action::Action;

/// An operation as its door calls it: a method, a procedure, a request of a kernel, or a command that a server answers.
#[derive(PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its name there.
    pub name: &'static str,
    /// What it is made of: the authority is asked for these and for nothing else.
    pub actions: &'static [Action],
}

impl Operation {
    /// A row of the table.
    #[must_use]
    pub const fn new(name: &'static str, actions: &'static [Action]) -> Self {
        Self { name, actions }
    }
}
