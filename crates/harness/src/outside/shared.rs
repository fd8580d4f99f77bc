//! Keys that all workers write at once, each a register: what may be found of it after a crash.
//!
//! A write is an interval from its request to its reply. What is found must be the value of a write that no other,
//! acknowledged one followed wholly; a write without a reply may have happened at any time after its request, or not at
//! all. (Linearizability of a register whose values are all different, looked at once, at the end: M. Herlihy and J. Wing,
//! 1990.)

use std::sync::Arc;

use parking_lot::Mutex;

use crate::outside::clock::Moment;

/// A value: a content, or no such key.
type Value = Option<Arc<Vec<u8>>>;

#[derive(Clone, Debug)]
struct Write {
    value: Value,
    begun: Moment,
    /// `None`: never answered.
    ended: Option<Moment>,
}

/// The keys with what was done to each.
#[derive(Debug)]
pub(crate) struct SharedKeys {
    writes: Vec<Mutex<Vec<Write>>>,
}

impl SharedKeys {
    /// `count` keys that do not exist.
    pub(crate) fn new(count: usize) -> Self {
        let absent = || Write { value: None, begun: Moment::now(), ended: Some(Moment::now()) };
        Self { writes: (0..count).map(|_| Mutex::new(vec![absent()])).collect() }
    }

    /// How many keys.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// A key's path in the bucket.
    pub(crate) fn path(&self, key: usize) -> String {
        format!("shared{key}")
    }

    /// A write was acknowledged.
    pub(crate) fn ended(&self, key: usize, begun: Moment, value: Value) {
        self.writes[key].lock().push(Write { value, begun, ended: Some(Moment::now()) });
    }

    /// A write was not answered.
    pub(crate) fn under_way(&self, key: usize, begun: Moment, value: Value) {
        self.writes[key].lock().push(Write { value, begun, ended: None });
    }

    /// Takes what was found after a crash for what is there now; a store that takes no writes (`undecided`) may still show
    /// another write without an answer when it does.
    ///
    /// # Errors
    /// It may not be there: what it is, in words.
    pub(crate) fn found(&self, key: usize, found: Option<&[u8]>, undecided: bool) -> Result<(), String> {
        let mut writes = self.writes[key].lock();
        let last_begun = writes.iter().filter(|write| write.ended.is_some()).map(|write| write.begun).max();
        let admitted = |write: &&Write| {
            let overtaken = write.ended.is_some_and(|ended| last_begun.is_some_and(|begun| begun > ended));
            !overtaken && write.value.as_ref().map(|value| &***value) == found
        };
        match writes.iter().find(admitted) {
            Some(_) if undecided => Ok(()),
            Some(write) => {
                let now = Moment::now();
                let settled = Write { value: write.value.clone(), begun: now, ended: Some(now) };
                *writes = vec![settled];
                Ok(())
            }
            None => {
                let known = writes.iter().any(|write| write.value.as_ref().map(|value| &***value) == found);
                let what =
                    if known { "a value that an acknowledged write had replaced" } else { "a value nobody wrote" };
                Err(format!("{} holds {what}: {}", self.path(key), crate::outside::worker::brief(found)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Some(Arc::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_value_that_was_replaced_may_not_come_back() {
        let keys = SharedKeys::new(1);
        let begun = Moment::now();
        keys.ended(0, begun, value("1"));
        std::thread::sleep(std::time::Duration::from_millis(1));
        let begun = Moment::now();
        keys.ended(0, begun, value("2"));
        assert!(keys.found(0, Some(b"1"), false).is_err());
        assert!(keys.found(0, None, false).is_err());
        assert!(keys.found(0, Some(b"3"), false).is_err());
        keys.found(0, Some(b"2"), false).unwrap();
    }

    #[test]
    fn writes_side_by_side_and_unanswered_ones_may_all_be_found() {
        let keys = SharedKeys::new(1);
        let begun = Moment::now();
        keys.ended(0, begun, value("1"));
        keys.ended(0, begun, value("2"));
        keys.under_way(0, begun, None);
        for found in [Some(b"1".as_slice()), Some(b"2"), None] {
            let keys = SharedKeys { writes: vec![Mutex::new(keys.writes[0].lock().clone())] };
            keys.found(0, found, false).unwrap();
        }
    }
}
