//! Opens a store from a configuration: finds the disks, opens or creates the store, and remembers its layout. No other code does that.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use strata_disk::FileDisk;
use strata_namespace::Namespace;
use strata_runtime::{ContentSettings, Geometry, LedgerOptions, Runtime, Sets};
use strata_seam::{Disk, SystemClock, SystemEntropy};

use crate::config::{IndexEngine, Remembered, StoreConfig};
use crate::doors_file::{sync_folder, sync_ways_to};
use crate::lock::StoreLock;
use crate::private;
use crate::scratch::ScratchDisk;

/// Share of the cache setting for the index's engine, whose memory grows to several times what it is given. The pairs of it that are kept in
/// front of it get the same share again.
const INDEX_CACHE_SHARE: u64 = 8;

/// What may be done to a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    /// Everything, creating it included.
    Create,
    /// Everything on a store that exists.
    Write,
    /// As `Write`, without threads: nothing happens but what the caller does.
    Repair,
    /// Nothing that lasts: changes that opening makes go to memory and are forgotten.
    Look,
}

/// An open store.
pub(crate) struct OpenStore {
    inner: strata_runtime::OpenStore,
    access: Access,
}

impl OpenStore {
    /// Opens the store, or creates it where every disk is blank. Blocks for the replay of the log.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open(config: &StoreConfig, lock: &mut StoreLock) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Create, None, lock)
    }

    /// As [`OpenStore::open`], but never creates one.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open_existing(config: &StoreConfig, lock: &mut StoreLock) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Write, None, lock)
    }

    /// As [`OpenStore::open_existing`], with nothing going on but what the caller does.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open_to_repair(config: &StoreConfig, lock: &mut StoreLock) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Repair, None, lock)
    }

    /// Opens an existing store without changing a byte of it: what opening repairs is repaired in memory. The index is
    /// built anew from the log, beside the one on disk.
    ///
    /// # Errors
    /// What keeps it from opening.
    pub(crate) fn open_to_look(config: &StoreConfig, lock: &mut StoreLock) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Look, None, lock)
    }

    /// As [`OpenStore::open_to_look`], with an index in a folder of its own, which is changed.
    ///
    /// # Errors
    /// What keeps it from opening.
    pub(crate) fn open_to_look_at(
        config: &StoreConfig,
        index: Option<PathBuf>,
        lock: &mut StoreLock,
    ) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Look, index, lock)
    }

    /// What such an opening is made with.
    ///
    /// # Errors
    /// Disks that are missing or in use.
    pub(crate) fn to_look(
        config: &StoreConfig,
        index: Option<PathBuf>,
        lock: &mut StoreLock,
    ) -> anyhow::Result<strata_runtime::StoreConfig> {
        Self::settings(config, Access::Look, index, lock)
    }

    fn settings(
        config: &StoreConfig,
        access: Access,
        index: Option<PathBuf>,
        lock: &mut StoreLock,
    ) -> anyhow::Result<strata_runtime::StoreConfig> {
        let disks = find_disks(config, access, lock)?;
        let segment_len = crate::segments::len_for(config.segment, &disks)?;
        let geometry = Geometry { data_shards: config.layout.data, parity_shards: config.layout.parity };
        let memory = config.memory;
        let index_cache_bytes = memory.cache.0 / INDEX_CACHE_SHARE;
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(strata_runtime::StoreConfig {
            disks,
            create: (access == Access::Create).then_some(geometry),
            index_dir: if access == Access::Look { index } else { Some(config.data.join("index")) },
            // For a look any engine will do: the index is a copy, or is built anew beside it.
            index_engine: config.index_engine.filter(|_| access != Access::Look).map(IndexEngine::kind),
            index_cache_bytes,
            ledger: LedgerOptions {
                segment_len,
                open_files_max: crate::descriptors::shares(config.disks.len()).files,
                queue_bytes_max: bytes(2 * memory.table),
                ..LedgerOptions::default()
            },
            content: ContentSettings {
                cache_bytes: memory.cache.0 - 2 * index_cache_bytes,
                overlay_bytes_max: bytes(memory.overlay),
                staged_bytes_max: bytes(memory.staging),
                mover_bytes_max: bytes(2 * memory.table),
                events_kept: config.events_kept.0,
                ..ContentSettings::default()
            },
            durability: config.durability.class(),
            owner: (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
            threads: matches!(access, Access::Create | Access::Write),
        })
    }

    fn open_for(
        config: &StoreConfig,
        access: Access,
        index: Option<PathBuf>,
        lock: &mut StoreLock,
    ) -> anyhow::Result<Self> {
        if access != Access::Look {
            private::mend(&config.data, &config.disks);
        }
        let inner = strata_runtime::OpenStore::open(
            Self::settings(config, access, index, lock)?,
            Arc::new(SystemClock::new()),
            &SystemEntropy,
        )
        .map_err(anyhow::Error::new)
        .context("the store cannot be opened")?;
        inner.namespace().name_top(&config.top_bucket)?;
        let store = Self { inner, access };
        if access == Access::Create {
            tracing::info!(replayed = store.inner.replayed, "store opened");
            let remembered = Remembered::of(&store.sets(), config.disks.clone(), &config.data)?;
            let layout = remembered.layout;
            let count = usize::from(layout.data + layout.parity);
            ensure!(
                remembered.several || config.disks.len() == count,
                "the disks are of a set of {count} ({layout}) and {} were named; name all of them, the missing ones too",
                config.disks.len()
            );
            remembered.save(&config.data)?;
        }
        let segment_len = store.sets().status().segment_len;
        if let Some(asked) = config.segment.filter(|asked| asked.0 != segment_len) {
            tracing::warn!(
                "segment-size {asked} counts only when a store is made; this one was made with {} and keeps it",
                crate::config::ByteSize(segment_len)
            );
        }
        Ok(store)
    }

    /// Opens an existing store that nobody serves, does something with it, and closes it.
    ///
    /// # Errors
    /// It is in use, cannot be opened or closed, or what was done failed.
    pub(crate) fn at_rest<T>(config: &StoreConfig, act: impl FnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut lock = StoreLock::of_existing(&config.data)?;
        let store = Self::open_existing(config, &mut lock)?;
        let done = act(&store);
        let closed = store.close();
        let done = done?;
        closed?;
        Ok(done)
    }

    /// As [`OpenStore::at_rest`], for commands that only show something. A store of an earlier version is refused, since opening it would upgrade
    /// it, and that version could not read it any more.
    ///
    /// # Errors
    /// As [`OpenStore::at_rest`], and for a store of an earlier version; nothing was changed then.
    pub(crate) fn at_rest_to_tell<T>(
        config: &StoreConfig,
        act: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut lock = StoreLock::of_existing(&config.data)?;
        let disks = find_disks(config, Access::Look, &mut lock)?;
        ensure!(
            !strata_runtime::is_of_earlier_version(&disks),
            "the store in {} is of an earlier version; nothing was changed; `strata upgrade --data {0}` upgrades it, after which \
             earlier versions refuse it, and `strata upgrade --dry-run` says beforehand what that does",
            config.data.display()
        );
        drop((disks, lock));
        Self::at_rest(config, act)
    }

    /// The name space.
    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        self.inner.namespace()
    }

    /// What works in the background of the store.
    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        self.inner.runtime()
    }

    /// Its sets and their disks.
    pub(crate) fn sets(&self) -> Sets {
        self.inner.runtime().sets()
    }

    /// Makes everything durable and ends the store's threads. One that was opened to look is only dropped.
    ///
    /// # Errors
    /// What could not be made durable; the next start replays what was.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        if self.access == Access::Look {
            return Ok(());
        }
        self.inner.close().context("the store could not be closed cleanly; what was acknowledged is safe")
    }
}

/// The disks that are there, locked. Those of a new store are made below its folder, never elsewhere: a missing folder
/// elsewhere is usually a missing mount.
fn find_disks(config: &StoreConfig, access: Access, lock: &mut StoreLock) -> anyhow::Result<Vec<Arc<dyn Disk>>> {
    lock.take_disks(&config.disks)?;
    let known = Remembered::load(&config.data)?.is_some_and(|kept| kept.made) || config.data.join("index").exists();
    let (present, missing): (Vec<&PathBuf>, Vec<&PathBuf>) = config.disks.iter().partition(|disk| disk.is_dir());
    if let (Some(first), true, true) = (missing.first(), present.is_empty(), known) {
        bail!(
            "none of the store's {} disks is there ({} and so on); nothing was changed; mount them",
            missing.len(),
            first.display()
        );
    }
    ensure!(
        access == Access::Create || !present.is_empty(),
        "there is no store in {}; `strata serve --data {0}` makes one",
        config.data.display()
    );
    let mut disks = Vec::new();
    for path in &present {
        disks.push(Arc::new(FileDisk::open(path)?) as Arc<dyn Disk>);
    }
    let in_use = strata_runtime::in_use(&disks);
    let first = |wanted| present.iter().zip(&in_use).find(|(_, used)| **used == wanted).map(|(path, _)| path);
    let (used, blank) = (first(true), first(false));
    if access == Access::Look {
        disks = disks.into_iter().map(|disk| Arc::new(ScratchDisk::over(disk)) as Arc<dyn Disk>).collect();
    }
    match (used, blank) {
        (Some(used), Some(blank)) if !known => bail!(
            "{} holds a store and {} is blank; nothing was changed; give the disks of one store, or blank ones for a new one",
            used.display(),
            blank.display()
        ),
        (None, Some(blank)) if known => bail!(
            "{} holds no disk of this store, nor does any other of its disks; nothing was changed; mount the right ones",
            blank.display()
        ),
        (Some(_), _) => {
            for path in missing {
                tracing::warn!(disk = %path.display(), "this disk is missing; the store runs without it");
            }
            return Ok(disks);
        }
        (None, _) if access != Access::Create => return Ok(disks),
        (None, _) => {}
    }
    for path in &missing {
        ensure!(
            path.starts_with(&config.data),
            "the disk {} is not there; nothing was changed; make the folder, or mount the disk",
            path.display()
        );
    }
    present.iter().try_for_each(|folder| crate::foreign::refuse(folder))?;
    make_folders(config, &missing)?;
    lock.take_disks(&config.disks)?;
    config.disks.iter().map(|path| Ok(Arc::new(FileDisk::open(path)?) as Arc<dyn Disk>)).collect()
}

/// Makes the folders of a new store's disks that are missing. Before that it is written down how the store is to be made, so
/// that the next start goes on in the same way if this one is cut off; and a power cut takes away nothing of it that later
/// steps build on.
fn make_folders(config: &StoreConfig, missing: &[&PathBuf]) -> anyhow::Result<()> {
    Remembered { layout: config.layout, several: false, made: false, disks: config.disks.clone() }
        .save(&config.data)?;
    for path in missing {
        std::fs::create_dir(path).with_context(|| format!("the disk's folder {} cannot be made", path.display()))?;
    }
    let sync = || {
        let below = config.disks.iter().filter(|disk| disk.starts_with(&config.data));
        below.filter_map(|disk| disk.parent()).try_for_each(sync_folder)?;
        sync_ways_to(&config.data)
    };
    sync().with_context(|| format!("the folders in {} cannot be made durable", config.data.display()))
}
