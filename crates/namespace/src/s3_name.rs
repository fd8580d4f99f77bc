//! The name of a bucket at S3, while its folder may have any name that a file system allows.
//!
//! If S3 allows the folder's name, the bucket has the same name at S3. Otherwise it has an *alias*: the characters of the name that S3
//! allows, the number of the folder's inode, and [`ALIAS_MARK`]. So an alias leads back to the folder without a table, stays the same
//! until the folder is renamed, and is unique: S3 does not allow a name that ends in the mark, so a folder with such a name gets an
//! alias too.

use strata_seam::Ino;

use crate::name::check_bucket;

/// The end of every alias, the name at S3 of a bucket whose folder has a name that S3 does not allow.
pub const ALIAS_MARK: &str = "--strata";
/// What an alias starts with where S3 allows nothing of the name.
const NAMELESS: &str = "folder";
/// Bytes of the name that an alias keeps: with a hyphen, a number of 13 digits and the mark there are 62.
const KEPT: usize = 40;
/// The base of the numbers in aliases.
const BASE: u32 = 36;

/// Whether a bucket has this very name at S3 if its folder has it.
pub(crate) fn is_plain(folder: &[u8]) -> bool {
    check_bucket(folder).is_ok()
}

/// The S3 name of the bucket whose folder has this name and number.
pub(crate) fn of(folder: &[u8], root: Ino) -> String {
    match std::str::from_utf8(folder) {
        Ok(plain) if is_plain(folder) => plain.to_owned(),
        _ => alias(folder, root),
    }
}

/// The alias of a folder, whatever S3 says of its name.
pub(crate) fn alias(folder: &[u8], root: Ino) -> String {
    let folder = folder.strip_suffix(ALIAS_MARK.as_bytes()).unwrap_or(folder);
    let mut kept = String::with_capacity(KEPT);
    for byte in folder {
        let byte = byte.to_ascii_lowercase();
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
            kept.push(char::from(byte));
        } else if !kept.is_empty() && !kept.ends_with('-') {
            kept.push('-');
        }
        if kept.len() == KEPT {
            break;
        }
    }
    let kept = kept.trim_end_matches('-');
    let kept = if kept.is_empty() { NAMELESS } else { kept };
    format!("{kept}-{}{ALIAS_MARK}", number(root.0))
}

/// The number in what looks like an alias. Whether it is that folder's has to be asked by making the alias of that folder.
pub(crate) fn ino_of(alias: &str) -> Option<Ino> {
    let (_, digits) = alias.strip_suffix(ALIAS_MARK)?.rsplit_once('-')?;
    u64::from_str_radix(digits, BASE).ok().map(Ino)
}

fn number(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % u64::from(BASE)).unwrap_or_default();
        digits.extend(char::from_digit(digit, BASE));
        number /= u64::from(BASE);
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_s3_allows_is_kept_and_any_other_has_an_alias_that_people_recognise() {
        for (folder, name) in [
            (&b"photos"[..], "photos"),
            (b"my-docs.2026", "my-docs.2026"),
            (b"My Files", "my-files-2s--strata"),
            (b"Photos", "photos-2s--strata"),
            (b"my_docs", "my-docs-2s--strata"),
            (b".Trash-1000", "trash-1000-2s--strata"),
            (b"lost+found", "lost-found-2s--strata"),
            ("Größe".as_bytes(), "gr-e-2s--strata"),
            ("写真".as_bytes(), "folder-2s--strata"),
            (b"\xff\xfe", "folder-2s--strata"),
            (b"a\nb<&>", "a-b-2s--strata"),
            (b"ab", "ab-2s--strata"),
            // A name that looks like an alias is not used as it is.
            (b"my-files-7--strata", "my-files-7-2s--strata"),
            (b"--strata", "folder-2s--strata"),
        ] {
            assert_eq!(of(folder, Ino(100)), name);
        }
    }

    #[test]
    fn the_longest_alias_is_a_name_that_s3_allows() {
        let longest = of(&[b'X'; 255], Ino(u64::MAX));
        assert_eq!(longest.len(), 62, "{longest}");
        assert_eq!(ino_of(&longest), Some(Ino(u64::MAX)));
    }

    #[test]
    fn what_is_no_alias_has_no_number() {
        for name in ["photos", "--strata", "a--strata", "a-!--strata", "a-zzzzzzzzzzzzzzzz--strata"] {
            assert_eq!(ino_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_leads_back_and_an_alias_is_no_plain_name(
            folder in proptest::collection::vec(any::<u8>(), 0..256), root: u64,
        ) {
            let name = of(&folder, Ino(root));
            if name.as_bytes() == folder {
                prop_assert!(is_plain(&folder));
            } else {
                prop_assert_eq!(ino_of(&name), Some(Ino(root)));
                prop_assert!(!is_plain(name.as_bytes()));
                // Apart from the mark, it is a valid name by the rules of S3.
                let unmarked = name.replace("--strata", "--others");
                prop_assert!(is_plain(unmarked.as_bytes()), "{}", name);
            }
        }

        #[test]
        fn folders_of_different_numbers_have_different_names(
            one in "[a-zA-Z ._-]{1,70}(--strata)?", other in "[a-zA-Z ._-]{1,70}(--strata)?", root in 2_u64..1000,
        ) {
            prop_assume!(one != other);
            prop_assert_ne!(of(one.as_bytes(), Ino(root)), of(other.as_bytes(), Ino(root + 1)));
        }
    }
}
