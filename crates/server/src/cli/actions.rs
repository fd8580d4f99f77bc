//! What the commands that have several actions can do.

use std::path::PathBuf;

use clap::Subcommand;

use crate::config::{DurabilityClass, Layout};

/// What to do with disks.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DiskAction {
    /// Show place, folder and state of each disk
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a disk of the set back that is well again or was found elsewhere, and heal what it lacks
    Add {
        /// Its folder
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a disk out of its set, so that it can be pulled; what it holds stays on it
    Remove {
        /// The place, as `strata disk list` shows it
        place: u8,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put an empty disk in the place of a lost one, and heal onto it
    Replace {
        /// The place, as `strata disk list` shows it
        place: u8,
        /// The folder of the new disk; made if it is not there
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with sets.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SetAction {
    /// Show number, layout, state and room of each set
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a set of empty folders, one per disk, and write new content to it as well
    Add {
        /// The folders of its disks; made if they are not there
        #[arg(required = true, value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// Disks with data and with parity, as in 4+2 [default: by the number of folders]
        #[arg(long, value_name = "D+P")]
        layout: Option<Layout>,
        /// Add it although it survives the loss of fewer disks than the sets that are there
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move everything that is on a set to the others and take its disks out of the store
    Drain {
        /// The set, as `strata set list` shows it
        number: u16,
        /// Take it back: leave what is there, and write to the set again
        #[arg(long)]
        cancel: bool,
        /// Also where disks of the sets that stay are not in order
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move content from the fullest set to the others until they are about equally full; ends with the command
    Rebalance {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with the master key.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Show which key is there, and whether it opens the secrets of users; code 1 if it does not
    Show,
    /// Copy the key to a file that is not there yet
    Backup {
        /// The file; whoever reads it, and a disk of the store, reads the secrets of its users
        file: PathBuf,
    },
    /// Put a copy of the key back, if it is the right one; the store must be at rest
    Restore {
        /// The copy
        file: PathBuf,
    },
    /// Where the key is lost for good: make another, and new secrets for all users, printed once; data stays as it is
    Reset {
        /// No copy of the key is left
        #[arg(long)]
        yes: bool,
    },
}

/// What to do with buckets.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum BucketAction {
    /// List the buckets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one bucket
    Show {
        /// The name of its folder, or what S3 calls it
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a bucket; its class, owner and mode are there with it, or nothing is
    Create {
        /// The name of its folder, any that a file system allows; where S3 does not allow it, S3 calls the bucket by an alias, which is
        /// shown. S3 allows 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit at both ends
        name: String,
        /// Mode of the objects that S3 and WebDAV make in it, as `strata bucket set` takes it [default: 600]
        #[arg(long, value_name = "MODE", value_parser = crate::buckets::mode::parse_mode)]
        mode: Option<u32>,
        /// What durable writes in it wait for, the medium or the operating system [default: the server's setting]
        #[arg(long, value_name = "CLASS")]
        durability: Option<DurabilityClass>,
        /// User whom it belongs to, with their group [default: the owner of the root directory, whose uid the first administrator has]
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a bucket; what is in it stays as it is
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["mode", "durability"])))]
    Set {
        /// The name of its folder, or what S3 calls it
        name: String,
        /// Mode of the objects that S3 and WebDAV make in it from now on: 600 for their owner alone, 644 for everybody to
        /// read; directories, and the bucket itself, may then be searched as well
        #[arg(long, value_name = "MODE", value_parser = crate::buckets::mode::parse_mode)]
        mode: Option<u32>,
        /// What an answer about it waits for from now on: the disks, or the operating system
        #[arg(long, value_enum, value_name = "CLASS")]
        durability: Option<DurabilityClass>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a bucket another name, in one step; clients that use the old one get NoSuchBucket from then on
    ///
    /// What is in it, its owner, mode and class, unfinished uploads and open files stay. WebDAV locks in it end: an operator's command
    /// passes them, and they do not move.
    Rename {
        /// The name its folder has, or what S3 calls it
        old: String,
        /// The name its folder gets, any that a file system allows; nothing at the top may have it
        new: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an empty bucket, or with --yes one with everything in it
    ///
    /// Without --yes a bucket in which something is, or to which uploads are unfinished, stays as it is, and the command says what
    /// is in the way. With --yes uploads are aborted and files removed step by step. Ctrl-C ends it and says how much is left;
    /// given again, the command goes on.
    Remove {
        /// The name of its folder, or what S3 calls it
        name: String,
        /// Also with everything in it
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with locks.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LockAction {
    /// List the locks: what they are on, who has them, and how long they last yet
    List {
        /// Only those in this bucket, or there on paths that begin so
        #[arg(value_name = "BUCKET[/PREFIX]")]
        under: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a lock at once, whosever it is; at WebDAV its holder's next write with the token is refused
    ///
    /// An NFS client is not told that its lock ended, because the protocol has no word for it: stop the process first that has it.
    ///
    /// Whoever is waiting for the file can then write it at every door. What the holder has not written yet is lost to them, so ask
    /// them first if you can. A lock that its holder forgot ends by itself, an hour after it was last refreshed at the latest.
    Break {
        /// Its token, or the path it is on: then all on exactly that path
        #[arg(value_name = "TOKEN|PATH")]
        which: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with users.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Add a user and print the generated secret, once
    Add {
        /// Name, also for WebDAV; letters, digits and . _ @ -
        name: String,
        /// Owner of what the user makes, as the mount and NFS see it [default: a new number, from 100000]
        #[arg(long)]
        uid: Option<u32>,
        /// Group of what the user makes [default: one of the user's own, of the same number as the uid]
        #[arg(long)]
        gid: Option<u32>,
        /// The user passes every check and manages other users
        #[arg(long)]
        admin: bool,
        /// Whether the user may make buckets: folders at the top of the tree, and files there, at every door
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
        #[arg(default_value_t = true, action = clap::ArgAction::Set)]
        may_make_buckets: bool,
    },
    /// Give a user a right, or take it
    Set {
        /// Name of the user
        name: String,
        /// Whether the user may make buckets: folders at the top of the tree, and files there, at every door
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
        #[arg(required = true, action = clap::ArgAction::Set)]
        may_make_buckets: bool,
    },
    /// List the users, without secrets
    List,
    /// Remove a user; requests signed with the old secret fail from then on
    Remove {
        /// Name of the user
        name: String,
    },
    /// Give a user a new secret and print it, once
    Rotate {
        /// Name of the user
        name: String,
    },
}
