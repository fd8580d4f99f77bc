//! The arithmetic of frames: how a payload is cut into shards, how long frames are, which disk holds which shard.
//! `docs/format/frame.md` is the page that goes with it.

use strata_seam::{SECTOR_LEN, SegmentId};

use crate::frame::HEADER_LEN;

/// Shards are checksummed in pieces of this many bytes, so that a read verifies little more than it wants.
pub(crate) const PIECE_LEN: u32 = 4096;
/// Shard lengths are multiples of this.
const UNIT: u32 = strata_erasure::SHARD_UNIT as u32;
const SECTOR: u32 = SECTOR_LEN as u32;

/// Checksummed pieces of a shard.
pub(crate) fn pieces(shard_len: u32) -> u32 {
    shard_len.div_ceil(PIECE_LEN)
}

/// Bytes of header and checksum table before the shard.
pub(crate) fn header_len(shard_len: u32) -> u32 {
    HEADER_LEN as u32 + (4 * pieces(shard_len)).next_multiple_of(UNIT)
}

/// Bytes of a frame: header, table, shard, and padding to whole sectors.
pub(crate) fn frame_len(shard_len: u32) -> u64 {
    u64::from((header_len(shard_len) + shard_len).next_multiple_of(SECTOR))
}

/// Sectors of a frame.
pub(crate) fn frame_sectors(shard_len: u32) -> u32 {
    (header_len(shard_len) + shard_len).div_ceil(SECTOR)
}

/// The shard length for a payload: as many sectors as are needed, and then as much of them as can be used. A small
/// payload so lies in few shards, and a block of it is read from one disk rather than from all.
pub(crate) fn shard_len_for(payload_len: u32, data_shards: u8) -> u32 {
    let least = payload_len.div_ceil(u32::from(data_shards)).max(1).next_multiple_of(UNIT);
    let frame = frame_sectors(least) * SECTOR;
    let mut most = frame - header_len(least);
    most -= most % UNIT;
    while header_len(most) + most > frame {
        most -= UNIT;
    }
    most.max(least)
}

/// By how many disks the shards of a stripe are rotated: shard `s` lies on disk `(s + rotation) % disks`. Mixing the
/// place spreads reads over all disks, those of the parity included, also where stripes have a regular length.
pub(crate) fn rotation(segment: SegmentId, sector: u32, disks: usize) -> usize {
    // Odd constants of xxHash32; only that they mix matters.
    let mixed = segment.0.wrapping_mul(0x9E37_79B1).wrapping_add(sector.wrapping_mul(0x85EB_CA77));
    ((mixed ^ (mixed >> 15)).wrapping_mul(0xC2B2_AE3D) >> 16) as usize % disks
}

/// The disk that holds a shard of the stripe at this place.
pub(crate) fn disk_of(shard: usize, segment: SegmentId, sector: u32, disks: usize) -> usize {
    (shard + rotation(segment, sector, disks)) % disks
}

/// The shard that a disk holds of the stripe at this place.
pub(crate) fn shard_on(disk: usize, segment: SegmentId, sector: u32, disks: usize) -> usize {
    (disk + disks - rotation(segment, sector, disks)) % disks
}

/// Byte offset of a sector.
pub(crate) fn byte_of(sector: u32) -> u64 {
    u64::from(sector) * u64::from(SECTOR)
}

/// Name of a segment file, the same on every disk.
pub(crate) fn segment_name(segment: SegmentId) -> String {
    format!("seg-{:08x}", segment.0)
}

/// The segment a file name stands for, if it does.
pub(crate) fn parse_segment_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix("seg-")?;
    let id = u32::from_str_radix(digits, 16).ok().map(SegmentId)?;
    (segment_name(id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_commit_costs_one_sector_per_disk() {
        let shard_len = shard_len_for(4710, 4);
        assert_eq!(frame_len(shard_len), 4096);
        // All of the data part lies in the first two shards.
        assert_eq!(shard_len, 3904);
    }

    #[test]
    fn shards_fill_their_frame_and_hold_the_payload() {
        for data in [1_u8, 2, 3, 4, 6, 16] {
            for payload in (1..70_000).step_by(577).chain([1 << 20, u32::from(data) << 20]) {
                let shard_len = shard_len_for(payload, data);
                assert!(shard_len.is_multiple_of(64));
                assert!(u64::from(shard_len) * u64::from(data) >= u64::from(payload));
                let least = payload.div_ceil(u32::from(data)).next_multiple_of(64);
                assert_eq!(frame_sectors(shard_len), frame_sectors(least), "{payload} over {data}");
                assert!(
                    frame_sectors(shard_len + 64) > frame_sectors(shard_len)
                        || header_len(shard_len + 64) > header_len(shard_len)
                );
            }
        }
    }

    #[test]
    fn rotation_is_a_permutation_and_spreads() {
        for disks in 1..=20 {
            let mut counts = vec![0; disks];
            for sector in 0..4000 {
                let disk = disk_of(0, SegmentId(3), sector * 257, disks);
                counts[disk] += 1;
                assert_eq!(shard_on(disk, SegmentId(3), sector * 257, disks), 0);
            }
            assert!(counts.iter().all(|count| *count > 4000 / disks / 2), "{counts:?}");
        }
    }

    #[test]
    fn only_exact_segment_names_are_taken() {
        assert_eq!(parse_segment_name("seg-0000002a"), Some(SegmentId(42)));
        for name in ["seg-2a", "seg-0000002A", "seg-+000002a", "superblock", "seg-0000002a.old"] {
            assert_eq!(parse_segment_name(name), None);
        }
    }
}
