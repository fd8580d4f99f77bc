//! `strata disk`, `strata heal` and `strata scrub`: through the running server, or on a resting store.

#![allow(clippy::disallowed_methods, reason = "people and media wait by real time; nothing stored depends on it")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strata_disk::FileDisk;
use strata_ledger::{DiskState, DiskStatus, Ledger, Pace, SetStatus, Status};
use strata_seam::{Disk, DiskIndex};

use crate::bar;
use crate::cli::DiskAction;
use crate::config::{ByteSize, Remembered, StoreConfig};
use crate::control::{self, Request};
use crate::greeting::{plain_table, say};
use crate::keeper::{Keeper, ScrubAction, ScrubRequest};
use crate::lock::StoreLock;
use crate::passes::{self, BEGINNING, Kind};
use crate::store::OpenStore;

/// What `strata disk` asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DiskRequest {
    /// The disks and their states.
    List,
    /// Take a disk of the set back, wherever it is found now.
    Add {
        /// Its folder.
        folder: PathBuf,
    },
    /// Take a disk out of its set.
    Remove {
        /// Its place.
        place: u8,
    },
    /// Give an empty disk the place of one that is lost.
    Replace {
        /// The place.
        place: u8,
        /// The folder of the new disk.
        folder: PathBuf,
    },
}

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
    pub(crate) fn apply(&self, ledger: &Ledger, keeper: &Keeper, request: DiskRequest) -> anyhow::Result<Value> {
        let folders = keeper.folders();
        let done = match request {
            DiskRequest::List => Ok(None),
            DiskRequest::Add { folder } => self.add(ledger, folders, &folder).map(Some),
            DiskRequest::Remove { place } => self.remove(ledger, place).map(|()| None),
            DiskRequest::Replace { place, folder } => self.replace(ledger, folders, place, &folder).map(Some),
        };
        if let Ok(Some(folders)) = &done {
            keeper.set_folders(folders.clone());
        }
        self.let_go_of_unused(ledger, &keeper.folders());
        done?;
        keeper.heal_soon();
        Ok(list(&ledger.status(), &keeper.folders()))
    }

    fn add(&self, ledger: &Ledger, folders: Vec<PathBuf>, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        ensure!(folder.is_dir(), "there is no folder {}; mount the disk first", folder.display());
        let disk = self.open(folder)?;
        let blank = Ledger::find(std::slice::from_ref(&disk))?.is_none();
        let before = ledger.status();
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
        let joined = ledger.add_disk(disk)?;
        self.remember(ledger, &before, folders, joined.place.0, folder)
    }

    /// Lets go of what was looked at and refused, and of what is in the store no more.
    pub(crate) fn let_go_of_unused(&self, ledger: &Ledger, folders: &[PathBuf]) {
        let status = ledger.status();
        let is_known = |folder: &Path| folders.iter().any(|known| known == folder);
        let is_disk = |folder: &Path| status.disks.iter().any(|disk| Path::new(&disk.label) == folder);
        self.lock.lock().keep_only(|folder| is_known(folder) || is_disk(folder));
    }

    /// Takes a disk out. Its folder stays known: the disk itself says that it is out.
    fn remove(&self, ledger: &Ledger, place: u8) -> anyhow::Result<()> {
        let label = ledger.remove_disk(DiskIndex(place))?;
        self.lock.lock().let_go(Path::new(&label));
        Ok(())
    }

    fn replace(
        &self,
        ledger: &Ledger,
        folders: Vec<PathBuf>,
        place: u8,
        folder: &Path,
    ) -> anyhow::Result<Vec<PathBuf>> {
        // What was taken away a moment ago may not have been noticed yet.
        if let Err(error) = ledger.tend() {
            tracing::debug!(%error, "the disks cannot be looked after");
        }
        let before = ledger.status();
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
        ledger.replace_disk(DiskIndex(place), disk)?;
        self.remember(ledger, &before, folders, place, folder)
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
        ledger: &Ledger,
        before: &Status,
        mut folders: Vec<PathBuf>,
        place: u8,
        folder: &Path,
    ) -> anyhow::Result<Vec<PathBuf>> {
        if !folders.iter().any(|known| known == folder) {
            let old = usize::from(place);
            let at = folders.iter().position(|known| before.disks[old].label == known.display().to_string());
            let in_use = |known: &PathBuf| before.disks.iter().any(|disk| Path::new(&disk.label) == known);
            // A disk missing since the start is known by no folder: it is one of those nobody was found in.
            let unused = || folders.get(old).filter(|known| !in_use(known)).map(|_| old);
            let at = at.or_else(unused).or_else(|| folders.iter().position(|known| !in_use(known)));
            match at {
                Some(at) => folder.clone_into(&mut folders[at]),
                None => tracing::warn!(folder = %folder.display(), "name this disk at the next start"),
            }
        }
        Remembered::of(ledger, folders.clone(), &self.data)?.save(&self.data)?;
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

/// The disks for tables, JSON and the status.
pub(crate) fn list(status: &Status, folders: &[PathBuf]) -> Value {
    // A disk that was not there at the start has told nobody where it is: it should be in a folder in which no other was found.
    let is_found = |folder: &&PathBuf| status.disks.iter().any(|disk| Path::new(&disk.label) == **folder);
    let unused: Vec<String> =
        folders.iter().filter(|folder| !is_found(folder)).map(|folder| folder.display().to_string()).collect();
    let why = |disk: &DiskStatus| match disk.state {
        DiskState::Missing if disk.why.is_none() && !unused.is_empty() => {
            Some(format!("it was not found in {}", unused.join(" or ")))
        }
        _ => disk.why.clone(),
    };
    let disks = status.disks.iter().enumerate().map(|(place, disk)| {
        let counters = &disk.counters;
        json!({
            "place": place,
            "set": disk.set,
            "disk": disk.label,
            "state": disk.state.word(),
            "why": why(disk),
            "read_around": disk.read_around,
            "free": disk.space.map(|space| space.free),
            "total": disk.space.map(|space| space.total),
            "read_errors": disk.read_errors,
            "write_errors": counters.write_errors,
            "checksum_failures": counters.checksum_failures,
            "rebuilt_reads": counters.rebuilt_reads,
        })
    });
    let strangers =
        status.strangers.iter().map(|stranger| json!({ "disk": stranger.label, "why": stranger.kind.to_string() }));
    json!({
        "layout": layouts(status),
        "read_only": status.read_only,
        "disks": disks.collect::<Vec<_>>(),
        "strangers": strangers.collect::<Vec<_>>(),
        "folders": folders,
    })
}

/// `strata disk`.
///
/// # Errors
/// The set's refusals; nothing was changed then.
pub(crate) fn run(config: &StoreConfig, action: DiskAction) -> anyhow::Result<ExitCode> {
    let absolute = |folder: &Path| std::path::absolute(folder).context("the folder's path has no meaning");
    let (request, json, changes) = match action {
        DiskAction::List { json } => (DiskRequest::List, json, false),
        DiskAction::Add { folder, json } => (DiskRequest::Add { folder: absolute(&folder)? }, json, true),
        DiskAction::Remove { place, json } => (DiskRequest::Remove { place }, json, true),
        DiskAction::Replace { place, folder, json } => {
            (DiskRequest::Replace { place, folder: absolute(&folder)? }, json, true)
        }
    };
    // Where a disk comes in, something is to be healed.
    let heals = changes && !matches!(request, DiskRequest::Remove { .. });
    if StoreLock::holder(&config.data).is_some() {
        let shown = control::ask(&config.data, &Request::Disk(request))?;
        if !heals {
            return show_list(&shown, json);
        }
        if shown["read_only"].is_string() {
            return show_waiting(&shown, json);
        }
        return heal(config, json);
    }
    let mut lock = StoreLock::of_existing(&config.data)?;
    if !changes {
        let store = OpenStore::open_to_look(config, &mut lock).inspect_err(|_| show_folders(&config.disks, json))?;
        let shown = list(&store.ledger().status(), &config.disks);
        store.close()?;
        return show_list(&shown, json);
    }
    let store = OpenStore::open_existing(config, &mut lock)?;
    let disks = Disks::new(lock, &config.data);
    let folders = config.disks.clone();
    let folders = match request {
        DiskRequest::List => folders,
        DiskRequest::Remove { place } => disks.remove(store.ledger(), place).map(|()| folders)?,
        DiskRequest::Add { folder } => disks.add(store.ledger(), folders, &folder)?,
        DiskRequest::Replace { place, folder } => disks.replace(store.ledger(), folders, place, &folder)?,
    };
    let shown = list(&store.ledger().status(), &folders);
    if !heals {
        store.close()?;
        return show_list(&shown, json);
    }
    if shown["read_only"].is_string() {
        store.close()?;
        return show_waiting(&shown, json);
    }
    let value = pass_here(&store, Kind::Heal, 0, json)?;
    store.close()?;
    show_outcome(&value, json)
}

/// What is in the folders of a store that cannot be opened.
fn show_folders(folders: &[PathBuf], json: bool) {
    let found = |folder: &PathBuf| match FileDisk::open(folder) {
        Err(_) => "missing".to_owned(),
        Ok(disk) => match Ledger::find(&[Arc::new(disk)]) {
            Ok(Some(store)) => format!("a disk of store {store}"),
            Ok(None) => "blank".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    let found: Vec<(String, String)> =
        folders.iter().map(|folder| (folder.display().to_string(), found(folder))).collect();
    if json {
        let folders: Vec<Value> =
            found.iter().map(|(folder, found)| json!({ "folder": folder, "found": found })).collect();
        say(&format!("{:#}\n", json!({ "folders": folders })));
    } else {
        let mut table = plain_table(&["folder", "what is there"]);
        for (folder, found) in found {
            table.add_row([folder, found]);
        }
        say(&format!("{table}\n"));
    }
}

/// A disk was put into a set that takes no writes: whether there are enough of them now is seen when it is opened. Exit code 1:
/// something is left to be healed.
fn show_waiting(shown: &Value, json: bool) -> anyhow::Result<ExitCode> {
    show_list(shown, json)?;
    if !json {
        say(
            "the disk has its place and is not healed yet; put back or replace the others that are missing: then the store takes \
             writes again, and what they lack is healed\n",
        );
    }
    Ok(ExitCode::FAILURE)
}

/// `strata heal`: everything that disks lack, and the proof for every object.
///
/// # Errors
/// The set takes no writes, or the server stops.
pub(crate) fn heal(config: &StoreConfig, json: bool) -> anyhow::Result<ExitCode> {
    let value = if StoreLock::holder(&config.data).is_some() {
        watched(config, &Request::Heal, json)?
    } else {
        let mut lock = StoreLock::of_existing(&config.data)?;
        let store = OpenStore::open_existing(config, &mut lock)?;
        let value = pass_here(&store, Kind::Heal, 0, json)?;
        store.close()?;
        value
    };
    show_outcome(&value, json)
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
            "no server runs on {}; what is to be paused or resumed is its scrub",
            config.data.display()
        );
        let mut lock = StoreLock::of_existing(&config.data)?;
        let store = OpenStore::open_existing(config, &mut lock)?;
        let value = pass_here(&store, Kind::Scrub, pace.unwrap_or(0), json)?;
        store.close()?;
        return show_outcome(&value, json);
    }
    let value = watched(config, &Request::Scrub(ScrubRequest { pace, action }), json)?;
    if action == ScrubAction::Run {
        return show_outcome(&value, json);
    }
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    } else {
        say(if action == ScrubAction::Pause { "the scrub is paused\n" } else { "the scrub goes on\n" });
    }
    Ok(ExitCode::SUCCESS)
}

fn watched(config: &StoreConfig, request: &Request, json: bool) -> anyhow::Result<Value> {
    let bar = bar::bytes(json);
    let answered = control::ask_watching(&config.data, request, &mut |progress| bar::show_pass(&bar, progress));
    bar.finish_and_clear();
    answered
}

/// A pass over a store that no server has.
fn pass_here(store: &OpenStore, kind: Kind, rate: u64, json: bool) -> anyhow::Result<Value> {
    let bar = bar::bytes(json);
    let began = Instant::now();
    let pace = Arc::new(Pace::new(rate));
    let outcome = passes::run(store.namespace(), kind, Some(BEGINNING), &pace, &mut |progress| {
        bar::show_pass(&bar, &passes::progress(kind, progress, rate));
        true
    })?;
    let mut value = passes::summary(kind, &outcome, began.elapsed());
    value["proof"] = passes::objects(store.namespace(), &outcome, &mut || true)?;
    bar.finish_and_clear();
    Ok(value)
}

fn show_list(list: &Value, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(list)?));
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let size = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
    let mut table = plain_table(&["place", "set", "disk", "state", "free", "total", "read errors", "why"]);
    for disk in list["disks"].as_array().into_iter().flatten() {
        let around = if disk["read_around"] == true { ", read around" } else { "" };
        table.add_row([
            disk["place"].to_string(),
            disk["set"].to_string(),
            text(&disk["disk"]),
            format!("{}{around}", text(&disk["state"])),
            size(&disk["free"]),
            size(&disk["total"]),
            disk["read_errors"].to_string(),
            text(&disk["why"]),
        ]);
    }
    let mut words = format!("{table}\n");
    for stranger in list["strangers"].as_array().into_iter().flatten() {
        words.push_str(&format!("{} {}\n", text(&stranger["disk"]), text(&stranger["why"])));
    }
    if let Some(why) = list["read_only"].as_str() {
        words.push_str(&format!("takes no writes: {why}\n"));
    }
    say(&words);
    Ok(ExitCode::SUCCESS)
}

/// Prints what a pass ended with. Exit code 1 if something cannot be read, or lacks frames after a heal.
fn show_outcome(value: &Value, json: bool) -> anyhow::Result<ExitCode> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let proof = &value["proof"];
    let whole = number(&value["degraded"]) == 0
        && number(&value["unreadable"]) == 0
        && value["finished"] == true
        && (proof.is_null() || (number(&proof["degraded"]) == 0 && number(&proof["unreadable"]) == 0));
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(value)?));
        return Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut table = plain_table(&["place", "disk", "good", "damaged", "missing", "written anew"]);
    for disk in value["disks"].as_array().into_iter().flatten() {
        table.add_row([
            disk["place"].to_string(),
            disk["disk"].as_str().unwrap_or("-").to_owned(),
            disk["good"].to_string(),
            disk["damaged"].to_string(),
            disk["missing"].to_string(),
            (number(&disk["healed"]) + number(&disk["renewed"])).to_string(),
        ]);
    }
    let mut words = format!("{table}\n");
    words.push_str(&format!(
        "{} stripes: {} with all {} frames, {} with fewer; {} places unreadable\n",
        value["stripes"],
        number(&value["whole"]),
        number(&value["frames_expected"]),
        number(&value["degraded"]),
        number(&value["unreadable"])
    ));
    if !proof.is_null() {
        words.push_str(&format!(
            "{} objects: {} whole, {} degraded, {} unreadable\n",
            proof["objects"], proof["whole"], proof["degraded"], proof["unreadable"]
        ));
        for name in proof["names"].as_array().into_iter().flatten() {
            words.push_str(&format!(
                "  {} {}: bytes {}\n",
                name["state"].as_str().unwrap_or("-"),
                name["name"].as_str().unwrap_or("-"),
                name["ranges"]
            ));
        }
    }
    if value["finished"] != true {
        words.push_str("it was ended before it was through; it goes on where it was\n");
    }
    say(&words);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Disks by state, for the metrics.
pub(crate) fn count_by_state(status: &Status) -> Vec<(&'static str, u64)> {
    DiskState::ALL
        .iter()
        .map(|state| (state.word(), status.disks.iter().filter(|disk| disk.state == *state).count() as u64))
        .collect()
}
