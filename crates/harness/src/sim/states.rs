//! The hashes of the states that a row has seen, kept beside its result file: a run that adds to another must not count a
//! state twice.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::options::Options;
use crate::report::Report;

/// Of whole stores, and of the ledger alone.
const KINDS: [&str; 2] = ["stores", "logs"];

fn path(options: &Options, report: &Report, kind: &str) -> Option<PathBuf> {
    let folder = options.out.as_ref().filter(|_| options.add)?;
    Some(folder.join(format!("{}-{}.{kind}", report.row, report.size)))
}

/// What the runs saw that this one adds to.
pub(crate) fn read(options: &Options, report: &Report) -> Result<[HashSet<u64>; 2]> {
    let mut all = [HashSet::new(), HashSet::new()];
    for (kind, hashes) in KINDS.iter().zip(&mut all) {
        let Some(path) = path(options, report, kind).filter(|_| report.first_case > 0) else { continue };
        let bytes = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        hashes.extend(bytes.as_chunks::<8>().0.iter().map(|hash| u64::from_le_bytes(*hash)));
    }
    Ok(all)
}

/// Keeps them for the next run.
pub(crate) fn write(options: &Options, report: &Report, all: &[HashSet<u64>; 2]) -> Result<()> {
    for (kind, hashes) in KINDS.iter().zip(all) {
        let Some(path) = path(options, report, kind) else { continue };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        fs::write(&path, bytes).with_context(|| format!("{} takes no result", path.display()))?;
    }
    Ok(())
}
