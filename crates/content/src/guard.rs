//! Guards: who may still rely on chunks without counted references.
//!
//! Three kinds of users rely on chunks that are not counted for them. An ingest leaves out chunks that the store has, and counts them
//! only with its commit. Content made of items of other content does the same. A reader of an old version reads chunks that may have
//! lost their references. Each of them holds a [`Guard`] from its beginning to its end. To be certain that no guard from before some
//! moment is left, the mover starts a new epoch and waits until the guards of all earlier epochs are gone.
//!
//! Most readers read chunks that are counted anyway, some for hours. So a reader says what it may read ([`Guard::narrow`]), by its
//! manifest, which never changes. It then holds up only a mover that wants to remove a part of that.
//!
//! A stream that is being taken in may last for hours too. It relies on uncounted chunks only through items that are not in a page of
//! its manifest yet, a few hundred. It notes them ([`Relied`]) in the same step in which it asks whether the store has them. Condemned
//! chunks are not noted any more, so the mover has to ask a stream only once: later it can only need less.
//!
//! Invariant: memory is one entry per epoch that somebody still holds, one per reader, and the items of one per stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_chunk::Item;

#[cfg(scheduled)]
#[doc(hidden)]
pub mod scheduled;

/// A reader or a stream: its epoch, and a number of its own.
pub(crate) type ReaderKey = (u64, u64);

/// By height, the items that a stream relies on and that nobody counts yet.
#[derive(Debug, Default)]
pub(crate) struct Relied(Mutex<Vec<Vec<Item>>>);

impl Relied {
    /// Looks for something, and notes `item` before anybody can ask.
    pub(crate) fn note<R, E>(&self, item: Item, look: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        self.note_all(&[item], look)
    }

    /// Looks whether the store has several items, and notes them before the mover can ask.
    pub(crate) fn note_all<R, E>(&self, items: &[Item], look: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let mut levels = self.0.lock();
        let found = look()?;
        for item in items {
            let at = usize::from(item.height());
            if levels.len() <= at {
                levels.resize_with(at + 1, Vec::new);
            }
            levels[at].push(*item);
        }
        Ok(found)
    }

    /// The items of this height are counted now.
    pub(crate) fn are_counted(&self, height: usize) {
        if let Some(level) = self.0.lock().get_mut(height) {
            level.clear();
        }
    }

    /// All of them.
    pub(crate) fn items(&self) -> Vec<Item> {
        self.0.lock().iter().flatten().copied().collect()
    }
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    /// How many of each epoch may rely on anything.
    held: BTreeMap<u64, usize>,
    /// By epoch and number, what readers may read and no more.
    readers: BTreeMap<ReaderKey, Arc<[Item]>>,
    /// What streams that are being taken in rely on.
    streams: BTreeMap<ReaderKey, Arc<Relied>>,
    /// The number of the last reader or stream.
    number: u64,
}

/// All guards of a store.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<State>);

/// A guard of a reader or an ingest; see the module. A clone belongs to the same epoch.
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

/// A guard of a stream that is being taken in.
#[derive(Debug)]
pub(crate) struct Streaming {
    guards: Arc<Guards>,
    key: ReaderKey,
    /// What it relies on.
    pub(crate) relied: Arc<Relied>,
}

impl Guards {
    /// A guard of the present epoch for a stream, which relies on nothing yet.
    pub(crate) fn stream(self: &Arc<Self>) -> Streaming {
        let relied = Arc::new(Relied::default());
        let mut state = self.0.lock();
        state.number += 1;
        let key = (state.epoch, state.number);
        state.streams.insert(key, Arc::clone(&relied));
        drop(state);
        Streaming { guards: Arc::clone(self), key, relied }
    }

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

    /// The streams left from before `epoch`. To be asked before [`before`](Self::before) is: what a stream has ended with is
    /// held by a guard of its epoch, until it is counted.
    pub(crate) fn streams_before(&self, epoch: u64) -> Vec<(ReaderKey, Arc<Relied>)> {
        let state = self.0.lock();
        state.streams.range(..(epoch, 0)).map(|(key, relied)| (*key, Arc::clone(relied))).collect()
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
        // The guard itself is dropped when this returns.
        Narrow { guards: Arc::clone(&self.guards), key }
    }
}

impl Streaming {
    /// A guard of everything from the stream's epoch, for content that it ends with.
    pub(crate) fn widen(&self) -> Guard {
        let epoch = self.key.0;
        *self.guards.0.lock().held.entry(epoch).or_default() += 1;
        Guard { guards: Arc::clone(&self.guards), epoch }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let relied = self.guards.0.lock().streams.remove(&self.key);
        // Freed without the lock.
        drop(relied);
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

    #[test]
    fn a_stream_is_asked_for_what_it_relies_on_and_what_it_ends_with_is_of_its_epoch() {
        let guards = Arc::new(Guards::default());
        let item = Item { len: 1, source: strata_chunk::Source::Hole };
        let stream = guards.stream();
        let epoch = guards.advance();
        let young = guards.stream();
        assert_eq!(stream.relied.note(item, || Err::<(), _>("absent")), Err("absent"));
        stream.relied.note(item, || Ok::<_, ()>(())).unwrap();
        let relied = || guards.streams_before(epoch).iter().map(|(_, relied)| relied.items().len()).collect::<Vec<_>>();
        assert_eq!((relied(), guards.before(epoch)), (vec![1], 0));
        let content = stream.widen();
        stream.relied.are_counted(0);
        assert_eq!((relied(), guards.before(epoch)), (vec![0], 1));
        drop((stream, content, young));
        assert!(guards.0.lock().streams.is_empty() && guards.0.lock().held.is_empty());
    }
}
