//! One round after the other. `mover.rs` says why that is safe.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use strata_chunk::{BlockDirectory, Item, Source};
use strata_engine::{Class, Place, Purpose, Taken, chunk_key, is_directory_of_checkpoint, split_cell};
use strata_ledger::LedgerError;
use strata_seam::planted::{Bug, planted};
use strata_seam::{ChunkId, Lsn, SegmentId};

use super::census::{Census, SegmentUse};
use super::relocate::Packer;
use super::state::{Choice, Host, MoverReport, Phase, ROUND_BYTES_MAX, ROUND_CHUNK_BYTES};
use crate::error::{ContentError, Result};
use crate::guard::ReaderKey;
use crate::store::Store;

/// Cells removed in one commit: the writer's lock is held for a fraction of a millisecond.
const DROP_STEP: usize = 64;
/// Chunks looked at between two calls of the host.
const LOOK_STEP: usize = 4096;
/// Live bytes moved in one round while a set is emptied, at most: how far apart its progress shows.
const SET_ROUND_BYTES_MAX: u64 = 1 << 30;
/// Per cent of the segment being written that may still be wanted for it to be ended where there is no room for data.
const ENDED_BELOW_PERCENT: u64 = 85;
/// Share of what a round writes that headers take, at most.
const HEADERS_SHARE: u64 = 8;

/// See [`Store::reclaim`].
pub(super) fn reclaim(store: &Arc<Store>, choice: Choice<'_>, host: &mut dyn Host) -> Result<MoverReport> {
    let mut report = MoverReport::default();
    store.mover.status.lock().report = report.clone();
    // Segments that could not be freed are not taken up again in this reclaim, so that it ends.
    let mut left = BTreeSet::new();
    // Chunks are moved to segments behind this one, which are not taken up.
    let end = store.ledger().writing();
    while let Some(census) = store.census(host, &report)? {
        let mut chosen = census.chosen(choice);
        // Other choices have to be freed in any case, even if a reader of events still needs them.
        if matches!(choice, Choice::Below(_) | Choice::All)
            && let Some(held) = store.held_for_readers()?
        {
            chosen.retain(|segment| segment.segment < held);
        }
        chosen.retain(|segment| segment.segment < end && !left.contains(&segment.segment));
        if chosen.is_empty() {
            break;
        }
        let limit = match choice {
            Choice::OnSet { bytes, .. } => bytes.saturating_sub(report.bytes_moved).min(SET_ROUND_BYTES_MAX),
            Choice::Below(_) | Choice::All | Choice::These(_) => ROUND_BYTES_MAX,
        };
        if limit == 0 {
            break;
        }
        let victims = match victims(store, &chosen, limit) {
            Victims::These(victims) => victims,
            Victims::NotWorthIt => break,
            Victims::NoRoom if report.rounds > 0 => break,
            Victims::NoRoom => return Err(LedgerError::Full.into()),
        };
        let hurry = store.ledger().is_full();
        let freed_before = report.segments_freed;
        report.rounds += 1;
        store.ledger().begin_round();
        let mut round = Round {
            store,
            host,
            report,
            victims: BTreeMap::new(),
            keep: BTreeSet::new(),
            put_off: BTreeSet::new(),
            condemned: Vec::new(),
            backlog: chosen.len() as u64,
        };
        let done = round.run(&victims, hurry);
        round.absolve();
        let mut taken_up: BTreeSet<SegmentId> = round.victims.keys().copied().collect();
        if round.report.segments_freed > freed_before {
            taken_up.retain(|segment| !round.put_off.contains(segment));
        }
        report = round.report;
        store.mover.status.lock().report = report.clone();
        let more = done?;
        let held: BTreeSet<_> = store.ledger().segments().into_iter().collect();
        left.extend(taken_up.into_iter().filter(|segment| held.contains(segment)));
        if !more {
            break;
        }
    }
    Ok(report)
}

/// What the next round takes up.
enum Victims {
    These(Vec<SegmentUse>),
    /// Nothing the checkpoint of a round would not take more room than.
    NotWorthIt,
    /// Not even a checkpoint fits, or not with the emptiest segment.
    NoRoom,
}

/// Bytes that a round writes: what it moves, and its checkpoint.
fn cost(store: &Store, moved: u64) -> u64 {
    if planted(Bug::RoundLargerThanRoom) {
        return 0;
    }
    let written = moved + store.checkpoint_room();
    written + written / HEADERS_SHARE
}

impl Store {
    /// Whether, if there is no room for data, ending the segment being written and freeing its garbage makes room: what
    /// it loses by its end and what the round writes fits, and is less than what is freed.
    #[must_use]
    pub fn is_worth_ending(&self, census: &Census) -> bool {
        let Some(writing) = &census.writing else { return false };
        let rest = census.capacity.saturating_sub(writing.capacity);
        let garbage = writing.capacity.saturating_sub(writing.content + writing.content / HEADERS_SHARE / 2);
        let left = self.ledger().room().left.saturating_sub(rest);
        let chosen = writing.live * 100 <= census.capacity * ENDED_BELOW_PERCENT;
        chosen && garbage > rest + self.checkpoint_room() && cost(self, writing.content) <= left
    }
}

/// Segments to take up, of those that were chosen: the emptiest first, as many as the next round can be ended with (invariant ROOM). Those
/// from which nothing has to be moved come before all others: they cost only a checkpoint.
fn victims(store: &Store, chosen: &[SegmentUse], limit: u64) -> Victims {
    let room = store.ledger().room();
    // If little is free, a round is small, so that nobody waits long for what it frees.
    let limit = match planted(Bug::RoundLargerThanRoom) {
        true => u64::MAX,
        false => limit.min(room.spare.max(store.ledger().segment_capacity())),
    };
    if cost(store, 0) > room.left {
        return Victims::NoRoom;
    }
    let (mut moved, mut garbage) = (0, 0);
    let mut victims: Vec<SegmentUse> = Vec::new();
    // In a full store a round must free more than its checkpoint takes; otherwise the next checkpoint is as good.
    let worth = |garbage: u64| room.spare > 0 || garbage > store.checkpoint_room();
    for segment in chosen {
        if segment.content > 0 && moved == 0 && !victims.is_empty() && worth(garbage) {
            break;
        }
        let all = moved + segment.content;
        if cost(store, all) > room.left || (all > limit && moved > 0 && worth(garbage)) {
            break;
        }
        moved = all;
        garbage += segment.capacity.saturating_sub(segment.content + segment.content / HEADERS_SHARE / 2);
        victims.push(*segment);
    }
    match victims.is_empty() || !worth(garbage) {
        true if victims.is_empty() && room.spare == 0 => Victims::NoRoom,
        true => Victims::NotWorthIt,
        false => Victims::These(victims),
    }
}

struct Round<'a> {
    store: &'a Arc<Store>,
    host: &'a mut dyn Host,
    report: MoverReport,
    /// The segments that were taken up, and the chunks that the frames of each name, until they are moved.
    victims: BTreeMap<SegmentId, Vec<ChunkId>>,
    /// Victims that are not freed after all.
    keep: BTreeSet<SegmentId>,
    /// Those of them that there was no room for any more.
    put_off: BTreeSet<SegmentId>,
    /// Chunks of the portion at hand that nobody counted when they were checked, with their segment.
    condemned: Vec<(ChunkId, SegmentId)>,
    backlog: u64,
}

impl Round<'_> {
    /// Takes up one portion after the other, as many as are worth a checkpoint, and frees them with one; `false` if the host ended it.
    fn run(&mut self, victims: &[SegmentUse], hurry: bool) -> Result<bool> {
        let mut leave = BTreeSet::new();
        let (mut rest, mut emptied) = (victims, 0);
        while !rest.is_empty() {
            let Some(taken_up) = self.take_up(rest)? else { return Ok(false) };
            let (portion, behind) = rest.split_at(taken_up);
            rest = behind;
            if !self.empty(portion)? {
                return Ok(false);
            }
            for used in portion.iter().filter(|used| !self.keep.contains(&used.segment)) {
                leave.insert(used.segment);
                emptied += used.capacity.saturating_sub(used.content);
            }
            if emptied >= self.store.worth_a_checkpoint() || hurry || self.is_to_free_now() {
                break;
            }
        }
        if leave.is_empty() {
            return Ok(true);
        }
        self.free(&leave, hurry || self.store.ledger().is_full())
    }

    /// Whether what was emptied is freed before it is worth a checkpoint: room became short, or a checkpoint is due in any case.
    fn is_to_free_now(&self) -> bool {
        let ledger = self.store.ledger();
        !self.put_off.is_empty() || ledger.room().spare < ledger.segment_capacity() || self.store.checkpoint_due()
    }

    /// Lists the chunks of the first of `victims`, as many as memory is meant for, and condemns those that nobody counts. How many segments
    /// these are; `None` if the host ended it.
    fn take_up(&mut self, victims: &[SegmentUse]) -> Result<Option<usize>> {
        let (mut listed, mut taken_up) = (0, 0);
        for segment in victims.iter().map(|used| used.segment) {
            self.phase(Phase::Moving(segment));
            let chunks = self.list(segment);
            listed += chunks.len();
            self.victims.insert(segment, chunks);
            if !self.sort_out(segment)? {
                return Ok(None);
            }
            taken_up += 1;
            self.report.segments += 1;
            self.backlog = self.backlog.saturating_sub(1);
            if listed >= self.store.settings().mover_bytes_max / ROUND_CHUNK_BYTES {
                break;
            }
        }
        Ok(Some(taken_up))
    }

    /// Moves what is counted in segments that were taken up, and removes the cells of the rest. What cannot be freed yet is kept. `false` if
    /// the host ended it.
    fn empty(&mut self, portion: &[SegmentUse]) -> Result<bool> {
        let store = self.store;
        let mut packer = Packer::new(store);
        let epoch = store.guards.advance();
        for SegmentUse { segment, content, .. } in portion.iter().copied() {
            self.phase(Phase::Moving(segment));
            if content > 0 && cost(store, content) > store.ledger().room().left {
                // Others wrote meanwhile. Segments that were begun are finished, and this one is left to the next round.
                self.keep.insert(segment);
                self.put_off.insert(segment);
                self.victims.insert(segment, Vec::new());
                continue;
            }
            if !self.move_all(&mut packer, segment)? {
                return Ok(false);
            }
        }
        self.finish_moving(&mut packer)?;
        let reach = self.wait_for(epoch);
        // Holders that are still there may rely on these chunks: their segments stay for now.
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.condemned)
            .into_iter()
            .partition(|(id, _)| reach.as_ref().is_none_or(|reached| reached.contains(id)));
        let waiting: BTreeSet<_> = held.into_iter().map(|(_, segment)| segment).collect();
        self.report.segments_waiting += waiting.len() as u64;
        self.keep.extend(waiting);
        let revived = self.drop_idle(&free)?;
        for (id, segment) in revived {
            packer.take(&id, segment, &mut self.report)?;
        }
        self.finish_moving(&mut packer)?;
        self.absolve();
        self.keep.append(&mut packer.unreadable);
        Ok(true)
    }

    /// The chunks that the segment's frames name, in the order they came in.
    fn list(&mut self, segment: SegmentId) -> Vec<ChunkId> {
        let mut chunks = Vec::new();
        let mut strange = 0;
        let (_, unreadable) = self.store.ledger().walk_segment(segment, &mut |append| {
            for block in append.blocks {
                if is_directory_of_checkpoint(&block.directory) {
                    continue;
                }
                match BlockDirectory::decode(&block.directory) {
                    Ok(directory) => chunks.extend(directory.chunks().iter().map(|entry| entry.id)),
                    Err(_) => strange += 1,
                }
            }
        });
        if unreadable + strange > 0 {
            tracing::error!(%segment, stripes = unreadable + strange, "a segment cannot be read whole: it stays");
            self.report.unreadable += unreadable + strange;
            self.keep.insert(segment);
        }
        chunks
    }

    /// Condemns the segment's chunks that nobody counts; `false` if the host ended it.
    fn sort_out(&mut self, segment: SegmentId) -> Result<bool> {
        let chunks = self.victims.get(&segment).map(Vec::as_slice).unwrap_or_default();
        for step in chunks.chunks(LOOK_STEP) {
            let mut idle = Vec::new();
            for id in step {
                if self.store.idle_in(id, segment)? {
                    idle.push(*id);
                }
            }
            self.condemned.extend(idle.iter().map(|id| (*id, segment)));
            self.store.condemned.write().extend(idle);
            if !self.host.pace(step.len() as u64 * 100, &self.report) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves what is counted; `false` if the host ended it.
    fn move_all(&mut self, packer: &mut Packer<'_>, segment: SegmentId) -> Result<bool> {
        let chunks = std::mem::take(self.victims.entry(segment).or_default());
        for id in chunks {
            if self.store.is_condemned(&id) {
                continue;
            }
            let before = self.report.bytes_read + self.report.bytes_moved;
            packer.take(&id, segment, &mut self.report)?;
            let bytes = self.report.bytes_read + self.report.bytes_moved - before;
            if bytes > 0 && !self.host.pace(bytes, &self.report) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was gathered is durable and its places are in the index when this returns.
    fn finish_moving(&mut self, packer: &mut Packer<'_>) -> Result<()> {
        packer.hand_over(&mut self.report)?;
        if packer.last > Lsn(0) {
            self.store.engine().wait(packer.last, Class::Durable)?;
        }
        Ok(())
    }

    /// Waits for those from before who may rely on what is condemned. Gives what readers and streams that did not end may still
    /// need of it; `None` if somebody is left who may rely on all of it.
    fn wait_for(&mut self, epoch: u64) -> Option<HashSet<ChunkId>> {
        if self.condemned.is_empty() || planted(Bug::HoldersNotWaitedFor) {
            return Some(HashSet::new());
        }
        // What a reader may read never changes, and neither do the condemned chunks: each reader is asked once.
        let mut asked: HashMap<ReaderKey, Option<HashSet<ChunkId>>> = HashMap::new();
        // A stream relies on fewer and fewer condemned chunks: once on none, it is not asked again.
        let mut clear: HashSet<ReaderKey> = HashSet::new();
        loop {
            let mut streams = Vec::new();
            for (key, relied) in self.store.guards.streams_before(epoch) {
                if clear.contains(&key) || planted(Bug::StreamsNotAsked) {
                    continue;
                }
                match self.store.reached(&relied.items()) {
                    Some(reached) if reached.is_empty() => drop(clear.insert(key)),
                    reached => streams.push(reached),
                }
            }
            let others = self.store.guards.before(epoch);
            let readers = self.store.guards.readers_before(epoch);
            let left: HashSet<ReaderKey> = readers.iter().map(|(key, _)| *key).collect();
            asked.retain(|key, _| left.contains(key));
            for (key, items) in readers {
                asked.entry(key).or_insert_with(|| match planted(Bug::ReadersNotAsked) {
                    true => Some(HashSet::new()),
                    false => self.store.reached(&items),
                });
            }
            let held = |reached: &&Option<HashSet<ChunkId>>| reached.as_ref().is_none_or(|reached| !reached.is_empty());
            let holders = others + asked.values().chain(&streams).filter(held).count();
            if holders > 0 {
                self.phase(Phase::Waiting(holders));
                if self.host.wait(holders, &self.report) {
                    continue;
                }
            }
            if others > 0 {
                return None;
            }
            let reached: Option<Vec<_>> = asked.into_values().chain(streams).collect();
            return reached.map(|reached| reached.into_iter().flatten().collect());
        }
    }

    /// Removes the cells of condemned chunks that are still idle; gives those that were counted meanwhile.
    fn drop_idle(&mut self, condemned: &[(ChunkId, SegmentId)]) -> Result<Vec<(ChunkId, SegmentId)>> {
        let mut revived = Vec::new();
        for step in condemned.chunks(DROP_STEP) {
            // Read before the lock is taken, so that the rows are in memory under it. The check under the lock decides.
            step.iter().try_for_each(|(id, segment)| self.store.idle_in(id, *segment).map(drop))?;
            // No block is being handed over from here to the end of the commit; `mover.rs` says why.
            let still = self.store.embedded.hold_appends();
            let dropped = self.store.transact_for(Some(Purpose::Mover), false, |tx| {
                let mut counted = Vec::new();
                for (id, segment) in step {
                    if tx.store().idle_in(id, *segment)? || planted(Bug::ReferenceNotRechecked) {
                        tx.delete(chunk_key(id));
                    } else {
                        counted.push((*id, *segment));
                    }
                }
                Ok::<_, ContentError>(counted)
            })?;
            drop(still);
            self.report.chunks_dropped += (step.len() - dropped.value.len()) as u64;
            revived.extend(dropped.value);
        }
        Ok(revived)
    }

    /// Nothing is condemned any more.
    fn absolve(&mut self) {
        self.store.condemned.write().clear();
    }

    fn free(&mut self, leave: &BTreeSet<SegmentId>, hurry: bool) -> Result<bool> {
        self.phase(Phase::Checkpoint);
        if planted(Bug::FreedBeforeCheckpoint) {
            leave.iter().try_for_each(|segment| self.store.ledger().free_segment(*segment))?;
        }
        let (host, report) = (&mut *self.host, &self.report);
        // In a full set the last room is being used: the checkpoint is not slowed down.
        let taken = self.store.take_checkpoint(leave, &mut |bytes| hurry || host.pace(bytes, report))?;
        let Taken::Done(done) = taken else { return Ok(taken == Taken::Empty) };
        self.report.checkpoints += 1;
        self.report.bytes_moved += done.bytes_written;
        self.phase(Phase::Freeing);
        let Some(checkpoint) = self.store.checkpoint() else { return Ok(true) };
        let freed =
            |segment: &&SegmentId| **segment < checkpoint.position().segment && !checkpoint.kept().contains(*segment);
        let freed: Vec<u64> =
            leave.iter().filter(freed).map(|segment| self.store.ledger().capacity_of(*segment)).collect();
        // Also frees segments on disks that came back since: the checkpoint says which are needed.
        let mut position = checkpoint.position();
        if planted(Bug::LogFreedBehindCheckpoint) {
            position.segment = self.store.ledger().writing();
        }
        self.store.ledger().free_all_but(checkpoint.kept(), position)?;
        self.report.segments_freed += freed.len() as u64;
        self.report.bytes_freed += freed.iter().sum::<u64>();
        Ok(true)
    }

    fn phase(&self, phase: Phase) {
        let worker = &self.store.mover.reclaims;
        worker.reach(self.report.segments, Some(self.report.segments + self.backlog));
        match phase {
            Phase::Waiting(holders) => worker.waits_for(format!("{holders} readers and uploads")),
            Phase::Idle | Phase::Counting | Phase::Moving(_) | Phase::Checkpoint | Phase::Freeing => worker.goes_on(),
        }
        let mut status = self.store.mover.status.lock();
        status.phase = phase;
        status.report = self.report.clone();
        status.backlog = self.backlog;
    }
}

impl Store {
    /// What is condemned among `items` and whatever is below them; `None` where that cannot be told.
    fn reached(&self, items: &[Item]) -> Option<HashSet<ChunkId>> {
        let mut reached = HashSet::new();
        let mut rest: Vec<Item> = items.to_vec();
        while let Some(item) = rest.pop() {
            let (id, page) = match item.source {
                Source::Hole => continue,
                Source::Chunk { id, .. } => (id, false),
                Source::Page { id, .. } => (id, true),
            };
            if self.is_condemned(&id) {
                reached.insert(id);
            }
            if page {
                rest.extend(self.page(&id).ok()?.into_items());
            }
        }
        Some(reached)
    }

    /// Whether nobody counts the chunk, its place is in `segment`, and it is not on its way to another.
    fn idle_in(&self, id: &ChunkId, segment: SegmentId) -> Result<bool> {
        if self.engine().on_its_way(id).is_some() {
            return Ok(false);
        }
        let Some(cell) = self.engine().get(&chunk_key(id), None)?.value else { return Ok(false) };
        let Some((count, tail)) = split_cell(&cell) else { return Ok(false) };
        Ok(count == 0 && Place::decode(tail).is_some_and(|place| place.location.segment == segment))
    }
}
