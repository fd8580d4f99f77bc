//! What a file of a disk may be called.

/// Longest file name in bytes; leaves room below the usual 255 for a suffix of the disk's own.
pub const FILE_NAME_LEN_MAX: usize = 200;

/// Whether `name` may name a file of a [`Disk`](crate::Disk): 1 to [`FILE_NAME_LEN_MAX`] bytes of `a-z`, `0-9`, `.`, `_`
/// and `-`, not starting with a dot. So no name leaves the disk's folder, and none is changed by a file system that
/// folds case.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    (1..=FILE_NAME_LEN_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_or_depend_on_the_file_system_are_refused() {
        for good in ["a", "seg-00000001", "super.0", "a..b", "x_y"] {
            assert!(is_file_name(good), "{good}");
        }
        let long = "a".repeat(FILE_NAME_LEN_MAX + 1);
        for bad in ["", ".", "..", "../x", "a/b", "/a", ".hidden", "Upper", "a b", "a~", "ä", "a\0", &long] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
