//! What this door states of itself to the name space ([`DOOR`]), and the table of its operations.

use strata_namespace::Action::*;
use strata_namespace::{Door, DoorNumber, Operation};

/// The door: its callers are uids of this machine, it shows the state at once, as any local file system does, and a kernel behind it
/// keeps names, attributes and pages.
pub static DOOR: Door =
    Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), OPERATIONS) };

/// The table of its operations, and what each may ask the authority for. While a kind of request
/// has no row, the door answers nothing, and its tests fail.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    Operation::new("lookup", &[Search, ReadAttributes]),
    Operation::new("getattr", &[ReadAttributes]),
    Operation::new("setattr", &[ReadAttributes, Write, SetMode, SetOwner, SetTimes, Touch]),
    Operation::new("readlink", &[ReadAttributes]),
    Operation::new("mknod", &[Search, ReadAttributes, Add, MakeDevice]),
    Operation::new("mkdir", &[Search, ReadAttributes, Add]),
    Operation::new("unlink", &[Search, ReadAttributes, Remove]),
    Operation::new("rmdir", &[Search, ReadAttributes, Remove]),
    Operation::new("symlink", &[Search, ReadAttributes, Add]),
    Operation::new("rename", &[Search, ReadAttributes, Add, Remove, MoveDirectory]),
    Operation::new("link", &[Search, ReadAttributes, Add]),
    Operation::new("open", &[ReadAttributes, Read, Write, Execute]),
    Operation::new("create", &[Search, ReadAttributes, Read, Write, Add]),
    Operation::new("read", &[ReadAttributes, KeepPages]),
    Operation::new("write", &[ReadAttributes, KeepPages]),
    Operation::new("release", &[ReadAttributes]),
    Operation::new("fsync", &[ReadAttributes]),
    Operation::new("opendir", &[List]),
    Operation::new("readdir", &[Search, List, ReadAttributes]),
    Operation::new("readdirplus", &[Search, List, ReadAttributes]),
    Operation::new("statfs", &[ReadSpace]),
    Operation::new("xattr", &[ReadAttributes, ReadXattr, ReadTrustedXattr, WriteXattr, WriteSystemXattr, WriteTrustedXattr]),
    Operation::new("access", &[ReadAttributes]),
    Operation::new("fallocate", &[ReadAttributes]),
    Operation::new("lseek", &[ReadAttributes]),
    Operation::new("copy_file_range", &[ReadAttributes]),
];
