//! Changes as `strata watch` shows them: the JSON that programs read, and the line that people do.

use std::fmt::Write as _;

use strata_namespace::{Event, EventAt, EventGap, Made, NodeKind, What};
use strata_seam::Timestamp;

use super::messages::{FromShown, GapShown, KeyShown, Shown};
use super::sequence::Sequence;
use crate::config::ByteSize;

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
    pub(super) fn of(EventAt { sequence, event }: EventAt) -> Self {
        let (mut made, mut new, mut last, mut exchange, mut dirs, mut from) = (None, false, false, false, 0, None);
        let what = event.what.word();
        match &event.what {
            What::Content { made: how, new: is_new, dirs: with } => {
                (made, new, dirs) = (Some(made_in_words(*how).to_owned()), *is_new, *with);
            }
            What::Removed { last: was_last, dirs: with } => (last, dirs) = (*was_last, *with),
            What::Renamed { from: before, exchange: both } => {
                exchange = *both;
                from = Some(FromShown {
                    bucket: before.bucket.as_deref().unwrap_or(&event.bucket).to_owned(),
                    parent: before.parent.0,
                    key: KeyShown::of(before.key.as_deref()),
                });
            }
            _ => {}
        }
        let Event { ino, kind, parent, bucket, key, change, version, size, tag, uid, user, door, at, .. } = event;
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
            etag: tag.as_ref().map(strata_etag::of),
            door: crate::operation::name_of(door),
            uid,
            user: user.map(|user| user.to_string()),
        }
    }

    /// Whether these two are halves of one exchange.
    pub(super) fn exchanges_with(&self, other: &Self) -> bool {
        self.exchange && other.exchange && self.seq.0.lsn == other.seq.0.lsn && self.inode != other.inode
    }

    /// One line for people: when, through which door, who, what, where, how much. `other` is the other half of an exchange: each name is
    /// shown as that of what had it, a directory's with a slash.
    pub(super) fn in_words(&self, other: Option<&Self>) -> String {
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
            Some(from) if self.exchange => {
                let taken = other.and_then(|other| other.from.as_ref());
                let taken = taken.map_or(now, |taken| path(&taken.bucket, &taken.key));
                write!(line, "{} <-> {taken}", path(&from.bucket, &from.key))
            }
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
    pub(super) fn of(gap: &EventGap) -> Self {
        Self {
            what: "missed".to_owned(),
            after: Sequence(gap.after),
            until: Sequence(gap.until),
            why: if gap.damaged { "damaged" } else { "given-back" }.to_owned(),
        }
    }

    pub(super) fn in_words(&self) -> String {
        let why = match self.why.as_str() {
            "damaged" => "cannot be read",
            _ => "are not kept any more",
        };
        format!("-- changes behind {} {why}; it goes on behind {} --", self.after, self.until)
    }
}

/// `2026-11-30T08:30:02.123456789Z`.
pub(super) fn moment(at: Timestamp) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn of_an_exchange_each_name_is_shown_as_what_had_it() {
        use strata_namespace::EventSequence;
        use strata_seam::Lsn;

        let half = |index: u32, kind: &str, from: &str, key: &str| Shown {
            seq: Sequence(EventSequence { lsn: Lsn(7), index }),
            at: String::new(),
            what: "renamed".to_owned(),
            made: None,
            new: false,
            last: false,
            exchange: true,
            dirs: 0,
            bucket: "bkt".to_owned(),
            key: KeyShown::of(Some(key.as_bytes())),
            from: Some(FromShown { bucket: "bkt".to_owned(), parent: 2, key: KeyShown::of(Some(from.as_bytes())) }),
            kind: kind.to_owned(),
            inode: 10 + u64::from(index),
            parent: 2,
            change: 1,
            version: 1,
            size: 0,
            etag: None,
            door: "mount".to_owned(),
            uid: 0,
            user: None,
        };
        let (dir, file) = (half(0, "directory", "d/", "a/"), half(1, "file", "a", "d"));
        assert!(dir.exchanges_with(&file) && file.exchanges_with(&dir) && !dir.exchanges_with(&dir));
        assert!(dir.in_words(Some(&file)).ends_with("bkt/d/ <-> bkt/a"), "{}", dir.in_words(Some(&file)));
        assert!(file.in_words(Some(&dir)).ends_with("bkt/a <-> bkt/d/"), "{}", file.in_words(Some(&dir)));
        let other = half(1, "directory", "a/", "d/");
        assert!(dir.in_words(Some(&other)).ends_with("bkt/d/ <-> bkt/a/"));
        // If the other half is on another page, what is known is shown.
        assert!(dir.in_words(None).ends_with("bkt/d/ <-> bkt/a/"));
    }

    #[test]
    fn a_moment_has_nine_digits_behind_the_second() {
        assert_eq!(moment(Timestamp::from_parts(784_111_777, 5)), "1994-11-06T08:49:37.000000005Z");
    }
}
