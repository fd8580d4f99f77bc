//! What a change read, for an engine that several processes share: it commits the change only while that still is so.
//!
//! Such an engine compares single rows. It cannot see that a range has gained a row, nor that a row which was absent came to be,
//! except where the change itself writes that row. So a change that relies on a set (a directory that is empty, the parts of an
//! upload) reads a row that everybody writes who adds to the set, and claims absence only of a row that it puts. The embedded
//! engine runs one change at a time and keeps none of this; tests rehearse it (`strata_seam::rehearsal`).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::Result;
use crate::store::Store;

/// When a row was last written, to be compared for equality alone. `None` is a row that is not there.
pub(crate) type Stamp = Option<u64>;

/// The rows a change read.
#[derive(Default)]
pub(crate) struct Premises(BTreeMap<Vec<u8>, Stamp>);

/// The stamp of a row: of its bytes, since no row ever becomes what it once was (its change number, or its count, grows).
fn stamp(value: Option<&[u8]>) -> Stamp {
    value.map(|value| {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    })
}

impl Premises {
    /// A row was read.
    pub(crate) fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.entry(key.to_vec()).or_insert_with(|| stamp(value));
    }

    /// The first row that is not as it was read, as far as a shared engine sees it; `puts` says whether the change writes a row.
    pub(crate) fn broken(&self, store: &Store, puts: impl Fn(&[u8]) -> bool) -> Result<Option<&[u8]>> {
        for (key, was) in &self.0 {
            if was.is_none() && !puts(key) {
                continue;
            }
            let now = store.index.lookup(key)?.value;
            if stamp(now.as_deref()) != *was {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}
