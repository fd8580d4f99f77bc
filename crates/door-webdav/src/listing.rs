//! Directories as replies: read and rendered page by page on a blocking thread, sent while the next page is made.
//!
//! Memory is bounded by [`PAGES_AHEAD`] pages of [`PAGE_LEN`] bytes and an entry, whatever the size of the directory. A page leaves only
//! after everything in it is durable (invariant SEEN). Entries that come or go between pages may or may not show.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use strata_namespace::{DirEntry, NodeKind};
use strata_seam::Ino;
use tokio::sync::mpsc;

use crate::ask::Ask;
use crate::body::{BodyError, ReplyBody};
use crate::error::{Refusal, Result};

/// Entries read at a time.
const PAGE_ENTRIES: usize = 128;
/// Bytes rendered at a time, and what one entry more takes.
const PAGE_LEN: usize = 64 * 1024;
/// Pages waiting for a slow client.
const PAGES_AHEAD: usize = 1;

/// Turns entries into text.
pub(crate) trait Render: Send + 'static {
    /// What stands before the entries.
    fn head(&mut self, out: &mut Vec<u8>) -> Result<()>;
    /// One file or directory.
    fn entry(&mut self, entry: &DirEntry, out: &mut Vec<u8>) -> Result<()>;
    /// What stands behind them.
    fn tail(&mut self, out: &mut Vec<u8>);
}

struct Pages {
    ask: Arc<Ask>,
    dir: Ino,
    cursor: Vec<u8>,
    /// Entries read and not yet rendered; behind them there are no more if `end` says so.
    entries: VecDeque<DirEntry>,
    end: bool,
    render: Box<dyn Render>,
    begun: bool,
    done: bool,
    /// Length of the last page, as a guess for the next.
    len: usize,
}

impl Pages {
    fn next(mut self) -> Result<(Self, Bytes)> {
        let mut out = Vec::with_capacity(self.len + 1024);
        if !self.begun {
            self.begun = true;
            self.render.head(&mut out)?;
        }
        if self.entries.is_empty() && !self.end {
            let page = self.ask.ns().readdir(&self.ask.op, self.dir, &self.cursor, PAGE_ENTRIES)?;
            self.end = page.end || page.entries.is_empty();
            self.entries = page.entries.into();
            if let Some(last) = self.entries.back() {
                self.cursor.clone_from(&last.cursor);
            }
        }
        while out.len() < PAGE_LEN
            && let Some(entry) = self.entries.pop_front()
        {
            if matches!(entry.attr.kind, NodeKind::File | NodeKind::Directory) {
                self.render.entry(&entry, &mut out)?;
            }
        }
        self.done = self.end && self.entries.is_empty();
        if self.done {
            self.render.tail(&mut out);
        }
        self.len = out.len();
        Ok((self, Bytes::from(out)))
    }

    async fn next_durable(self) -> Result<(Self, Bytes)> {
        let (pages, bytes) =
            strata_gate::bridge::wait(move || self.next()).await.map_err(|error| Refusal::task(&error))??;
        pages.ask.ns().settle(&pages.ask.op).await?;
        Ok((pages, bytes))
    }
}

/// The body of a reply about a directory. An error on the first page is an error of the request; a later one breaks the
/// reply off.
pub(crate) async fn stream(ask: &Arc<Ask>, dir: Ino, render: Box<dyn Render>) -> Result<ReplyBody> {
    let pages = Pages {
        ask: ask.clone(),
        dir,
        cursor: Vec::new(),
        entries: VecDeque::new(),
        end: false,
        render,
        begun: false,
        done: false,
        len: 0,
    };
    let (mut pages, first) = pages.next_durable().await?;
    if pages.done {
        return Ok(ReplyBody::whole(&ask.door.metrics, first));
    }
    let (send, receive) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(async move {
        let mut bytes = first;
        while send.send(Ok(bytes)).await.is_ok() && !pages.done {
            match pages.next_durable().await {
                Ok((next, page)) => (pages, bytes) = (next, page),
                Err(refusal) => {
                    let _ = send.send(Err(BodyError(refusal.what))).await;
                    return;
                }
            }
        }
    });
    Ok(ReplyBody::pages(&ask.door.metrics, receive))
}
