//! The rows of locks: their keys, and which of them bind a place.
//!
//! A row's key is the place that is locked, then the token. The place does not change while the lock is held: it and the directories above
//! can be renamed only by a caller that has all tokens, and the lock then ends. So the locks below a directory are adjacent.

use std::ops::ControlFlow;

use strata_seam::Ino;

use super::held::Held;
use super::place::Place;
use crate::error::Result;
use crate::key;
use crate::records::decode_lock;
use crate::types::LockRecord;
use crate::view::{View, damaged};

/// Rows read at once.
const STEP: usize = 256;

/// A lock, and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) lock: LockRecord,
}

/// The keys of everything on a place, without the token.
fn on(place: &Place) -> Vec<u8> {
    key::under(key::TABLE_LOCK, place.bucket, &key::terminated(&place.key))
}

/// The key of a lock.
pub(crate) fn key_of(place: &Place, token: &str) -> Vec<u8> {
    [&on(place)[..], token.as_bytes()].concat()
}

/// The keys of everything on a place and below it.
fn span(place: &Place) -> (Vec<u8>, Vec<u8>) {
    let behind_all = || vec![key::TABLE_LOCK + 1];
    if place.is_root() {
        return (vec![key::TABLE_LOCK], behind_all());
    }
    let mut from = on(place);
    if place.is_dir() {
        // The terminator sorts before every byte a longer key may have there.
        from.truncate(from.len() - 2);
    }
    let end = key::prefix_end(&from).unwrap_or_else(behind_all);
    (from, end)
}

/// Whether the key is one that an earlier version wrote: `L`, then the token alone, which never begins with a zero byte.
pub(crate) fn is_by_token(key: &[u8]) -> bool {
    key.get(1).is_some_and(|byte| *byte != 0)
}

/// Reads a row.
///
/// # Errors
/// It is damaged.
pub(crate) fn row(key: &[u8], value: &[u8]) -> Result<Row> {
    let parts = || {
        let (bucket, rest) = key.get(1..)?.split_first_chunk::<8>()?;
        let (key, token) = key::split_terminated(rest)?;
        let place = Place { bucket: Ino(u64::from_be_bytes(*bucket)), key };
        Some((place, String::from_utf8(token.to_vec()).ok()?))
    };
    let (place, token) = parts().ok_or_else(|| damaged("the key of a lock".to_owned()))?;
    let lock = decode_lock(token, value).map_err(|_| damaged("a lock".to_owned()))?;
    Ok(Row { place, lock })
}

/// Goes through the rows of a span in order until `each` has seen enough.
///
/// # Errors
/// Reading the index, and those of `each`.
fn walk(
    view: &mut impl View,
    (mut from, end): (Vec<u8>, Vec<u8>),
    each: &mut dyn FnMut(Row) -> Result<ControlFlow<()>>,
) -> Result<()> {
    loop {
        let page = view.records(&from, &end, STEP)?;
        for (key, value) in &page {
            if !is_by_token(key) && each(row(key, value)?)?.is_break() {
                return Ok(());
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == STEP => {
                from.clone_from(last);
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}

/// The locks on a place and below it, in order of their places.
///
/// # Errors
/// Reading the index, and those of `each`.
pub(crate) fn within(
    view: &mut impl View,
    held: &Held,
    place: &Place,
    each: &mut dyn FnMut(Row) -> Result<ControlFlow<()>>,
) -> Result<()> {
    if held.within(place.bucket) { walk(view, span(place), each) } else { Ok(()) }
}

/// The locks that cover a place: those on it, and those without a limit of depth above it; outermost first.
///
/// # Errors
/// Reading the index.
pub(crate) fn covering(view: &mut impl View, held: &Held, place: &Place) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    for at in place.lineage().filter(|at| held.at(at)) {
        let own = at == *place;
        let from = on(&at);
        let end = key::prefix_end(&from).unwrap_or_else(|| vec![key::TABLE_LOCK + 1]);
        walk(view, (from, end), &mut |row| {
            if own || row.lock.deep {
                found.push(row);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_reads_back_and_lies_in_the_spans_of_what_covers_it(
            key in proptest::collection::vec(prop_oneof![Just(b'/'), Just(0), any::<u8>()], 0..20),
            other in proptest::collection::vec(prop_oneof![Just(b'/'), Just(0), any::<u8>()], 0..4),
        ) {
            let place = Place { bucket: Ino(300), key };
            let at = key_of(&place, "urn:uuid:1");
            prop_assert!(!is_by_token(&at));
            let value = crate::records::encode_lock(&LockRecord {
                token: String::new(), path: b"/b".to_vec(), ino: None, deep: true, shared: false,
                principal: "ann".to_owned(), owner_xml: Vec::new(), expires: None,
            });
            let read = row(&at, &value).unwrap();
            prop_assert_eq!(&read.place, &place);
            prop_assert_eq!(&read.lock.token, "urn:uuid:1");
            for above in place.lineage().chain([Place { bucket: Ino(300), key: other }]) {
                let (from, end) = span(&above);
                prop_assert_eq!(from <= at && at < end, above.covers(&place), "{:?} {:?}", above, place);
            }
        }
    }
}
