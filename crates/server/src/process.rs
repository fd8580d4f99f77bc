//! What the kernel says of this process, as metrics.

use strata_door_admin::metrics::{
    PROCESS_DESCRIPTORS, PROCESS_DESCRIPTORS_MAX, PROCESS_RESIDENT_BYTES, PROCESS_STARTED_SECONDS, Samples, Source,
};
use strata_seam::{Clock, SystemClock};

/// This process.
pub(crate) struct ProcessSource {
    started_seconds: u64,
}

impl ProcessSource {
    /// To be made at its start.
    pub(crate) fn new() -> Self {
        Self { started_seconds: u64::try_from(SystemClock::new().now().secs()).unwrap_or(0) }
    }
}

impl Source for ProcessSource {
    fn collect(&self, out: &mut Samples) {
        out.put(&PROCESS_STARTED_SECONDS, &[], self.started_seconds);
        if let Some(bytes) = resident_bytes() {
            out.put(&PROCESS_RESIDENT_BYTES, &[], bytes);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder being read.
            out.put(&PROCESS_DESCRIPTORS, &[], (open.count() as u64).saturating_sub(1));
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        if let Some(limit) = limit.current {
            out.put(&PROCESS_DESCRIPTORS_MAX, &[], limit);
        }
    }
}

/// Bytes of this process that are in memory; `None` where the kernel does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
