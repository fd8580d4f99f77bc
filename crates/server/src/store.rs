//! The one place where a configuration becomes an open store: disks found and wrapped, the store opened or created, its
//! layout remembered.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use strata_disk::FileDisk;
use strata_ledger::{Geometry, Ledger, Options};
use strata_namespace::{Durability, Namespace};
use strata_seam::{Disk, SystemClock, SystemEntropy};

use crate::config::{DurabilityClass, Remembered, StoreConfig};
use crate::scratch::ScratchDisk;

/// Share of the cache setting that goes to the index's engine, whose memory grows to several times what it is told.
const INDEX_CACHE_SHARE: u64 = 8;

/// What may be done to a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    /// Everything, creating it included.
    Create,
    /// Everything on a store that exists.
    Write,
    /// Nothing that lasts: changes that opening makes go to memory and are forgotten.
    Look,
}

/// An open store.
pub(crate) struct OpenStore {
    inner: strata_namespace::OpenStore,
    access: Access,
}

impl OpenStore {
    /// Opens the store, or creates it where every disk is blank. Blocks for the replay of the log.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open(config: &StoreConfig) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Create)
    }

    /// As [`OpenStore::open`], but never creates one.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open_existing(config: &StoreConfig) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Write)
    }

    /// Opens an existing store without changing a byte of it: what opening repairs is repaired in memory. The index is
    /// built anew from the log, beside the one on disk.
    ///
    /// # Errors
    /// What keeps it from opening.
    pub(crate) fn open_to_look(config: &StoreConfig) -> anyhow::Result<Self> {
        Self::open_for(config, Access::Look)
    }

    fn open_for(config: &StoreConfig, access: Access) -> anyhow::Result<Self> {
        let disks = find_disks(config, access)?;
        let geometry = Geometry {
            data_shards: config.layout.data,
            parity_shards: config.layout.parity,
        };
        let index_cache_bytes = config.cache.0 / INDEX_CACHE_SHARE;
        let inner = strata_namespace::OpenStore::open(
            strata_namespace::StoreConfig {
                disks,
                create: (access == Access::Create).then_some(geometry),
                index_dir: (access != Access::Look).then(|| config.data.join("index")),
                index_cache_bytes,
                ledger: Options {
                    segment_len: config.segment.0,
                    ..Options::default()
                },
                content: strata_content::StoreSettings {
                    cache_bytes: config.cache.0 - index_cache_bytes,
                    ..strata_content::StoreSettings::default()
                },
                durability: match config.durability {
                    DurabilityClass::Strict => Durability::Strict,
                    DurabilityClass::Relaxed => Durability::Relaxed,
                },
                owner: (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
                threads: access != Access::Look,
            },
            Arc::new(SystemClock::new()),
            &SystemEntropy,
        )
        .map_err(anyhow::Error::new)
        .context("the store cannot be opened")?;
        if access == Access::Create {
            tracing::info!(replayed = inner.replayed, "store opened");
            Remembered {
                layout: config.layout,
                disks: config.disks.clone(),
            }
            .save(&config.data)?;
        }
        Ok(Self { inner, access })
    }

    /// The name space.
    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        self.inner.namespace()
    }

    /// The log.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        self.inner.namespace().store().ledger()
    }

    /// Makes everything durable and ends the store's threads. One that was opened to look is only dropped.
    ///
    /// # Errors
    /// What could not be made durable; the next start replays what was.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        if self.access == Access::Look {
            return Ok(());
        }
        self.inner
            .close()
            .context("the store could not be closed cleanly; what was acknowledged is safe")
    }
}

/// The disks that are there. Those of a new store are made below its folder, never elsewhere: a missing folder elsewhere
/// is usually a missing mount.
fn find_disks(config: &StoreConfig, access: Access) -> anyhow::Result<Vec<Arc<dyn Disk>>> {
    let known = Remembered::load(&config.data)?.is_some() || config.data.join("index").exists();
    let present: Vec<&Path> = config
        .disks
        .iter()
        .map(|disk| &**disk)
        .filter(|disk| disk.is_dir())
        .collect();
    if present.is_empty() && known {
        let first = config
            .disks
            .first()
            .map(|disk| disk.display().to_string())
            .unwrap_or_default();
        bail!(
            "none of the store's {} disks is there ({first} and so on); nothing was changed; mount them",
            config.disks.len()
        );
    }
    ensure!(
        known || access == Access::Create || !present.is_empty(),
        "there is no store in {}; `strata serve --data {0}` makes one",
        config.data.display()
    );
    let mut disks: Vec<Arc<dyn Disk>> = Vec::new();
    for path in &present {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(path)?);
        disks.push(if access == Access::Look {
            Arc::new(ScratchDisk::over(disk))
        } else {
            disk
        });
    }
    let missing: Vec<&Path> = config
        .disks
        .iter()
        .map(|disk| &**disk)
        .filter(|disk| !disk.is_dir())
        .collect();
    let blank = Ledger::find(&disks)?.is_none();
    if !blank {
        for path in missing {
            tracing::warn!(disk = %path.display(), "this disk is missing; the store runs without it");
        }
        return Ok(disks);
    }
    if let Some(path) = present.iter().find(|_| known) {
        bail!(
            "{} holds no disk of this store, nor does any other of its disks; nothing was changed; mount the right ones",
            path.display()
        );
    }
    if access != Access::Create {
        return Ok(disks);
    }
    for path in missing {
        ensure!(
            path.starts_with(&config.data),
            "the disk {} is not there; nothing was changed; make the folder, or mount the disk",
            path.display()
        );
        std::fs::create_dir(path).with_context(|| format!("the disk's folder {} cannot be made", path.display()))?;
    }
    config
        .disks
        .iter()
        .map(|path| Ok(Arc::new(FileDisk::open(path)?) as Arc<dyn Disk>))
        .collect()
}
