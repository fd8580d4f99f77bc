//! status.

use std::process::ExitCode;

use crate::config::StoreConfig;

pub(crate) fn run(config: &StoreConfig, json: bool) -> anyhow::Result<ExitCode> {
    let _ = (config, json);
    anyhow::bail!("pending")
}
