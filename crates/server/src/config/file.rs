//! The configuration file: TOML whose keys are the flags' names, with unknown keys refused.

use std::path::Path;

use clap::{Args, Command};

use super::error::ConfigError;
use super::nearest::nearest;
use super::{DoorSettings, StoreSettings};

/// Largest configuration file that is read, in bytes. Anything longer is some other file.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Every key that a configuration file may hold, from the one definition of the settings.
pub(crate) fn known_keys() -> Vec<String> {
    let command = DoorSettings::augment_args(StoreSettings::augment_args(Command::new("settings")));
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

/// Reads a configuration file.
///
/// # Errors
/// A file that cannot be read, is no TOML, holds an unknown key or a value of the wrong kind.
pub(crate) fn read(path: &Path) -> Result<(StoreSettings, DoorSettings), ConfigError> {
    let shown = path.display();
    let refuse = |error: std::io::Error| ConfigError(format!("the configuration file {shown} cannot be read: {error}"));
    let len = std::fs::metadata(path).map_err(refuse)?.len();
    if len > FILE_LEN_MAX {
        return Err(ConfigError(format!(
            "{shown} has {len} bytes, which is too long for a configuration file (at most {FILE_LEN_MAX})"
        )));
    }
    parse(&std::fs::read_to_string(path).map_err(refuse)?)
        .map_err(|ConfigError(what)| ConfigError(format!("configuration file {shown}: {what}")))
}

/// Reads settings from the text of a configuration file.
pub(crate) fn parse(text: &str) -> Result<(StoreSettings, DoorSettings), ConfigError> {
    let explain = |error: toml::de::Error| ConfigError(error.to_string().trim_end().to_owned());
    let table: toml::Table = toml::from_str(text).map_err(explain)?;
    let known = known_keys();
    for key in table.keys() {
        if !known.iter().any(|name| name == key) {
            let hint = match nearest(key, &known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the keys are {}", known.join(", ")),
            };
            return Err(ConfigError(format!("unknown key `{key}`; {hint}")));
        }
    }
    if table.contains_key("disk") && table.contains_key("disks") {
        return Err(ConfigError("`disk` names the disks and `disks` counts them; give one of the two".into()));
    }
    Ok((toml::from_str(text).map_err(explain)?, toml::from_str(text).map_err(explain)?))
}
