//! Space and health of the store, as metrics.

use std::sync::Arc;

use strata_namespace::{Caller, Op, STORE};
use strata_runtime::Runtime;

use crate::metrics::{
    BRIDGE_WAIT, CACHE_BYTES, CHECKPOINT_BYTES, CHECKPOINTS, CONTENT_COMPRESSED_BYTES, CONTENT_DEDUPLICATED_BYTES,
    CONTENT_STORED_BYTES, CONTENT_WRITTEN_BYTES, INDEX_BROKEN, INDEX_HOT_BYTES, INDEX_HOT_HITS, INDEX_HOT_MISSES,
    INDEX_OVERLAY_BYTES, LEDGER_DURABLE, LEDGER_QUEUED_BYTES, LEDGER_WRITTEN, SET_DISKS, SET_DISKS_ACTIVE, SET_FULL,
    SET_READ_ONLY, SPACE_FREE_BYTES, SPACE_INODES, SPACE_TOTAL_BYTES, STAGED_BYTES, Samples, Source, WRITER_LOCK,
    WRITER_LOCK_LONGEST,
};

/// Reads the totals of a name space on every scrape.
pub struct SpaceSource(pub Arc<Runtime>);

impl Source for SpaceSource {
    fn collect(&self, out: &mut Samples) {
        match self.0.namespace().space(&Op::new(Caller::root(&STORE))) {
            Ok(space) => {
                out.put(&SPACE_TOTAL_BYTES, &[], space.total);
                out.put(&SPACE_FREE_BYTES, &[], space.free);
                out.put(&SPACE_INODES, &[], space.inodes);
            }
            Err(error) => tracing::warn!(%error, "the space of the store could not be read for a scrape"),
        }
        let traffic = self.0.traffic();
        out.put(&CONTENT_WRITTEN_BYTES, &[], traffic.written());
        out.put(&CONTENT_DEDUPLICATED_BYTES, &[], traffic.known + traffic.zeros);
        out.put(&CONTENT_COMPRESSED_BYTES, &[], traffic.compressed());
        out.put(&CONTENT_STORED_BYTES, &[], traffic.stored);
        let checkpoints = self.0.checkpoint_counts();
        out.put(&CHECKPOINTS, &[], checkpoints.taken);
        out.put(&CHECKPOINT_BYTES, &[], checkpoints.written);
        for (kind, waits) in strata_gate::bridge::crossings() {
            out.put_latencies(&BRIDGE_WAIT, &[kind], waits);
        }
        let (held, longest_nanos) = self.0.writer_held();
        out.put_latencies(&WRITER_LOCK, &[], held);
        out.put(&WRITER_LOCK_LONGEST, &[], longest_nanos / 1000);
        let health = self.0.health();
        out.put(&SET_DISKS_ACTIVE, &[], health.disks_active);
        out.put(&SET_DISKS, &[], health.disks);
        out.put(&SET_READ_ONLY, &[], u64::from(health.read_only.is_some()));
        out.put(&SET_FULL, &[], u64::from(health.full));
        out.put(&LEDGER_WRITTEN, &[], health.written);
        out.put(&LEDGER_DURABLE, &[], health.durable);
        out.put(&LEDGER_QUEUED_BYTES, &[], health.queued_bytes);
        out.put(&INDEX_OVERLAY_BYTES, &[], health.index_overlay_bytes);
        out.put(&INDEX_HOT_HITS, &[], health.index_hot.hits);
        out.put(&INDEX_HOT_MISSES, &[], health.index_hot.misses);
        out.put(&INDEX_HOT_BYTES, &[], health.index_hot.bytes);
        out.put(&INDEX_BROKEN, &[], u64::from(health.index_broken));
        out.put(&CACHE_BYTES, &[], health.cache_bytes);
        out.put(&STAGED_BYTES, &[], health.staged_bytes);
    }
}
