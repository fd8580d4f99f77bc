//! `strata user`: through the running server, or on the store itself where none runs.

use std::process::ExitCode;

use crate::cli::UserAction;
use crate::config::StoreConfig;

pub(crate) fn run(config: &StoreConfig, action: UserAction) -> anyhow::Result<ExitCode> {
    let _ = (config, action);
    anyhow::bail!("pending")
}
