//! The invariants of the name space as predicates: what `strata fsck`, the heal report and the tests run.
//!
//! At rest, one sweep over all records decides. Beside writers a sweep only raises suspicions, because the store changes
//! under it. Each suspicion is then settled (`live`): if a few records decide, they are read again under the writer's lock;
//! if a count decides, it is counted again while every commit is watched. Counters that are derived from records (`counters`)
//! are compared the same way at rest and beside writers. Only confirmed findings are reported.
//!
//! Memory is bounded by [`CheckOptions::at_once`]: inodes and chunks are looked at that many at a time.

mod affected;
mod counters;
mod finding;
mod live;
mod report;
mod tree;

use std::collections::HashSet;

use strata_content::{Audit, Scope};
use strata_seam::ChunkId;

pub use affected::{Affected, Owner};
pub use finding::Finding;
pub(crate) use live::{entry_of, stands};
pub use report::{AT_ONCE_DEFAULT, CheckOptions, CheckProgress, CheckReport};
use report::{Found, Teller};

use strata_namespace::records::{Inode, Part, Version, key};
use strata_namespace::{Namespace, NodeKind, ROOT_INO, Result};
use tree::{Inodes, TreePass, each, number, table};

/// Checks every record of the name space, and every reference; with `contents` also every chunk's bytes.
///
/// The store must be at rest: changes made meanwhile may be reported as violations. `progress` is told how many records
/// were looked at.
///
/// # Errors
/// Reading the index. What is wrong with the data is in the report.
pub fn check_store(ns: &Namespace, contents: bool, progress: &mut dyn FnMut(u64)) -> Result<CheckReport> {
    let options = CheckOptions { contents, ..CheckOptions::default() };
    check(ns, &options, &mut |at| {
        progress(at.done);
        true
    })
}

/// As [`check_store`], at rest or beside writers. `progress` says whether to go on.
///
/// # Errors
/// Reading the index. What is wrong with the data is in the report.
pub fn check(
    ns: &Namespace,
    options: &CheckOptions,
    progress: &mut dyn FnMut(CheckProgress) -> bool,
) -> Result<CheckReport> {
    let mut teller = Teller { at: CheckProgress { what: "inodes", done: 0 }, progress };
    let mut found = Found::default();
    let through = sweep(ns, options, &mut found, &mut teller)?;
    let mut report = found.report;
    if ns.is_outdated() {
        // The records are as an earlier version wrote them.
        let upgraded = |finding: &Finding| {
            matches!(
                finding,
                Finding::Stray { .. }
                    | Finding::Elsewhere { .. }
                    | Finding::Usage { .. }
                    | Finding::LockCount { .. }
                    | Finding::Names { .. }
                    // No directory has a placeholder in that format.
                    | Finding::Shadow { .. }
                    | Finding::Bucket { root: ROOT_INO }
            )
        };
        report.findings.retain(|finding| !upgraded(finding));
    }
    if ns.store().read_only().is_some() {
        // An earlier version has locks without counting them; an opening for changes counts them.
        report.findings.retain(|finding| !matches!(finding, Finding::LockCount { counted: 0, .. }));
    }
    report.ended = !through;
    if through && options.live {
        live::settle(ns, options, &mut report, &mut teller)?;
    }
    report.violations = report.findings.iter().map(Finding::to_string).collect();
    if report.more > 0 {
        report.violations.push(format!("and {} more", report.more));
    }
    Ok(report)
}

/// Looks at everything once; `false` if it was told to stop.
fn sweep(ns: &Namespace, options: &CheckOptions, found: &mut Found, teller: &mut Teller<'_>) -> Result<bool> {
    let mut from = 0;
    loop {
        let pass = TreePass::new(ns.store(), Inodes::Between(from, None));
        match pass.run(options.at_once, found, teller)? {
            None => return Ok(false),
            Some(Some(next)) => from = next,
            Some(None) => break,
        }
    }
    if !tree::others(ns.store(), found, teller)? {
        return Ok(false);
    }
    if !counters::counters(ns, found, teller)? {
        return Ok(false);
    }
    let mut from = ChunkId([0; 32]);
    loop {
        let scope = Scope::next(ns.store(), from, options.at_once)?;
        if !references(ns, scope.clone(), options.contents, found, teller)? {
            return Ok(false);
        }
        match scope {
            Scope::Between(_, Some(next)) => from = next,
            _ => return Ok(true),
        }
    }
}

/// Counts the references to the chunks of `scope` afresh; `false` if it was told to stop.
fn references(
    ns: &Namespace,
    scope: Scope,
    contents: bool,
    found: &mut Found,
    teller: &mut Teller<'_>,
) -> Result<bool> {
    teller.now("references");
    let mut audit = Audit::new(ns.store(), scope)?;
    let going = owners(ns, teller, &mut |_, items| {
        audit.owner(items);
        Ok(())
    })?;
    teller.now("chunks");
    let before = teller.at.done;
    let going = going
        && audit.finish(contents, &mut |chunks| {
            teller.at.done = before + chunks;
            teller.step(0)
        })?;
    let tallies = audit.tallies;
    found.report.chunks += tallies.chunks;
    found.report.live_bytes += tallies.live_bytes;
    found.report.unused_chunks += tallies.unused;
    found.report.unused_bytes += tallies.unused_bytes;
    found.report.more += audit.more;
    audit.faults.into_iter().for_each(|fault| found.put(fault.into()));
    Ok(going)
}

/// Every owner of content with its items. Records that do not decode are passed over; they are reported elsewhere.
fn owners(
    ns: &Namespace,
    teller: &mut Teller<'_>,
    visit: &mut dyn FnMut(Owner, &[strata_content::Item]) -> Result<()>,
) -> Result<bool> {
    let store = ns.store();
    let inodes = each(store, table(key::TABLE_INODE), teller, |key, value| match number(&key[1..]) {
        Some(ino) => match Inode::decode(ino, value) {
            Ok(inode) if !inode.items.is_empty() => visit(Owner::Inode(ino), &inode.items),
            _ => Ok(()),
        },
        None => Ok(()),
    })?;
    Ok(inodes
        && each(store, table(key::TABLE_PART), teller, |key, value| match (number(&key[1..]), Part::decode(value)) {
            (Some(upload), Ok(part)) => visit(Owner::Part(upload.0, number_of_part(key)), &part.items),
            _ => Ok(()),
        })?
        && each(store, table(key::TABLE_VERSION), teller, |key, value| {
            match (number(&key[1..]), Version::decode(value)) {
                (Some(ino), Ok(version)) => visit(Owner::Version(ino, number_of_version(key)), &version.items),
                _ => Ok(()),
            }
        })?)
}

fn number_of_part(key: &[u8]) -> u32 {
    key.last_chunk::<4>().map_or(0, |part| u32::from_be_bytes(*part))
}

fn number_of_version(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |version| !u64::from_be_bytes(*version))
}

/// Which content needs one of these chunks: for naming what a place that cannot be read belongs to. Reads all records
/// and pages. `None` if it was told to stop.
///
/// # Errors
/// Reading the index.
pub fn affected_by(
    ns: &Namespace,
    chunks: &HashSet<ChunkId>,
    progress: &mut dyn FnMut(CheckProgress) -> bool,
) -> Result<Option<Vec<Affected>>> {
    let mut teller = Teller { at: CheckProgress { what: "content concerned", done: 0 }, progress };
    affected::affected(ns, chunks, &mut teller)
}

/// How many files there are: what S3 calls objects. Reads all inodes. `None` if it was told to stop.
///
/// # Errors
/// Reading the index.
pub fn count_files(ns: &Namespace, progress: &mut dyn FnMut(CheckProgress) -> bool) -> Result<Option<u64>> {
    let mut teller = Teller { at: CheckProgress { what: "inodes", done: 0 }, progress };
    let mut files = 0;
    let going = each(ns.store(), table(key::TABLE_INODE), &mut teller, |key, value| {
        let kind = number(&key[1..]).and_then(|ino| Inode::decode(ino, value).ok()).map(|inode| inode.attr.kind);
        files += u64::from(kind == Some(NodeKind::File));
        Ok(())
    })?;
    Ok(going.then_some(files))
}
