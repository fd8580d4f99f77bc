//! R14: stores that earlier versions wrote are opened, read and healed for ever; newer ones are refused in good order.
//!
//! `golden/stores/` in this crate holds, per format of the records, layout and past, a small store in which there is a little of
//! everything, left by a process that died, and a manifest that tells all of it. `golden --case make` makes those that are missing
//! with the present code: to be done, and committed, by the change that introduces a format. Those that are there are never
//! made anew.

mod archive;
mod describe;
mod flags;
mod make;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strata_check::check_store;
use strata_disk::FileDisk;
use strata_ledger::{Geometry, Options as LedgerOptions, PassOptions};
use strata_namespace::{ContentSettings, Durability, Namespace, RECORD_FORMAT};
use strata_runtime::{OpenStore, StoreConfig, upgrade_plan};
use strata_seam::{Clock, Disk, SystemClock, SystemEntropy, Timestamp};

use crate::options::Options;
use crate::outside::server::program;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "golden",
    id: "R14",
    about: "stores of every format version are opened, read and healed; those of newer versions are refused in good order",
    run,
};

/// Formats that there are golden stores of, as in their names, and how many pasts. What the first release wrote is called 1,
/// although it had records of format 2 among them: files had names in several buckets then.
const GENERATIONS: [(u64, usize); 3] = [(1, 3), (4, 2), (5, 2)];
/// Layouts of the golden stores: data and parity.
const LAYOUTS: [(u8, u8); 3] = [(1, 0), (2, 1), (4, 2)];
/// Pasts that stores of the present format are made with, as in their names, with the length of their segments: what was filled
/// once, and what had a checkpoint and segments given back before that.
const PASTS: [(&str, u64, Fill); 2] =
    [("", 8 << 20, make::fill_all), ("-reclaimed", 2 << 20, make::fill_all_and_reclaim)];
const CACHE_BYTES: u64 = 4 << 20;
/// Incompatible bits of superblocks that versions knew whose records had format 4 or less.
const KNOWN_TO_FORMAT_4: u32 = 3;
/// Where a manifest says when its store was made, in nanoseconds since 1970.
const MADE_AT: &str = "made at";

/// Makes a past.
type Fill = fn(&Arc<Namespace>) -> Result<()>;

/// Where the golden stores are.
fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join("stores")
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    if options.case.as_deref() == Some("make") {
        return make_missing(report);
    }
    // Opening, healing and upgrading need no program.
    let strata = program(options).ok();
    report.figure("programs asked what they tell", f64::from(u8::from(strata.is_some())));
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(stores()).context("the golden stores are not there")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "zst") {
            found.push(path);
        }
    }
    found.sort();
    for path in &found {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Err(error) = Golden::load(path).and_then(|golden| golden.check(report, strata.as_deref())) {
            report.violation(format!("{name}: {error:#}"), Some("golden".to_owned()));
        }
    }
    if let Err(error) = users::check() {
        report.violation(format!("users of the first release: {error:#}"), Some("golden".to_owned()));
    }
    let pasts: usize = GENERATIONS.iter().map(|(_, pasts)| pasts).sum();
    report.goal("golden stores", found.len() as f64, (LAYOUTS.len() * pasts) as f64);
    Ok(())
}

fn make_missing(report: &mut Report) -> Result<()> {
    fs::create_dir_all(stores())?;
    let mut made = 0.0;
    let layouts = |past| LAYOUTS.map(|layout| (layout, past));
    for ((data, parity), (past, segment_len, fill)) in PASTS.into_iter().flat_map(layouts) {
        let path = stores().join(format!("v{RECORD_FORMAT}-{data}+{parity}{past}.zst"));
        if path.exists() {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let disks: Vec<PathBuf> = (0..data + parity).map(|disk| folder.path().join(format!("disk{disk}"))).collect();
        for disk in &disks {
            fs::create_dir(disk)?;
        }
        let geometry = Geometry { data_shards: data, parity_shards: parity };
        let ledger = LedgerOptions { segment_len, ..LedgerOptions::default() };
        let made_at = SystemClock::new().now();
        let store = open_with(&disks, Some(geometry), ledger, &clock_from(Some(made_at)))?;
        fill(store.namespace())?;
        // Not closed: the process dies here.
        drop(store);
        let packed = archive::pack(folder.path())?;
        let mut told = describe::describe(open(&disks, Some(made_at))?.namespace())?;
        told[MADE_AT] = made_at.0.into();
        fs::write(&path, packed)?;
        fs::write(path.with_extension("json"), format!("{}\n", serde_json::to_string_pretty(&told)?))?;
        made += 1.0;
    }
    report.figure("golden stores made", made);
    Ok(())
}

/// A clock that shows the time at which a store was made, and goes on from there: so its locks stand. Without one, the system's.
fn clock_from(made_at: Option<Timestamp>) -> Arc<dyn Clock> {
    let system = SystemClock::new();
    match made_at {
        Some(made_at) => Arc::new(MadeAt { from: made_at, begun: system.monotonic_nanos(), system }),
        None => Arc::new(system),
    }
}

struct MadeAt {
    from: Timestamp,
    begun: u64,
    system: SystemClock,
}

impl Clock for MadeAt {
    fn now(&self) -> Timestamp {
        let since = self.system.monotonic_nanos().saturating_sub(self.begun);
        Timestamp(self.from.0.saturating_add_unsigned(since))
    }

    fn monotonic_nanos(&self) -> u64 {
        self.system.monotonic_nanos()
    }
}

/// Opens the store on these disks, single-threaded and with its index in memory, at the time it was made at.
fn open(disks: &[PathBuf], made_at: Option<Timestamp>) -> Result<OpenStore> {
    open_with(disks, None, LedgerOptions::default(), &clock_from(made_at))
}

fn open_with(
    disks: &[PathBuf],
    create: Option<Geometry>,
    ledger: LedgerOptions,
    clock: &Arc<dyn Clock>,
) -> Result<OpenStore> {
    Ok(OpenStore::open(config(disks, create, ledger)?, Arc::clone(clock), &SystemEntropy)?)
}

fn config(disks: &[PathBuf], create: Option<Geometry>, ledger: LedgerOptions) -> Result<StoreConfig> {
    let disks = disks.iter().map(|disk| Ok(Arc::new(FileDisk::open_buffered(disk)?) as Arc<dyn Disk>));
    Ok(StoreConfig {
        disks: disks.collect::<Result<_>>()?,
        create,
        index_dir: None,
        index_engine: None,
        index_cache_bytes: CACHE_BYTES,
        ledger,
        content: ContentSettings { cache_bytes: CACHE_BYTES, ..ContentSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: false,
    })
}

/// A golden store out of the repository.
struct Golden {
    packed: Vec<u8>,
    manifest: Value,
    made_at: Option<Timestamp>,
    /// As in its name.
    format: u64,
    disks: usize,
    parity: usize,
}

impl Golden {
    fn load(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (data, parity) = name.split('-').nth(1).and_then(|layout| layout.split_once('+')).context("its name")?;
        let (data, parity): (usize, usize) = (data.parse()?, parity.parse()?);
        let mut manifest: Value = serde_json::from_slice(&fs::read(path.with_extension("json"))?)?;
        let made_at = manifest.as_object_mut().and_then(|told| told.remove(MADE_AT)?.as_i64()).map(Timestamp);
        let format = name.strip_prefix('v').and_then(|name| name.split('-').next()).context("its name")?.parse()?;
        Ok(Self { packed: fs::read(path)?, manifest, made_at, format, disks: data + parity, parity })
    }

    /// A fresh copy of it below `folder`: its disks.
    fn unpacked(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        archive::unpack(&self.packed, folder)?;
        Ok((0..self.disks).map(|disk| folder.join(format!("disk{disk}"))).collect())
    }

    fn open(&self, disks: &[PathBuf]) -> Result<OpenStore> {
        open(disks, self.made_at)
    }

    fn check(&self, report: &mut Report, strata: Option<&Path>) -> Result<()> {
        let mut opened = 0.0;
        for lost in subsets(self.disks, self.parity) {
            let folder = tempfile::tempdir()?;
            let disks = self.unpacked(folder.path())?;
            let left = disks.iter().enumerate().filter(|(disk, _)| !lost.contains(disk)).map(|(_, disk)| disk.clone());
            let left: Vec<PathBuf> = left.collect();
            self.holds(&self.open(&left)?).with_context(|| format!("without the disks {lost:?}"))?;
            opened += 1.0;
        }
        report.figure(format!("sets of disks that told all of {}+{}", self.disks - self.parity, self.parity), opened);
        self.heals()?;
        self.is_upgraded()?;
        strata.map_or(Ok(()), |strata| self.is_left_by_commands_that_tell(strata))?;
        self.meets_newer_versions()
    }

    /// Its version may open it until it is upgraded, which is shown before and done by an opening, and refuses each of its disks
    /// from then on.
    fn is_upgraded(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let disks = self.unpacked(folder.path())?;
        let kept_off = |disk: &PathBuf| Ok(flags::incompatible(disk)? & !KNOWN_TO_FORMAT_4 != 0);
        let kept_off = || disks.iter().map(kept_off).collect::<Result<Vec<bool>>>();
        let clock = clock_from(self.made_at);
        let planned = || {
            upgrade_plan(&config(&disks, None, LedgerOptions::default())?, &clock, &SystemEntropy)
                .map_err(anyhow::Error::from)
        };
        let plan = planned()?;
        ensure!(plan == planned()?, "what an upgrade would do is another thing when it is asked for again");
        let before = self.format < RECORD_FORMAT;
        ensure!(plan.is_some() == before, "of format {}: an upgrade would do {plan:?}", self.format);
        ensure!(before != kept_off()?.contains(&true), "before the upgrade {:?}", kept_off()?);
        let store = self.open(&disks)?;
        let done = store.namespace().upgraded().cloned();
        ensure!(done == plan, "an upgrade did {done:?} where it said it would do {plan:?}");
        self.holds(&store)?;
        drop(store);
        ensure!(!kept_off()?.contains(&false), "after the upgrade {:?}", kept_off()?);
        ensure!(planned()?.is_none(), "there is more to upgrade");
        self.holds(&self.open(&disks)?)
    }

    /// Commands that only tell do not upgrade it: they say which one does, and what they are for once it was given.
    fn is_left_by_commands_that_tell(&self, strata: &Path) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let disks = self.unpacked(folder.path())?;
        // The folder of a store that a server had: what is packed are its disks alone.
        fs::write(folder.path().join("lock"), b"")?;
        let run = |words: &[&str]| {
            let mut command = Command::new(strata);
            command.args(words).arg("--data").arg(folder.path());
            for disk in &disks {
                command.arg("--disk").arg(disk);
            }
            command.output().context("strata does not run")
        };
        let commands = [&["bucket", "list"][..], &["locks", "list"], &["user", "list"], &["keys", "show"]];
        if self.format < RECORD_FORMAT {
            let mut before = Vec::new();
            for disk in &disks {
                for entry in fs::read_dir(disk)? {
                    let path = entry?.path();
                    before.push((fs::read(&path)?, path));
                }
            }
            for words in commands {
                let output = run(words)?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                ensure!(!output.status.success() && said.contains("strata upgrade"), "{words:?}: {said}");
            }
            for (content, path) in before {
                ensure!(fs::read(&path)? == content, "what only tells changed {}", path.display());
            }
            let upgraded = run(&["upgrade"])?;
            ensure!(upgraded.status.success(), "upgrade: {}", String::from_utf8_lossy(&upgraded.stderr));
        }
        let listed = run(&["bucket", "list"])?;
        ensure!(listed.status.success(), "bucket list: {}", String::from_utf8_lossy(&listed.stderr));
        Ok(())
    }

    /// Everything in the manifest is there, and every invariant holds.
    fn holds(&self, store: &OpenStore) -> Result<()> {
        let (mut told, mut manifest) = (describe::describe(store.namespace())?, self.manifest.clone());
        describe::leave_out_untold(&manifest, &mut told);
        if told != manifest {
            describe::part_files(&mut manifest, &mut told);
        }
        ensure!(told == manifest, "{}", describe::difference(&told, &manifest));
        let checked = check_store(store.namespace(), true, &mut |_| {})?;
        ensure!(checked.violations.is_empty(), "{}", checked.violations.join("; "));
        Ok(())
    }

    /// As many disks as there is parity lose their segments, are healed, and then stand in for the others.
    fn heals(&self) -> Result<()> {
        for lost in subsets(self.disks, self.parity).into_iter().filter(|lost| lost.len() == self.parity) {
            let folder = tempfile::tempdir()?;
            let disks = self.unpacked(folder.path())?;
            for disk in &lost {
                for entry in fs::read_dir(&disks[*disk])? {
                    let path = entry?.path();
                    if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seg-")) {
                        fs::remove_file(path)?;
                    }
                }
            }
            let store = self.open(&disks)?;
            let ledger = Arc::clone(store.namespace().store().ledger());
            ledger.heal(&PassOptions::default(), &mut |_| true)?;
            let report = ledger.verify(&PassOptions::default(), &mut |_| true)?;
            let wrong: u64 = report.disks.iter().map(|disk| disk.damaged + disk.missing).sum();
            ensure!(
                wrong == 0 && report.unreadable_count == 0,
                "{wrong} frames are not whole after a heal of {lost:?}"
            );
            store.close()?;
            drop(ledger);
            let others = (0..self.disks).filter(|disk| !lost.contains(disk)).take(self.parity).collect::<Vec<_>>();
            let left =
                disks.iter().enumerate().filter(|(disk, _)| !others.contains(disk)).map(|(_, disk)| disk.clone());
            let left: Vec<PathBuf> = left.collect();
            self.holds(&self.open(&left)?).with_context(|| format!("after a heal of {lost:?}, without {others:?}"))?;
        }
        Ok(())
    }

    /// Stores whose superblocks carry bits that this version does not know.
    fn meets_newer_versions(&self) -> Result<()> {
        let marked = |flag| -> Result<_> {
            let folder = tempfile::tempdir()?;
            let disks = self.unpacked(folder.path())?;
            flags::mark(&disks, flag)?;
            let before = archive::pack(folder.path())?;
            let opened = self.open(&disks);
            Ok((folder, before, opened))
        };
        let (folder, before, opened) = marked(flags::Flag::Incompatible)?;
        match opened {
            Ok(_) => anyhow::bail!("a store that must not be read was opened"),
            Err(error) => {
                let told = format!("{error:#}");
                ensure!(told.contains("newer version"), "an incompatible store was refused with: {told}");
            }
        }
        ensure!(archive::pack(folder.path())? == before, "a store that was refused was changed");

        let (folder, before, opened) = marked(flags::Flag::ReadOnlyCompatible)?;
        let store = opened.context("a store that may be read")?;
        self.holds(&store).context("a store that may only be read")?;
        let refused = store.namespace().create_bucket(&describe::root(), "another", None).is_err();
        let op = describe::root();
        let refused = refused || store.namespace().settle_blocking(&op).is_err();
        ensure!(refused, "a store that must not be written took a change");
        drop(store);
        ensure!(archive::pack(folder.path())? == before, "a store that must not be written was changed");

        let (_folder, _, opened) = marked(flags::Flag::Compatible)?;
        let store = opened.context("a store whose new bits may be ignored")?;
        self.holds(&store)?;
        let op = describe::root();
        store.namespace().create_bucket(&op, "another", None)?;
        Ok(store.namespace().settle_blocking(&op)?)
    }
}

/// All sets of at most `most` of `count` disks.
fn subsets(count: usize, most: usize) -> Vec<Vec<usize>> {
    let sets = (0_u32..1 << count).filter(|set| set.count_ones() as usize <= most);
    sets.map(|set| (0..count).filter(|disk| set & 1 << disk != 0).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn golden_stores_of_every_version_are_opened_read_and_healed() {
        let options = Options::parse_from(["strata-harness", ROW.name]);
        let mut report = Report::new(&ROW, &options);
        run(&options, &mut report).unwrap();
        assert!(report.kept(), "{:?}", report.violations);
        assert!(report.goals_reached(), "{}", report.line());
    }
}
