//! Program numbers of RPC that this door both serves and calls.

/// Portmap and rpcbind, whose callers learn at which port a program is.
pub(crate) mod portmap {
    pub(crate) const PROGRAM: u32 = 100_000;
    /// Portmap itself.
    pub(crate) const VERSION: u32 = 2;
    /// The last version of what is called rpcbind since version 3.
    pub(crate) const VERSION_LAST: u32 = 4;
    /// GETPORT of version 2, and GETADDR of the others.
    pub(crate) const WHERE: u32 = 3;
}

/// NSM, by which hosts report their restarts.
pub(crate) mod nsm {
    pub(crate) const PROGRAM: u32 = 100_024;
    pub(crate) const VERSION: u32 = 1;
    pub(crate) const NOTIFY: u32 = 6;
}
