//! How a check is asked for, what it found, and where it is.

use super::finding::Finding;

/// Inodes and chunks looked at together unless told otherwise: about 100 MiB of memory.
pub const AT_ONCE_DEFAULT: usize = 1 << 20;
/// Findings kept; further ones are only counted.
const FINDINGS_MAX: usize = 100_000;

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Also read every chunk and compare it with its name.
    pub contents: bool,
    /// Others may write meanwhile.
    pub live: bool,
    /// Inodes and chunks looked at together.
    pub at_once: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { contents: true, live: false, at_once: AT_ONCE_DEFAULT }
    }
}

/// Where a check is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckProgress {
    /// What is looked at.
    pub what: &'static str,
    /// Records looked at so far, of all kinds.
    pub done: u64,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Inodes looked at.
    pub inodes: u64,
    /// Directory entries looked at.
    pub entries: u64,
    /// Bytes of all present content, holes included.
    pub logical_bytes: u64,
    /// Chunks looked at.
    pub chunks: u64,
    /// Bytes of the chunks in use, each counted once, uncompressed.
    pub live_bytes: u64,
    /// Chunks nobody refers to: not wrong, the next reclaim removes them.
    pub unused_chunks: u64,
    /// Bytes of those, uncompressed.
    pub unused_bytes: u64,
    /// What is wrong, at most 100,000 of it.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
    /// The same in words: the invariant's id and a sentence each. Empty is good.
    pub violations: Vec<String>,
    /// Suspicions that could not be settled, and one more if the counters could not be compared: too much changed meanwhile, or, for
    /// those of usage, an inode cannot be read; check again.
    pub unsettled: u64,
    /// The check was ended before it was through.
    pub ended: bool,
}

/// Collects findings up to their limit.
#[derive(Default)]
pub(super) struct Found {
    pub(super) report: CheckReport,
}

impl Found {
    pub(super) fn put(&mut self, finding: Finding) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.more += 1;
        }
    }
}

/// Tells the caller where the check is, and asks whether to go on.
pub(super) struct Teller<'a> {
    pub(super) at: CheckProgress,
    pub(super) progress: &'a mut dyn FnMut(CheckProgress) -> bool,
}

impl Teller<'_> {
    pub(super) fn now(&mut self, what: &'static str) {
        self.at.what = what;
    }

    pub(super) fn step(&mut self, records: u64) -> bool {
        self.at.done += records;
        (self.progress)(self.at)
    }
}
