//! The dedup domain of a bucket's content.

use strata_content::DedupDomain;
use strata_seam::Ino;

/// The dedup domain of what is in the bucket with this root directory: a rule of the bucket. All have the common one until there
/// are storage classes and encrypted buckets, so no record is read for it.
pub(crate) fn dedup_domain(_bucket: Ino) -> DedupDomain {
    DedupDomain::COMMON
}
