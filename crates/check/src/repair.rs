//! Mending what a check found: first a plan, then its steps, each in one commit that makes sure it still applies.
//!
//! Invariants:
//! - Nothing that could be user data is deleted. What has lost its place goes to the bucket [`LOST_AND_FOUND`]; a file with
//!   unreadable parts stays as it is, and what can be read of it is copied there.
//! - A count of references is never lowered while a record or page that may refer to chunks cannot be read.
//! - A crash between steps leaves a store that is less damaged than before; repairing again does the rest.
//!
//! For a store at rest: the caller holds it alone.

mod lost;
mod steps;

use std::collections::HashSet;

use strata_content::ChunkFault;
use strata_seam::ChunkId;

pub use lost::LOST_AND_FOUND;

use crate::check::{Affected, CheckOptions, CheckProgress, CheckReport, Finding, Owner, check};
use strata_namespace::records::key;
use strata_namespace::{Namespace, Result};

/// Rounds of repairing and checking again: see [`rank`]; more would be going in circles.
const ROUNDS: usize = 8;

/// One thing that a repair would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepairStep {
    /// What is wrong.
    pub wrong: String,
    /// What is done about it.
    pub action: String,
    /// Whether anything is changed at all.
    pub changes: bool,
}

/// What a repair did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Repaired {
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// What was tried and failed, with the reason; the data is as it was.
    pub failed: Vec<String>,
    /// The check afterwards.
    pub left: CheckReport,
}

/// What would be done about each finding, in order. Changes nothing.
#[must_use]
pub fn repair_plan(report: &CheckReport, affected: &[Affected]) -> Vec<RepairStep> {
    let careful = hides_references(report);
    let mut plan: Vec<RepairStep> = Vec::new();
    for finding in &report.findings {
        let (action, changes) = planned(finding, careful);
        plan.push(RepairStep { wrong: finding.to_string(), action, changes });
    }
    for content in affected {
        let lost: u64 = content.lost.iter().map(|range| range.end - range.start).sum();
        plan.push(RepairStep {
            wrong: format!("HASH: {lost} of {} bytes of {} cannot be read", content.len, described(content)),
            action: format!(
                "copy what can be read to {LOST_AND_FOUND}/{}, with a hole for the rest; the original stays",
                steps::name_of_copy(content)
            ),
            changes: true,
        });
    }
    plan
}

/// The content in words.
fn described(content: &Affected) -> String {
    match (&content.path, content.owner) {
        (Some(path), Owner::Version(_, version)) => format!("version {version} of {path}"),
        (Some(path), _) => path.clone(),
        (None, Owner::Inode(ino) | Owner::Version(ino, _)) => format!("inode {ino}"),
        (None, Owner::Part(upload, part)) => format!("part {part} of upload {upload}"),
    }
}

/// Whether something that may refer to chunks cannot be read, so that too few references may have been counted.
fn hides_references(report: &CheckReport) -> bool {
    report.more > 0
        || report.findings.iter().any(|finding| match finding {
            Finding::Record { key } => {
                matches!(key.first(), Some(&(key::TABLE_INODE | key::TABLE_PART | key::TABLE_VERSION)))
            }
            Finding::Chunk(ChunkFault::Record { .. }) => true,
            Finding::Chunk(ChunkFault::Unreadable { page, .. } | ChunkFault::OutOfReach { page, .. }) => *page,
            // Any missing chunk may be a page, and what a missing page refers to is not known.
            Finding::Chunk(ChunkFault::Missing { .. }) => true,
            _ => false,
        })
}

fn planned(finding: &Finding, careful: bool) -> (String, bool) {
    let yes = |text: String| (text, true);
    let no = |text: &str| (text.to_owned(), false);
    match finding {
        Finding::Record { key } => match key.first() {
            Some(&key::TABLE_ENTRY) => yes(format!(
                "keep its bytes in a file of {LOST_AND_FOUND} and remove it; what it led to gets a name there"
            )),
            _ => no("leave it: it may describe content, and nothing that it may refer to is let go"),
        },
        Finding::Size { len, .. } => yes(format!("set the size to {len}")),
        Finding::Dangling { .. } => yes("remove the entry; there is nothing behind it".to_owned()),
        Finding::NoDirectory { parent, .. } => {
            yes(format!("give the entry a directory again: {LOST_AND_FOUND}/{parent}"))
        }
        Finding::Kind { .. } => {
            yes(format!("set the entry's kind, or where the name does not fit move the inode to {LOST_AND_FOUND}"))
        }
        Finding::Shadow { .. } => yes("set the mark".to_owned()),
        Finding::Parent { parent, .. } => yes(format!("let it name {parent}")),
        Finding::ManyNames { .. } => yes("keep the name in the directory that it names, remove the others".to_owned()),
        Finding::Beside { .. } => yes("have it say so".to_owned()),
        Finding::Names { .. } => yes("have it know the names that lead to it".to_owned()),
        Finding::NoName { ino } => yes(format!("give it the name {LOST_AND_FOUND}/{ino}")),
        Finding::Unreached { ino } => yes(format!("move it to {LOST_AND_FOUND}/{ino}")),
        Finding::Links { exist, .. } => yes(format!("set the count to {exist}")),
        Finding::Bucket { .. } => {
            yes("make record and entry agree; what neither leads to any more goes to lost+found".into())
        }
        Finding::Stray { .. } => {
            yes(format!("make it a bucket, or if its inode is no directory move it to {LOST_AND_FOUND}"))
        }
        Finding::Part { upload, part } => yes(format!("make it the file {LOST_AND_FOUND}/upload-{upload}-part-{part}")),
        Finding::Leftover { key, .. }
            if matches!(key.first(), Some(&(key::TABLE_TIMES | key::TABLE_NAME | key::TABLE_ADDED))) =>
        {
            yes("remove it".to_owned())
        }
        Finding::Leftover { ino, .. } => yes(format!("make the empty file {LOST_AND_FOUND}/{ino} that it belongs to")),
        Finding::Elsewhere { .. } => {
            yes("give the inode, or where it has names there too a copy by reference, to the bucket of its directory"
                .into())
        }
        Finding::Usage { exist, .. } | Finding::LockCount { exist, .. } | Finding::FollowingCount { exist, .. } => {
            yes(format!("set the counter to {exist}"))
        }
        Finding::Leaving { .. } => {
            yes("remove the mark, or where inodes still belong to the bucket make it a record with the strictest rules"
                .into())
        }
        Finding::Tally { exist, .. } => yes(format!("set the counter to {exist}")),
        Finding::Chunk(ChunkFault::Count { counted, exist, .. }) if careful && counted > exist => {
            no("leave it: something that may refer to it cannot be read")
        }
        Finding::Chunk(ChunkFault::Count { exist, .. }) => yes(format!("set the count to {exist}")),
        Finding::Chunk(ChunkFault::Record { .. }) => no("leave it: it may refer to content"),
        Finding::Chunk(ChunkFault::OutOfReach { .. }) => {
            no("leave it: nothing says that it is damaged; check it with the version that put it there")
        }
        Finding::Chunk(ChunkFault::Missing { .. } | ChunkFault::Unreadable { .. }) => {
            no("leave it: the content that needs it is named below")
        }
    }
}

/// In which order findings are mended: structure, then what is left without a place, then what is counted.
fn rank(finding: &Finding) -> u8 {
    match finding {
        Finding::Links { .. }
        | Finding::Tally { .. }
        | Finding::Usage { .. }
        | Finding::LockCount { .. }
        | Finding::FollowingCount { .. }
        | Finding::Shadow { .. }
        | Finding::Chunk(ChunkFault::Count { .. }) => 2,
        Finding::NoName { .. } | Finding::Unreached { .. } => 1,
        // Steps that mend one name leave the other names of the inode to this step.
        Finding::Names { .. } => 2,
        _ => 0,
    }
}

/// Carries out what [`repair_plan`] says about `report` and `affected`, and checks again. With `contents` the checks in
/// between read every chunk.
///
/// # Errors
/// Those of the store, if not even checking is possible; a step that fails is in the result.
pub fn repair(
    ns: &Namespace,
    report: CheckReport,
    affected: &[Affected],
    contents: bool,
    progress: &mut dyn FnMut(CheckProgress) -> bool,
) -> Result<Repaired> {
    let mut repaired = Repaired { left: report, ..Repaired::default() };
    let mut tried: HashSet<String> = HashSet::new();
    for content in affected {
        note(&mut repaired, &described(content), steps::keep_readable(ns, content));
    }
    let options = CheckOptions { contents, ..CheckOptions::default() };
    for _ in 0..ROUNDS {
        let careful = hides_references(&repaired.left);
        let findings = std::mem::take(&mut repaired.left.findings);
        let todo = |finding: &&Finding| planned(finding, careful).1 && !tried.contains(&finding.to_string());
        let first = findings.iter().filter(todo).map(rank).min();
        let now: Vec<&Finding> = findings.iter().filter(todo).filter(|finding| Some(rank(finding)) == first).collect();
        if now.is_empty() {
            repaired.left.findings = findings;
            break;
        }
        for finding in &now {
            note(&mut repaired, &finding.to_string(), steps::mend(ns, finding));
        }
        let now: Vec<String> = now.into_iter().map(Finding::to_string).collect();
        tried.extend(now);
        repaired.left = check(ns, &options, progress)?;
        if repaired.left.ended {
            break;
        }
    }
    if !repaired.done.is_empty() {
        ns.mending().told()?;
    }
    if !repaired.done.is_empty()
        && let Err(error) = lost::keep_report(ns, &repaired)
    {
        repaired.failed.push(format!("the report could not be kept in {LOST_AND_FOUND}: {error}"));
    }
    Ok(repaired)
}

fn note(repaired: &mut Repaired, what: &str, done: Result<Option<String>>) {
    match done {
        Ok(Some(done)) => repaired.done.push(format!("{what}: {done}")),
        Ok(None) => {}
        Err(error) => repaired.failed.push(format!("{what}: {error}")),
    }
}

/// The chunks whose bytes cannot be had, according to a report: what [`affected_by`](crate::affected_by) takes.
#[must_use]
pub fn unreadable_chunks(report: &CheckReport) -> HashSet<ChunkId> {
    report.findings.iter().filter_map(Finding::unreadable).collect()
}

#[cfg(test)]
mod tests;
