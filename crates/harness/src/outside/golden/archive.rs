//! The form in which golden stores are kept in the repository: the files of all disks, one behind the other, compressed.
//!
//! For each file the length of its path (4 bytes, little-endian), the path, its length (8 bytes) and its bytes; all of it one
//! Zstd stream. Zero-filled segments take no room. No format of the product: only this program reads it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Compression: once, for ever.
const LEVEL: i32 = 19;
/// What is unpacked at most.
const LEN_MAX: u64 = 1 << 30;
/// Zeros of so many bytes become a hole.
const PART_LEN: usize = 64 << 10;

/// Packs every file below `folder`.
pub(super) fn pack(folder: &Path) -> Result<Vec<u8>> {
    let mut packed = zstd::Encoder::new(Vec::new(), LEVEL)?;
    for path in files(folder)? {
        let bytes = fs::read(folder.join(&path))?;
        let name = path.to_str().context("a path is not UTF-8")?.as_bytes();
        packed.write_all(&u32::try_from(name.len())?.to_le_bytes())?;
        packed.write_all(name)?;
        packed.write_all(&(bytes.len() as u64).to_le_bytes())?;
        packed.write_all(&bytes)?;
    }
    Ok(packed.finish()?)
}

/// Unpacks what [`pack`] made below `folder`.
pub(super) fn unpack(packed: &[u8], folder: &Path) -> Result<()> {
    let mut rest = Vec::new();
    zstd::Decoder::new(packed)?.take(LEN_MAX).read_to_end(&mut rest)?;
    let mut rest = rest.as_slice();
    while !rest.is_empty() {
        let name = u32::from_le_bytes(taken(&mut rest, 4)?.try_into()?);
        let path = Path::new(std::str::from_utf8(taken(&mut rest, name as usize)?)?);
        ensure!(path.components().all(|part| matches!(part, Component::Normal(_))), "a path leads elsewhere");
        let len = u64::from_le_bytes(taken(&mut rest, 8)?.try_into()?);
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a path without a folder")?)?;
        write_sparse(&path, taken(&mut rest, usize::try_from(len)?)?)?;
    }
    Ok(())
}

/// Writes a file, with holes for its zeros: a segment is mostly unused, and a store is unpacked dozens of times.
fn write_sparse(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = fs::File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (number, part) in bytes.chunks(PART_LEN).enumerate().filter(|(_, part)| part.iter().any(|byte| *byte != 0)) {
        file.write_all_at(part, (number * PART_LEN) as u64)?;
    }
    Ok(())
}

fn taken<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(len).context("the archive is cut off")?;
    *rest = behind;
    Ok(taken)
}

/// Paths of all files below `folder`, relative to it, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(folder)?.to_owned()) }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_a_cut_archive_is_refused() {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("disk0")).unwrap();
        fs::write(from.path().join("disk0/a"), b"content").unwrap();
        fs::write(from.path().join("disk0/b"), vec![0; 1 << 20]).unwrap();
        let packed = pack(from.path()).unwrap();
        assert!(packed.len() < 1000);
        let to = tempfile::tempdir().unwrap();
        unpack(&packed, to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("disk0/a")).unwrap(), b"content");
        assert_eq!(fs::read(to.path().join("disk0/b")).unwrap(), vec![0; 1 << 20]);
        assert!(unpack(&packed[..packed.len() - 10], to.path()).is_err());
    }
}
