//! Seeing every commit go by: how a check beside writers knows what was touched while it counted.

use std::sync::Arc;

use parking_lot::Mutex;
use strata_index::Batch;

use crate::store::Store;

/// Called with each commit, under the writer's lock, before anybody can see it. Must be quick and must not call the store.
pub type Observer = Arc<dyn Fn(&Batch) + Send + Sync>;

/// Those who watch a store. Few: a check at a time.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<Vec<Observer>>);

impl Watchers {
    pub(crate) fn tell(&self, batch: &Batch) {
        self.0.lock().iter().for_each(|observer| observer(batch));
    }
}

/// Ends the watching when dropped.
pub struct Watch {
    store: Arc<Store>,
    observer: Observer,
}

impl Store {
    /// Lets `observer` see every commit from now on. On return, every earlier one is visible to readers.
    #[must_use]
    pub fn watch(self: &Arc<Self>, observer: Observer) -> Watch {
        let _writer = self.writer.lock();
        self.watchers.0.lock().push(Arc::clone(&observer));
        Watch { store: Arc::clone(self), observer }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.store.watchers.0.lock().retain(|other| !Arc::ptr_eq(other, &self.observer));
    }
}
