//! How full the store is, as metrics.

use std::sync::Arc;

use strata_namespace::{Caller, Door, Namespace, Op};

use crate::metrics::{SPACE_FREE_BYTES, SPACE_INODES, SPACE_TOTAL_BYTES, Samples, Source};

/// Reads the totals of a name space on every scrape.
pub struct SpaceSource(pub Arc<Namespace>);

impl Source for SpaceSource {
    fn collect(&self, out: &mut Samples) {
        match self.0.space(&Op::new(Caller::root(Door::Admin))) {
            Ok(space) => {
                out.put(&SPACE_TOTAL_BYTES, &[], space.total);
                out.put(&SPACE_FREE_BYTES, &[], space.free);
                out.put(&SPACE_INODES, &[], space.inodes);
            }
            Err(error) => tracing::warn!(%error, "the space of the store could not be read for a scrape"),
        }
    }
}
