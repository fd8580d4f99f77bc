//! Guards of the content store; the run is beside their source, since nobody else can see them.

/// See `crates/content/src/guard/scheduled.rs`.
pub(super) fn epochs() {
    strata_content_scheduled::scheduled::epochs();
}
