//! The command line: one subcommand per thing to do, and how their failures become exit codes.

mod actions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{ByteSize, Config, ConfigError, DoorSettings, StoreConfig, StoreSettings};
use crate::fsck::FsckOptions;
use crate::keeper::messages::ScrubAction;
use crate::lock::{InUse, NoAnswer};
use crate::watch::Asked;

pub(crate) use actions::{BucketAction, DiskAction, KeysAction, LockAction, SetAction, UserAction};

/// One store, many doors: a local drive, NFS, WebDAV and S3 over the same files, on disks that may fail.
#[derive(Debug, Parser)]
#[command(name = "strata", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to log to standard error: error, warn, info, debug, trace, or a filter such as strata_ledger=debug
    #[arg(long, global = true, env = "STRATA_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a store through its doors, creating the store at the first start
    Serve {
        /// Read settings from this TOML file; a key is a flag of this command without its dashes
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// The doors
        #[command(flatten)]
        doors: Box<DoorSettings>,
    },
    /// Mount a store that no server has open, without the other doors; runs until it is unmounted or interrupted
    Mount {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Where to mount
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Let other users use the mount, not only the one who mounts it [default: true if root mounts, else false]
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
        allow_other: Option<bool>,
    },
    /// Look after the mount of the process that starts this one
    #[command(name = crate::guard::COMMAND, hide = true)]
    MountGuard {
        /// Where it is
        path: PathBuf,
    },
    /// Show a store's disks, log and doors
    Status {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Free the space of deleted content now, and pack small commits
    Reclaim {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Wait until the server has done it
        #[arg(long)]
        wait: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print changes from every door of a running server, one line per change
    Watch {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Only changes in this bucket, or of its keys that begin with this (BUCKET/PREFIX)
        #[arg(value_name = "BUCKET[/PREFIX]")]
        only: Option<String>,
        /// Where to begin: with new changes, with the first one that is still in the log, or after the change with this sequence
        #[arg(long, value_name = "now|start|SEQ", default_value = "now")]
        from: crate::watch::sequence::From,
        /// Continue where the reader of this name stopped, and keep for it the changes that it has not seen yet
        #[arg(long, value_name = "NAME")]
        cursor: Option<String>,
        /// End when there are no more changes for now
        #[arg(long)]
        once: bool,
        /// List the named readers, and how far they are
        #[arg(long, conflicts_with_all = ["only", "from", "cursor", "once", "forget"])]
        list: bool,
        /// Remove the reader of this name; no changes are kept for it any more
        #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "from", "cursor", "once"])]
        forget: Option<String>,
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Check every invariant, beside the running server or at rest; changes nothing without --repair
    Fsck {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Beside a server, also read and hash every chunk (at rest that is always done)
        #[arg(long)]
        contents: bool,
        /// Show what would be done about each violation, and do it after a confirmation; no server may have the store open
        #[arg(long)]
        repair: bool,
        /// Carry out the plan of --repair without asking
        #[arg(long, requires = "repair")]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Upgrade a store that an earlier version wrote, or only show what opening it would change
    Upgrade {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Show what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the disks of a store, take one out or back, replace a lost one
    #[command(mut_args = |argument| argument.global(true))]
    Disk {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// What to do
        #[command(subcommand)]
        action: DiskAction,
    },
    /// List the erasure sets of a store, add one, drain and remove one, rebalance them
    #[command(mut_args = |argument| argument.global(true))]
    Set {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// What to do
        #[command(subcommand)]
        action: SetAction,
    },
    /// Write the frames that disks lack, then prove for every object that it is whole
    Heal {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read and verify every frame of every disk, and repair damaged ones
    Scrub {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Limit in bytes per second over all disks together, such as 100MiB, also for later scrubs; 0 for no limit
        #[arg(long, value_name = "RATE")]
        pace: Option<ByteSize>,
        /// Stop the server's scrub until --resume
        #[arg(long, conflicts_with = "resume")]
        pause: bool,
        /// Let the server's scrub continue
        #[arg(long)]
        resume: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show, back up and restore the master key (DIR/master.key), which encrypts the secrets of users
    #[command(mut_args = |argument| argument.global(true))]
    Keys {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// What to do
        #[command(subcommand)]
        action: KeysAction,
    },
    /// List, make, rename and remove buckets, and set the mode of new objects
    #[command(mut_args = |argument| argument.global(true))]
    Bucket {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// What to do
        #[command(subcommand)]
        action: BucketAction,
    },
    /// List WebDAV locks and locks of NFS clients, and break one whose holder does not release it
    #[command(mut_args = |argument| argument.global(true))]
    Locks {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// What to do
        #[command(subcommand)]
        action: LockAction,
    },
    /// Add, list and remove users, set their rights, and renew their secrets
    #[command(mut_args = |argument| argument.global(true))]
    User {
        /// Read settings from this TOML file
        #[arg(long, env = "STRATA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The store
        #[command(flatten)]
        store: StoreSettings,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// What to do
        #[command(subcommand)]
        action: UserAction,
    },
}

/// Reads the command line. Ends the process where it asks for help or cannot be understood.
pub(crate) fn parse() -> Cli {
    Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
}

/// The command line with its help as people see it: the settings by which a store is made and opened are shown where it is
/// served; elsewhere they are one line, and understood all the same.
fn command() -> clap::Command {
    let store = StoreSettings::augment_args(clap::Command::new("settings"));
    let mut settings: Vec<clap::Id> = store.get_arguments().map(|argument| argument.get_id().clone()).collect();
    settings.retain(|id| id != "data");
    settings.push("config".into());
    Cli::command().mut_subcommands(|command| {
        if OPENS_A_STORE.contains(&command.get_name()) {
            return command;
        }
        let hidden = |argument: clap::Arg| {
            let hide = settings.contains(argument.get_id());
            argument.hide(hide)
        };
        brief(command.mut_args(hidden))
    })
}

/// Commands whose help shows how a store is made and opened.
const OPENS_A_STORE: [&str; 2] = ["serve", "mount"];
const STORE_IN_ONE_LINE: &str =
    "Store: --data DIR, or the settings of `strata serve` (see its --help) for one at rest whose disks lie elsewhere.";

fn brief(command: clap::Command) -> clap::Command {
    command.after_help(STORE_IN_ONE_LINE).mut_subcommands(brief)
}

/// Runs one command to its end.
///
/// # Errors
/// Whatever stopped it; [`exit_code_of`] tells the kinds apart.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve { config, store, doors } => {
            let config = Config::load(config.as_deref(), store, *doors)?;
            crate::serve::run(&config)
        }
        Command::Mount { config, store, path, allow_other } => {
            let config = Config::mount_only(StoreConfig::load(config.as_deref(), store)?, path, allow_other)?;
            crate::lock::StoreLock::check_existing(&config.store.data)?;
            crate::serve::run(&config)
        }
        Command::MountGuard { path } => crate::guard::run(&path),
        Command::Status { config, store, json } => {
            crate::status::run(&StoreConfig::load(config.as_deref(), store)?, json)
        }
        Command::Reclaim { config, store, wait, json } => {
            crate::reclaim::run(&StoreConfig::load(config.as_deref(), store)?, wait, json)
        }
        Command::Watch { config, store, only, from, cursor, once, list, forget, json } => {
            let asked = match (list, forget) {
                (true, _) => Asked::List,
                (_, Some(name)) => Asked::Forget(name),
                _ => Asked::Watch { only, from, cursor, once },
            };
            crate::watch::run(&StoreConfig::load(config.as_deref(), store)?, asked, json)
        }
        Command::Fsck { config, store, contents, repair, yes, json } => {
            let options = FsckOptions { json, contents, repair, yes };
            crate::fsck::run(&StoreConfig::load(config.as_deref(), store)?, options)
        }
        Command::Upgrade { config, store, dry_run, json } => {
            crate::upgrade::run(&StoreConfig::load(config.as_deref(), store)?, dry_run, json)
        }
        Command::Disk { config, store, action } => {
            crate::disks::run(&StoreConfig::load(config.as_deref(), store)?, action)
        }
        Command::Set { config, store, action } => {
            crate::sets::run(&StoreConfig::load(config.as_deref(), store)?, action)
        }
        Command::Heal { config, store, json } => {
            crate::disks::heal(&StoreConfig::load(config.as_deref(), store)?, json)
        }
        Command::Scrub { config, store, pace, pause, resume, json } => {
            let action = match (pause, resume) {
                (true, _) => ScrubAction::Pause,
                (_, true) => ScrubAction::Resume,
                _ => ScrubAction::Run,
            };
            crate::disks::scrub(&StoreConfig::load(config.as_deref(), store)?, pace, action, json)
        }
        Command::Keys { config, store, json, action } => {
            crate::keys::run(&StoreConfig::load(config.as_deref(), store)?, action, json)
        }
        Command::Bucket { config, store, action } => {
            crate::buckets::run(&StoreConfig::load(config.as_deref(), store)?, action)
        }
        Command::Locks { config, store, action } => {
            crate::locks::run(&StoreConfig::load(config.as_deref(), store)?, action)
        }
        Command::User { config, store, json, action } => {
            crate::user::run(&StoreConfig::load(config.as_deref(), store)?, action, json)
        }
    }
}

/// The exit code for a failure; the list is in the head of `main.rs`.
pub(crate) fn exit_code_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<ConfigError>() {
        ExitCode::from(2)
    } else if error.is::<InUse>() || error.is::<NoAnswer>() {
        ExitCode::from(3)
    } else {
        ExitCode::FAILURE
    }
}

/// Sends log lines to standard error. A filter that cannot be read is reported and replaced by the default.
pub(crate) fn log_to_stderr(filter: Option<&str>) {
    // The S3 library logs every error answer as an error; the door itself logs those that are worth a line.
    let default = || EnvFilter::new("warn,strata=info,s3s=off");
    let (filter, refused) = match filter.map(EnvFilter::try_new) {
        None => (default(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default(), Some(error)),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true).init();
    if let Some(error) = refused {
        tracing::warn!(%error, "the log filter is not understood; logging warnings");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        command().debug_assert();
    }

    /// The help of a command, and of those below it.
    fn helps(command: &clap::Command, name: &str, found: &mut Vec<(String, String)>) {
        found.push((name.to_owned(), command.clone().render_help().to_string()));
        for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
            helps(below, &format!("{name} {}", below.get_name()), found);
        }
    }

    #[test]
    fn the_help_of_a_command_shows_its_own_options_and_the_store_in_one_line() {
        let mut whole = command();
        whole.build();
        let mut found = Vec::new();
        helps(&whole, "strata", &mut found);
        let help = |name: &str| &found.iter().find(|(command, _)| command == name).unwrap().1;
        for (name, text) in found.iter().filter(|(name, _)| name != "strata") {
            let opens = OPENS_A_STORE.iter().any(|opens| name.ends_with(opens));
            for setting in ["--parity", "--segment-size", "--cache-size", "--durability", "--disks"] {
                // A bucket has a durability of its own.
                let own =
                    setting == "--durability" && ["strata bucket create", "strata bucket set"].contains(&name.as_str());
                assert_eq!(text.contains(setting), opens || own, "{name}: {text}");
            }
            if !opens {
                assert!(text.contains("--data <DIR>") && text.contains(STORE_IN_ONE_LINE), "{name}: {text}");
            }
        }
        assert!(help("strata user add").contains("--uid <UID>") && help("strata fsck").contains("--repair"));
        assert!(help("strata scrub").contains("--pace <RATE>") && help("strata set drain").contains("--cancel"));
        // Not shown, but understood.
        let line = "strata status --data d --disk a --cache-size 64MiB --config f";
        command().try_get_matches_from(line.split(' ')).unwrap();
    }

    #[test]
    fn the_store_may_be_named_before_and_behind_what_to_do_with_users() {
        for line in ["strata user --data d add bob", "strata user add bob --data d", "strata user list --data d --json"]
        {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
