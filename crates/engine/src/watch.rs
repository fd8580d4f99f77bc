//! Observing every commit, so that a check beside writers learns what changed while it counted.

use std::sync::Arc;

use parking_lot::Mutex;
use strata_index::Batch;

/// Called with each commit, under the writer's lock, before any reader sees it. It must be quick and must not change the store. It may
/// read rows that the commit writes; they are then as before the commit.
pub type Observer = Arc<dyn Fn(&Batch) + Send + Sync>;

/// Those who watch an engine. Few: a check at a time.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<Vec<Observer>>);

impl Watchers {
    pub(crate) fn tell(&self, batch: &Batch) {
        self.0.lock().iter().for_each(|observer| observer(batch));
    }

    /// Adds one. To be called while no commit is under way.
    pub(crate) fn add(self: &Arc<Self>, observer: Observer) -> Watch {
        self.0.lock().push(Arc::clone(&observer));
        Watch { watchers: Arc::clone(self), observer }
    }
}

/// Keeps an observer registered; dropping it ends that.
pub struct Watch {
    watchers: Arc<Watchers>,
    observer: Observer,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.0.lock().retain(|other| !Arc::ptr_eq(other, &self.observer));
    }
}
