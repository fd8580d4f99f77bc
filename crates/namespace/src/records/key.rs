//! Keys of the name space's tables in the one ordered key space. The first byte is the table (`docs/format/records.md`).
//!
//! Directory entries sort by *entry name*: the plain name for everything but directories, the name followed by `/` for
//! those. So the byte order of entries is the order in which S3 lists keys.

use strata_seam::{Ino, SessionId};

/// Buckets: root directory (8).
pub const TABLE_BUCKET: u8 = b'A';
/// Buckets by name, in stores that were not upgraded yet.
pub const TABLE_BUCKET_BY_NAME: u8 = b'B';
/// Directory entries: parent inode (8) and entry name.
pub const TABLE_ENTRY: u8 = b'D';
/// Inodes: number (8).
pub const TABLE_INODE: u8 = b'I';
/// Settings of services: key.
pub const TABLE_SETTING: u8 = b'K';
/// Locks of processes: inode (8).
pub const TABLE_HOLD: u8 = b'H';
/// WebDAV locks: bucket's root (8; 0 for the root of the tree), key with terminator, token; in stores of before, token alone.
pub const TABLE_LOCK: u8 = b'L';
/// Names of inodes beside the one in their record: inode (8), directory (8), entry name.
pub const TABLE_NAME: u8 = b'E';
/// Parts: upload id (8), part number (4).
pub const TABLE_PART: u8 = b'M';
/// Usage: kind of owner (1), its number (8), what is counted (1); cells.
pub const TABLE_USAGE: u8 = b'N';
/// Dead properties: inode (8), XML name space, zero byte, name.
pub const TABLE_PROPERTY: u8 = b'P';
/// Directories whose entries have still to be given to their bucket: number (8).
pub const TABLE_FOLLOWING: u8 = b'R';
/// Unlinked inodes still open: session (4), number (8).
pub const TABLE_UNLINKED: u8 = b'Q';
/// What moves in a directory: number (8); cells.
pub const TABLE_TIMES: u8 = b'T';
/// Multipart uploads: bucket inode (8), key with a terminator, upload id (8).
pub const TABLE_UPLOAD: u8 = b'U';
/// How often something was added to the uploads of a bucket, or to the parts of an upload: root directory or upload (8); cells.
pub const TABLE_ADDED: u8 = b'W';
/// Earlier versions: inode (8), version (8, descending).
pub const TABLE_VERSION: u8 = b'V';
/// Extended attributes: inode (8), name.
pub const TABLE_XATTR: u8 = b'X';
/// Table `S`, counters of the store itself. High-water mark of inode and version numbers.
pub const KEY_NUMBERS: &[u8] = b"Snumbers";
/// Present while the records of an earlier format are being upgraded.
pub const KEY_UPGRADE: &[u8] = b"Supgrade";
/// Layout of the records; refused when newer than this build.
pub const KEY_FORMAT: &[u8] = b"Sformat";
/// What begins the keys of [`copy_for`].
pub const KEY_COPIES: &[u8] = b"Scopy";
/// How many rows table `R` has: a cell.
pub const KEY_FOLLOWING: &[u8] = b"Sfollowing";
/// What begins the keys of [`leaving`].
pub const KEY_LEAVING: &[u8] = b"Sleaving";
/// The sessions that share the store; absent where one has it alone.
pub const KEY_SHARING: &[u8] = b"Ssharing";
/// Counter of inodes: a cell.
pub const KEY_INODES: &[u8] = b"Sinodes";

/// `table`, then a number, then the rest.
pub fn under(table: u8, ino: Ino, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + rest.len());
    key.push(table);
    key.extend_from_slice(&ino.0.to_be_bytes());
    key.extend_from_slice(rest);
    key
}

/// The key of everything in `table` behind those that start with this number.
pub fn behind(table: u8, ino: Ino) -> Vec<u8> {
    under(table, Ino(ino.0 + 1), &[])
}

/// `table` followed by bytes.
pub fn plain(table: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(table);
    key.extend_from_slice(rest);
    key
}

/// The key of the number of the copy of `ino` for `bucket`, while inodes are given to their buckets.
pub fn copy_for(ino: Ino, bucket: Ino) -> Vec<u8> {
    [KEY_COPIES, &ino.0.to_be_bytes(), &bucket.0.to_be_bytes()].concat()
}

/// The mark of a bucket that went into the trash as a folder: its record goes once no inode belongs to it any more.
pub fn leaving(root: Ino) -> Vec<u8> {
    [KEY_LEAVING, &root.0.to_be_bytes()].concat()
}

/// The root directory of the bucket that such a mark is of.
pub fn left(mark: &[u8]) -> Option<Ino> {
    let root = mark.strip_prefix(KEY_LEAVING)?;
    root.try_into().ok().map(|root| Ino(u64::from_be_bytes(root)))
}

/// The mark of an inode without a name that a session has open.
pub fn unlinked(session: SessionId, ino: Ino) -> Vec<u8> {
    [&strata_content::of_session(TABLE_UNLINKED, session)[..], &ino.0.to_be_bytes()].concat()
}

/// The session of such a mark.
pub fn session_of(mark: &[u8]) -> Option<SessionId> {
    mark.get(1..)?.first_chunk::<4>().map(|session| SessionId(u32::from_be_bytes(*session)))
}

/// The inode of such a mark.
pub fn unlinked_ino(key: &[u8]) -> Option<Ino> {
    key.last_chunk::<8>().map(|ino| Ino(u64::from_be_bytes(*ino)))
}

/// The record of the bucket with this root directory.
pub fn bucket(root: Ino) -> Vec<u8> {
    under(TABLE_BUCKET, root, &[])
}

/// The row of a directory whose entries have still to be given to its bucket.
pub fn following(dir: Ino) -> Vec<u8> {
    under(TABLE_FOLLOWING, dir, &[])
}

/// An inode.
pub fn inode(ino: Ino) -> Vec<u8> {
    under(TABLE_INODE, ino, &[])
}

/// A directory's entry with this entry name.
pub fn entry(parent: Ino, name: &[u8]) -> Vec<u8> {
    under(TABLE_ENTRY, parent, name)
}

/// The cell that every addition to the uploads of a bucket, or to the parts of an upload, adds to.
pub fn added(to: u64) -> Vec<u8> {
    under(TABLE_ADDED, Ino(to), &[])
}

/// The row of a name of an inode that its record does not have.
pub fn name(ino: Ino, parent: Ino, entry_name: &[u8]) -> Vec<u8> {
    under(TABLE_NAME, ino, &[&parent.0.to_be_bytes(), entry_name].concat())
}

/// Directory and entry name of such a row's key.
pub fn of_name(key: &[u8]) -> Option<(Ino, &[u8])> {
    let (parent, entry_name) = key.get(9..)?.split_first_chunk::<8>()?;
    Some((Ino(u64::from_be_bytes(*parent)), entry_name))
}

/// The smallest key behind all that start with `prefix`; `None` if there is none (all bytes 0xff).
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// An S3 key such that byte order is kept and no encoded key is a prefix of another: zero bytes become `00 ff`, the end
/// is `00 01`.
pub fn terminated(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 2);
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
    out
}

/// Undoes [`terminated`]; gives the key and what follows it.
pub fn split_terminated(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut key = Vec::new();
    let mut at = 0;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (0, Some(0xff)) => {
                key.push(0);
                at += 2;
            }
            (0, Some(1)) => return Some((key, &bytes[at + 2..])),
            (0, _) => return None,
            (byte, _) => {
                key.push(*byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn terminated_keys_read_back_and_keep_their_order(a: Vec<u8>, b: Vec<u8>, rest: [u8; 8]) {
            let (ta, tb) = (terminated(&a), terminated(&b));
            prop_assert_eq!(a.cmp(&b), ta.cmp(&tb));
            let joined = [&ta[..], &rest].concat();
            prop_assert_eq!(split_terminated(&joined), Some((a, &rest[..])));
        }

        #[test]
        fn nothing_with_the_prefix_lies_behind_its_end(prefix: Vec<u8>, rest: Vec<u8>) {
            if let Some(end) = prefix_end(&prefix) {
                prop_assert!([&prefix[..], &rest].concat() < end);
                prop_assert!(end > prefix);
            }
        }
    }
}
