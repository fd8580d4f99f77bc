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
    /// Take back a disk that works again, or whose folder is elsewhere now, and heal what it lacks
    Add {
        /// Its folder
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a disk out of its set, so that it can be pulled; its content stays on it
    Remove {
        /// The place, as `strata disk list` shows it
        place: u8,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace a lost disk by an empty one, and heal onto it
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
    /// Add a set of empty folders, one per disk; new content is written to it as well
    Add {
        /// The folders of its disks; made if they are not there
        #[arg(required = true, value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// Disks with data and with parity, as in 4+2 [default: by the number of folders]
        #[arg(long, value_name = "D+P")]
        layout: Option<Layout>,
        /// Add it although it can lose fewer disks than the existing sets
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Drain a set: move its content to the other sets, then remove its disks from the store
    Drain {
        /// The set, as `strata set list` shows it
        number: u16,
        /// Cancel the drain: what is still on the set stays, and it is written to again
        #[arg(long)]
        cancel: bool,
        /// Drain although disks of the other sets are not in order
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move content from the fullest set to the others until they are about equally full; stops when the command ends
    Rebalance {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with the master key.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Show which key is there, and whether it opens the secrets of users; exit code 1 if it does not
    Show,
    /// Copy the key to a new file
    Backup {
        /// The file. Keep it safe: with it and a disk of the store, the secrets of all users can be read
        file: PathBuf,
    },
    /// Restore the key from a copy, if it is the right one; no server may have the store open
    Restore {
        /// The copy
        file: PathBuf,
    },
    /// If the key is lost for good: make a new key and new secrets for all users, printed once; data stays as it is
    Reset {
        /// Confirm that no copy of the key is left
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
    /// Make a bucket with its durability, owner and mode, in one step
    Create {
        /// The name of its folder, any that a file system allows. S3 allows 3 to 63 lower-case letters, digits, dots and hyphens, with a
        /// letter or digit at both ends; a bucket with another name has an alias at S3, which is printed
        name: String,
        /// Mode of the objects that S3 and WebDAV make in it, as `strata bucket set` takes it [default: 600]
        #[arg(long, value_name = "MODE", value_parser = crate::buckets::mode::parse_mode)]
        mode: Option<u32>,
        /// What durable writes in it wait for, the medium or the operating system [default: the server's setting]
        #[arg(long, value_name = "CLASS")]
        durability: Option<DurabilityClass>,
        /// User who owns it; its group is that of the user [default: the owner of the root directory, as a rule the first administrator]
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the mode or durability of a bucket; existing objects keep their mode
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["mode", "durability"])))]
    Set {
        /// The name of its folder, or what S3 calls it
        name: String,
        /// Mode of the objects that S3 and WebDAV make in it from now on: 600 for their owner alone, 644 for everybody to
        /// read. New directories, and the bucket itself, get the mode that goes with it, such as 755 for 644
        #[arg(long, value_name = "MODE", value_parser = crate::buckets::mode::parse_mode)]
        mode: Option<u32>,
        /// What answers about it wait for from now on: strict for the disks, relaxed for the operating system
        #[arg(long, value_enum, value_name = "CLASS")]
        durability: Option<DurabilityClass>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a bucket another name, in one step; clients that use the old one get NoSuchBucket from then on
    ///
    /// Its content, owner, mode and durability, unfinished uploads and open files stay. WebDAV locks in it do not prevent the renaming, and end.
    Rename {
        /// The name its folder has, or what S3 calls it
        old: String,
        /// The new name of its folder, any that a file system allows and nothing at the top has
        new: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an empty bucket, or with --yes one with everything in it
    ///
    /// Without --yes a bucket that is not empty, or has unfinished uploads, stays as it is, and the command says what
    /// is in the way. With --yes uploads are aborted and files removed step by step. Ctrl-C ends the command, which then says how much is left;
    /// given again, it continues.
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
    /// List the locks: the path, the holder, and how long the lock still lasts
    List {
        /// Only locks in this bucket, or on its paths that begin with this (BUCKET/PREFIX)
        #[arg(value_name = "BUCKET[/PREFIX]")]
        under: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a lock at once; at WebDAV the holder's next write with its token is refused
    ///
    /// Others can then write the file at every door. The holder may not be able to save what is not written yet, so ask
    /// the holder first if you can. A WebDAV lock ends by itself at the latest an hour after its last refresh.
    ///
    /// An NFS client is not told that its lock has ended, because the protocol has no message for that. Stop the process that has the lock first.
    Break {
        /// The token of a lock, or a path: then all locks on exactly that path are ended
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
        /// The user's uid, which owns what the user makes, and by which the mount and NFS know the user [default: a new number, from 100000]
        #[arg(long)]
        uid: Option<u32>,
        /// The user's gid, the group of what the user makes [default: the same number as the uid]
        #[arg(long)]
        gid: Option<u32>,
        /// The user is an administrator: passes every permission check and manages other users
        #[arg(long)]
        admin: bool,
        /// Whether the user may make buckets: folders at the top of the tree, and files there, at every door
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
        #[arg(default_value_t = true, action = clap::ArgAction::Set)]
        may_make_buckets: bool,
    },
    /// Give a user a right, or take it away
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
