//! Who may still rely on chunks that nobody counts.
//!
//! An ingest leaves out chunks that the store has and counts them only with its commit; content made of items of other
//! content does the same; a reader of an old version reads chunks whose count has gone. Each of them holds a [`Guard`]
//! from its beginning to its end. Whoever wants to know that nobody from before some moment is left starts a new epoch
//! and waits until the guards of all earlier ones are gone.
//!
//! Invariant: memory is one entry per epoch that somebody still holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

#[cfg(scheduled)]
#[doc(hidden)]
pub mod scheduled;

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    held: BTreeMap<u64, usize>,
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

    /// How many guards are left from before `epoch`.
    pub(crate) fn before(&self, epoch: u64) -> usize {
        self.0.lock().held.range(..epoch).map(|(_, count)| count).sum()
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
        let mut state = self.guards.0.lock();
        if let Some(count) = state.held.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.epoch);
            }
        }
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
}
