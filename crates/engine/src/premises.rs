//! Premises: the rows that a change read. The change may be committed only while they are unchanged.
//!
//! They are used for changes that are computed ahead of the writer's lock, and will be by an engine that several processes share.
//! Changes under the lock need none. Tests rehearse the shared case (`strata_seam::rehearsal`).
//!
//! Only single rows are compared. A range that gained a row is not noticed, nor a row that was absent and is there now, except where
//! the change itself writes that row. So a change that relies on a set (a directory that is empty, the parts of an upload) reads a row
//! that every addition to the set writes, and relies on the absence only of rows that it writes itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::Result;

/// Distinguishes a row from any other it may have been; compared for equality alone. `None` is a row that is not there.
type Stamp = Option<u64>;

/// The rows a change read, each with what it was.
#[derive(Debug, Default)]
pub struct Premises(BTreeMap<Vec<u8>, Stamp>);

/// The stamp of a row, of its bytes: a row that was changed and is again what it was is no reason to compute a change anew.
fn stamp(value: Option<&[u8]>) -> Stamp {
    value.map(|value| {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    })
}

impl Premises {
    /// A row was read. What was read of it first counts.
    pub fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.entry(key.to_vec()).or_insert_with(|| stamp(value));
    }

    /// Whether every row is as it was read, those that were absent as far as `counts` says so of their keys. `now` reads a row.
    pub(crate) fn hold(
        &self,
        now: impl Fn(&[u8]) -> Result<Option<Vec<u8>>>,
        counts: impl Fn(&[u8]) -> bool,
    ) -> Result<bool> {
        for (key, was) in &self.0 {
            if was.is_none() && !counts(key) {
                continue;
            }
            if stamp(now(key)?.as_deref()) != *was {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
