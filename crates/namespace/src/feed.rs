//! Reading events: from any place that is still in the log, in the order of the commits, once their change is as durable as its bucket
//! promises.
//!
//! A reader keeps its own place ([`EventReader`]). A cursor stores such a place, and keeps what is still needed after it
//! (`strata_content::Cursor`).

use std::sync::Arc;

use strata_content::{ContentError, Cursor, LogGap, LogPlace, LogStop, Sequence, check_cursor_name};
use strata_seam::Lsn;
use strata_seam::planted::{Bug, planted};

use crate::authority::{Action, Resource};
use crate::error::{ErrorKind, Result, fail};
use crate::event::{Event, EventAt};
use crate::namespace::Namespace;
use crate::types::Op;

pub use strata_content::{CURSORS_MAX, Cursor as EventCursor, Sequence as EventSequence};

/// Events that a reader was not given, because they are not in the log any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventGap {
    /// The reader has everything up to here.
    pub after: Sequence,
    /// The reader can go on behind this place; what is in between is not known.
    pub until: Sequence,
    /// Whether the events are lost to damage. Otherwise their segments were freed, since nothing held them or the limit was reached.
    pub damaged: bool,
}

/// What [`EventReader::next_page`] returned: events, or a gap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventPage {
    /// In order.
    pub events: Vec<EventAt>,
    /// What is missing in front of them.
    pub gap: Option<EventGap>,
}

/// Where a reader begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// With what comes from now on.
    Now,
    /// With the first event that is still in the log.
    Start,
    /// Behind this place.
    Behind(Sequence),
}

/// Reads events one page after the other.
pub struct EventReader {
    namespace: Arc<Namespace>,
    after: Sequence,
    place: LogPlace,
    /// What is not there at the start is no gap.
    from_start: bool,
}

impl Namespace {
    /// A reader of events that begins here.
    #[must_use]
    pub fn events(self: &Arc<Self>, begin: Begin) -> EventReader {
        let after = match begin {
            Begin::Now => Sequence::behind(self.store.newest_commit()),
            Begin::Start => Sequence::default(),
            Begin::Behind(sequence) => sequence,
        };
        EventReader {
            namespace: Arc::clone(self),
            after,
            place: place_behind(after),
            from_start: begin == Begin::Start,
        }
    }

    /// A reader that continues at the cursor `name`. If there is no such cursor, it is made, and begins as `begin` says.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no name, [`ErrorKind::Busy`] above [`CURSORS_MAX`] cursors, and those of the store.
    pub fn events_by_cursor(self: &Arc<Self>, op: &Op, name: &str, begin: Begin) -> Result<EventReader> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        check_cursor_name(name).map_err(|what| fail(ErrorKind::Invalid, what))?;
        if let Some(cursor) = self.cursors()?.into_iter().find(|cursor| cursor.name == name) {
            let mut after = cursor.after;
            if planted(Bug::CursorTakenBack) {
                after.lsn = Lsn(after.lsn.0.saturating_sub(40));
            }
            return Ok(self.events(Begin::Behind(after)));
        }
        let reader = self.events(begin);
        self.move_cursor(op, name, reader.after())?;
        Ok(reader)
    }

    /// Confirms that the reader of this name has everything up to `after`. Segments before that are no longer kept for it; those after it
    /// are. A cursor never goes back.
    ///
    /// # Errors
    /// As [`Namespace::events_by_cursor`].
    pub fn move_cursor(&self, op: &Op, name: &str, after: Sequence) -> Result<()> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        check_cursor_name(name).map_err(|what| fail(ErrorKind::Invalid, what))?;
        let moved = self.clock.now();
        self.change(op, |tx, _| {
            let present = tx.cursor(name)?;
            if present.is_none() && tx.count_cursors()? >= CURSORS_MAX {
                let what =
                    format!("there are {CURSORS_MAX} cursors, the most there may be; remove one that is no longer used with `strata watch --forget`");
                return Err(fail(ErrorKind::Busy, what));
            }
            if present.is_none_or(|present| present.after < after) {
                tx.put_cursor(&Cursor { name: name.to_owned(), after, moved });
            }
            Ok(())
        })
    }

    /// Forgets a cursor; `false` if there was none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn forget_cursor(&self, op: &Op, name: &str) -> Result<bool> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        self.change(op, |tx, _| {
            let present = tx.cursor(name)?.is_some();
            if present {
                tx.delete_cursor(name);
            }
            Ok(present)
        })
    }

    /// All cursors, by name.
    ///
    /// # Errors
    /// Reading the index.
    pub fn cursors(&self) -> Result<Vec<Cursor>> {
        Ok(self.store.cursors()?)
    }

    /// The number of the newest commit. Less the number of a cursor it is how far that reader is behind.
    #[must_use]
    pub fn newest_commit(&self) -> Lsn {
        self.store.newest_commit()
    }
}

fn place_behind(after: Sequence) -> LogPlace {
    // If a commit was read only in part, reading starts again at that commit.
    LogPlace::before(if after.index == u32::MAX { after.lsn.next() } else { after.lsn })
}

impl EventReader {
    /// The place up to which this reader has returned everything.
    #[must_use]
    pub fn after(&self) -> Sequence {
        self.after
    }

    /// Reads the next events: at least `limit` of them if there are so many, and at most the rest of one commit more. An empty page means
    /// that there are no more for now. A gap is returned once, in a page of its own, and the next page continues after it.
    ///
    /// An event is returned once its change is durable, or written in a relaxed bucket. It waits for the events before it.
    ///
    /// # Errors
    /// Too many disks do not answer. The reader stays where it is and can be asked again.
    pub fn next_page(&mut self, limit: usize) -> Result<EventPage> {
        loop {
            let mut page = EventPage::default();
            let gap = match self.read(limit, &mut page.events) {
                Some(LogStop::Silent(error)) if page.events.is_empty() => return Err(ContentError::from(error).into()),
                Some(LogStop::Gap(gap)) => Some(gap),
                _ => None,
            };
            let Some(gap) = gap.filter(|_| page.events.is_empty()) else {
                // Events that were read are returned first; the next call finds the gap again.
                self.from_start &= page.events.is_empty();
                return Ok(page);
            };
            let after = self.after;
            self.place = LogPlace::before(gap.until);
            self.after = after.max(Sequence::behind(Lsn(gap.until.0 - 1)));
            if !std::mem::take(&mut self.from_start) || gap.damaged {
                page.gap = Some(EventGap { after, until: self.after, damaged: gap.damaged });
                return Ok(page);
            }
        }
    }

    /// Reads on up to a gap or to what may not be told yet, and goes there.
    fn read(&mut self, limit: usize, events: &mut Vec<EventAt>) -> Option<LogStop> {
        let store = &self.namespace.store;
        let (after, durable) = (self.after, store.durable());
        let mut place = self.place;
        // The commit at which reading stopped. It is damaged (`true`), or may not be shown yet.
        let mut before: Option<(Lsn, bool)> = None;
        let read = store.read_commits(&mut place, store.written(), &mut |lsn, commit| {
            let Some(found) = decode(lsn, commit) else {
                before = Some((lsn, true));
                return false;
            };
            if lsn > durable && !found.iter().all(|event| event.relaxed) {
                before = Some((lsn, false));
                return false;
            }
            let placed = (0..).zip(found).map(|(index, event)| EventAt { sequence: Sequence { lsn, index }, event });
            events.extend(placed.filter(|told| told.sequence > after));
            events.len() < limit
        });
        if let Some((lsn, _)) = before {
            place = LogPlace::before(lsn);
        }
        self.after = after.max(Sequence::behind(Lsn(place.next().0 - 1)));
        self.place = place;
        match before {
            Some((lsn, true)) => Some(LogStop::Gap(LogGap { from: lsn, until: lsn.next(), damaged: true })),
            Some((_, false)) => None,
            None => read.err(),
        }
    }
}

/// The events of a commit; `None` where one cannot be read.
fn decode(lsn: Lsn, commit: &[u8]) -> Option<Vec<Event>> {
    let events = strata_content::events_of(commit).and_then(|events| events.into_iter().map(Event::decode).collect());
    events.inspect_err(|error| tracing::error!(%lsn, %error, "the events of a commit cannot be read")).ok()
}
