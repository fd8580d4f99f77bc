//! Gives a store feature bits that no version knows yet, as a newer version would (docs/format/superblock.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Length of one of the two slots of a superblock.
const SLOT_LEN: usize = 4096;
/// Where a slot's checksum is; it covers everything before.
const CRC_AT: usize = 4092;
/// Bit that the newer version uses.
const BIT: u8 = 0x80;

/// Which kind of bit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    /// Must not be read without knowing it.
    Incompatible = 8,
    /// Must not be written without knowing it.
    ReadOnlyCompatible = 12,
    /// May be ignored.
    Compatible = 16,
}

/// Sets a bit in every valid slot of every superblock.
pub(super) fn mark(disks: &[PathBuf], flag: Flag) -> Result<()> {
    for disk in disks {
        let path = disk.join("superblock");
        let mut bytes = fs::read(&path)?;
        let mut marked = 0;
        for slot in bytes.chunks_exact_mut(SLOT_LEN) {
            if slot[CRC_AT..] != crc(slot) {
                continue;
            }
            slot[flag as usize + 3] |= BIT;
            let sum = crc(slot);
            slot[CRC_AT..].copy_from_slice(&sum);
            marked += 1;
        }
        ensure!(marked > 0, "{} has no valid slot", path.display());
        fs::write(&path, bytes)?;
    }
    Ok(())
}

/// The incompatible bits of all valid slots of a disk's superblock, together: a version refuses the disk where it does not know one.
pub(super) fn incompatible(disk: &Path) -> Result<u32> {
    let bytes = fs::read(disk.join("superblock"))?;
    let valid = bytes.chunks_exact(SLOT_LEN).filter(|slot| slot[CRC_AT..] == crc(slot));
    let at = Flag::Incompatible as usize;
    let mut bits = 0;
    for slot in valid {
        bits |= u32::from_le_bytes(slot[at..at + 4].try_into()?);
    }
    Ok(bits)
}

fn crc(slot: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(&slot[..CRC_AT]).to_le_bytes()
}
