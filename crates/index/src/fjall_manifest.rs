//! Fjall's lists of files, compared with their checksums before Fjall reads them.
//!
//! A keyspace has a file `current`, which names the newest list (`v` and a number) and has its checksum. Fjall reads the list without
//! comparing it, and reserves memory for as many entries as it says: a flipped bit may ask for a hundred gigabytes, and that ends the process.
//!
//! `current`: number of the list, u64 little-endian; XXH3-128 of the list's bytes, u128 little-endian; kind of the checksum, u8, 0.

use std::path::Path;

use crate::engine::EngineError;

const CURRENT_LEN: usize = 8 + 16 + 1;

/// Compares the lists of all keyspaces of the database in `dir`. One that has no `current` was never finished, and is left to Fjall.
///
/// # Errors
/// [`EngineError::Damaged`].
pub(crate) fn check(dir: &Path) -> Result<(), EngineError> {
    let Ok(entries) = std::fs::read_dir(dir.join("keyspaces")) else { return Ok(()) };
    for keyspace in entries {
        let keyspace =
            keyspace.map_err(|error| EngineError::Damaged(format!("its keyspaces cannot be listed: {error}")))?;
        check_list(&keyspace.path())?;
    }
    Ok(())
}

fn check_list(keyspace: &Path) -> Result<(), EngineError> {
    let damaged = |why: &dyn std::fmt::Display| {
        EngineError::Damaged(format!("the list of the files of fjall's keyspace {} {why}", keyspace.display()))
    };
    let path = keyspace.join("current");
    if !path.exists() {
        return Ok(());
    }
    let unreadable = |error: std::io::Error| damaged(&format!("cannot be read: {error}"));
    let current = std::fs::read(&path).map_err(unreadable)?;
    let (number, checksum) = decode(&current).ok_or_else(|| damaged(&"is not named as it was written"))?;
    let list = std::fs::read(keyspace.join(format!("v{number}"))).map_err(unreadable)?;
    if xxhash_rust::xxh3::xxh3_128(&list) == checksum { Ok(()) } else { Err(damaged(&"is not as it was written")) }
}

/// Number and checksum of the newest list.
fn decode(current: &[u8]) -> Option<(u64, u128)> {
    let current: &[u8; CURRENT_LEN] = current.try_into().ok()?;
    let (number, rest) = current.split_first_chunk::<8>()?;
    let (checksum, kind) = rest.split_first_chunk::<16>()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{FjallEngine, OrderedKv};

    #[test]
    fn a_list_with_any_bit_flipped_is_refused_before_fjall_reads_it() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("fjall");
        let engine = FjallEngine::open(&dir, 1 << 20).unwrap();
        engine.write(vec![(vec![1], Some(vec![2; 100]))]).unwrap();
        drop(engine);
        check(&dir).unwrap();
        let mut seen = 0;
        for keyspace in std::fs::read_dir(dir.join("keyspaces")).unwrap() {
            let keyspace = keyspace.unwrap().path();
            let current = keyspace.join("current");
            let (number, _) = decode(&std::fs::read(&current).unwrap()).unwrap();
            for path in [current, keyspace.join(format!("v{number}"))] {
                seen += 1;
                let good = std::fs::read(&path).unwrap();
                for bit in 0..good.len() * 8 {
                    let mut bytes = good.clone();
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    std::fs::write(&path, bytes).unwrap();
                    assert!(matches!(check(&dir), Err(EngineError::Damaged(_))), "{}, bit {bit}", path.display());
                }
                std::fs::write(&path, &good[..good.len() / 2]).unwrap();
                let cut = FjallEngine::open(&dir, 1 << 20);
                assert!(matches!(cut, Err(EngineError::Damaged(_))), "{} cut", path.display());
                std::fs::write(&path, good).unwrap();
            }
        }
        assert!(seen >= 4, "{seen} files of two keyspaces");
        drop(FjallEngine::open(&dir, 1 << 20).unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_name_a_list_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let named = decode(&bytes);
            prop_assert_eq!(named.is_some(), bytes.len() == CURRENT_LEN && bytes[24] == 0);
        }
    }
}
