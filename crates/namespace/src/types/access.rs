//! Reading, writing, executing.

/// What is wanted of an open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Read permission.
    pub read: bool,
    /// Write permission.
    pub write: bool,
    /// Execute or search permission.
    pub exec: bool,
}
