//! Invariant TRUTH as a check: the index on disk, brought up to the end of the log, has the same records as one rebuilt from the log.
//!
//! [`BroughtUp::open`] opens each of the two; that may be done in parallel. Both need disks that forget what is written to them, and a
//! copy of the index folder, so that the store itself is not changed. Memory is one page of records of each.

use std::sync::Arc;

use strata_content::ContentError;
use strata_index::{Fingerprint, Index, Opened};
use strata_seam::{Clock, Entropy};

use crate::assemble::StoreConfig;
use crate::recover::{Recovered, recover_found};

use strata_namespace::Result;

/// Records compared per step.
const STEP: usize = 4096;
/// Keys that differ and are named; further ones are only counted.
const NAMED_MAX: usize = 100;
/// Behind every key.
const END: [u8; strata_index::KEY_LEN_MAX + 1] = [0xff; strata_index::KEY_LEN_MAX + 1];

/// The result of [`compare_indexes`]: how the index on disk differs from one built from the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TruthReport {
    /// Records in the one built from the log.
    pub records: u64,
    /// Records of these that came from the checkpoint.
    pub restored: u64,
    /// Appends replayed to build it.
    pub replayed: u64,
    /// Appends replayed onto the one on disk.
    pub behind: u64,
    /// Why the one on disk could not be used at all, if so.
    pub unusable: Option<String>,
    /// Keys whose values differ, or that one of them lacks.
    pub differing: u64,
    /// The first of them, escaped.
    pub named: Vec<String>,
    /// Fingerprint of the records of the one on disk, and of those of the one built from the log.
    pub fingerprints: (u128, u128),
    /// The comparison was ended before it was complete.
    pub ended: bool,
}

impl TruthReport {
    /// What is wrong, one sentence each; empty if nothing is.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(why) = &self.unusable {
            wrong.push(format!("TRUTH: the index on disk cannot be used: {why}"));
        }
        if self.differing > 0 {
            wrong.push(format!(
                "TRUTH: {} records of the index on disk are not what the log says, among them {}",
                self.differing,
                self.named.join(", ")
            ));
        } else if self.fingerprints.0 != self.fingerprints.1 && !self.ended {
            wrong.push("TRUTH: the fingerprints of the index on disk and of the log differ".to_owned());
        }
        wrong
    }
}

/// An index brought up to the end of the log, for [`compare_indexes`]. Disks forget what opening it wrote to them.
pub struct BroughtUp(Recovered);

impl BroughtUp {
    /// Brings up the index in the folder of `config`: a copy of one that was left, or an empty one, which is built from nothing.
    /// What was left is verified as a whole; where it cannot be used it is built anew.
    ///
    /// # Errors
    /// The log cannot be opened, or an index not be made.
    pub fn open(config: &StoreConfig, clock: &Arc<dyn Clock>, entropy: &dyn Entropy) -> Result<Self> {
        let recovered = recover_found(config, clock, entropy)?;
        // Damage inside the index is found when it is read. The next opening sets the index aside, and says why.
        if let Err(error) = recovered.index.verify(&mut || true) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the index as it was left is wrong");
            drop(recovered);
            return Ok(Self(recover_found(config, clock, entropy)?));
        }
        Ok(Self(recovered))
    }
}

/// Compares the index that was left with one built from nothing. `progress` is told how many records were compared and says
/// whether to go on.
///
/// # Errors
/// An index cannot be read.
pub fn compare_indexes(
    left: &BroughtUp,
    built: &BroughtUp,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<TruthReport> {
    let (BroughtUp(left), BroughtUp(built)) = (left, built);
    let mut report = TruthReport {
        restored: built.restored,
        replayed: built.replayed,
        behind: left.replayed,
        unusable: match left.index.opened() {
            Opened::SetAside { why, .. } => Some(why.clone()),
            Opened::Fresh | Opened::Resumed | Opened::Exchanged { .. } => None,
        },
        ..TruthReport::default()
    };
    let (mut left_sum, mut built_sum) = (Fingerprint::default(), Fingerprint::default());
    let (mut ours, mut theirs) = (Records::new(&left.index), Records::new(&built.index));
    let (mut one, mut other) = (ours.next()?, theirs.next()?);
    loop {
        let order = match (&one, &other) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
        };
        if order.is_ne() || one != other {
            report.differing += 1;
            if let Some((key, _)) = if order.is_le() { &one } else { &other }
                && report.named.len() < NAMED_MAX
            {
                report.named.push(key.escape_ascii().to_string());
            }
        }
        if order.is_le()
            && let Some(pair) = one.take()
        {
            left_sum.add(&pair);
            one = ours.next()?;
        }
        if order.is_ge()
            && let Some(pair) = other.take()
        {
            built_sum.add(&pair);
            report.records += 1;
            other = theirs.next()?;
            if report.records.is_multiple_of(STEP as u64) && !progress(report.records) {
                report.ended = true;
                return Ok(report);
            }
        }
    }
    report.fingerprints = (left_sum.sum(), built_sum.sum());
    Ok(report)
}

/// All records of an index, in order.
struct Records<'a> {
    index: &'a Index,
    from: Vec<u8>,
    page: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Records<'a> {
    fn new(index: &'a Index) -> Self {
        Self { index, from: Vec::new(), page: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if let Some(pair) = self.page.next() {
            return Ok(Some(pair));
        }
        let page = self.index.range(&self.from, &END, STEP).map_err(ContentError::Index)?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        self.from.clone_from(last);
        self.from.push(0);
        self.page = page.into_iter().map(|(key, entry)| (key, entry.value)).collect::<Vec<_>>().into_iter();
        Ok(self.page.next())
    }
}
