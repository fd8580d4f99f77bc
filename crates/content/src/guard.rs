//! Who may still rely on chunks that nobody counts.
//!
//! An ingest leaves out chunks that the store has and counts them only with its commit; content made of items of other
//! content does the same; a reader of an old version reads chunks whose count has gone. Each of them holds a [`Guard`]
//! from its beginning to its end. Whoever wants to know that nobody from before some moment is left starts a new epoch
//! and waits until the guards of all earlier ones are gone.
//!
//! Most readers read what is counted anyway, some for hours. So a reader says what it may read ([`Guard::narrow`]), by a
//! manifest that never changes: it holds up only whoever wants to forget a part of that, and everybody else passes it by.
//!
//! Invariant: memory is one entry per epoch that somebody still holds, and one per reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_chunk::Item;

#[cfg(scheduled)]
#[doc(hidden)]
pub mod scheduled;

/// A reader: its epoch, and a number of its own.
pub(crate) type ReaderKey = (u64, u64);

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    /// How many of each epoch may rely on anything.
    held: BTreeMap<u64, usize>,
    /// By epoch and number, what readers may read and no more.
    readers: BTreeMap<ReaderKey, Arc<[Item]>>,
    /// Of the last reader.
    number: u64,
}

/// All guards of a store.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<State>);

/// See the module. A clone is of the same epoch.
#[derive(Debug)]
pub(crate) struct Guard {
    guards: Arc<Guards>,
    epoch: u64,
}

/// A guard of somebody who may read some items and nothing else.
#[derive(Debug)]
pub(crate) struct Narrow {
    guards: Arc<Guards>,
    key: ReaderKey,
}

impl Guards {
    /// A guard of the present epoch.
    pub(crate) fn hold(self: &Arc<Self>) -> Guard {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        *state.held.entry(epoch).or_default() += 1;
        Guard { guards: Arc::clone(self), epoch }
    }

    /// Starts a new epoch and returns it.
    pub(crate) fn advance(&self) -> u64 {
        let mut state = self.0.lock();
        state.epoch += 1;
        state.epoch
    }

    /// How many guards are left from before `epoch` that are not narrow.
    pub(crate) fn before(&self, epoch: u64) -> usize {
        self.0.lock().held.range(..epoch).map(|(_, count)| count).sum()
    }

    /// The readers left from before `epoch`, each by a number of its own, with what they may read.
    pub(crate) fn readers_before(&self, epoch: u64) -> Vec<(ReaderKey, Arc<[Item]>)> {
        let state = self.0.lock();
        state.readers.range(..(epoch, 0)).map(|(key, items)| (*key, Arc::clone(items))).collect()
    }
}

impl State {
    fn let_go(&mut self, epoch: u64) {
        if let Some(count) = self.held.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&epoch);
            }
        }
    }
}

impl Guard {
    /// From now on nothing but these items is relied upon. There is no moment in between at which nobody is there.
    pub(crate) fn narrow(self, items: Arc<[Item]>) -> Narrow {
        let mut state = self.guards.0.lock();
        state.number += 1;
        let key = (self.epoch, state.number);
        state.readers.insert(key, items);
        drop(state);
        // The guard itself goes when this returns.
        Narrow { guards: Arc::clone(&self.guards), key }
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        let items = self.guards.0.lock().readers.remove(&self.key);
        // Freed without the lock.
        drop(items);
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        *self.guards.0.lock().held.entry(self.epoch).or_default() += 1;
        Self { guards: Arc::clone(&self.guards), epoch: self.epoch }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.guards.0.lock().let_go(self.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_over_when_its_last_guard_and_all_earlier_ones_are_gone() {
        let guards = Arc::new(Guards::default());
        let old = guards.hold();
        let epoch = guards.advance();
        let (young, copy) = (guards.hold(), old.clone());
        assert_eq!(guards.before(epoch), 2);
        drop(old);
        assert_eq!(guards.before(epoch), 1);
        drop(copy);
        assert_eq!(guards.before(epoch), 0);
        assert_eq!(guards.before(guards.advance()), 1);
        drop(young);
        assert!(guards.0.lock().held.is_empty());
    }

    #[test]
    fn a_narrow_guard_is_of_its_epoch_and_holds_up_nobody_who_does_not_ask_for_readers() {
        let guards = Arc::new(Guards::default());
        let items: Arc<[Item]> = Arc::new([Item { len: 1, source: strata_chunk::Source::Hole }]);
        let old = guards.hold().narrow(Arc::clone(&items));
        let epoch = guards.advance();
        let young = guards.hold().narrow(items);
        assert_eq!(guards.before(guards.advance()), 0);
        assert_eq!(guards.readers_before(epoch).len(), 1);
        assert_eq!(guards.readers_before(epoch + 1).len(), 2);
        drop((old, young));
        assert!(guards.0.lock().readers.is_empty() && guards.0.lock().held.is_empty());
    }
}
