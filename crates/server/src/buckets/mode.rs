//! The mode of objects on the command line.

/// A mode as people write it.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|_| "a mode is an octal number such as 640".to_owned())?;
    strata_namespace::check_object_mode(mode).map(|()| mode)
}
