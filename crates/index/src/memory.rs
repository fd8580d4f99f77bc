//! An engine that forgets everything when it is dropped: for tests and simulations.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use parking_lot::RwLock;

use crate::engine::{EngineError, OrderedKv, Pair, Write};

/// A map behind a lock.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    map: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl OrderedKv for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.map.read().get(key).cloned())
    }

    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        let map = self.map.read();
        let pairs = map.range::<[u8], _>((Included(lo), Excluded(hi)));
        Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        let map = self.map.read();
        let pairs = map.range::<[u8], _>((Included(lo), Excluded(hi)));
        Ok(pairs.rev().take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        let mut map = self.map.write();
        for (key, value) in writes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}
