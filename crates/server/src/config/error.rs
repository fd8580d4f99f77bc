//! Settings that cannot be used.

use super::size::ByteSize;

/// A setting that cannot be used. Nothing has been changed when it is returned.
#[derive(Debug)]
pub(crate) struct ConfigError(pub(crate) String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Refuses a size outside its range.
///
/// # Errors
/// A size outside its range, named with the range.
pub(super) fn in_range(key: &str, size: ByteSize, min: ByteSize, max: ByteSize) -> Result<(), ConfigError> {
    if size < min {
        return Err(ConfigError(format!("{key} {size} is too small; at least {min}")));
    }
    if size > max {
        return Err(ConfigError(format!("{key} {size} is too large; at most {max} here")));
    }
    Ok(())
}
