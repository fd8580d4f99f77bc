//! FSSTAT, FSINFO and PATHCONF: what the file system is like.

use nfsserve::nfs::{FSF_CANSETTIME, FSF_HOMOGENEOUS, FSF_LINK, FSF_SYMLINK, fsinfo3, nfstime3};
use strata_namespace::{FILE_LEN_MAX, LINK_MAX, NAME_LEN_MAX};

use super::context::Context;
use crate::attr::post_op;
use crate::config::TRANSFER_LEN_MAX;
use crate::status::Fail;
use crate::xdr::Encoder;

/// Preferred size of a READDIR, bytes: some hundred entries.
const LIST_LEN_PREFERRED: u32 = 64 << 10;
/// Sizes of transfers are best multiples of this, bytes.
const TRANSFER_MULTIPLE: u32 = 4096;
/// What an inode without content takes, bytes, for telling how many more would fit.
const INODE_LEN: u64 = 4096;

impl Context {
    pub(super) fn fsstat(&self, out: &mut Encoder) -> Result<(), Fail> {
        let attr = self.attr(self.ino)?;
        let space = self.door.ns.space(&self.op)?;
        let free_inodes = space.free / INODE_LEN;
        self.ok(out);
        self.put_post_op(Some(&attr), out);
        out.u64(space.total);
        out.u64(space.free);
        out.u64(space.free);
        out.u64(space.inodes.saturating_add(free_inodes));
        out.u64(free_inodes);
        out.u64(free_inodes);
        // Seconds for which this is expected to hold: none.
        out.u32(0);
        Ok(())
    }

    pub(super) fn fsinfo(&self, out: &mut Encoder) -> Result<(), Fail> {
        let attr = self.attr(self.ino)?;
        self.ok(out);
        out.item(&fsinfo3 {
            obj_attributes: post_op(Some(&attr), self.fsid),
            rtmax: TRANSFER_LEN_MAX,
            rtpref: TRANSFER_LEN_MAX,
            rtmult: TRANSFER_MULTIPLE,
            wtmax: TRANSFER_LEN_MAX,
            wtpref: TRANSFER_LEN_MAX,
            wtmult: TRANSFER_MULTIPLE,
            dtpref: LIST_LEN_PREFERRED,
            maxfilesize: FILE_LEN_MAX,
            time_delta: nfstime3 { seconds: 0, nseconds: 1 },
            properties: FSF_LINK | FSF_SYMLINK | FSF_HOMOGENEOUS | FSF_CANSETTIME,
        });
        Ok(())
    }

    pub(super) fn pathconf(&self, out: &mut Encoder) -> Result<(), Fail> {
        let attr = self.attr(self.ino)?;
        self.ok(out);
        self.put_post_op(Some(&attr), out);
        out.u32(LINK_MAX);
        out.length(NAME_LEN_MAX);
        out.bool(true); // names that are too long are refused, not cut
        out.bool(true); // only the superuser gives files away
        out.bool(false); // names differ by case
        out.bool(true); // and keep it
        Ok(())
    }
}
