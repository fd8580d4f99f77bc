//! The ledger as callers see it.

use crate::sync::atomic::Ordering;
use crate::sync::thread::{self, JoinHandle};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strata_erasure::CodecId;
use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, Clock, Crew, Disk, DiskIndex, Entropy, Lsn, Position, SegmentId, SetId, WriteMode};

use crate::api::{Append, Class, Geometry, Location, Purpose, Replayed, Sink};
use crate::error::{LedgerError, Result};
use crate::history::History;
use crate::identify::{self, Found};
use crate::meta;
use crate::opening::{self, OpenSets};
use crate::options::{COMMIT_LEN_MAX, Options};
use crate::queue::{Halt, Queue, Queued, Stuck};
use crate::set::Set;
use crate::sets::Sets;
use crate::settled::Settled;
use crate::shared::Shared;
use crate::superblock::{DISKS_MAX, FEATURES_OF_NEW, FILE, SLOT_LEN, Superblock};
use crate::workers::Workers;

/// The commit log over one erasure set.
///
/// Without [`start`](Ledger::start) nothing happens by itself: whoever waits does the writing, on its own thread, one
/// disk after the other, so that a simulation is deterministic. With it, a writer thread gathers appends into stripes
/// and a thread per disk writes them in parallel.
pub struct Ledger {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Ledger {
    /// Makes a new set of blank disks, in the order of their places. Creates one small file on each.
    ///
    /// All or nothing: cut off before the last disk has its file there is no set, and the disks count as blank; cut off
    /// behind that there is one, and the next opening tells the disks that were not told.
    ///
    /// # Errors
    /// [`LedgerError::Setting`], [`LedgerError::ForeignDisk`] where a disk already belongs to a set,
    /// [`LedgerError::Inconsistent`] where it holds segments without saying of which, and disk errors: the set is then
    /// not made, unless the error came after the last disk had its file.
    pub fn format(
        disks: &[Arc<dyn Disk>],
        geometry: Geometry,
        options: &Options,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<SetId> {
        options.check(geometry)?;
        let count = check_count(disks, geometry)?;
        for disk in disks {
            if let Found::Formatted(superblock, _) = identify::look(&**disk)?
                && !superblock.is_unmade()
            {
                let what = format!("already holds a disk of set {}", superblock.set);
                return Err(LedgerError::ForeignDisk { disk: disk.label().to_owned(), what });
            }
            identify::check_empty(&**disk)?;
        }
        let mut set = [0; 16];
        entropy.fill(&mut set);
        let all = (1_u32 << count) - 1;
        let mut superblock = Superblock {
            features: FEATURES_OF_NEW,
            ro_compat: 0,
            compat: 0,
            codec: CodecId::Leopard16.stored(),
            index: DiskIndex(0),
            geometry,
            set: SetId(set),
            created: clock.now(),
            segment_len: options.segment_len,
            generation: u64::from(planted(Bug::MadeByItsFirstDisk)),
            durable_lsn: Lsn(0),
            active: all,
            whole: all,
            checkpoint: [0; 128],
            appending: false,
            history: History::default(),
            sound: [Lsn(0); DISKS_MAX],
            roster: None,
            checkpoint_version: 0,
        };
        write_new(disks, &mut superblock)?;
        // From the first disk that is told on, there is a set, and it is whole: each of its disks knows of it.
        superblock.generation = 1;
        for (index, disk) in disks.iter().enumerate() {
            superblock.index = DiskIndex(index as u8);
            let mut slot = AlignedBuf::zeroed(SLOT_LEN);
            superblock.encode(&mut slot);
            disk.open(FILE)?.write_at(SLOT_LEN as u64, &slot, WriteMode::Durable)?;
        }
        Ok(superblock.set)
    }

    /// Opens a set: identifies its disks, replays the log from `from` on (`None`: from its first segment), mends its end,
    /// and makes it ready for appends. `replay` is called once per append, in order.
    ///
    /// With fewer disks than the write quorum the set opens read-only: appends give [`LedgerError::QuorumLost`].
    /// Cost: reads a header per stripe and disk, and the description of each stripe replayed; not the data.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] where something acknowledged cannot be read, [`LedgerError::Inconsistent`] where the log
    /// does not reach `from`, [`LedgerError::Exhausted`], what `replay` returned, and those of identifying the disks.
    pub fn open(
        disks: Vec<Arc<dyn Disk>>,
        options: Options,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        from: Option<Position>,
        replay: &mut dyn FnMut(Replayed) -> Result<()>,
    ) -> Result<Self> {
        let found = opening::open_sets(disks, &[], &options, &clock, |_| entropy.next_u64(), from, replay)?;
        let OpenSets { sets, homes, roster, history, strangers, writer, end, halt } = found;
        let queue = Queue::new(end.next_lsn, halt, append_limit(&sets, &options));
        let recovered_to = Lsn(end.next_lsn.0 - 1);
        let sets = Sets::new(sets, homes, roster);
        let seed = entropy.next_u64();
        let shared = Shared::new(sets, options, clock, queue, recovered_to, writer, history, strangers, seed);
        if halt.is_none() {
            shared.begin(&mut shared.writer.lock())?;
        }
        shared.measure(&shared.writer.lock());
        Ok(Self { shared: Arc::new(shared), threads: Mutex::default() })
    }

    /// Registers who is told where blocks went. Appends written before are not told again.
    pub fn set_sink(&self, sink: Arc<dyn Sink>) {
        *self.shared.sink.write() = Some(sink);
    }

    /// Who works in the background of this store. The layers above add theirs.
    #[must_use]
    pub fn crew(&self) -> &Arc<Crew> {
        &self.shared.crew
    }

    /// Starts the writer thread, a thread per disk and one that prepares segments. Does nothing when they run already.
    ///
    /// # Errors
    /// [`LedgerError::Thread`]; the ledger then works on as without threads.
    pub fn start(&self) -> Result<()> {
        let shared = &self.shared;
        let mut threads = self.threads.lock();
        if shared.started() {
            return Ok(());
        }
        let workers = Workers::start(shared.most_disks(), &shared.clock).map_err(LedgerError::Thread)?;
        shared.prepare.reset();
        let spawn = |name: &str, body: fn(&Shared)| {
            let shared = Arc::clone(shared);
            thread::Builder::new().name(name.to_owned()).spawn(move || body(&shared)).map_err(LedgerError::Thread)
        };
        threads.push(spawn("ledger-prepare", |shared| shared.prepare.serve(shared))?);
        match spawn("ledger-writer", Shared::write_until_closed) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.prepare.stop();
                threads.clear();
                return Err(error);
            }
        }
        let mut writer = shared.writer.lock();
        writer.workers = workers;
        shared.zero_first(&mut writer);
        drop(writer);
        shared.started.store(true, Ordering::Release);
        shared.hand_over();
        Ok(())
    }

    /// Writes and syncs everything queued, ends the threads and closes the ledger; reads go on. Later calls do nothing.
    ///
    /// # Errors
    /// Those of the last writes; the ledger is closed all the same.
    pub fn stop(&self) -> Result<()> {
        let shared = &self.shared;
        let mut threads = self.threads.lock();
        shared.queue.lock().closing = true;
        shared.work.notify_all();
        let mut threads_left = std::mem::take(&mut *threads);
        shared.started.store(false, Ordering::Release);
        shared.prepare.stop();
        threads_left.drain(..).for_each(|thread| drop(thread.join()));
        let mut writer = shared.writer.lock();
        writer.workers = Workers::default();
        let drained = loop {
            match shared.pump(&mut writer) {
                Ok(true) => {}
                Ok(false) => break shared.sync(&mut writer),
                Err(LedgerError::Closed) => return Ok(()),
                Err(error) => break Err(error),
            }
        };
        let drained = drained.and_then(|()| {
            let durable = shared.durable();
            shared.tell_all(|superblock| superblock.durable_lsn = durable)
        });
        shared.halt(Halt::Closed);
        drained
    }

    /// Queues an append and returns its number. Waits while more than the queue's limit is waiting to be written.
    ///
    /// Durability comes with [`wait`](Self::wait), [`settled`](Self::settled) or time (`soon_max`, with threads).
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`], [`LedgerError::Full`] (what has no blocks is taken for a removal and passes for longer),
    /// [`LedgerError::Exhausted`], [`LedgerError::QuorumLost`], [`LedgerError::Closed`]; the append then has no number and never happens.
    pub fn append(&self, append: Append) -> Result<Lsn> {
        let purpose = if append.blocks.is_empty() { Purpose::Removal } else { Purpose::Data };
        self.append_for(append, purpose)
    }

    /// As [`append`](Self::append), with a word on who may have the last room (invariant ROOM).
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_for(&self, append: Append, purpose: Purpose) -> Result<Lsn> {
        let shared = &self.shared;
        let commit_len = append.commit.as_ref().map_or(0, Bytes::len);
        let too_large = |len: usize, limit: usize| LedgerError::TooLarge { len: len as u64, limit: limit as u64 };
        if commit_len > COMMIT_LEN_MAX {
            return Err(too_large(commit_len, COMMIT_LEN_MAX));
        }
        let queued = Queued::new(append);
        let now = shared.clock.monotonic_nanos();
        let mut tried = false;
        let mut queue = shared.queue.lock();
        loop {
            if let Some(halt) = queue.halt {
                return Err(halt.error());
            }
            if queue.closing {
                return Err(LedgerError::Closed);
            }
            if queued.len() > queue.append_len_max {
                return Err(too_large(queued.len(), queue.append_len_max));
            }
            let (queued_len, append_max) = (queued.len() as u64, queue.append_len_max as u64);
            let kept = purpose == Purpose::Data && !planted(Bug::PromiseNotKept);
            let taken = if kept { queue.taken() } else { queue.bytes as u64 };
            let admitted = queue.room.admits(purpose, taken, queued_len, append_max);
            if let Some(stuck) = queue.stuck.or((!admitted).then_some(Stuck::Full)) {
                if tried {
                    return Err(stuck.error());
                }
                tried = true;
                drop(queue);
                let mut writer = shared.writer.lock();
                match stuck {
                    Stuck::Full => drop(shared.measure(&writer)),
                    // Its error is found below.
                    Stuck::Exhausted => drop(shared.pump(&mut writer)),
                }
                drop(writer);
                shared.hand_over();
            } else if queue.bytes > 0 && queue.bytes + queued.len() > shared.options.queue_bytes_max {
                if shared.started() {
                    queue.crowded += 1;
                    shared.work.notify_one();
                    shared.room.wait(&mut queue);
                    queue.crowded -= 1;
                    continue;
                }
                drop(queue);
                self.pump()?;
            } else {
                break;
            }
            queue = shared.queue.lock();
        }
        if purpose == Purpose::Mover {
            queue.moved += queued.len() as u64;
        }
        let first = queue.items.is_empty();
        let lsn = queue.push(queued, now);
        let wake = first || queue.bytes >= shared.options.flush_bytes;
        drop(queue);
        if wake && shared.started() {
            shared.work.notify_one();
        }
        Ok(lsn)
    }

    /// Most bytes an append may take: the data of its blocks, 16 bytes and the directory per block, its commit, and 16
    /// bytes. Less from the moment a set of fewer data disks joins.
    #[must_use]
    pub fn append_len_max(&self) -> usize {
        self.shared.queue.lock().append_len_max
    }

    /// Does one group commit on the calling thread; false if nothing had to be done.
    ///
    /// # Errors
    /// [`LedgerError::Full`], [`LedgerError::QuorumLost`], [`LedgerError::Closed`].
    pub fn pump(&self) -> Result<bool> {
        let pumped = self.shared.pump(&mut self.shared.writer.lock());
        self.shared.hand_over();
        pumped
    }

    /// Blocks until everything up to `lsn` is as safe as `class` says. Hurries the writer.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`], [`LedgerError::Full`], [`LedgerError::Closed`]: it is then not known whether the
    /// append will be found by the next opening. [`LedgerError::Inconsistent`] for a number never given out.
    pub fn wait(&self, lsn: Lsn, class: Class) -> Result<()> {
        let shared = &self.shared;
        {
            let mut queue = shared.queue.lock();
            // There may be descriptors again: that is asked by trying.
            let again = queue.stuck == Some(Stuck::Exhausted);
            if let Some(answer) = shared.settled(&queue, lsn, class).filter(|answer| answer.is_ok() || !again) {
                return answer;
            }
            queue.want(lsn, class);
        }
        loop {
            // Whoever comes first leads and writes for all; that saves waking another core.
            if let Some(mut writer) = shared.writer.try_lock() {
                // Its error is the answer below.
                drop(shared.pump(&mut writer));
                drop(writer);
                shared.hand_over();
            } else if !shared.started() {
                drop(shared.writer.lock());
            }
            let mut queue = shared.queue.lock();
            if let Some(answer) = shared.settled(&queue, lsn, class) {
                return answer;
            }
            if shared.started() {
                shared.progress.wait(&mut queue);
                if let Some(answer) = shared.settled(&queue, lsn, class) {
                    return answer;
                }
            }
        }
    }

    /// As [`wait`](Self::wait), as a future for any executor. Dropping it takes nothing back.
    pub fn settled(&self, lsn: Lsn, class: Class) -> Settled {
        Settled::new(Arc::clone(&self.shared), lsn, class)
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn sync(&self) -> Result<()> {
        let last = Lsn(self.shared.queue.lock().next_lsn.0 - 1);
        self.wait(last, Class::Durable)
    }

    /// The bytes at `location`, verified, from other disks if need be.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`].
    pub fn read(&self, location: &Location) -> Result<Bytes> {
        let Some(set) = self.shared.sets.of(location.segment) else {
            return Err(LedgerError::corrupt(location.segment, location.sector, Lsn(0), "no set has this segment"));
        };
        set.read(location)
    }

    /// Says that [`Ledger::read`] of `location` will follow soon: the disks begin to bring it in meanwhile. Waits for
    /// nothing.
    pub fn will_read(&self, location: &Location) {
        if let Some(set) = self.shared.sets.of(location.segment) {
            set.will_read(location);
        }
    }

    /// Every segment that some disk has a file of, the one being written and one made ahead included, but for those that
    /// [`free_all_but`](Self::free_all_but) gave back last.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentId> {
        let listed = self.shared.sets.all().into_iter().flat_map(|set| set.listed().0.into_keys());
        listed.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// The segment being written, and how many bytes of it are, on the disks that hold data.
    #[must_use]
    pub fn writing_to(&self) -> (SegmentId, u64) {
        let writer = self.shared.writer.lock();
        (writer.segment, crate::layout::byte_of(writer.sector) * writer.set.data_shards() as u64)
    }

    /// Everything up to here was handed to the operating system.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.shared.written()
    }

    /// Everything up to here survives a power loss.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Up to where everything is written, while what was appended behind it cannot be: for lack of disks, room or
    /// descriptors. It stays queued, and is written as soon as that is over.
    #[must_use]
    pub fn stalled_at(&self) -> Option<Lsn> {
        self.shared.stalled.load(Ordering::Acquire).then(|| self.shared.written())
    }

    /// The number the next append gets.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.shared.queue.lock().next_lsn
    }

    /// The store's identity: that of its first set.
    #[must_use]
    pub fn set_id(&self) -> SetId {
        self.shared.sets.roster().store
    }

    /// The layout of the set that joined first of those that are left.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.shared.sets.first().geometry
    }
}

/// Checks that there are as many disks as the layout has.
pub(crate) fn check_count(disks: &[Arc<dyn Disk>], geometry: Geometry) -> Result<usize> {
    let count = usize::from(geometry.data_shards) + usize::from(geometry.parity_shards);
    if disks.len() == count {
        return Ok(count);
    }
    let what = format!("{count} disks make this layout, {} were given", disks.len());
    Err(LedgerError::Setting { name: "geometry", what })
}

/// Writes the first superblock of each disk of a new set.
pub(crate) fn write_new(disks: &[Arc<dyn Disk>], superblock: &mut Superblock) -> Result<()> {
    for (index, disk) in disks.iter().enumerate() {
        superblock.index = DiskIndex(index as u8);
        let mut slot = AlignedBuf::zeroed(SLOT_LEN);
        superblock.encode(&mut slot);
        disk.create(FILE, 2 * SLOT_LEN as u64, true)?.write_at(0, &slot, WriteMode::Durable)?;
    }
    Ok(())
}

/// Most bytes an append may take, so that it fits into a stripe of every set.
pub(crate) fn append_limit(sets: &[Arc<Set>], options: &Options) -> usize {
    let limits = sets.iter().map(|set| options.payload_max(set.geometry) as usize - meta::PREFIX_LEN);
    limits.min().unwrap_or_default()
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Without threads a dropped ledger is a dead process: what was not waited for may be lost.
        if self.shared.started()
            && let Err(error) = self.stop()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last appends could not be written");
        }
    }
}
