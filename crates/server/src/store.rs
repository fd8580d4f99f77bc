//! The one place where disks, ledger, index, content and name space are put together for a process.

use std::sync::Arc;

use strata_namespace::Namespace;

use crate::config::StoreConfig;

/// An open store.
pub(crate) struct OpenStore {
    namespace: Arc<Namespace>,
}

impl OpenStore {
    /// Opens the store, or creates it where no disk holds one. Blocks for the replay of the log.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open(config: &StoreConfig) -> anyhow::Result<Self> {
        let _ = config;
        anyhow::bail!("pending")
    }

    /// As [`OpenStore::open`], but never creates one.
    ///
    /// # Errors
    /// What keeps it from opening; the disks are then as they were.
    pub(crate) fn open_existing(config: &StoreConfig) -> anyhow::Result<Self> {
        Self::open(config)
    }

    /// The name space.
    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Makes everything durable and ends the store's threads.
    ///
    /// # Errors
    /// What could not be made durable; the next start replays what was.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        Ok(())
    }
}
