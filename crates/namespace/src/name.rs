//! Names: S3's keys, the names at file doors, and the entry that both mean.
//!
//! An S3 key is a path; its components are entries, and any of them may be empty. File doors cannot hold every name, and cannot show an
//! object beside a directory of the same name. Such entries appear there under an *alias* that starts with [`ALIAS_PREFIX`], is unique,
//! and leads back to the entry. So every object can be seen and removed from either side.

use crate::error::{Error, ErrorKind, Result, fail};
use crate::s3_name::ALIAS_MARK;
use crate::types::{KEY_LEN_MAX, NAME_LEN_MAX};

/// What aliases begin with. File doors cannot create names that begin so.
pub const ALIAS_PREFIX: &[u8] = b".~strata~";

/// Bytes of an overlong name kept in its alias, for a person to recognise it by.
const ALIAS_KEPT: usize = 120;

/// A name as file doors see it, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// An ordinary name.
    Plain,
    /// The alias of an entry whose entry name is given.
    Entry(Vec<u8>),
    /// The alias of an entry whose name starts with `start` and hashes to `hash`.
    Hashed { start: Vec<u8>, hash: String, dir: bool },
}

/// Takes apart a name given at a file door.
pub(crate) fn parse(name: &[u8]) -> Named {
    let Some(rest) = name.strip_prefix(ALIAS_PREFIX) else { return Named::Plain };
    match (rest.first(), rest.get(1), rest.get(2..)) {
        (Some(b'o'), Some(b'~'), Some(raw)) => Named::Entry(raw.to_vec()),
        (Some(b'd'), Some(b'~'), Some(raw)) => Named::Entry([raw, b"/"].concat()),
        (Some(kind @ (b'l' | b'm')), Some(b'~'), Some(tail)) if tail.len() >= 17 => {
            let (start, hash) = tail.split_at(tail.len() - 16);
            match (start.split_last(), std::str::from_utf8(hash)) {
                (Some((b'~', start)), Ok(hash)) => {
                    Named::Hashed { start: start.to_vec(), hash: hash.to_owned(), dir: *kind == b'm' }
                }
                _ => Named::Plain,
            }
        }
        _ => Named::Plain,
    }
}

/// Whether an entry name is a directory's.
pub fn is_dir(entry_name: &[u8]) -> bool {
    entry_name.last() == Some(&b'/')
}

/// The name without the `/` at the end of a directory's entry name.
pub fn raw(entry_name: &[u8]) -> &[u8] {
    entry_name.strip_suffix(b"/").unwrap_or(entry_name)
}

/// The name under which file doors see an entry. `shadowed`: a directory of the same name stands beside this object.
pub(crate) fn shown(entry_name: &[u8], shadowed: bool) -> Vec<u8> {
    let (raw, dir) = (raw(entry_name), is_dir(entry_name));
    let holdable = !raw.is_empty() && raw != b"." && raw != b".." && raw.len() <= NAME_LEN_MAX && !raw.contains(&0);
    if holdable && !shadowed && !raw.starts_with(ALIAS_PREFIX) {
        return raw.to_vec();
    }
    let kind = if dir { b"d~" } else { b"o~" };
    let alias = [ALIAS_PREFIX, kind, raw].concat();
    if alias.len() <= NAME_LEN_MAX && !raw.contains(&0) {
        return alias;
    }
    let kind = if dir { b"m~" } else { b"l~" };
    let start = raw.split(|byte| *byte == 0).next().unwrap_or_default();
    let start = &start[..start.len().min(ALIAS_KEPT)];
    [ALIAS_PREFIX, kind, start, b"~", hash(raw).as_bytes()].concat()
}

/// Sixteen hex digits of the BLAKE3 of a name, by which aliases of names that are too long differ.
pub fn hash(raw: &[u8]) -> String {
    blake3::hash(raw).to_hex()[..16].to_owned()
}

/// Checks a name that a file door wants to create: 1 to 255 bytes but `/` and NUL, not `.` or `..`, and none that begins as an alias.
///
/// # Errors
/// [`ErrorKind::InvalidName`], [`ErrorKind::NameTooLong`].
pub fn check_new(name: &[u8]) -> Result<()> {
    if name.len() > NAME_LEN_MAX {
        return Err(fail(
            ErrorKind::NameTooLong,
            format!("a name of {} bytes; {NAME_LEN_MAX} is the limit", name.len()),
        ));
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(invalid(name, "is not a file name"));
    }
    if name.starts_with(ALIAS_PREFIX) {
        return Err(invalid(name, "begins like the names under which unusual S3 keys are shown; choose another"));
    }
    Ok(())
}

/// What S3 keeps for names that mean something else to it (Amazon S3 User Guide, "General purpose bucket naming rules"); tools take
/// them for other kinds of buckets.
const RESERVED_STARTS: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_ENDS: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Checks the name of a bucket that is to be made at S3, by the rules of S3: 3 to 63 of `a-z 0-9 . -`, a letter or digit at both ends.
/// A name that ends in [`crate::ALIAS_MARK`] is refused too, because the aliases of other buckets end so.
///
/// # Errors
/// [`ErrorKind::InvalidName`] with the rule that is broken.
pub fn check_bucket(name: &[u8]) -> Result<()> {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let address = name.iter().filter(|byte| **byte == b'.').count() == 3
        && name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if !(3..=63).contains(&name.len())
        || !name.iter().all(allowed)
        || !edge(name.first())
        || !edge(name.last())
        || name.windows(2).any(|pair| pair == b"..")
        || address
        || RESERVED_STARTS.iter().any(|start| name.starts_with(start.as_bytes()))
        || RESERVED_ENDS.iter().any(|end| name.ends_with(end.as_bytes()))
        || name.ends_with(ALIAS_MARK.as_bytes())
    {
        return Err(invalid(
            name,
            "is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens, \
             a letter or digit at both ends, and none that S3 keeps for itself (`xn--`, `--x-s3` and its like, `--strata`); a folder made at a file door may have any name",
        ));
    }
    Ok(())
}

/// Splits a key into the names of its directories and the name of the object.
pub(crate) fn split_key(key: &[u8]) -> Result<(Vec<&[u8]>, &[u8])> {
    if key.is_empty() {
        return Err(fail(ErrorKind::InvalidName, "an empty key"));
    }
    if key.len() > KEY_LEN_MAX {
        return Err(fail(ErrorKind::NameTooLong, format!("a key of {} bytes; {KEY_LEN_MAX} is the limit", key.len())));
    }
    let mut parts: Vec<&[u8]> = key.split(|byte| *byte == b'/').collect();
    let last = parts.pop().unwrap_or_default();
    Ok((parts, last))
}

fn invalid(name: &[u8], why: &str) -> Error {
    fail(ErrorKind::InvalidName, format!("'{}' {why}", name.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leads_back(entry_name: &[u8], shadowed: bool) {
        let shown = shown(entry_name, shadowed);
        assert!(!shown.is_empty() && shown.len() <= NAME_LEN_MAX, "{}", shown.escape_ascii());
        assert!(!shown.contains(&b'/') && !shown.contains(&0) && shown != b"." && shown != b"..");
        match parse(&shown) {
            Named::Plain => assert_eq!(shown, raw(entry_name)),
            Named::Entry(found) => assert_eq!(found, entry_name),
            Named::Hashed { start, hash: found, dir } => {
                assert!(raw(entry_name).starts_with(&start));
                assert_eq!(found, hash(raw(entry_name)));
                assert_eq!(dir, is_dir(entry_name));
            }
        }
    }

    #[test]
    fn names_that_file_doors_cannot_hold_have_aliases_that_lead_back() {
        for name in [&b""[..], b"/", b".", b"./", b"..", b"../", b"a", b"a/", b".~strata~o~x", b".~strata~zz", b"nul\0"]
        {
            leads_back(name, false);
            leads_back(name, !is_dir(name));
        }
        leads_back(&[b'x'; 256], false);
        leads_back(&[b'x'; 250], true);
        leads_back(&[&[b'y'; 1000][..], b"/"].concat(), false);
    }

    proptest! {
        #[test]
        fn every_name_has_one_place(mut name in proptest::collection::vec(any::<u8>(), 0..400), dir: bool, shadowed: bool) {
            name.retain(|byte| *byte != b'/');
            if dir { name.push(b'/'); }
            leads_back(&name, shadowed && !dir);
        }
    }

    #[test]
    fn bucket_names_follow_the_rules_of_s3() {
        for good in ["abc", "a-b.c", "1bucket", "x".repeat(63).as_str()] {
            assert!(check_bucket(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "-abc",
            "abc-",
            "a..b",
            "a_b",
            "192.168.0.1",
            "",
            ".",
            "a--strata",
            "xn--abc",
            "foo--x-s3",
            "sthree-x",
            "x".repeat(64).as_str(),
        ] {
            assert!(check_bucket(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
