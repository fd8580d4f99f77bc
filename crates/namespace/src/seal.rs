//! Sealing: turning staged bytes into content.
//!
//! Written ranges are widened to the chunks that they touch, so that the result is chunked much like the same bytes stored in one
//! stream. Everything between them is taken over by reference. A sync of a small range does not widen it: the range is stored as it is,
//! and the file is chunked again there when it is closed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_content::{Content, Hold, Ingest, Reader, items_len};
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::domain::dedup_domain;
use crate::error::{ErrorKind, Result, fail};
use crate::event::Made;
use crate::locks::uphold::Touched;
use crate::namespace::Namespace;
use crate::opens::{OpenFile, State};
use crate::records::Inode;
use crate::staging::Staging;
use crate::types::{Attr, Caller, Change, NodeKind, Op, STORE};
use crate::view::{View, gone};

/// Staged bytes up to which a sync puts ranges in place as they are.
const IN_PLACE_MAX: usize = 128 << 10;
/// Ranges put in place that are remembered for chunking again; beyond, one range over all of them is.
const FRAGMENTS_MAX: usize = 1024;
/// Old content is read back in steps of this many bytes.
const READ_STEP: u64 = 1 << 20;

/// How a seal treats the surroundings of what was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Chunk again from the cut before to the cut behind.
    Whole,
    /// As it is.
    InPlace,
    /// Like `Whole`, but leave the bytes behind the last natural cut staged: more will follow.
    Front,
}

/// A range of the file to be chunked anew; bytes not staged are read from the old content.
struct Region {
    range: Range<u64>,
}

/// What is being sealed, and what there is to know about it.
struct Task {
    staging: Arc<Staging>,
    fragments: Vec<(u64, u64)>,
    natural_end: Option<u64>,
    /// Who wrote last.
    writer: Option<Caller>,
    how: How,
}

/// What became of it.
struct Sealed {
    /// Up to where the staged bytes are content now.
    end: u64,
    /// Bytes the content has allocated.
    allocated: u64,
}

/// Staged bytes from which a seal is a large one.
const LARGE: usize = 1 << 20;

impl Namespace {
    /// Seals everything staged of a file.
    pub(crate) fn seal_whole(&self, op: &Op, ino: Ino, file: &OpenFile) -> Result<()> {
        self.seal(op, ino, file, How::Whole)
    }

    /// Seals for a sync.
    pub(crate) fn seal_in_place(&self, op: &Op, ino: Ino, file: &OpenFile) -> Result<()> {
        let small = file.state.lock().staging.bytes() <= IN_PLACE_MAX;
        self.seal(op, ino, file, if small { How::InPlace } else { How::Whole })
    }

    /// Seals the front of a file that is being written.
    pub(crate) fn seal_front(&self, op: &Op, ino: Ino, file: &OpenFile) -> Result<()> {
        self.seal(op, ino, file, How::Front)
    }

    /// Seals what is staged of a file, if anything is: for operations that work on content.
    pub(crate) fn seal_if_dirty(&self, op: &Op, ino: Ino) -> Result<()> {
        match self.opens.get(ino) {
            Some(file) if file.dirty.load(Ordering::Acquire) => self.seal_whole(op, ino, &file),
            _ => Ok(()),
        }
    }

    /// Seals the staged bytes of a file for a reader whose answer waits for durability. If they cannot be stored for lack of room, disks
    /// or descriptors, the reader gets only what is stored, which no crash can take back. Returns whether nothing is staged besides.
    pub(crate) fn seal_for_reading(&self, op: &Op, ino: Ino) -> Result<bool> {
        // What this change depends on is no part of the answer unless the change is made.
        let sealing = Op::new(op.caller.clone());
        match self.seal_if_dirty(&sealing, ino) {
            Ok(()) => {
                op.note(sealing.lsn(), sealing.strict());
                Ok(true)
            }
            Err(error) if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::ReadOnly | ErrorKind::Busy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes what is staged now, makes content of it while the file can be written on, and commits. Whatever fails,
    /// the bytes stay staged.
    fn seal(&self, op: &Op, ino: Ino, file: &OpenFile, how: How) -> Result<()> {
        let _sealing = file.seal.lock();
        let task = {
            let mut state = file.state.lock();
            self.take_back(&mut state);
            if state.staging.is_empty() && (how != How::Whole || state.fragments.is_empty()) {
                return Ok(());
            }
            let staging = Arc::new(std::mem::take(&mut state.staging));
            state.sealing = Some(Arc::clone(&staging));
            let fragments = if how == How::Whole { std::mem::take(&mut state.fragments) } else { Vec::new() };
            Task { staging, fragments, natural_end: state.natural_end, writer: state.writer.clone(), how }
        };
        let large = (task.staging.bytes() > LARGE).then(|| self.opens.large_seals.0.take());
        let sealed = self.seal_task(op, ino, file, &task);
        drop(large);
        let mut state = file.state.lock();
        state.sealing = None;
        let allocated = sealed.as_ref().ok().and_then(Option::as_ref).map(|sealed| sealed.allocated);
        let kept = match sealed {
            Ok(Some(Sealed { end, .. })) => {
                // Bytes behind the last cut stay staged, and are cut together with what follows them.
                let kept = state.staging.write_below(&task.staging, end);
                state.natural_end = (how == How::Front && kept > 0).then_some(end);
                if how == How::InPlace {
                    remember(
                        &mut state.fragments,
                        task.staging.extents().map(|(start, data)| start..start + data.len() as u64),
                    );
                }
                Ok(kept)
            }
            Ok(None) => Ok(0),
            Err(error) => {
                let kept = state.staging.write_below(&task.staging, 0);
                remember(&mut state.fragments, task.fragments.iter().map(|(from, to)| *from..*to));
                self.opens.staged_bytes.fetch_add(kept, Ordering::AcqRel);
                Err(error)
            }
        };
        self.opens.staged_bytes.fetch_sub(task.staging.bytes() - kept.as_ref().copied().unwrap_or(0), Ordering::AcqRel);
        let differs = allocated.is_some_and(|allocated| self.recount(op, ino, &mut state, allocated));
        self.opens.stored.note(ino);
        file.publish(&state, &self.store, 0);
        if differs {
            // The writing door is told too: it has only an estimate of what the write allocates.
            self.feed.publish(&STORE, vec![Change::Attr(ino)]);
        }
        kept.map(|_| ())
    }

    /// Under the seal lock: where a seal before this one panicked, what it had taken is staged again, or it would be
    /// forgotten now.
    fn take_back(&self, state: &mut State) {
        if let Some(left) = state.sealing.take() {
            let kept = state.staging.write_below(&left, 0);
            self.opens.staged_bytes.fetch_sub(left.bytes() - kept, Ordering::AcqRel);
        }
    }

    /// `None` where the file is gone and nobody can ask for its bytes any more.
    fn seal_task(&self, op: &Op, ino: Ino, file: &OpenFile, task: &Task) -> Result<Option<Sealed>> {
        loop {
            let hold = Hold::begin(&self.store);
            let Some(inode) = self.find_inode_to_change(op, ino)? else { return Ok(None) };
            let (content, rest) = self.rebuild(hold, &inode, task)?;
            let end = if rest > 0 { content.len() } else { u64::MAX };
            let allocated = self.store.allocated_of(&content)?;
            if self.replace_sealed(op, &inode, content, allocated, file, task)? {
                return Ok(Some(Sealed { end, allocated }));
            }
            // Another change replaced the content in between: build on the new content.
        }
    }

    /// Commits the new content unless the file's content is no longer `inode`'s.
    fn replace_sealed(
        &self,
        op: &Op,
        inode: &Inode,
        content: Content,
        allocated: u64,
        file: &OpenFile,
        task: &Task,
    ) -> Result<bool> {
        let mtime = file.mtime();
        // The change is reported as the writer's, whoever asked for the sealing.
        let Caller { door, uid, user, .. } = task.writer.clone().unwrap_or_else(|| op.caller.clone());
        let writer = Op::new(Caller { door, uid, user, ..op.caller.clone() });
        let done = self.change(&writer, |tx, effects| {
            let mut now = tx.inode(inode.attr.ino)?;
            if now.items != inode.items || now.version != inode.version {
                return Ok(false);
            }
            if planted(Bug::StagedFreedInBody) {
                self.opens.staged_bytes.fetch_sub(task.staging.bytes(), Ordering::AcqRel);
            }
            let shown = self.with_staged(now.attr.clone());
            let old = std::mem::take(&mut now.items);
            self.set_content(tx, &mut now, &content, allocated)?;
            tx.release(&old)?;
            now.tag = None;
            now.parts.clear();
            now.meta.checksums.clear();
            if !task.staging.is_empty() {
                now.attr.mtime = now.attr.mtime.max(mtime);
                now.attr.ctime = now.attr.ctime.max(mtime);
            }
            effects.bucket = now.bucket;
            self.put_inode(tx, &mut now);
            // Listeners were told of the write: they are told of the sealing only if it shows anything else.
            let quiet = shown == (Attr { change: shown.change, ..now.attr.clone() });
            self.tell_content_of(tx, effects, &now, Made::Write, quiet);
            Ok(true)
        })?;
        if planted(Bug::StagedFreedInBody) && done {
            self.opens.staged_bytes.fetch_add(task.staging.bytes(), Ordering::AcqRel);
        }
        op.note(writer.lsn(), writer.strict());
        Ok(done)
    }

    /// The content with the staged bytes in it; and how many bytes at the end were left out (`How::Front`).
    fn rebuild(&self, hold: Hold, inode: &Inode, task: &Task) -> Result<(Content, usize)> {
        let items = &inode.items;
        let size = items_len(items);
        let reader = hold.read(items);
        let mut ingest = self.store.ingest_promised(dedup_domain(inode.bucket), self.is_relaxed(inode.bucket)?);
        let mut at = 0;
        for Region { range } in self.regions(inode, task, size)? {
            if at < range.start {
                self.keep(&mut ingest, items, at..range.start, size)?;
            }
            feed(&mut ingest, &reader, &task.staging, range.clone())?;
            at = range.end;
        }
        if at < size {
            self.keep(&mut ingest, items, at..size, size)?;
        } else if task.how == How::Front && task.staging.covers(ingest.len() - ingest.uncut_len() as u64, ingest.len())
        {
            // What is left out stays staged, so all of it must be staged: bytes of the old content would be lost otherwise.
            return Ok(ingest.finish_at_last_cut()?);
        }
        Ok((ingest.finish()?, 0))
    }

    /// Takes over a range by reference; behind the old end it is a hole.
    fn keep(&self, ingest: &mut Ingest, items: &[strata_content::Item], range: Range<u64>, size: u64) -> Result<()> {
        let mut kept = self.store.slice(items, range.start.min(size)..range.end.min(size))?;
        let hole = range.end.saturating_sub(range.start.max(size));
        if hole > 0 {
            kept.push(strata_content::Item::hole(hole));
        }
        Ok(ingest.push_items(&kept)?)
    }

    /// What has to be chunked: staged extents and old fragments, widened as `how` says, joined where they meet.
    fn regions(&self, inode: &Inode, task: &Task, size: u64) -> Result<Vec<Region>> {
        let mut ranges: Vec<Range<u64>> =
            task.staging.extents().map(|(start, data)| start..start + data.len() as u64).collect();
        ranges.extend(task.fragments.iter().map(|(from, to)| *from..(*to).min(size)).filter(|range| !range.is_empty()));
        ranges.sort_by_key(|range| range.start);
        let mut regions: Vec<Region> = Vec::new();
        for range in ranges {
            let range = if task.how == How::InPlace { range } else { self.widen(inode, task, range, size)? };
            match regions.last_mut() {
                Some(last) if range.start <= last.range.end => last.range.end = last.range.end.max(range.end),
                _ => regions.push(Region { range }),
            }
        }
        Ok(regions)
    }

    /// From the start of the chunk that holds the first byte (or ends before it, when the file grows there) to the end
    /// of the chunk that holds the last.
    fn widen(&self, inode: &Inode, task: &Task, range: Range<u64>, size: u64) -> Result<Range<u64>> {
        let items = &inode.items;
        let mut wide = range.clone();
        if range.start < size {
            wide.start = self.chunk_bounds(items, range.start)?.map_or(range.start, |bounds| bounds.start);
        } else if range.start == size && size > 0 && task.natural_end != Some(size) {
            wide.start = self.chunk_bounds(items, size - 1)?.map_or(range.start, |bounds| bounds.start);
        }
        if range.end < size {
            wide.end = self.chunk_bounds(items, range.end - 1)?.map_or(range.end, |bounds| bounds.end.max(range.end));
        }
        Ok(wide)
    }

    /// The bounds of the chunk at `offset`; `None` in a hole, which is never read back.
    fn chunk_bounds(&self, items: &[strata_content::Item], offset: u64) -> Result<Option<Range<u64>>> {
        let hole = self.store.slice(items, offset..offset + 1)?;
        if hole.iter().any(|item| matches!(item.source, strata_content::Source::Hole)) {
            return Ok(None);
        }
        Ok(self.store.item_bounds(items, offset)?)
    }

    /// Truncates or extends to `size` bytes; extending makes a hole.
    pub(crate) fn resize(&self, op: &Op, ino: Ino, size: u64) -> Result<Attr> {
        let resized = |ns: &Self, inode: &Inode| {
            let len = items_len(&inode.items);
            let kept = if planted(Bug::TruncateKeepsTail) { len } else { size.min(len) };
            let mut items = ns.store.slice(&inode.items, 0..kept)?;
            if size > len {
                items.push(strata_content::Item::hole(size - len));
            }
            Ok(ns.store.content(dedup_domain(inode.bucket), items)?)
        };
        match self.edit(op, ino, resized) {
            // There is no room for the staged bytes. Those that are cut off need none.
            Err(error) if error.kind == ErrorKind::NoSpace => match self.opens.get(ino) {
                Some(file) => self.resize_staged(op, ino, &file, size, resized),
                None => Err(error),
            },
            edited => edited,
        }
    }

    /// Cuts what is staged and the content below it, and leaves the rest staged.
    fn resize_staged(
        &self,
        op: &Op,
        ino: Ino,
        file: &OpenFile,
        size: u64,
        resized: impl Fn(&Self, &Inode) -> Result<Content>,
    ) -> Result<Attr> {
        let _sealing = file.seal.lock();
        // Held to the end, so that nobody sees only the staged bytes or only the content cut.
        let mut state = file.state.lock();
        self.take_back(&mut state);
        let mut cut = Staging::default();
        cut.write_below(&state.staging, size);
        state.staging.cut(size, u64::MAX);
        state.natural_end = None;
        self.opens.stored.note(ino);
        file.publish(&state, &self.store, 0);
        let edited = loop {
            match self.edit_once(op, ino, &resized) {
                Ok(None) => {}
                Ok(Some(attr)) => break Ok(attr),
                Err(error) => break Err(error),
            }
        };
        match &edited {
            Ok(attr) => {
                self.opens.staged_bytes.fetch_sub(cut.bytes(), Ordering::AcqRel);
                self.recount(op, ino, &mut state, attr.allocated);
            }
            Err(_) => {
                state.staging.write_below(&cut, 0);
            }
        }
        self.opens.stored.note(ino);
        file.publish(&state, &self.store, 0);
        drop(state);
        edited.map(|attr| self.with_staged(attr))
    }

    /// Seals what is staged, then replaces the content by what `build` makes of it.
    pub(crate) fn edit(&self, op: &Op, ino: Ino, build: impl Fn(&Self, &Inode) -> Result<Content>) -> Result<Attr> {
        loop {
            self.seal_if_dirty(op, ino)?;
            if let Some(attr) = self.edit_once(op, ino, &build)? {
                return Ok(attr);
            }
        }
    }

    /// Replaces the content by what `build` makes of it; `None` where somebody else replaced it meanwhile.
    fn edit_once(&self, op: &Op, ino: Ino, build: impl Fn(&Self, &Inode) -> Result<Content>) -> Result<Option<Attr>> {
        let inode = self.find_inode_to_change(op, ino)?.ok_or_else(gone)?;
        if inode.attr.kind != NodeKind::File {
            return Err(fail(ErrorKind::Invalid, format!("inode {ino} is not a regular file")));
        }
        let content = build(self, &inode)?;
        let allocated = self.store.allocated_of(&content)?;
        self.change(op, |tx, effects| {
            let mut now = tx.inode(ino)?;
            self.uphold_locks(tx, op, &[Touched::Node(&now)])?;
            if now.items != inode.items || now.version != inode.version {
                return Ok(None);
            }
            let old = std::mem::take(&mut now.items);
            self.set_content(tx, &mut now, &content, allocated)?;
            tx.release(&old)?;
            let time = self.clock.now();
            (now.attr.mtime, now.attr.ctime) = (time, time);
            (now.tag, now.parts) = (None, Vec::new());
            now.meta.checksums.clear();
            crate::mode::drop_set_id(&op.caller, &mut now);
            effects.bucket = now.bucket;
            self.put_inode(tx, &mut now);
            self.tell_content_of(tx, effects, &now, Made::Edit, false);
            Ok(Some(now.attr))
        })
    }
}

/// Pushes the bytes of `range`, staged where they are, old elsewhere, zeros behind the old end.
fn feed(ingest: &mut Ingest, reader: &Reader, staging: &Staging, range: Range<u64>) -> Result<()> {
    let mut at = range.start;
    for (start, data) in staging.extents() {
        let end = start + data.len() as u64;
        if end <= at || start >= range.end {
            continue;
        }
        feed_old(ingest, reader, at..start.max(at))?;
        let skip = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        let late = usize::from(planted(Bug::ExtentOffByOne) && skip == 0 && data.len() > 1);
        ingest.push(&data[data.len() - late..])?;
        ingest.push(&data[skip..data.len() - late])?;
        at = end;
    }
    feed_old(ingest, reader, at..range.end.max(at))
}

fn feed_old(ingest: &mut Ingest, reader: &Reader, range: Range<u64>) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let step = READ_STEP.min(range.end - at);
        let bytes = reader.read(at, usize::try_from(step).unwrap_or(usize::MAX))?;
        if bytes.is_empty() {
            // Only a gap between two writes behind the old end gets here, and regions never join across one.
            ingest.push_items(&[strata_content::Item::hole(range.end - at)])?;
            return Ok(());
        }
        ingest.push(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

fn remember(fragments: &mut Vec<(u64, u64)>, ranges: impl Iterator<Item = Range<u64>>) {
    fragments.extend(ranges.map(|range| (range.start, range.end)));
    fragments.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(fragments.len());
    for (from, to) in fragments.drain(..) {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    if joined.len() > FRAGMENTS_MAX {
        let (first, last) = (joined[0].0, joined.iter().map(|(_, to)| *to).max().unwrap_or(0));
        joined = vec![(first, last)];
    }
    *fragments = joined;
}
