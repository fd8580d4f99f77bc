//! `strata watch`: what changes in a running store, one line per change, whichever door it came through.
//!
//! The command asks for a page of events, prints it and asks for the next one behind it; while there is nothing it asks again now
//! and then. So a reader goes at its own pace, however slow: what it has not asked for stays in the log, and nothing waits for it in the server. A
//! reader with a name confirms with each page that it has printed the one before.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strata_namespace::{
    Begin, Caller, Door, Event, EventAt, EventReader, EventSequence, Made, Namespace, NodeKind, Op, What,
};
use strata_seam::{Lsn, Timestamp};

use crate::config::{ByteSize, StoreConfig};
use crate::control;
use crate::greeting::{plain_table, say, say_json};
use crate::interrupt::Interrupt;
use crate::lock::StoreLock;

/// Events read for one page; of these fewer may concern the one who asks.
const PAGE_EVENTS: usize = 2000;
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

/// Changes that are not kept any more, as `strata watch --json` shows it.
#[derive(Serialize, Deserialize)]
struct GapShown {
    /// "missed".
    what: String,
    after: Sequence,
    /// Changes are told again behind this place.
    until: Sequence,
    /// "given-back" or "damaged".
    why: String,
}

/// A change as `strata watch --json` shows it.
#[derive(Serialize, Deserialize)]
struct Shown {
    seq: Sequence,
    at: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<String>,
    #[serde(skip_serializing_if = "is_false", default)]
    new: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    last: bool,
    #[serde(skip_serializing_if = "is_false", default)]
    exchange: bool,
    #[serde(skip_serializing_if = "is_zero", default)]
    dirs: u32,
    bucket: String,
    #[serde(flatten)]
    key: KeyShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<FromShown>,
    kind: String,
    inode: u64,
    parent: u64,
    change: u64,
    version: u64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    door: String,
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

/// A key: as text, or where it is none as hex.
#[derive(Default, Serialize, Deserialize)]
struct KeyShown {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct FromShown {
    bucket: String,
    parent: u64,
    #[serde(flatten)]
    key: KeyShown,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl KeyShown {
    fn of(key: Option<&[u8]>) -> Self {
        match key.map(|key| (key, std::str::from_utf8(key))) {
            None => Self::default(),
            Some((_, Ok(text))) => Self { key: Some(text.to_owned()), key_hex: None },
            Some((key, Err(_))) => Self { key: None, key_hex: Some(hex::encode(key)) },
        }
    }

    /// For people.
    fn in_words(&self) -> String {
        match (&self.key, &self.key_hex) {
            (Some(key), _) => key.chars().fold(String::with_capacity(key.len()), |mut shown, c| {
                if c.is_control() {
                    shown.extend(c.escape_default())
                } else {
                    shown.push(c)
                }
                shown
            }),
            (None, Some(digits)) => {
                hex::decode(digits).map_or_else(|_| digits.clone(), |key| key.escape_ascii().to_string())
            }
            (None, None) => "(no name)".to_owned(),
        }
    }
}

impl Shown {
    fn of(EventAt { sequence, event }: EventAt) -> Self {
        let (mut made, mut new, mut last, mut exchange, mut dirs, mut from) = (None, false, false, false, 0, None);
        let what = match &event.what {
            What::Created => "created",
            What::Content { made: how, new: is_new, dirs: with } => {
                (made, new, dirs) = (Some(made_in_words(*how).to_owned()), *is_new, *with);
                "content"
            }
            What::Linked => "linked",
            What::Removed { last: was_last, dirs: with } => {
                (last, dirs) = (*was_last, *with);
                "removed"
            }
            What::Renamed { from: before, exchange: both } => {
                exchange = *both;
                from = Some(FromShown {
                    bucket: before.bucket.as_deref().unwrap_or(&event.bucket).to_owned(),
                    parent: before.parent.0,
                    key: KeyShown::of(before.key.as_deref()),
                });
                "renamed"
            }
            What::Attributes => "attributes",
            What::BucketMade => "bucket-made",
            What::BucketRemoved => "bucket-removed",
            What::BucketChanged => "bucket-changed",
            What::Repaired => "repaired",
        };
        let Event { ino, kind, parent, bucket, key, change, version, size, etag, uid, user, door, at, .. } = event;
        Self {
            seq: Sequence(sequence),
            at: moment(at),
            what: what.to_owned(),
            made,
            new,
            last,
            exchange,
            dirs,
            bucket: bucket.to_string(),
            key: KeyShown::of(key.as_deref()),
            from,
            kind: kind_in_words(kind).to_owned(),
            inode: ino.0,
            parent: parent.0,
            change,
            version,
            size,
            etag,
            door: door_in_words(door).to_owned(),
            uid,
            user: user.map(|user| user.to_string()),
        }
    }

    /// One line for people: when, through which door, who, what, where, how much.
    fn in_words(&self) -> String {
        let who = self.user.clone().unwrap_or_else(|| format!("uid {}", self.uid));
        let what = match (self.what.as_str(), self.made.as_deref(), self.new) {
            ("content", Some(made), true) => format!("new ({made})"),
            ("content", Some(made), false) => format!("content ({made})"),
            (what, ..) => what.to_owned(),
        };
        let path = |bucket: &str, key: &KeyShown| match key.in_words() {
            key if key.is_empty() => bucket.to_owned(),
            key => format!("{bucket}/{key}"),
        };
        let mut line = format!("{}  {:<6}  {who:<12}  {what:<16}  ", self.at, self.door);
        let now = path(&self.bucket, &self.key);
        // Writing into a string cannot fail.
        let _ = match &self.from {
            Some(from) => write!(line, "{} -> {now}", path(&from.bucket, &from.key)),
            None => write!(line, "{now}"),
        };
        if self.kind == "file" && matches!(self.what.as_str(), "content" | "created") {
            let _ = write!(line, "  {}", ByteSize(self.size));
        }
        line
    }
}

impl GapShown {
    fn in_words(&self) -> String {
        let why = match self.why.as_str() {
            "damaged" => "cannot be read",
            _ => "are not kept any more",
        };
        format!("-- changes behind {} {why}; it goes on behind {} --", self.after, self.until)
    }
}

/// `2026-11-30T08:30:02.123456789Z`.
fn moment(at: Timestamp) -> String {
    let whole = strata_http::date::rfc3339(at);
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), at.0.rem_euclid(1_000_000_000))
}

fn made_in_words(made: Made) -> &'static str {
    match made {
        Made::Put => "put",
        Made::Copy => "copy",
        Made::Upload => "upload",
        Made::Write => "write",
        Made::Edit => "edit",
    }
}

fn door_in_words(door: Door) -> &'static str {
    match door {
        Door::S3 => "s3",
        Door::Mount => "mount",
        Door::Nfs => "nfs",
        Door::WebDav => "webdav",
        Door::Admin => "store",
    }
}

fn kind_in_words(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharDevice => "char-device",
        NodeKind::BlockDevice => "block-device",
    }
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
        let op = Op::new(Caller::root(Door::Admin));
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
        let gap = page.gap.map(|gap| GapShown {
            what: "missed".to_owned(),
            after: Sequence(gap.after),
            until: Sequence(gap.until),
            why: if gap.damaged { "damaged" } else { "given-back" }.to_owned(),
        });
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
    let only = only.map(|(bucket, prefix)| (bucket.to_owned(), prefix.to_owned()));
    let Watched::At(mut after) = ask(WatchRequest::Begin { from, cursor: cursor.clone() })? else {
        bail!(control::Strange)
    };
    let mut confirmed = after;
    loop {
        let Watched::Page(page) = ask(WatchRequest::Next { after, only: only.clone() })? else {
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

    #[test]
    fn keys_are_text_or_hex_and_harmless_on_a_terminal() {
        let shown = |key: &[u8]| KeyShown::of(Some(key));
        assert_eq!(shown("grüße/a b".as_bytes()).in_words(), "grüße/a b");
        assert_eq!(shown(b"\x1b[2Jx\n").in_words(), "\\u{1b}[2Jx\\n");
        let odd = shown(&[b'a', 0xff]);
        assert_eq!(
            (odd.key.is_none(), odd.key_hex.as_deref(), odd.in_words()),
            (true, Some("61ff"), "a\\xff".to_owned())
        );
        assert_eq!(KeyShown::of(None).in_words(), "(no name)");
    }

    #[test]
    fn a_moment_has_nine_digits_behind_the_second() {
        assert_eq!(moment(Timestamp::from_parts(784_111_777, 5)), "1994-11-06T08:49:37.000000005Z");
    }
}
