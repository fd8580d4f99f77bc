//! Appends waiting for the writer, and those waiting for appends.
//!
//! Invariants: numbers are given out in order and without a gap, under one short lock; what is queued is bounded in
//! bytes; whoever waits is woken by progress, by a halt, or by the lack of room.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use strata_seam::{Lsn, Timestamp};

use crate::api::{Append, Class};
use crate::error::LedgerError;
use crate::meta;
use crate::room::Room;
use crate::wire::crc32c;

/// An append with what could be computed before it had a number.
pub(crate) struct Queued {
    pub(crate) lsn: Lsn,
    pub(crate) append: Append,
    /// CRC-32C of each block's data.
    pub(crate) crcs: Vec<u32>,
    pub(crate) data_len: usize,
    pub(crate) meta_len: usize,
}

impl Queued {
    pub(crate) fn new(append: Append) -> Self {
        let crcs = append.blocks.iter().map(|block| crc32c(&block.data)).collect();
        let data_len = append.blocks.iter().map(|block| block.data.len()).sum();
        let meta_len = meta::append_len(&append);
        Self { lsn: Lsn(0), append, crcs, data_len, meta_len }
    }

    /// Bytes in a stripe's payload.
    pub(crate) fn len(&self) -> usize {
        self.data_len + self.meta_len
    }
}

/// Why nothing more is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    QuorumLost { answered: usize, needed: usize },
    Closed,
}

impl Halt {
    pub(crate) fn error(self) -> LedgerError {
        match self {
            Self::QuorumLost { answered, needed } => LedgerError::QuorumLost { answered, needed },
            Self::Closed => LedgerError::Closed,
        }
    }
}

/// Why what is queued cannot be written for now. It stays queued and is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stuck {
    /// There is no room for another segment.
    Full,
    /// The server lacks descriptors or memory.
    Exhausted,
}

impl Stuck {
    pub(crate) fn error(self) -> LedgerError {
        match self {
            Self::Full => LedgerError::Full,
            Self::Exhausted => LedgerError::Exhausted { what: "writing what is queued".to_owned() },
        }
    }
}

/// The queue. All of it lies under one lock that is never held during I/O.
pub(crate) struct Queue {
    pub(crate) items: VecDeque<Queued>,
    /// Payload bytes queued or being written.
    pub(crate) bytes: usize,
    /// Given to the next append.
    pub(crate) next_lsn: Lsn,
    /// Monotonic nanoseconds at which the oldest queued append came.
    pub(crate) oldest_at: u64,
    /// Highest numbers somebody waits for, by class.
    pub(crate) wanted_written: Lsn,
    pub(crate) wanted_durable: Lsn,
    /// Appends waiting for room in the queue.
    pub(crate) crowded: usize,
    /// Payload bytes that the mover's round under way appended.
    pub(crate) moved: u64,
    /// Bytes that were promised room and are not queued yet.
    pub(crate) promised: u64,
    /// What still fits.
    pub(crate) room: Room,
    /// Why not even what is queued can be written for now.
    pub(crate) stuck: Option<Stuck>,
    pub(crate) closing: bool,
    pub(crate) halt: Option<Halt>,
    /// Since when something is refused.
    pub(crate) refusing_since: Option<Timestamp>,
    /// Most bytes of one append: it fits into a stripe of whatever set is written next.
    pub(crate) append_len_max: usize,
    wakers: BTreeMap<u64, (Lsn, Class, Waker)>,
    next_waker: u64,
}

impl Queue {
    pub(crate) fn new(next_lsn: Lsn, halt: Option<Halt>, append_len_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            next_lsn,
            oldest_at: 0,
            wanted_written: Lsn(0),
            wanted_durable: Lsn(0),
            crowded: 0,
            moved: 0,
            promised: 0,
            room: Room::default(),
            stuck: None,
            closing: false,
            halt,
            refusing_since: None,
            append_len_max,
            wakers: BTreeMap::new(),
            next_waker: 0,
        }
    }

    /// Whether appends with data are refused for lack of room.
    pub(crate) fn is_full(&self) -> bool {
        self.stuck == Some(Stuck::Full) || self.room.is_full(self.taken(), self.append_len_max as u64)
    }

    /// Bytes that the room measured last is taken by: queued or promised.
    pub(crate) fn taken(&self) -> u64 {
        self.bytes as u64 + self.promised
    }

    /// Numbers an append and queues it.
    pub(crate) fn push(&mut self, mut queued: Queued, now: u64) -> Lsn {
        if self.items.is_empty() {
            self.oldest_at = now;
        }
        queued.lsn = self.next_lsn;
        self.next_lsn = self.next_lsn.next();
        self.bytes += queued.len();
        let lsn = queued.lsn;
        self.items.push_back(queued);
        lsn
    }

    /// Takes as many appends from the front as fit into a stripe of `payload_max` bytes.
    pub(crate) fn take(&mut self, payload_max: usize) -> Vec<Queued> {
        let mut len = meta::PREFIX_LEN;
        let mut batch = Vec::new();
        while let Some(next) = self.items.front()
            && len + next.len() <= payload_max
        {
            len += next.len();
            batch.extend(self.items.pop_front());
        }
        batch
    }

    /// Puts a batch back that could not be written.
    pub(crate) fn put_back(&mut self, batch: Vec<Queued>) {
        for queued in batch.into_iter().rev() {
            self.items.push_front(queued);
        }
    }

    /// Notes that somebody waits.
    pub(crate) fn want(&mut self, lsn: Lsn, class: Class) {
        let wanted = match class {
            Class::Written => &mut self.wanted_written,
            Class::Durable => &mut self.wanted_durable,
        };
        *wanted = lsn.max(*wanted);
    }

    /// Whether the writer has reason to write at once.
    pub(crate) fn urgent(&self, written: Lsn, durable: Lsn, flush_bytes: usize) -> bool {
        let queued = !self.items.is_empty();
        self.wanted_durable > durable && (queued || written > durable)
            || queued
                && (self.wanted_written > written || self.bytes >= flush_bytes || self.crowded > 0 || self.closing)
    }

    /// Remembers or replaces the waker of a future.
    pub(crate) fn set_waker(&mut self, id: &mut Option<u64>, lsn: Lsn, class: Class, waker: &Waker) {
        let id = *id.get_or_insert_with(|| {
            self.next_waker += 1;
            self.next_waker
        });
        self.wakers.insert(id, (lsn, class, waker.clone()));
    }

    /// Forgets the waker of a future that is done or dropped.
    pub(crate) fn drop_waker(&mut self, id: u64) {
        self.wakers.remove(&id);
    }

    /// Takes the wakers of futures that have an answer now; all of them after a halt.
    pub(crate) fn ready_wakers(&mut self, written: Lsn, durable: Lsn) -> Vec<Waker> {
        let all = self.halt.is_some() || self.stuck.is_some();
        let ready = |(lsn, class, _): &(Lsn, Class, Waker)| {
            all || match class {
                Class::Written => *lsn <= written,
                Class::Durable => *lsn <= durable,
            }
        };
        let ids: Vec<u64> = self.wakers.iter().filter(|(_, waiting)| ready(waiting)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.wakers.remove(&id)).map(|(_, _, waker)| waker).collect()
    }
}
