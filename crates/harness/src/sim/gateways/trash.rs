//! A desktop's trash: what was thrown away is there at once, and what is in it follows into its bucket.

use strata_namespace::records::key;
use strata_namespace::{Namespace, NodeKind, ROOT_INO};
use strata_seam::Ino;

use super::super::rig::root;
use super::place::{Place, TRASH};

/// Makes the trash.
///
/// # Errors
/// Those of the store.
pub(super) fn make(ns: &Namespace) -> strata_namespace::Result<()> {
    ns.mkdir(&root(), ROOT_INO, TRASH.as_bytes(), 0o777).map(drop)
}

/// Whether what was thrown away just now has the name that it got, and no more the one that it had. Two names of one file lead where they led.
///
/// # Errors
/// It does not.
pub(super) fn is_there(ns: &Namespace, from: &Place, to: &Place) -> Result<(), String> {
    match (from.ino(ns), to.ino(ns)) {
        (_, None) => Err(format!("{} was thrown away, and is not there: {}", from.path(), to.path())),
        (Some(before), Some(now)) if before == now && !has_several_names(ns, now) => {
            Err(format!("{} was thrown away to {}, and is there still", from.path(), to.path()))
        }
        _ => Ok(()),
    }
}

fn has_several_names(ns: &Namespace, ino: Ino) -> bool {
    ns.getattr(&root(), ino).is_ok_and(|attr| attr.kind != NodeKind::Directory && attr.nlink > 1)
}

/// Whether everything has followed, and the buckets that went into the trash are gone. What belongs where, and what usage says, is for the check of the
/// store to tell.
///
/// # Errors
/// Something is left.
pub(super) fn all_followed(ns: &Namespace) -> Result<(), String> {
    let behind_marks = key::prefix_end(key::KEY_LEAVING).unwrap_or_default();
    let rows =
        (vec![key::TABLE_FOLLOWING], vec![key::TABLE_FOLLOWING + 1], "a directory's content has still to follow");
    let marks = (key::KEY_LEAVING.to_vec(), behind_marks, "a bucket that went into the trash has still a record");
    for (from, end, what) in [rows, marks] {
        let left = ns.store().range(&from, &end, 1).map_err(|error| format!("rows cannot be read: {error:?}"))?;
        if let Some((row, _)) = left.first() {
            return Err(format!("{what}, and nobody does anything: {}", row.escape_ascii()));
        }
    }
    Ok(())
}
