//! What an operator can set, defined once.
//!
//! [`StoreSettings`] and [`DoorSettings`] are at the same time the flags, the `STRATA_*` variables and the keys of the
//! configuration file: a key is the flag without its dashes. A flag beats a variable, a variable beats the file, the
//! file beats the default. [`Config`] is the checked result; nothing behind it looks at a raw setting again.
//!
//! Invariant: reading and checking settings touches nothing but the configuration file, so a refused setting has
//! changed nothing.

mod error;
mod file;
mod interval;
mod layout;
mod listen;
mod memory;
mod nearest;
mod remembered;
mod resolve;
mod size;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use strata_namespace::Durability;
use strata_runtime::EngineKind;

pub(crate) use error::ConfigError;
pub(crate) use interval::Interval;
pub(crate) use layout::{DISKS_MAX, Layout};
pub(crate) use listen::Listen;
pub(crate) use memory::Memory;
pub(crate) use remembered::Remembered;
pub(crate) use resolve::{Config, SEGMENT_MIN, ScrubSettings, StoreConfig};
pub(crate) use size::ByteSize;

/// What a write that must be durable waits for; for buckets made while it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DurabilityClass {
    /// The medium: survives power loss.
    #[default]
    Strict,
    /// The operating system: survives the death of the process, not of the power.
    Relaxed,
}

impl DurabilityClass {
    /// The word used for it in settings and tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        }
    }

    /// The same for the name space.
    pub(crate) fn class(self) -> Durability {
        match self {
            Self::Strict => Durability::Strict,
            Self::Relaxed => Durability::Relaxed,
        }
    }
}

/// What holds the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IndexEngine {
    /// The default.
    Sled,
    /// For many millions of objects.
    Fjall,
}

impl IndexEngine {
    /// The same for the name space.
    pub(crate) fn kind(self) -> EngineKind {
        match self {
            Self::Sled => EngineKind::Sled,
            Self::Fjall => EngineKind::Fjall,
        }
    }
}

/// Where doors listen that were given no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ports {
    /// S3 9000, WebDAV 9001, admin 9002, NFS 12049.
    #[default]
    Fixed,
    /// Any free ports; DIR/doors.json says which.
    Auto,
}

/// Whether something is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Whose identity the NFS door replaces by that of the user who runs the server (by nobody's, if root runs it).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NfsSquash {
    /// Nobody's identity is replaced; calls must come from a port below 1024, which only root can use.
    None,
    /// That of root.
    Root,
    /// That of everybody.
    All,
}

/// The settings every command needs to find a store and to open it.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct StoreSettings {
    /// Folder of the store (DIR): its lock, its index and, unless disks are named, its disks
    #[arg(long, env = "STRATA_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Number of disks of a new store, as folders DIR/disk0, DIR/disk1 and so on [default: those the store has, or 1 for a new one]
    #[arg(long, env = "STRATA_DISKS", value_name = "N", conflicts_with = "disk")]
    pub(crate) disks: Option<u8>,

    /// A disk's folder; repeat it for each disk, always in the same order
    #[arg(long, env = "STRATA_DISK", value_name = "PATH", value_delimiter = ',')]
    pub(crate) disk: Option<Vec<PathBuf>>,

    /// Number of disks that a new store can lose without losing data [default: by the number of disks, such as 2 of six]
    #[arg(long, env = "STRATA_PARITY", value_name = "N")]
    pub(crate) parity: Option<u8>,

    /// What a durable write waits for in new buckets: strict for the disks, relaxed for the operating system; existing buckets keep
    /// their own [default: strict]
    #[arg(long, env = "STRATA_DURABILITY", value_name = "CLASS")]
    pub(crate) durability: Option<DurabilityClass>,

    /// Name at S3 of the bucket of the files at the top of the tree, in no folder [default: top]
    #[arg(long, env = "STRATA_TOP_BUCKET", value_name = "NAME")]
    pub(crate) top_bucket: Option<String>,

    /// Database for the index: sled, or fjall for stores of many millions of objects. If it is not the present one, the index is
    /// rebuilt from the disks [default: the present one, sled for a new store]
    #[arg(long, env = "STRATA_INDEX_ENGINE", value_name = "ENGINE")]
    pub(crate) index_engine: Option<IndexEngine>,

    /// Memory of the whole process: caches, staging, queues and answers [default: 512MiB]
    #[arg(long, env = "STRATA_MEMORY", value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,

    /// Memory for decoded chunks and the index, part of the whole [default: a quarter of it]
    #[arg(long, env = "STRATA_CACHE_SIZE", value_name = "SIZE")]
    pub(crate) cache_size: Option<ByteSize>,

    /// Length of the log's files on each disk of a new store [default: 64MiB, less on disks below 512 MiB]
    #[arg(long, env = "STRATA_SEGMENT_SIZE", value_name = "SIZE")]
    pub(crate) segment_size: Option<ByteSize>,

    /// How much of the newest log is kept for named readers of events that are behind (`strata watch --cursor`) [default: 4GiB]
    #[arg(long, env = "STRATA_EVENTS_KEPT", value_name = "SIZE")]
    pub(crate) events_kept: Option<ByteSize>,
}

/// The settings of a serving process beyond its store.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct DoorSettings {
    /// Mount the name space on this folder while serving
    #[arg(long, env = "STRATA_MOUNT", value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,

    /// Let other users use the mount, not only the one who runs the server [default: true if root runs it, else false]
    #[arg(long, env = "STRATA_ALLOW_OTHER", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_other: Option<bool>,

    /// Ports of doors for which no address is given: fixed (9000, 9001, 9002, 12049) or auto (any free ports)
    #[arg(long, env = "STRATA_PORTS", value_name = "CHOICE")]
    pub(crate) ports: Option<Ports>,

    /// Address of the S3 door, or off [default: 127.0.0.1:9000]
    #[arg(long, env = "STRATA_S3_LISTEN", value_name = "ADDR")]
    pub(crate) s3_listen: Option<Listen>,

    /// Address of the WebDAV door, or off [default: 127.0.0.1:9001]
    #[arg(long, env = "STRATA_WEBDAV_LISTEN", value_name = "ADDR")]
    pub(crate) webdav_listen: Option<Listen>,

    /// URL of the WebDAV share as clients know it, if a proxy gives it another name, such as `https://files.example/`
    #[arg(long, env = "STRATA_WEBDAV_URL", value_name = "URL")]
    pub(crate) webdav_url: Option<String>,

    /// Proxies whose Forwarded and X-Forwarded headers are trusted: addresses, or ranges [default: this machine]
    #[arg(long, env = "STRATA_TRUSTED_PROXIES", value_name = "RANGE", value_delimiter = ',')]
    pub(crate) trusted_proxies: Option<Vec<String>>,

    /// Address of the NFS door, or off [default: 127.0.0.1:12049]
    #[arg(long, env = "STRATA_NFS_LISTEN", value_name = "ADDR")]
    pub(crate) nfs_listen: Option<Listen>,

    /// Clients that the NFS door admits: addresses, or ranges as in 192.168.1.0/24 [default: this machine]
    #[arg(long, env = "STRATA_NFS_CLIENTS", value_name = "RANGE", value_delimiter = ',')]
    pub(crate) nfs_clients: Option<Vec<String>>,

    /// Answer portmap on port 111 of the NFS door's address, over TCP and UDP; locks between NFS clients need it [default: false]
    #[arg(long, env = "STRATA_NFS_PORTMAP", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) nfs_portmap: Option<bool>,

    /// Seconds after a start in which NFS clients get only the locks that they had before; skipped if no client had any [default: 50]
    #[arg(long, env = "STRATA_NFS_GRACE_SECONDS", value_name = "N")]
    pub(crate) nfs_grace_seconds: Option<u16>,

    /// Whose identity the NFS door replaces by an unprivileged one [default: none if root serves only this machine, else root]
    #[arg(long, env = "STRATA_NFS_SQUASH", value_name = "WHO")]
    pub(crate) nfs_squash: Option<NfsSquash>,

    /// Address of the admin door, or off [default: 127.0.0.1:9002]
    #[arg(long, env = "STRATA_ADMIN_LISTEN", value_name = "ADDR")]
    pub(crate) admin_listen: Option<Listen>,

    /// Region that S3 clients sign for [default: us-east-1]
    #[arg(long, env = "STRATA_REGION", value_name = "NAME")]
    pub(crate) region: Option<String>,

    /// A domain below which S3 clients may name a bucket as a host, as in BUCKET.s3.example.com; repeat it for several
    /// [default: none, buckets are the first part of the path]
    #[arg(long, env = "STRATA_DOMAIN", value_name = "NAME", value_delimiter = ',')]
    pub(crate) domain: Option<Vec<String>>,

    /// Connections that each of the S3, WebDAV and NFS doors takes at a time; a further one takes the place of the one idle for longest
    /// [default and maximum: what the limit of open files allows, at most 1024]
    #[arg(long, env = "STRATA_CONNECTIONS", value_name = "N")]
    pub(crate) connections: Option<u32>,

    /// Requests that the S3 and WebDAV doors each work on at a time; further ones are told to slow down [default:
    /// as many as memory allows, at most 256]
    #[arg(long, env = "STRATA_REQUESTS", value_name = "N")]
    pub(crate) requests: Option<u32>,

    /// Whether S3 requests may be signed with Signature Version 2, as boto3, `aws s3 presign` and `s3cmd signurl` presign
    /// unless told otherwise [default: on]
    #[arg(long, env = "STRATA_S3_SIGV2", value_name = "on|off")]
    pub(crate) s3_sigv2: Option<Switch>,

    /// Threads that serve network requests [default: the number of cores, at least 4]
    #[arg(long, env = "STRATA_THREADS", value_name = "N")]
    pub(crate) threads: Option<u16>,

    /// Seconds that running requests are given at shutdown [default: 10]
    #[arg(long, env = "STRATA_DRAIN_SECONDS", value_name = "N")]
    pub(crate) drain_seconds: Option<u16>,

    /// Time from the end of a scrub of all disks to the next one, such as 7d or 12h, or off [default: 7d]
    #[arg(long, env = "STRATA_SCRUB_INTERVAL", value_name = "TIME")]
    pub(crate) scrub_interval: Option<Interval>,

    /// Bytes that a scrub reads per second at most, over all disks together; 0 for no limit [default: 64MiB]
    #[arg(long, env = "STRATA_SCRUB_PACE", value_name = "SIZE")]
    pub(crate) scrub_pace: Option<ByteSize>,
}

impl StoreSettings {
    /// These settings where they say something, `below` where they do not.
    fn over(self, below: Self) -> Self {
        let Self {
            data,
            mut disks,
            mut disk,
            parity,
            durability,
            top_bucket,
            index_engine,
            memory,
            cache_size,
            segment_size,
            events_kept,
        } = self;
        // `disks` and `disk` are two ways to say one thing: the one that is given higher up wins as a whole.
        if disks.is_none() && disk.is_none() {
            (disks, disk) = (below.disks, below.disk);
        }
        Self {
            data: data.or(below.data),
            disks,
            disk,
            parity: parity.or(below.parity),
            durability: durability.or(below.durability),
            top_bucket: top_bucket.or(below.top_bucket),
            index_engine: index_engine.or(below.index_engine),
            memory: memory.or(below.memory),
            cache_size: cache_size.or(below.cache_size),
            segment_size: segment_size.or(below.segment_size),
            events_kept: events_kept.or(below.events_kept),
        }
    }
}

impl DoorSettings {
    /// These settings where they say something, `below` where they do not.
    fn over(self, below: Self) -> Self {
        let Self {
            mount,
            allow_other,
            ports,
            s3_listen,
            webdav_listen,
            webdav_url,
            trusted_proxies,
            nfs_listen,
            nfs_clients,
            nfs_portmap,
            nfs_grace_seconds,
            nfs_squash,
            admin_listen,
            region,
            domain,
            connections,
            requests,
            s3_sigv2,
            threads,
            drain_seconds,
            scrub_interval,
            scrub_pace,
        } = self;
        Self {
            mount: mount.or(below.mount),
            allow_other: allow_other.or(below.allow_other),
            ports: ports.or(below.ports),
            s3_listen: s3_listen.or(below.s3_listen),
            webdav_listen: webdav_listen.or(below.webdav_listen),
            webdav_url: webdav_url.or(below.webdav_url),
            trusted_proxies: trusted_proxies.or(below.trusted_proxies),
            nfs_listen: nfs_listen.or(below.nfs_listen),
            nfs_clients: nfs_clients.or(below.nfs_clients),
            nfs_portmap: nfs_portmap.or(below.nfs_portmap),
            nfs_grace_seconds: nfs_grace_seconds.or(below.nfs_grace_seconds),
            nfs_squash: nfs_squash.or(below.nfs_squash),
            admin_listen: admin_listen.or(below.admin_listen),
            region: region.or(below.region),
            domain: domain.or(below.domain),
            connections: connections.or(below.connections),
            requests: requests.or(below.requests),
            s3_sigv2: s3_sigv2.or(below.s3_sigv2),
            threads: threads.or(below.threads),
            drain_seconds: drain_seconds.or(below.drain_seconds),
            scrub_interval: scrub_interval.or(below.scrub_interval),
            scrub_pace: scrub_pace.or(below.scrub_pace),
        }
    }
}

#[cfg(test)]
mod tests;
