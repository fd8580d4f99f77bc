//! The little that users need of the name space, so that their rules can be tested without one.

use std::collections::HashMap;

use strata_namespace::{Access, Namespace, Op, ROOT_INO, Result};

/// Named records that change one at a time.
pub(crate) trait Records: Send + Sync {
    /// All records whose name starts with `prefix`.
    fn load(&self, op: &Op, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;
    /// Writes a record, or removes it.
    fn put(&self, op: &Op, key: &str, value: Option<&[u8]>) -> Result<()>;
    /// Hears, by uid, which users may make buckets.
    fn know_rights(&self, may_make_buckets: HashMap<u32, bool>);
    /// Whether the mode of the root lets the caller add entries to it.
    fn root_lets_in(&self, op: &Op) -> Result<bool>;
}

impl Records for Namespace {
    fn load(&self, op: &Op, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.settings(op, prefix)
    }
    fn put(&self, op: &Op, key: &str, value: Option<&[u8]>) -> Result<()> {
        self.put_setting(op, key, value)
    }
    fn know_rights(&self, may_make_buckets: HashMap<u32, bool>) {
        self.set_rights(may_make_buckets);
    }
    fn root_lets_in(&self, op: &Op) -> Result<bool> {
        let asked = Access { read: false, write: true, exec: true };
        Ok(self.access(op, ROOT_INO, asked)? == asked)
    }
}
