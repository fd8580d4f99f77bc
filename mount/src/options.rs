//! What an operator may choose about a mount. Plain data; nothing here touches the system.

use std::time::Duration;

/// Fewest threads that answer requests: one may wait for a disk while the other serves.
pub(crate) const THREADS_MIN: usize = 2;
/// Most threads that answer requests; each owns a receive buffer of 16 MiB of address space.
pub(crate) const THREADS_MAX: usize = 16;
/// Largest write the kernel sends at once, in bytes. It clamps to `fs.fuse.max_pages_limit` (1 MiB unless raised).
pub(crate) const WRITE_LEN_MAX: u32 = 1 << 20;

/// Options of a mount. `Default` is the coherent mode: every other door's change is seen here, and the other way round,
/// as soon as it is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountOptions {
    /// Refuse every change (`ro`).
    pub read_only: bool,
    /// Let users other than the one who mounted in. `None`: yes when mounting as root.
    pub allow_other: Option<bool>,
    /// Let the kernel gather small writes in its page cache and send them later.
    ///
    /// Small writes become about nine times faster. In exchange other doors see them late (at close, fsync or after the
    /// kernel's dirty interval), and while a file is being written here, its size and times as set by other doors are
    /// ignored. Choose it where the mount is the only writer of the files it writes.
    pub writeback: bool,
    /// Threads that answer requests; zero: one more than there are cores, between 2 and 4.
    pub threads: usize,
    /// How long the kernel may answer attributes from its cache. Foreign changes are pushed long before this ends.
    pub attr_ttl: Duration,
    /// How long the kernel may answer names, present or absent, from its cache.
    pub entry_ttl: Duration,
    /// Bytes of directory positions remembered to continue listings.
    pub position_bytes_max: usize,
    /// Read-ahead in KiB, set after mounting where the process may (root). Zero leaves the kernel's 128 KiB.
    pub read_ahead_kib: u32,
    /// Most requests the kernel keeps in flight in the background (read-ahead, write-back).
    pub background_max: u16,
    /// Honour set-user-id bits of programs stored here.
    pub allow_suid: bool,
    /// Let device nodes stored here be opened as devices.
    pub allow_dev: bool,
    /// Shown as the source of the mount in `mount(8)` and `df`.
    pub source: String,
    /// How long [`crate::Mounted::unmount`] waits for programs that still use the mount before it cuts them off.
    pub unmount_grace: Duration,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            allow_other: None,
            writeback: false,
            threads: 0,
            attr_ttl: Duration::from_secs(60),
            entry_ttl: Duration::from_secs(60),
            position_bytes_max: 8 << 20,
            read_ahead_kib: 2048,
            background_max: 128,
            allow_suid: false,
            allow_dev: false,
            source: String::from("strata"),
            unmount_grace: Duration::from_secs(5),
        }
    }
}

impl MountOptions {
    /// The number of threads to start.
    pub(crate) fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        match self.threads {
            0 => (cores + 1).clamp(THREADS_MIN, 4),
            asked => asked.clamp(THREADS_MIN, THREADS_MAX),
        }
    }

    /// Whether users other than the mounting one are let in, for a process that is root or not.
    pub(crate) fn others(&self, root: bool) -> bool {
        self.allow_other.unwrap_or(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_two_threads_serve_whatever_was_asked() {
        for (asked, least, most) in [(0, THREADS_MIN, 4), (1, THREADS_MIN, THREADS_MIN), (3, 3, 3), (1000, 16, 16)] {
            let threads = MountOptions { threads: asked, ..MountOptions::default() }.threads();
            assert!((least..=most).contains(&threads), "asked {asked}, got {threads}");
        }
    }

    #[test]
    fn other_users_are_let_in_by_default_only_when_root_mounts() {
        let default = MountOptions::default();
        assert!(default.others(true) && !default.others(false));
        let closed = MountOptions { allow_other: Some(false), ..MountOptions::default() };
        assert!(!closed.others(true));
    }
}
