//! `strata set`: the erasure sets of a store, through the running server or on a store at rest.
//!
//! The state of a set is recorded on its own disks and on those of the other sets; the code here only asks for changes and shows their
//! progress. The folders of a new set are remembered before it joins, because a store does not open without all of its sets.

#![allow(clippy::disallowed_methods, reason = "people wait by real time; nothing stored depends on it")]

pub(crate) mod messages;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use strata_runtime::{DiskState, Geometry, LedgerError, Runtime, SetState, Sets, Status};
use strata_seam::{Disk, SystemEntropy};

use crate::bar;
use crate::cli::SetAction;
use crate::config::{ByteSize, Layout, Remembered, StoreConfig};
use crate::control::messages::{Progress, Request};
use crate::control::{self, Tell};
use crate::disks::Disks;
use crate::greeting::{plain_table, say, say_json};
use crate::keeper::Keeper;
use crate::lock::StoreLock;
use crate::store::OpenStore;
use messages::{Moving, SetRequest, SetStatus};

/// How long segments wait for readers and uploads that began before, before they are left where they are.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at how a drain goes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Carries out a request on a running store.
///
/// # Errors
/// The store's refusals; it goes on as before.
pub(crate) fn apply(
    runtime: &Runtime,
    keeper: &Keeper,
    disks: &Disks,
    request: SetRequest,
    progress: Tell<'_>,
    stopping: &dyn Fn() -> bool,
) -> anyhow::Result<Vec<SetStatus>> {
    let below = &runtime.sets();
    match request {
        SetRequest::List => {}
        SetRequest::Add { folders, data, parity, yes } => {
            check_parity(&below.status(), parity, yes)?;
            let added = add(below, disks, keeper.folders(), &folders, Layout { data, parity });
            if let Ok(folders) = &added {
                keeper.set_folders(folders.clone());
            }
            disks.let_go_of_unused(below, &keeper.folders());
            added?;
        }
        SetRequest::Drain { number, cancel: true, .. } => runtime.cancel_drain(number)?,
        SetRequest::Drain { number, cancel: false, yes } => {
            check_in_order(&below.status(), number, yes)?;
            runtime.begin_drain(number)?;
            watch(runtime, number, progress, stopping)?;
        }
        SetRequest::Rebalance => rebalance(runtime, &mut |far| !stopping() && progress(far))?,
    }
    Ok(list(&below.status()))
}

/// Refuses a set that survives the loss of fewer disks than those that are there: the store needs every one of its sets, and so
/// would survive no more than that one.
fn check_parity(status: &Status, parity: u8, yes: bool) -> anyhow::Result<()> {
    let least = status.sets.iter().map(|set| set.geometry.parity_shards).min().unwrap_or(0);
    ensure!(
        yes || parity >= least,
        "the new set would survive the loss of {parity} of its disks, and the sets of the store survive {least}; the store needs \
         every set, so that {} lost disks of the new one would be the loss of all data; nothing was changed; give more folders or \
         another --layout, or say --yes",
        parity + 1
    );
    Ok(())
}

/// Refuses to empty a set onto others of which disks are not in order: what is moved there survives the loss of fewer.
fn check_in_order(status: &Status, number: u16, yes: bool) -> anyhow::Result<()> {
    let staying = status.sets.iter().filter(|set| set.number != number && set.state == SetState::Active);
    let disks = staying.flat_map(|set| &status.disks[set.disks.clone()]);
    let lacking: Vec<String> = disks
        .filter(|disk| disk.state != DiskState::Active)
        .map(|disk| format!("{} is {}", disk.label, disk.state.word()))
        .collect();
    ensure!(
        yes || lacking.is_empty(),
        "the content of set {number} would be moved to sets of which not all disks are in order ({}), so it would survive the loss of fewer disks; nothing was changed; put them in order first (`strata disk replace`, `strata heal`), or say --yes",
        lacking.join(", ")
    );
    Ok(())
}

/// Adds a set; returns where all disks of the store are then.
fn add(
    below: &Sets,
    disks: &Disks,
    known: Vec<PathBuf>,
    folders: &[PathBuf],
    layout: Layout,
) -> anyhow::Result<Vec<PathBuf>> {
    ensure!(
        folders.len() == usize::from(layout.data + layout.parity),
        "the layout {layout} has {} disks and {} folders were named; nothing was changed",
        layout.data + layout.parity,
        folders.len()
    );
    let in_use = below.status();
    if let Some(folder) =
        folders.iter().find(|folder| in_use.disks.iter().any(|disk| Path::new(&disk.label) == **folder))
    {
        bail!("{} is a disk of this store already; give new folders", folder.display());
    }
    for folder in folders.iter().filter(|folder| !folder.exists()) {
        std::fs::create_dir(folder)
            .with_context(|| format!("the folder {} cannot be made; mount the disk first", folder.display()))?;
    }
    folders.iter().try_for_each(|folder| crate::foreign::refuse(folder))?;
    let opened = folders.iter().map(|folder| disks.open(folder)).collect::<anyhow::Result<Vec<Arc<dyn Disk>>>>()?;
    crate::segments::check(in_use.segment_len, &opened)?;
    let before = Remembered::of(below, known.clone(), disks.data())?;
    let mut all = known;
    all.extend(folders.iter().filter(|folder| !before.disks.contains(folder)).cloned());
    Remembered { several: true, disks: all.clone(), ..before.clone() }.save(disks.data())?;
    let geometry = Geometry { data_shards: layout.data, parity_shards: layout.parity };
    match below.add_set(&opened, geometry, &SystemEntropy) {
        Ok(_) => Ok(all),
        // The next opening finds out whether the set has joined: its disks stay known.
        Err(error @ (LedgerError::QuorumLost { .. } | LedgerError::Exhausted { .. })) => Err(error.into()),
        Err(error) => {
            before.save(disks.data())?;
            Err(error.into())
        }
    }
}

/// Waits until a set that is being drained has left, and reports progress.
fn watch(runtime: &Runtime, number: u16, told: Tell<'_>, stopping: &dyn Fn() -> bool) -> anyhow::Result<()> {
    loop {
        let Some(status) = runtime.drain_status().filter(|status| status.number == number) else {
            let sets = runtime.sets().status().sets;
            match sets.iter().find(|set| set.number == number) {
                None => return Ok(()),
                Some(set) if set.state == SetState::Active => bail!("the drain was taken back"),
                // Another set is emptied first.
                Some(_) => {
                    ensure!(told(Progress::Moving(None)), "the command has ended; the drain goes on");
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
            }
        };
        ensure!(!stopping(), "the server is stopping; the drain goes on when it runs again");
        ensure!(told(Progress::Moving(Some(Moving::of(&status)))), "the command has ended; the drain goes on");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Moves until the sets are about equally full, or nobody wants to know any more.
fn rebalance(runtime: &Runtime, tell: Tell<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut total = 0;
    runtime.rebalance(PATIENCE, &mut |apart, report| {
        // The bytes moved in one step are part of the surplus with which it began.
        total = total.max(report.bytes_moved + apart.surplus);
        let seconds = began.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { (report.bytes_moved as f64 / seconds) as u64 } else { 0 };
        let left = total.saturating_sub(report.bytes_moved);
        tell(Progress::Moving(Some(Moving {
            number: apart.from,
            left_bytes: left,
            done_bytes: report.bytes_moved,
            total_bytes: total,
            bytes_per_second: Some(rate),
            seconds_left: left.checked_div(rate),
            trouble: None,
        })))
    })?;
    Ok(())
}

/// The sets of a store.
pub(crate) fn list(status: &Status) -> Vec<SetStatus> {
    let sets = status.sets.iter().map(|set| SetStatus {
        number: set.number,
        set: set.set.to_string(),
        layout: Layout { data: set.geometry.data_shards, parity: set.geometry.parity_shards }.to_string(),
        state: set.state.word().to_owned(),
        written: set.is_written,
        segments: set.segments,
        segment_len: set.segment_len,
        free: set.room.free,
        total: set.room.total,
        disks: status.disks[set.disks.clone()].iter().map(|disk| disk.label.clone()).collect(),
    });
    sets.collect()
}

impl Moving {
    /// A drain as a sentence.
    pub(crate) fn in_words(&self) -> String {
        let (left, total) = (ByteSize(self.left_bytes), ByteSize(self.total_bytes));
        let mut words = format!("set {} is being emptied: {left} of {total} left", self.number);
        if let Some(seconds) = self.seconds_left {
            let rate = ByteSize(self.bytes_per_second.unwrap_or(0));
            words.push_str(&format!(", {rate} a second, about {seconds} s left"));
        }
        if let Some(trouble) = &self.trouble {
            words.push_str(&format!("; {trouble}"));
        }
        words
    }
}

/// The sets as people read them.
pub(crate) fn table(sets: &[SetStatus]) -> String {
    let mut table = plain_table(&["set", "layout", "state", "segments", "free", "total", "disks"]);
    for set in sets {
        let quorum = if set.state == SetState::Active.word() && !set.written { ", below its write quorum" } else { "" };
        table.add_row([
            set.number.to_string(),
            set.layout.clone(),
            format!("{}{quorum}", set.state),
            set.segments.to_string(),
            ByteSize(set.free).to_string(),
            ByteSize(set.total).to_string(),
            set.disks.join(" "),
        ]);
    }
    format!("{table}\n")
}

/// `strata set`.
///
/// # Errors
/// The store's refusals; nothing was changed then.
pub(crate) fn run(config: &StoreConfig, action: SetAction) -> anyhow::Result<ExitCode> {
    let (request, json) = match action {
        SetAction::List { json } => (SetRequest::List, json),
        SetAction::Add { folders, layout, yes, json } => {
            let absolute =
                |folder: PathBuf| std::path::absolute(folder).context("the path of the folder cannot be made absolute");
            let folders = folders.into_iter().map(absolute).collect::<anyhow::Result<Vec<_>>>()?;
            let count = u8::try_from(folders.len()).unwrap_or(u8::MAX);
            let Layout { data, parity } = layout.map_or_else(|| Layout::for_disks(count, None), Ok)?;
            (SetRequest::Add { folders, data, parity, yes }, json)
        }
        SetAction::Drain { number, cancel, yes, json } => (SetRequest::Drain { number, cancel, yes }, json),
        SetAction::Rebalance { json } => (SetRequest::Rebalance, json),
    };
    let shown = if StoreLock::holder(&config.data).is_some() {
        let bar = bar::bytes(json);
        let answer = control::ask_watching(&config.data, &Request::Set(request), &mut |far| bar::show(&bar, far));
        bar.finish_and_clear();
        answer?
    } else {
        at_rest(config, request, json)?
    };
    if json {
        say_json(&shown)?;
    } else {
        say(&table(&shown));
    }
    Ok(ExitCode::SUCCESS)
}

/// On a store that no server has.
fn at_rest(config: &StoreConfig, request: SetRequest, json: bool) -> anyhow::Result<Vec<SetStatus>> {
    let mut lock = StoreLock::of_existing(&config.data)?;
    if matches!(request, SetRequest::List) {
        let store = OpenStore::open_to_look(config, &mut lock)?;
        let shown = list(&store.sets().status());
        store.close()?;
        return Ok(shown);
    }
    let store = OpenStore::open_existing(config, &mut lock)?;
    let disks = Disks::new(lock, &config.data);
    let runtime = store.runtime();
    match request {
        SetRequest::List => {}
        SetRequest::Add { folders, data, parity, yes } => {
            check_parity(&store.sets().status(), parity, yes)?;
            add(&store.sets(), &disks, config.disks.clone(), &folders, Layout { data, parity })?;
        }
        SetRequest::Drain { number, cancel: true, .. } => runtime.cancel_drain(number)?,
        SetRequest::Rebalance => {
            runtime.set_mover_rate(0);
            let bar = bar::bytes(json);
            rebalance(runtime, &mut |far| {
                bar::show(&bar, &far);
                true
            })?;
            bar.finish_and_clear();
        }
        SetRequest::Drain { number, cancel: false, yes } => {
            let before = store.sets().status();
            check_in_order(&before, number, yes)?;
            // Nobody else uses the disks.
            runtime.set_mover_rate(0);
            runtime.begin_drain(number)?;
            let bar = bar::bytes(json);
            let mut show = |far: Progress| {
                bar::show(&bar, &far);
                true
            };
            watch(runtime, number, &mut show, &|| false)?;
            bar.finish_and_clear();
            let folders = without_released(&before, &store.sets().status(), config.disks.clone());
            Remembered::of(&store.sets(), folders, &config.data)?.save(&config.data)?;
        }
    }
    let shown = list(&store.sets().status());
    store.close()?;
    Ok(shown)
}

/// `folders` without those of sets that left the store between two looks at it.
pub(crate) fn without_released(before: &Status, now: &Status, mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let gone = before.sets.iter().filter(|set| now.sets.iter().all(|other| other.set != set.set));
    let gone: Vec<&str> =
        gone.flat_map(|set| &before.disks[set.disks.clone()]).map(|disk| disk.label.as_str()).collect();
    folders.retain(|folder| gone.iter().all(|label| Path::new(label) != folder));
    folders
}
