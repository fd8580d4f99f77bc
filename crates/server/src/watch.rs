//! `strata watch`: the changes in a running store, one line per change, from every door.
//!
//! The command asks for a page of events, prints it and asks for the next one. While there are none it asks again now and then. So a
//! reader goes at its own pace, however slow: what it has not asked for stays in the log, and nothing waits for it in the server. A
//! named reader confirms with each request that it has printed the page before.

pub(crate) mod messages;
pub(crate) mod sequence;
mod shown;

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use strata_namespace::{Begin, ErrorKind, EventAt, EventReader, EventSequence, Namespace};

use crate::config::StoreConfig;
use crate::control;
use crate::control::messages::{Request, Strange};
use crate::greeting::{plain_table, say, say_json};
use crate::interrupt::Interrupt;
use crate::lock::StoreLock;
use crate::operation::op_of;
use messages::{GapShown, Page, ReaderShown, Shown, WatchRequest, Watched};
use sequence::{From, Sequence};
use shown::moment;

/// Events read for one page; of these fewer may concern the one who asks. With keys of the greatest length, all to be escaped, and
/// one commit more, a page stays below what a line of the control socket may have.
const PAGE_EVENTS: usize = 200;
/// Pause before asking again where there was nothing.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Commits that a named reader skips, because none concerns it, before it confirms its place.
const CONFIRM_COMMITS: u64 = 10_000;
/// Readers that the server remembers the place in the log of, between two pages.
const READERS_KEPT: usize = 16;

/// What the command line asks for.
pub(crate) enum Asked {
    /// Changes.
    Watch {
        /// `BUCKET[/PREFIX]`.
        only: Option<String>,
        /// Where to begin.
        from: From,
        /// The reader's name.
        cursor: Option<String>,
        /// Whether to end when there is nothing more.
        once: bool,
    },
    /// The readers that have names.
    List,
    /// Forgets one of these readers.
    Forget(String),
}

/// Readers between two pages: where they are in the log is known, so that the next page is not looked for.
#[derive(Default)]
pub(crate) struct Watches(Mutex<VecDeque<EventReader>>);

impl Watches {
    /// Answers a request.
    ///
    /// # Errors
    /// Those of the store, and what is no name of a reader.
    pub(crate) fn answer(&self, namespace: &Arc<Namespace>, request: WatchRequest) -> anyhow::Result<Watched> {
        let op = op_of("watch");
        let answer = match request {
            WatchRequest::Begin { from, cursor } => {
                let begin = match from {
                    From::Now => Begin::Now,
                    From::Start => Begin::Start,
                    From::Behind(Sequence(sequence)) => Begin::Behind(sequence),
                };
                let reader = match cursor {
                    Some(name) => namespace.events_by_cursor(&op, &name, begin)?,
                    None => namespace.events(begin),
                };
                let after = reader.after();
                self.keep(reader);
                Watched::At(Sequence(after))
            }
            WatchRequest::Next { after: Sequence(after), only } => {
                Watched::Page(self.page(namespace, after, only.as_ref())?)
            }
            WatchRequest::Confirm { cursor, after: Sequence(after) } => {
                namespace.move_cursor(&op, &cursor, after)?;
                Watched::At(Sequence(after))
            }
            WatchRequest::List => Watched::Readers(readers(namespace)?),
            WatchRequest::Bucket { name } => Watched::Bucket(match namespace.bucket_called(&op, name.as_bytes()) {
                Ok(bucket) => Some(bucket.name),
                Err(error) if error.kind == ErrorKind::NoSuchBucket => None,
                Err(error) => return Err(error.into()),
            }),
            WatchRequest::Forget { cursor } => Watched::Forgotten(namespace.forget_cursor(&op, &cursor)?),
        };
        // A crash must not take back what the answer says.
        namespace.settle_blocking(&op)?;
        Ok(answer)
    }

    fn keep(&self, reader: EventReader) {
        let mut kept = self.0.lock();
        if kept.len() == READERS_KEPT {
            kept.pop_front();
        }
        kept.push_back(reader);
    }

    fn page(
        &self,
        namespace: &Arc<Namespace>,
        after: EventSequence,
        only: Option<&(String, String)>,
    ) -> anyhow::Result<Page> {
        let known = {
            let mut kept = self.0.lock();
            let at = kept.iter().position(|reader| reader.after() == after);
            at.and_then(|at| kept.remove(at))
        };
        let mut reader = known.unwrap_or_else(|| namespace.events(Begin::Behind(after)));
        let page = reader.next_page(PAGE_EVENTS)?;
        let more = page.gap.is_some() || page.events.len() >= PAGE_EVENTS;
        let concerns =
            |told: &EventAt| only.is_none_or(|(bucket, prefix)| told.event.concerns(bucket, prefix.as_bytes()));
        let gap = page.gap.as_ref().map(GapShown::of);
        let events = page.events.into_iter().filter(concerns).map(Shown::of).collect();
        let after = Sequence(reader.after());
        self.keep(reader);
        Ok(Page { events, gap, after, more })
    }
}

fn readers(namespace: &Namespace) -> anyhow::Result<Vec<ReaderShown>> {
    let newest = namespace.newest_commit();
    let shown = |cursor: strata_namespace::EventCursor| ReaderShown {
        after: Sequence(cursor.after),
        moved: moment(cursor.moved),
        commits_behind: newest.0.saturating_sub(cursor.after.lsn.0),
        name: cursor.name,
    };
    Ok(namespace.cursors()?.into_iter().map(shown).collect())
}

/// `strata watch`.
///
/// # Errors
/// No server has the store, or it refuses.
pub(crate) fn run(config: &StoreConfig, asked: Asked, json: bool) -> anyhow::Result<ExitCode> {
    StoreLock::check_existing(&config.data)?;
    if StoreLock::holder(&config.data).is_none() {
        bail!("no server has this store open, and nothing changes in it; start one with `strata serve`");
    }
    let ask = |request| control::ask::<Watched>(&config.data, &Request::Watch(request));
    match asked {
        Asked::List => {
            let Watched::Readers(readers) = ask(WatchRequest::List)? else { bail!(Strange) };
            if json {
                say_json(&readers)?;
            } else {
                let mut table = plain_table(&["name", "behind", "moved", "commits behind"]);
                for ReaderShown { name, after, moved, commits_behind } in readers {
                    table.add_row([name, after.to_string(), moved, commits_behind.to_string()]);
                }
                say(&format!("{table}\n"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Asked::Forget(cursor) => {
            let Watched::Forgotten(there) = ask(WatchRequest::Forget { cursor: cursor.clone() })? else {
                bail!(Strange)
            };
            if !there {
                bail!("there is no reader called '{cursor}'; `strata watch --list` shows those there are");
            }
            say(&format!("the reader '{cursor}' was removed; nothing is kept for it any more\n"));
            Ok(ExitCode::SUCCESS)
        }
        Asked::Watch { only, from, cursor, once } => watch(&ask, only.as_deref(), from, cursor, once, json),
    }
}

fn watch(
    ask: &dyn Fn(WatchRequest) -> anyhow::Result<Watched>,
    only: Option<&str>,
    from: From,
    cursor: Option<String>,
    once: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let only = only.map(|only| only.split_once('/').unwrap_or((only, "")));
    let only = match only {
        Some((bucket, prefix)) => Some((bucket_as_told(ask, bucket)?, prefix.to_owned())),
        None => None,
    };
    let Watched::At(mut after) = ask(WatchRequest::Begin { from, cursor: cursor.clone() })? else { bail!(Strange) };
    let mut confirmed = after;
    loop {
        let ended = || match &cursor {
            Some(name) => format!("no more changes can be read; `--cursor {name}` continues after what was confirmed"),
            None => format!("no more changes can be read; `--from {after}` continues after what was printed"),
        };
        let Watched::Page(page) = ask(WatchRequest::Next { after, only: only.clone() }).with_context(ended)? else {
            bail!(Strange)
        };
        let told = !page.events.is_empty() || page.gap.is_some();
        if !print(&page, json)? {
            // Nobody reads the output any more: events that were not printed are not confirmed.
            return Ok(ExitCode::SUCCESS);
        }
        after = page.after;
        let ends = interrupt.came() || (once && !page.more && !told);
        if let Some(cursor) = &cursor {
            let passed = after.0.lsn.0.saturating_sub(confirmed.0.lsn.0);
            if told || passed > CONFIRM_COMMITS || (ends && after > confirmed) {
                let cursor = cursor.clone();
                ask(WatchRequest::Confirm { cursor, after }).context("what was printed could not be confirmed")?;
                confirmed = after;
            }
        }
        if ends {
            return Ok(ExitCode::SUCCESS);
        }
        if !page.more && !told {
            std::thread::sleep(ASK_EVERY);
        }
    }
}

/// What changes call the bucket that somebody means by its folder's name or by what S3 calls it.
fn bucket_as_told(ask: &dyn Fn(WatchRequest) -> anyhow::Result<Watched>, name: &str) -> anyhow::Result<String> {
    let Watched::Bucket(found) = ask(WatchRequest::Bucket { name: name.to_owned() })? else { bail!(Strange) };
    if found.is_none() {
        eprintln!(
            "strata: there is no bucket '{}' now; changes of a former or a future bucket of this name are shown; `strata bucket list` shows all buckets",
            name.escape_debug()
        );
    }
    Ok(found.unwrap_or_else(|| name.to_owned()))
}

/// Prints a page; `false` where the other end of the pipe is gone.
fn print(page: &Page, json: bool) -> anyhow::Result<bool> {
    let mut out = String::new();
    if let Some(gap) = &page.gap {
        out.push_str(&if json { serde_json::to_string(gap)? } else { gap.in_words() });
        out.push('\n');
    }
    for (at, event) in page.events.iter().enumerate() {
        // The halves of an exchange stand beside each other.
        let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| page.events.get(at));
        let other = beside.into_iter().find(|other| event.exchanges_with(other));
        out.push_str(&if json { serde_json::to_string(event)? } else { event.in_words(other) });
        out.push('\n');
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("changes cannot be printed"),
    }
}
