//! `strata upgrade`: what opening a store of an earlier version does to its records, and doing it without a server.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use serde::Serialize;
use strata_namespace::{RECORD_FORMAT, UpgradeReport};
use strata_runtime::upgrade_plan;
use strata_seam::{Clock, SystemClock, SystemEntropy};

use crate::config::StoreConfig;
use crate::greeting::{say, say_json};
use crate::lock::{InUse, StoreLock};
use crate::store::OpenStore;

/// What is printed with `--json`.
#[derive(Serialize)]
struct Told {
    /// Whether the records were of an earlier format.
    needed: bool,
    /// Whether they are of this version's format now.
    done: bool,
    format: u64,
    upgraded_to: u64,
    buckets: u64,
    names: u64,
    /// Names in one bucket of files that have names in another, too.
    files_parted: u64,
    /// The first of them, as paths from the root.
    first_parted: Vec<String>,
}

/// `strata upgrade`.
///
/// # Errors
/// A server has the store, or what keeps it from opening.
pub(crate) fn run(config: &StoreConfig, dry_run: bool, json: bool) -> anyhow::Result<ExitCode> {
    StoreLock::check_existing(&config.data)?;
    if let Some(pid) = StoreLock::holder(&config.data) {
        let what = "a store is upgraded when it is opened, and a server has this one open";
        return Err(anyhow::Error::new(InUse::by(pid, &config.data)).context(what));
    }
    let plan = if dry_run {
        planned(config)?
    } else {
        OpenStore::at_rest(config, |store| {
            if store.namespace().is_outdated() {
                bail!("the disks take no writes, so nothing was upgraded; the store is read as it is");
            }
            Ok(store.namespace().upgraded().cloned())
        })?
    };
    let needed = plan.is_some();
    let report = plan.unwrap_or(UpgradeReport { from: RECORD_FORMAT, ..UpgradeReport::default() });
    let first = report.first.iter().map(|path| path.escape_ascii().to_string()).collect::<Vec<_>>();
    if json {
        let told = Told {
            needed,
            done: !needed || !dry_run,
            format: report.from,
            upgraded_to: RECORD_FORMAT,
            buckets: report.buckets,
            names: report.names,
            files_parted: report.parted,
            first_parted: first,
        };
        say_json(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !needed {
        say(&format!("nothing to do: the records are of format {RECORD_FORMAT}, this version's\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let (from, names, buckets) = (report.from, report.names, report.buckets);
    let (will, turn) = if dry_run { ("would be upgraded", "would become") } else { ("are upgraded", "are") };
    let what = match (names, buckets) {
        (0, 0) => "no record is written anew, the store is marked".to_owned(),
        _ => format!("{names} names in {buckets} buckets"),
    };
    say(&format!("the records {will} from format {from} to {RECORD_FORMAT}: {what}\n"));
    if report.parted > 0 {
        say(&format!(
            "{} names of files that also have names in another bucket {turn} files of their own, by reference:\n",
            report.parted
        ));
        first.iter().for_each(|path| say(&format!("  {path}\n")));
        if report.parted > first.len() as u64 {
            say(&format!("  and {} more\n", report.parted - first.len() as u64));
        }
    }
    if dry_run {
        say("nothing was changed; opening the store does it, and earlier versions refuse the store from then on\n");
    }
    Ok(ExitCode::SUCCESS)
}

fn planned(config: &StoreConfig) -> anyhow::Result<Option<UpgradeReport>> {
    let mut lock = StoreLock::of_existing(&config.data)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ok(upgrade_plan(&OpenStore::to_look(config, None, &mut lock)?, &clock, &SystemEntropy)?)
}
