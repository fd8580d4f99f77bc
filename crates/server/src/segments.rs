//! The length of the segment files of a new store, which has to suit its smallest disk.

use std::sync::Arc;

use anyhow::ensure;
use strata_seam::Disk;

use crate::config::{ByteSize, SEGMENT_MIN};

/// Unless told otherwise, on disks that have room for it.
const LEN_DEFAULT: ByteSize = ByteSize::mib(64);
/// On others a disk has room for so many, at least.
const COUNT: u64 = 8;
/// Fewest on a disk: with less, what is kept back for making room leaves no room for data, or the other way round.
const COUNT_MIN: u64 = 4;

/// The length to make a store with on these disks; of a store that is there, its own counts.
///
/// # Errors
/// The disks are too small for it.
pub(crate) fn len_for(asked: Option<ByteSize>, disks: &[Arc<dyn Disk>]) -> anyhow::Result<u64> {
    let len = asked.map_or_else(|| suitable(smallest(disks)), |asked| asked.0);
    if !strata_runtime::in_use(disks).contains(&true) {
        check(len, disks)?;
    }
    Ok(len)
}

/// Whether disks have room for a few segments of this length.
///
/// # Errors
/// They have not; what would do is named.
pub(crate) fn check(len: u64, disks: &[Arc<dyn Disk>]) -> anyhow::Result<()> {
    let smallest = smallest(disks);
    ensure!(
        smallest / COUNT_MIN >= len,
        "the smallest disk has {}, and segments of {} need {} on each; nothing was written to the disks; {}",
        ByteSize(smallest),
        ByteSize(len),
        ByteSize(len * COUNT_MIN),
        match suitable(smallest) {
            less if less < len && smallest / COUNT_MIN >= less =>
                format!("give larger disks, or a store with a segment-size of {}", ByteSize(less)),
            _ => "give larger disks".to_owned(),
        }
    );
    Ok(())
}

fn suitable(disk: u64) -> u64 {
    let power = (disk / COUNT).checked_ilog2().map_or(0, |exponent| 1 << exponent);
    power.clamp(SEGMENT_MIN.0, LEN_DEFAULT.0)
}

/// Bytes of the smallest disk; folders of one file system share it. Disks that do not tell are passed over.
fn smallest(disks: &[Arc<dyn Disk>]) -> u64 {
    let spaces: Vec<_> = disks.iter().filter_map(|disk| disk.space().ok()).collect();
    let sharing = |volume| spaces.iter().filter(|space| space.volume == volume).count() as u64;
    spaces.iter().map(|space| space.total / sharing(space.volume)).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_seam::sim::SimWorld;

    fn disks(mib: u64, count: usize) -> Vec<Arc<dyn Disk>> {
        let world = SimWorld::new(1);
        let disk = |number| {
            let name = format!("disk{number}");
            let disk: Arc<dyn Disk> = world.disk(&name);
            world.set_capacity(&name, mib << 20);
            disk
        };
        (0..count).map(disk).collect()
    }

    fn of(asked: Option<u64>, mib: u64) -> Result<u64, String> {
        let len = len_for(asked.map(ByteSize::mib), &disks(mib, 3));
        len.map(|len| len >> 20).map_err(|error| error.to_string())
    }

    #[test]
    fn a_small_disk_gets_short_segments() {
        for (disk, len) in [(32, 8), (100, 8), (130, 16), (400, 32), (900, 64), (1 << 20, 64)] {
            assert_eq!(of(None, disk), Ok(len), "of a disk of {disk} MiB");
        }
        assert_eq!(of(Some(16), 100), Ok(16));
    }

    #[test]
    fn disks_of_a_few_segments_are_refused_with_what_would_do() {
        let refused = of(Some(64), 100).unwrap_err();
        assert!(refused.contains("has 100 MiB, and segments of 64 MiB need 256 MiB"), "{refused}");
        assert!(refused.contains("segment-size of 8 MiB"), "{refused}");
        assert!(of(None, 20).unwrap_err().ends_with("give larger disks"));
    }
}
