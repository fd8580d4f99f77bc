//! Program numbers of RPC that this door both serves and calls.

/// Portmap, whose callers learn at which port a program is.
pub(crate) mod portmap {
    pub(crate) const PROGRAM: u32 = 100_000;
    pub(crate) const VERSION: u32 = 2;
}

/// NSM, by which hosts tell of their restarts.
pub(crate) mod nsm {
    pub(crate) const PROGRAM: u32 = 100_024;
    pub(crate) const VERSION: u32 = 1;
    pub(crate) const NOTIFY: u32 = 6;
}
