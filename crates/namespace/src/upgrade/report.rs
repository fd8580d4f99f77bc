//! What an upgrade reports.

/// Files that became several and are named; further ones are only counted.
const NAMED_MAX: usize = 1000;

/// What an upgrade did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpgradeReport {
    /// The format the records had; the present one is [`crate::RECORD_FORMAT`].
    pub from: u64,
    /// Buckets whose records move.
    pub buckets: u64,
    /// Names that their inodes did not know, or whose inodes are written anew for another reason. None from format 4 on.
    pub names: u64,
    /// Names in one bucket of files that also have names in another: they become files of their own there, by reference.
    pub parted: u64,
    /// The first of them, as paths from the root.
    pub first: Vec<Vec<u8>>,
}

impl UpgradeReport {
    pub(super) fn note(&mut self, path: &[u8]) {
        self.parted += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(path.to_vec());
        }
    }
}
