//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures StrataFS through its doors beside what the machine can do and, with --peers, beside other stores
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    pub(crate) suites: Vec<SuiteName>,

    /// One short repetition of fewer, smaller measurements: minutes, and only good to see that everything works
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure other stores too, as far as packaging/bench-peers.sh has installed them, and both durability classes
    #[arg(long)]
    pub(crate) peers: bool,

    /// Folder of the peers' programs
    #[arg(long, value_name = "DIR", default_value = "target/bench-peers/bin")]
    pub(crate) peers_dir: PathBuf,

    /// Disks of the store
    #[arg(long, value_enum, default_value = "4+2")]
    pub(crate) layout: Layout,

    /// What a durable write waits for
    #[arg(long, value_enum, default_value = "strict")]
    pub(crate) durability: Durability,

    /// Only lines with TEXT in their name, in s3, mount, webdav and nfs, and of fsck in scale; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Vec<String>,

    /// Write all figures to FILE as tables in Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// Write all figures to FILE, as one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// The program to measure [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) strata: Option<PathBuf>,

    /// Folder for all data, up to 30 GB, on the file system to measure; emptied at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// GiB of the store that the suite restart kills [default: 10, with --quick 0.25]
    #[arg(long, value_name = "GIB")]
    pub(crate) restart_gib: Option<f64>,

    /// Objects of the suite scale, several numbers for one store that grows; the first is also the keys of the bucket that the
    /// suite lock empties [default: 1000000, with --quick 20000 and 5000]
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub(crate) objects: Vec<u64>,

    /// What holds the index of StrataFS: sled or fjall; of several the suite scale fills the store in the first and measures it in
    /// each, the other suites take the first [default: that of `strata serve`]
    #[arg(long, value_name = "ENGINE", value_delimiter = ',')]
    pub(crate) index_engine: Vec<String>,

    /// Serve as the reference S3 server (used by this program itself)
    #[arg(long, hide = true)]
    pub(crate) serve_reference: bool,
}

/// A group of measurements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum SuiteName {
    /// S3 PUT and GET by size, clients and kind of data
    S3,
    /// Listing and deleting many keys
    List,
    /// The mount beside the machine's own file system and an in-memory FUSE file system
    Mount,
    /// WebDAV PUT, GET and PROPFIND
    Webdav,
    /// NFS 3 writes, reads and names
    Nfs,
    /// Space and CPU for five versions of a source tree, a database and a disk image, beside restic
    Dedup,
    /// What the same gigabyte again, and one changed byte of it, add to the store
    Growth,
    /// Time from kill -9 to serving
    Restart,
    /// Time, memory and checkpoints with many small objects
    Scale,
    /// Small reads beside large writes
    Beside,
    /// How long changes hold the lock of all changes, while the largest removals go on
    Lock,
    /// Peak memory while eight clients move 1 GiB each
    Memory,
}

/// Data and parity disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Layout {
    /// One disk, no parity.
    #[value(name = "1+0")]
    One,
    /// Six disks, any two of which may fail.
    #[value(name = "4+2")]
    Six,
}

impl Layout {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::One => "1+0",
            Self::Six => "4+2",
        }
    }

    /// Number of disks.
    pub(crate) fn disks(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Six => 6,
        }
    }
}

/// What an acknowledged write has survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Durability {
    /// Loss of power.
    Strict,
    /// Death of the process only, as the peers' defaults.
    Relaxed,
}

impl Durability {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        }
    }
}

impl Options {
    /// The suites to run, in the order of the help text.
    pub(crate) fn wanted(&self) -> Vec<SuiteName> {
        let mut wanted = self.suites.clone();
        if wanted.is_empty() {
            wanted = SuiteName::value_variants().to_vec();
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Whether the line `name` is wanted.
    pub(crate) fn wants_line(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }

    /// How often each measurement is made; the median counts.
    pub(crate) fn repetitions(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }
}
