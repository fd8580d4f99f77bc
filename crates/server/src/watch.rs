//! `strata watch`: what changes in a running store, one line per change, whichever door it came through.
//!
//! The command asks for a page of events, prints it and asks for the next one behind it; while there is nothing it asks again now
//! and then. So a reader goes at its own pace, however slow: what it has not asked for stays in the log, and nothing waits for it in the server. A
//! reader with a name confirms with each page that it has printed the one before.

mod shown;

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strata_namespace::{Begin, ErrorKind, EventAt, EventReader, EventSequence, Namespace};
use strata_seam::Lsn;

use crate::config::StoreConfig;
use crate::control;
use crate::greeting::{plain_table, say, say_json};
use crate::interrupt::Interrupt;
use crate::lock::StoreLock;
use crate::operation::op_of;
use shown::{GapShown, Shown, moment};

/// Events read for one page; of these fewer may concern the one who asks. With keys of the greatest length, all to be escaped, and
/// one commit more, a page stays below what a line of the control socket may have.
const PAGE_EVENTS: usize = 200;
/// Pause before asking again where there was nothing.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Commits that a named reader passes over, because none concerns it, before it says so.
const CONFIRM_COMMITS: u64 = 10_000;
/// Readers that the server remembers the place in the log of, between two pages.
const READERS_KEPT: usize = 16;

/// Where a reader without a place of its own begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// With what comes from now on.
    Now,
    /// With the first that is still kept.
    Start,
    /// Behind this one.
    Behind(Sequence),
}

/// The place of an event, as `COMMIT.INDEX`; a commit alone is behind all of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sequence(EventSequence);

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.index {
            u32::MAX => write!(f, "{}", self.0.lsn.0),
            index => write!(f, "{}.{index}", self.0.lsn.0),
        }
    }
}

impl FromStr for Sequence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no sequence of a change: they look like 4711.0, as `strata watch` prints them");
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        let (lsn, index) = match text.split_once('.') {
            Some((lsn, index)) => {
                let index = number(index).and_then(|index| u32::try_from(index).ok()).ok_or_else(wrong)?;
                (lsn, index)
            }
            None => (text, u32::MAX),
        };
        Ok(Self(EventSequence { lsn: Lsn(number(lsn).ok_or_else(wrong)?), index }))
    }
}

impl Serialize for Sequence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "start" => Ok(Self::Start),
            sequence => sequence.parse().map(Self::Behind),
        }
    }
}

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
    /// That one of them is forgotten.
    Forget(String),
}

/// What the command asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WatchRequest {
    /// Where to begin, and with a name where that reader is.
    Begin {
        from: From,
        cursor: Option<String>,
    },
    /// What comes behind a place, as far as it concerns a bucket and keys that begin so.
    Next {
        after: Sequence,
        only: Option<(String, String)>,
    },
    /// That a reader has everything up to a place.
    Confirm {
        cursor: String,
        after: Sequence,
    },
    List,
    Forget {
        cursor: String,
    },
    /// What S3 calls the bucket that is meant by a name, as changes name it.
    Bucket {
        name: String,
    },
}

/// What the server answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Watched {
    /// The reader is here.
    At(Sequence),
    /// The next events.
    Page(Page),
    /// All readers that have a name.
    Readers(Vec<ReaderShown>),
    /// Whether there was such a reader.
    Forgotten(bool),
    /// The bucket that is meant; `None` where there is none now.
    Bucket(Option<String>),
}

/// One page.
#[derive(Serialize, Deserialize)]
pub(crate) struct Page {
    events: Vec<Shown>,
    gap: Option<GapShown>,
    /// Everything up to here was looked at.
    after: Sequence,
    /// Whether there may be more at once.
    more: bool,
}

/// A reader that has a name, as `strata watch --list --json` shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReaderShown {
    name: String,
    /// It has everything up to here.
    after: Sequence,
    /// When it said so last.
    moved: String,
    /// Commits behind that.
    commits_behind: u64,
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
        // What is answered stays.
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
    let ask = |request| control::ask::<Watched>(&config.data, &control::Request::Watch(request));
    match asked {
        Asked::List => {
            let Watched::Readers(readers) = ask(WatchRequest::List)? else { bail!(control::Strange) };
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
                bail!(control::Strange)
            };
            if !there {
                bail!("there is no reader called '{cursor}'; `strata watch --list` shows those there are");
            }
            say(&format!("nothing more is kept for '{cursor}'\n"));
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
    let Watched::At(mut after) = ask(WatchRequest::Begin { from, cursor: cursor.clone() })? else {
        bail!(control::Strange)
    };
    let mut confirmed = after;
    loop {
        let ended = || match &cursor {
            Some(name) => format!("no more changes can be had; `--cursor {name}` goes on behind what was confirmed"),
            None => format!("no more changes can be had; `--from {after}` goes on behind what was printed"),
        };
        let Watched::Page(page) = ask(WatchRequest::Next { after, only: only.clone() }).with_context(ended)? else {
            bail!(control::Strange)
        };
        let told = !page.events.is_empty() || page.gap.is_some();
        if !print(&page, json)? {
            // Nobody reads any more: what was not taken is not confirmed.
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
    let Watched::Bucket(found) = ask(WatchRequest::Bucket { name: name.to_owned() })? else { bail!(control::Strange) };
    if found.is_none() {
        eprintln!(
            "strata: there is no bucket '{}' now; what changed in one that S3 called so, and in one to come, is shown; \
             `strata bucket list` shows all",
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
    for event in &page.events {
        out.push_str(&if json { serde_json::to_string(event)? } else { event.in_words() });
        out.push('\n');
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("changes cannot be printed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_read_as_it_is_printed() {
        for (lsn, index, text) in [(4711, 0, "4711.0"), (1, 65_535, "1.65535"), (9, u32::MAX, "9")] {
            let sequence = Sequence(EventSequence { lsn: Lsn(lsn), index });
            assert_eq!(sequence.to_string(), text);
            assert_eq!(text.parse::<Sequence>().unwrap(), sequence);
        }
        for wrong in ["", ".", "1.", ".1", "01", "1.01", "-1", "1.2.3", "1.4294967296", "today"] {
            assert!(wrong.parse::<From>().unwrap_err().contains("no sequence"), "{wrong}");
        }
        assert_eq!(("now".parse(), "start".parse()), (Ok(From::Now), Ok(From::Start)));
    }
}
