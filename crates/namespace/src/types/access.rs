//! Permissions: reading, writing, executing.

/// Permissions for a file or directory, as asked for or granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Read permission.
    pub read: bool,
    /// Write permission.
    pub write: bool,
    /// Execute or search permission.
    pub exec: bool,
}
