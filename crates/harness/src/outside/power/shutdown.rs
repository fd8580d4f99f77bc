//! Cuts a file system off at once, as a loss of power would: what was not synced is gone, and nothing more is written.
//!
//! `FS_IOC_SHUTDOWN` with "no log flush" (ext4's and XFS's "going down" call, used by xfstests for the same purpose)
//! stops the file system without writing its journal. After an unmount the next mount recovers the journal as after a
//! power cut. The caches below the file system are not touched: a lying disk is the simulation's business.
#![expect(unsafe_code, reason = "the kernel offers this call as an ioctl alone")]

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `_IOR('X', 125, __u32)`, include/uapi/linux/fs.h.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// Neither data nor journal are written first: `EXT4_GOING_FLAGS_NOLOGFLUSH`, `XFS_FSOP_GOING_FLAGS_NOLOGFLUSH`.
const NO_LOG_FLUSH: u32 = 2;

/// Cuts off the file system that `mount_point` is the root of.
///
/// # Errors
/// Not root, or not a file system that can be cut off.
pub(super) fn cut(mount_point: &Path) -> io::Result<()> {
    let root = File::open(mount_point)?;
    // SAFETY: the call reads one `u32` through the pointer, which `Setter` holds for its duration, and writes nothing to
    // this process's memory; a file system that does not know the call refuses it.
    let cut = unsafe { ioctl(&root, Setter::<FS_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
    Ok(cut?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_has_the_number_of_the_kernels_header() {
        assert_eq!(FS_IOC_SHUTDOWN, 0x8004_587d);
    }
}
