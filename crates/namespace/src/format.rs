//! The format version of the records, which is itself a record of the store.

use strata_chunk::wire::Encoder;
use strata_content::Tx;

use crate::key;

/// Format of the records, in the store's own table: `docs/format/records.md`.
pub const RECORD_FORMAT: u64 = 5;

/// Says, together with the first record of a present format, that an earlier version does not know all formats.
pub(crate) fn mark_format(tx: &mut Tx<'_>) {
    let mut format = Encoder::new();
    format.uvarint(RECORD_FORMAT);
    tx.put(key::KEY_FORMAT, format.finish());
}
