//! Reading content by its manifest.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use strata_chunk::{Item, Node, Source};
use strata_engine::Location;
use strata_seam::ChunkId;

use crate::ahead::ReadAhead;
use crate::error::{ContentError, Result};
use crate::guard::{Guard, Narrow};
use crate::store::Store;
use crate::tree::{DEPTH_MAX, items_len};

/// Zeros to hand out for holes without allocating.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Reads one pinned version of some content: later changes of the file do not show.
#[derive(Clone)]
pub struct Reader {
    store: Arc<Store>,
    items: Arc<[Item]>,
    len: u64,
    /// Its version stays readable, also once nobody owns it any more.
    _holds: Holds,
}

#[derive(Clone)]
enum Holds {
    /// Everything from its time, as long as it lives: of somebody who is soon done.
    All(#[allow(dead_code, reason = "held")] Guard),
    /// Its own content alone.
    Own(#[allow(dead_code, reason = "held")] Arc<Narrow>),
}

/// Keeps all content readable from its beginning on, until it becomes a reader or is dropped. Take it before looking a manifest up:
/// otherwise its chunks could lose their last owner, and be removed, before there is a reader that holds them.
pub struct Hold {
    store: Arc<Store>,
    guard: Guard,
}

impl Hold {
    /// Begins; content that can be read now stays readable.
    #[must_use]
    pub fn begin(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), guard: store.guards.hold() }
    }

    /// A reader of the content described by `items`.
    #[must_use]
    pub fn read(self, items: &[Item]) -> Reader {
        Reader { store: self.store, items: Arc::from(items), len: items_len(items), _holds: Holds::All(self.guard) }
    }

    /// A reader of the content described by `items`, for somebody who may take long, such as a client on a network. It holds up the mover
    /// only where the mover wants to remove something that this reader may read.
    #[must_use]
    pub fn read_slowly(self, items: &[Item]) -> Reader {
        let items: Arc<[Item]> = Arc::from(items);
        let holds = Holds::Own(Arc::new(self.guard.narrow(Arc::clone(&items))));
        Reader { store: self.store, len: items_len(&items), items, _holds: holds }
    }
}

impl Reader {
    /// A reader of the content described by `items`, which somebody owns or holds.
    #[must_use]
    pub fn new(store: &Arc<Store>, items: &[Item]) -> Self {
        Hold::begin(store).read(items)
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The manifest read by.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Exactly `min(len, self.len() - offset)` bytes from `offset` (none behind the end). May block on a disk; keep
    /// `len` at 1 MiB or below.
    ///
    /// # Errors
    /// Stored bytes that fail their check and cannot be rebuilt, and those of the index. Never wrong bytes.
    pub fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let pieces = self.pieces(offset, len)?;
        Ok(join(pieces))
    }

    /// The bytes that [`Reader::read`] returns, in pieces as they lie in memory: saves joining them.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn pieces(&self, offset: u64, len: usize) -> Result<Vec<Bytes>> {
        let mut out = Vec::new();
        let range = self.clip(offset, len);
        self.store.traffic.read(range.end - range.start);
        self.gather(&self.items, range, false, &mut out, 0)?;
        Ok(out)
    }

    /// The bytes that [`Reader::read`] returns if that needs no disk (all of them are in the memory cache), else `None`. Lets an async
    /// door answer without another thread.
    #[must_use]
    pub fn read_cached(&self, offset: u64, len: usize) -> Option<Bytes> {
        let mut out = Vec::new();
        let range = self.clip(offset, len);
        let len = range.end - range.start;
        let complete = self.gather(&self.items, range, true, &mut out, 0).ok()?;
        complete.then(|| {
            self.store.traffic.read(len);
            join(out)
        })
    }

    /// To be called before a read of this range. If `ahead` shows that the handle reads in sequence, the disks begin to read what will be
    /// asked for next.
    pub fn look_ahead(&self, ahead: &ReadAhead, offset: u64, len: usize) {
        let Some(range) = ahead.note(offset, len as u64) else { return };
        let range = range.start.min(self.len)..range.end.min(self.len);
        // Only a hint: the read itself reports what is damaged or gone.
        let _ = self.announce(&self.items, range, &mut None, 0);
    }

    /// Announces the blocks of `range` that are not in memory, each once; `last` is the one announced before.
    fn announce(&self, items: &[Item], range: Range<u64>, last: &mut Option<Location>, depth: usize) -> Result<()> {
        let mut start = 0;
        for item in items {
            let end = start + item.len;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                match item.source {
                    Source::Chunk { id, .. } => {
                        let cold = self.store.cold_location(&id).filter(|location| *last != Some(*location));
                        if let Some(location) = cold {
                            self.store.engine().will_read(&location);
                            *last = Some(location);
                        }
                    }
                    Source::Page { id, .. } if depth < DEPTH_MAX => {
                        if let Some(node) = self.page(&id, false)? {
                            self.announce(node.items(), from - start..to - start, last, depth + 1)?;
                        }
                    }
                    Source::Page { .. } | Source::Hole => {}
                }
            }
            start = end;
        }
        Ok(())
    }

    /// The next data (`true`) or hole (`false`) at or behind `offset`, for `SEEK_DATA` and `SEEK_HOLE`; the end of the
    /// content counts as a hole. `None` where there is none.
    ///
    /// # Errors
    /// Reading a page of the manifest. (An answer of "no data" would make a backup leave out what it could not see.)
    pub fn seek(&self, offset: u64, data: bool) -> Result<Option<u64>> {
        if offset >= self.len {
            return Ok(None);
        }
        let found = self.seek_in(&self.items, 0, offset, data, 0)?;
        Ok(if data { found } else { found.or(Some(self.len)) })
    }

    /// The next data or hole among `items`, which begin at `start`.
    fn seek_in(&self, items: &[Item], mut start: u64, offset: u64, data: bool, depth: usize) -> Result<Option<u64>> {
        if depth > DEPTH_MAX {
            return Err(ContentError::Record { what: "a manifest deeper than any we write".to_owned() });
        }
        for item in items {
            let end = start + item.len;
            if end > offset {
                match item.source {
                    Source::Hole if !data => return Ok(Some(offset.max(start))),
                    Source::Chunk { .. } if data => return Ok(Some(offset.max(start))),
                    Source::Page { id, .. } => {
                        if let Some(node) = self.page(&id, false)?
                            && let Some(found) = self.seek_in(node.items(), start, offset, data, depth + 1)?
                        {
                            return Ok(Some(found));
                        }
                    }
                    Source::Hole | Source::Chunk { .. } => {}
                }
            }
            start = end;
        }
        Ok(None)
    }

    /// A page of the manifest; `None` if `memory_only` and it is not in memory.
    fn page(&self, id: &ChunkId, memory_only: bool) -> Result<Option<Arc<Node>>> {
        if let Some(node) = self.store.pages.get(id) {
            return Ok(Some(node));
        }
        let Some(bytes) = self.store.chunk_within(id, memory_only)? else { return Ok(None) };
        let node = Node::decode(&bytes).map_err(|_| ContentError::Record { what: format!("manifest page {id}") })?;
        let node = Arc::new(node);
        self.store.pages.keep(*id, &node);
        Ok(Some(node))
    }

    fn clip(&self, offset: u64, len: usize) -> Range<u64> {
        let from = offset.min(self.len);
        from..offset.saturating_add(len as u64).min(self.len).max(from)
    }

    /// Collects the bytes of `range`; `false` if `memory_only` and something was not in memory.
    fn gather(
        &self,
        items: &[Item],
        range: Range<u64>,
        memory_only: bool,
        out: &mut Vec<Bytes>,
        depth: usize,
    ) -> Result<bool> {
        if depth > DEPTH_MAX {
            return Err(ContentError::Record { what: "a manifest deeper than any we write".to_owned() });
        }
        let mut start = 0;
        for item in items {
            if start >= range.end {
                break;
            }
            let end = start + item.len;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let (skip, take) = (from - start, to - from);
                match item.source {
                    Source::Hole => {
                        let mut left = usize::try_from(take).unwrap_or(usize::MAX);
                        while left > 0 {
                            let step = left.min(ZEROS.len());
                            out.push(Bytes::from_static(&ZEROS[..step]));
                            left -= step;
                        }
                    }
                    Source::Chunk { id, offset } => {
                        let Some(chunk) = self.store.chunk_within(&id, memory_only)? else { return Ok(false) };
                        let from = u64::from(offset) + skip;
                        if from + take > chunk.len() as u64 {
                            return Err(ContentError::Record { what: format!("the extent of chunk {id}") });
                        }
                        let from = usize::try_from(from).unwrap_or(usize::MAX);
                        out.push(chunk.slice(from..from + usize::try_from(take).unwrap_or(usize::MAX)));
                    }
                    Source::Page { id, .. } => {
                        let Some(node) = self.page(&id, memory_only)? else { return Ok(false) };
                        if !self.gather(node.items(), skip..skip + take, memory_only, out, depth + 1)? {
                            return Ok(false);
                        }
                    }
                }
            }
            start = end;
        }
        Ok(true)
    }
}

fn join(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.swap_remove(0),
        _ => {
            let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in &pieces {
                joined.extend_from_slice(piece);
            }
            joined.freeze()
        }
    }
}
