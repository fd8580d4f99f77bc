//! `strata disk`, `strata heal` and `strata scrub`: through the running server, or on a resting store.

#![allow(clippy::disallowed_methods, reason = "people and media wait by real time; nothing stored depends on it")]

pub(crate) mod messages;
mod shown;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use serde::Serialize;
use strata_disk::FileDisk;
use strata_runtime::{DiskState, SetStatus, Sets, Status};
use strata_seam::{Disk, DiskIndex, Pace};

use crate::bar;
use crate::cli::DiskAction;
use crate::config::{ByteSize, Remembered, StoreConfig};
use crate::control;
use crate::control::messages::{Answer, Request, Strange};
use crate::greeting::{plain_table, say, say_json};
use crate::keeper::Keeper;
use crate::keeper::messages::{ScrubAction, ScrubRequest, ScrubStatus};
use crate::lock::StoreLock;
use crate::passes::messages::{Kind, PassProgress, PassSummary};
use crate::passes::{self, BEGINNING};
use crate::store::OpenStore;
use messages::{DiskList, DiskRequest, DiskStatus, Stranger};
use shown::{show_list, show_outcome};

/// What changing the disks needs: the lock on their folders, and where they are remembered.
pub(crate) struct Disks {
    lock: Mutex<StoreLock>,
    data: PathBuf,
}

impl Disks {
    /// Takes over the lock.
    pub(crate) fn new(lock: StoreLock, data: &Path) -> Self {
        Self { lock: Mutex::new(lock), data: data.to_owned() }
    }

    /// Carries out a request on a running set.
    ///
    /// # Errors
    /// The set's refusals; it goes on as before.
    pub(crate) fn apply(&self, sets: &Sets, keeper: &Keeper, request: DiskRequest) -> anyhow::Result<DiskList> {
        let folders = keeper.folders();
        let done = match request {
            DiskRequest::List => Ok(None),
            DiskRequest::Add { folder } => self.add(sets, folders, &folder).map(Some),
            DiskRequest::Remove { place } => self.remove(sets, place).map(|()| None),
            DiskRequest::Replace { place, folder } => self.replace(sets, folders, place, &folder).map(Some),
        };
        if let Ok(Some(folders)) = &done {
            keeper.set_folders(folders.clone());
        }
        self.let_go_of_unused(sets, &keeper.folders());
        done?;
        keeper.heal_soon();
        Ok(list(&sets.status(), &keeper.folders()))
    }

    fn add(&self, sets: &Sets, folders: Vec<PathBuf>, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        ensure!(folder.is_dir(), "there is no folder {}; mount the disk first", folder.display());
        let disk = self.open(folder)?;
        let blank = strata_runtime::store_on(std::slice::from_ref(&disk))?.is_none();
        let before = sets.status();
        if blank {
            let missing = places_without_disk(&before);
            let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
            bail!(
                "{} is blank, so it belongs to no place; `strata disk replace PLACE {0}` gives it one \
                 (places without a disk in order: {})",
                folder.display(),
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            );
        }
        let joined = sets.add_disk(disk)?;
        self.remember(sets, &before, folders, joined.place.0, folder)
    }

    /// Lets go of what was looked at and refused, and of what is in the store no more.
    pub(crate) fn let_go_of_unused(&self, sets: &Sets, folders: &[PathBuf]) {
        let status = sets.status();
        let is_known = |folder: &Path| folders.iter().any(|known| known == folder);
        let is_disk = |folder: &Path| status.disks.iter().any(|disk| Path::new(&disk.label) == folder);
        self.lock.lock().keep_only(|folder| is_known(folder) || is_disk(folder));
    }

    /// Takes a disk out. Its folder stays known: the disk itself says that it is out.
    fn remove(&self, sets: &Sets, place: u8) -> anyhow::Result<()> {
        let label = sets.remove_disk(DiskIndex(place))?;
        self.lock.lock().let_go(Path::new(&label));
        Ok(())
    }

    fn replace(&self, sets: &Sets, folders: Vec<PathBuf>, place: u8, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        // A disk that was taken away a moment ago may not have been noticed yet.
        if let Err(error) = sets.tend() {
            tracing::debug!(%error, "the disks cannot be looked after");
        }
        let before = sets.status();
        let count = before.disks.len();
        let Some(old) = before.disks.get(usize::from(place)) else {
            bail!("there is no place {place}; the set has the places 0 to {}", count - 1);
        };
        ensure!(
            !old.state.is_written(),
            "the disk in place {place}, {}, is in order and was left alone; take it away first",
            old.label
        );
        ensure!(
            before.disks.iter().all(|disk| !disk.state.is_written() || Path::new(&disk.label) != folder),
            "{} is a disk of this set already; give a new folder",
            folder.display()
        );
        if !folder.exists() {
            std::fs::create_dir(folder)
                .with_context(|| format!("the folder {} cannot be made; mount the disk first", folder.display()))?;
        }
        crate::foreign::refuse(folder)?;
        let disk = self.open(folder)?;
        sets.replace_disk(DiskIndex(place), disk)?;
        self.remember(sets, &before, folders, place, folder)
    }

    /// The store's folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The disk in a folder, locked.
    pub(crate) fn open(&self, folder: &Path) -> anyhow::Result<Arc<dyn Disk>> {
        self.lock.lock().renew_disk(folder)?;
        Ok(Arc::new(FileDisk::open(folder)?))
    }

    /// Notes where the disk in `place` is from now on.
    fn remember(
        &self,
        sets: &Sets,
        before: &Status,
        mut folders: Vec<PathBuf>,
        place: u8,
        folder: &Path,
    ) -> anyhow::Result<Vec<PathBuf>> {
        if !folders.iter().any(|known| known == folder) {
            let old = usize::from(place);
            let at = folders.iter().position(|known| before.disks[old].label == known.display().to_string());
            let in_use = |known: &PathBuf| before.disks.iter().any(|disk| Path::new(&disk.label) == known);
            // The folder of a disk missing since the start is not known: it is one of those in which no disk was found.
            let unused = || folders.get(old).filter(|known| !in_use(known)).map(|_| old);
            let at = at.or_else(unused).or_else(|| folders.iter().position(|known| !in_use(known)));
            match at {
                Some(at) => folder.clone_into(&mut folders[at]),
                None => tracing::warn!(folder = %folder.display(), "name this disk at the next start"),
            }
        }
        Remembered::of(sets, folders.clone(), &self.data)?.save(&self.data)?;
        Ok(folders)
    }
}

fn places_without_disk(status: &Status) -> Vec<usize> {
    let places = status.disks.iter().enumerate();
    places.filter(|(_, disk)| !disk.state.is_written()).map(|(place, _)| place).collect()
}

/// The layouts of the sets, as in `2+1, 4+2`.
pub(crate) fn layouts(status: &Status) -> String {
    let layout = |set: &SetStatus| format!("{}+{}", set.geometry.data_shards, set.geometry.parity_shards);
    status.sets.iter().map(layout).collect::<Vec<_>>().join(", ")
}

/// The disks of a store that are, or should be, in `folders`.
pub(crate) fn disks_of(status: &Status, folders: &[PathBuf]) -> Vec<DiskStatus> {
    // The folder of a disk that was missing at the start is not known: it should be one in which no other disk was found.
    let is_found = |folder: &&PathBuf| status.disks.iter().any(|disk| Path::new(&disk.label) == **folder);
    let unused: Vec<String> =
        folders.iter().filter(|folder| !is_found(folder)).map(|folder| folder.display().to_string()).collect();
    let why = |disk: &strata_runtime::DiskStatus| match disk.state {
        DiskState::Missing if disk.why.is_none() && !unused.is_empty() => {
            Some(format!("it was not found in {}", unused.join(" or ")))
        }
        _ => disk.why.clone(),
    };
    let disks = status.disks.iter().enumerate().map(|(place, disk)| DiskStatus {
        place,
        set: disk.set,
        disk: disk.label.clone(),
        state: disk.state.word().to_owned(),
        why: why(disk),
        read_around: disk.read_around,
        free: disk.space.map(|space| space.free),
        total: disk.space.map(|space| space.total),
        read_errors: disk.read_errors,
        write_errors: disk.counters.write_errors,
        checksum_failures: disk.counters.checksum_failures,
        rebuilt_reads: disk.counters.rebuilt_reads,
    });
    disks.collect()
}

/// The list of these disks, with all that is shown beside them.
fn list(status: &Status, folders: &[PathBuf]) -> DiskList {
    let strangers = status
        .strangers
        .iter()
        .map(|stranger| Stranger { disk: stranger.label.clone(), why: stranger.kind.to_string() });
    DiskList {
        layout: layouts(status),
        read_only: status.read_only.clone(),
        disks: disks_of(status, folders),
        strangers: strangers.collect(),
        folders: folders.to_vec(),
    }
}

/// `strata disk`.
///
/// # Errors
/// The set's refusals; nothing was changed then.
pub(crate) fn run(config: &StoreConfig, action: DiskAction) -> anyhow::Result<ExitCode> {
    let absolute =
        |folder: &Path| std::path::absolute(folder).context("the path of the folder cannot be made absolute");
    let (request, json, changes) = match action {
        DiskAction::List { json } => (DiskRequest::List, json, false),
        DiskAction::Add { folder, json } => (DiskRequest::Add { folder: absolute(&folder)? }, json, true),
        DiskAction::Remove { place, json } => (DiskRequest::Remove { place }, json, true),
        DiskAction::Replace { place, folder, json } => {
            (DiskRequest::Replace { place, folder: absolute(&folder)? }, json, true)
        }
    };
    // If a disk comes in, something has to be healed.
    let heals = changes && !matches!(request, DiskRequest::Remove { .. });
    if StoreLock::holder(&config.data).is_some() {
        let shown: DiskList = control::ask(&config.data, &Request::Disk(request))?;
        if !heals {
            return show_list(&shown, json);
        }
        if shown.read_only.is_some() {
            return show_waiting(&shown, json);
        }
        return heal(config, json);
    }
    let mut lock = StoreLock::of_existing(&config.data)?;
    if !changes {
        let opened = OpenStore::open_to_look(config, &mut lock);
        if opened.is_err() {
            show_folders(&config.disks, json)?;
        }
        let store = opened?;
        let shown = list(&store.sets().status(), &config.disks);
        store.close()?;
        return show_list(&shown, json);
    }
    let store = OpenStore::open_existing(config, &mut lock)?;
    let disks = Disks::new(lock, &config.data);
    let folders = config.disks.clone();
    let folders = match request {
        DiskRequest::List => folders,
        DiskRequest::Remove { place } => disks.remove(&store.sets(), place).map(|()| folders)?,
        DiskRequest::Add { folder } => disks.add(&store.sets(), folders, &folder)?,
        DiskRequest::Replace { place, folder } => disks.replace(&store.sets(), folders, place, &folder)?,
    };
    let shown = list(&store.sets().status(), &folders);
    if !heals {
        store.close()?;
        return show_list(&shown, json);
    }
    if shown.read_only.is_some() {
        store.close()?;
        return show_waiting(&shown, json);
    }
    let healed = pass_here(&store, Kind::Heal, 0, json)?;
    store.close()?;
    show_outcome(&healed, json)
}

/// What is in the folders of a store that cannot be opened.
fn show_folders(folders: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let found = |folder: &PathBuf| match FileDisk::open(folder) {
        Err(_) => "missing".to_owned(),
        Ok(disk) => match strata_runtime::store_on(&[Arc::new(disk)]) {
            Ok(Some(store)) => format!("a disk of store {store}"),
            Ok(None) => "blank".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    let folders: Vec<FolderFound> = folders
        .iter()
        .map(|folder| FolderFound { folder: folder.display().to_string(), found: found(folder) })
        .collect();
    if json {
        return say_json(&FoldersFound { folders });
    }
    let mut table = plain_table(&["folder", "what is there"]);
    for FolderFound { folder, found } in folders {
        table.add_row([folder, found]);
    }
    say(&format!("{table}\n"));
    Ok(())
}

/// What is in folders, for JSON.
#[derive(Serialize)]
struct FoldersFound {
    folders: Vec<FolderFound>,
}

#[derive(Serialize)]
struct FolderFound {
    folder: String,
    found: String,
}

/// A disk was put into a set that takes no writes: whether there are enough of them now is seen when it is opened. Exit code 1:
/// something is left to be healed.
fn show_waiting(shown: &DiskList, json: bool) -> anyhow::Result<ExitCode> {
    show_list(shown, json)?;
    if !json {
        say(
            "the disk is in its place and not healed yet; put back or replace the other missing disks: then the store takes writes again, and the disks are healed\n",
        );
    }
    Ok(ExitCode::FAILURE)
}

/// `strata heal`: everything that disks lack, and the proof for every object.
///
/// # Errors
/// The set takes no writes, or the server stops.
pub(crate) fn heal(config: &StoreConfig, json: bool) -> anyhow::Result<ExitCode> {
    let healed = if StoreLock::holder(&config.data).is_some() {
        watched(config, &Request::Heal, json)?
    } else {
        let mut lock = StoreLock::of_existing(&config.data)?;
        let store = OpenStore::open_existing(config, &mut lock)?;
        let healed = pass_here(&store, Kind::Heal, 0, json)?;
        store.close()?;
        healed
    };
    show_outcome(&healed, json)
}

/// `strata scrub`.
///
/// # Errors
/// As for [`heal`]; `--pause` and `--resume` need a running server.
pub(crate) fn scrub(
    config: &StoreConfig,
    pace: Option<ByteSize>,
    action: ScrubAction,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let pace = pace.map(|pace| pace.0);
    if StoreLock::holder(&config.data).is_none() {
        ensure!(
            action == ScrubAction::Run,
            "no server runs on {}, so there is no scrub to pause or resume",
            config.data.display()
        );
        let mut lock = StoreLock::of_existing(&config.data)?;
        let store = OpenStore::open_existing(config, &mut lock)?;
        let scrubbed = pass_here(&store, Kind::Scrub, pace.unwrap_or(0), json)?;
        store.close()?;
        return show_outcome(&scrubbed, json);
    }
    let request = Request::Scrub(ScrubRequest { pace, action });
    if action == ScrubAction::Run {
        return show_outcome(&watched(config, &request, json)?, json);
    }
    let scrub: ScrubStatus = watched(config, &request, json)?;
    if json {
        say_json(&scrub)?;
    } else {
        say(if action == ScrubAction::Pause { "the scrub is paused\n" } else { "the scrub goes on\n" });
    }
    Ok(ExitCode::SUCCESS)
}

fn watched<T: TryFrom<Answer, Error = Strange>>(
    config: &StoreConfig,
    request: &Request,
    json: bool,
) -> anyhow::Result<T> {
    let bar = bar::bytes(json);
    let answered = control::ask_watching(&config.data, request, &mut |far| bar::show(&bar, far));
    bar.finish_and_clear();
    answered
}

/// A pass over a store that no server has.
fn pass_here(store: &OpenStore, kind: Kind, rate: u64, json: bool) -> anyhow::Result<PassSummary> {
    let bar = bar::bytes(json);
    let began = Instant::now();
    let pace = Arc::new(Pace::new(rate));
    let outcome = passes::run(&store.sets(), kind, Some(BEGINNING), &pace, &mut |progress| {
        bar::show_pass(&bar, &PassProgress::of(kind, progress, rate));
        true
    })?;
    let summary = PassSummary::of(kind, &outcome, began.elapsed());
    let proof = Some(passes::objects(store.runtime(), &outcome, &mut || true)?);
    bar.finish_and_clear();
    Ok(PassSummary { proof, ..summary })
}

/// Disks by state, for the metrics.
pub(crate) fn count_by_state(status: &Status) -> Vec<(&'static str, u64)> {
    DiskState::ALL
        .iter()
        .map(|state| (state.word(), status.disks.iter().filter(|disk| disk.state == *state).count() as u64))
        .collect()
}
