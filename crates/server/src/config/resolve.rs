//! Turns settings into a checked configuration, or into an error that says what is wrong.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_door_s3::S3Config;
use strata_namespace::TOP_NAME_DEFAULT;
use strata_seam::Cidr;

use crate::descriptors::CONNECTIONS_MAX;

use super::error::{ConfigError, in_range};
use super::{
    ByteSize, DISKS_MAX, DoorSettings, DurabilityClass, IndexEngine, Interval, Layout, Listen, Memory, NfsSquash,
    Ports, Remembered, StoreSettings, Switch, file,
};

/// Segments: below, a stripe of 1 MiB shards would not fit a few times; above, reclaiming one takes too long.
pub(crate) const SEGMENT_MIN: ByteSize = ByteSize::mib(8);
const SEGMENT_MAX: ByteSize = ByteSize::mib(4096);
/// Threads that serve network requests.
const THREADS_MIN: u16 = 4;
const THREADS_MAX: u16 = 512;
/// Requests at a door: above, a slip.
const REQUESTS_MAX: u32 = 1 << 16;
/// Clients the NFS door lets in unless told otherwise: programs of this machine.
const NFS_CLIENTS_DEFAULT: [&str; 2] = THIS_MACHINE;
/// Proxies that are believed unless told otherwise.
const TRUSTED_PROXIES_DEFAULT: [&str; 2] = THIS_MACHINE;
const THIS_MACHINE: [&str; 2] = ["127.0.0.0/8", "::1"];
/// Seconds for running requests at shutdown.
const DRAIN_SECONDS_DEFAULT: u16 = 10;
const DRAIN_SECONDS_MAX: u16 = 3600;
/// As long as Linux' lock manager waits.
const NFS_GRACE_SECONDS_DEFAULT: u16 = 50;
const NFS_GRACE_SECONDS_MAX: u16 = 600;

/// Time between two scrubs, and how fast one reads: a week finds rot before a second disk has it too, and at this pace a
/// scrub takes a fraction of what disks give.
const SCRUB_INTERVAL_DEFAULT: Interval = Interval::Every(Duration::from_secs(7 * 24 * 3600));
const SCRUB_PACE_DEFAULT: ByteSize = ByteSize::mib(64);

/// When the server scrubs by itself, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ScrubSettings {
    /// From the end of one to the beginning of the next; `None` for never.
    pub(crate) interval: Option<Duration>,
    /// Bytes per second over all disks; 0 for no limit.
    pub(crate) pace: u64,
}

/// Where a store is and how it is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoreConfig {
    /// Folder of lock, index, doors file and token.
    pub(crate) data: PathBuf,
    /// One folder per disk, in the order of the set.
    pub(crate) disks: Vec<PathBuf>,
    /// Layout of a store that is created.
    pub(crate) layout: Layout,
    /// For buckets that are made.
    pub(crate) durability: DurabilityClass,
    /// What S3 calls the files at the top.
    pub(crate) top_bucket: String,
    /// Engine of the index, where that was set.
    pub(crate) index_engine: Option<IndexEngine>,
    /// Memory of the process, in parts.
    pub(crate) memory: Memory,
    /// Length of the log's files of a store that is created.
    pub(crate) segment: Option<ByteSize>,
    /// Bytes of the newest log that are kept for readers of events.
    pub(crate) events_kept: ByteSize,
}

/// What a serving process needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Config {
    /// The store.
    pub(crate) store: StoreConfig,
    /// Where to mount the name space, if anywhere.
    pub(crate) mount: Option<PathBuf>,
    /// Whether other users are let into the mount.
    pub(crate) allow_other: Option<bool>,
    /// Address of the S3 door.
    pub(crate) s3: Listen,
    /// Address of the WebDAV door.
    pub(crate) webdav: Listen,
    /// Host, and port if it has one, of the URL by which clients know the WebDAV share.
    pub(crate) webdav_authority: Option<String>,
    /// Proxies whose word about clients counts.
    pub(crate) trusted_proxies: Vec<Cidr>,
    /// Address of the NFS door.
    pub(crate) nfs: Listen,
    /// Clients the NFS door lets in.
    pub(crate) nfs_clients: Vec<Cidr>,
    /// Whether portmap is answered on port 111 of the NFS door's address.
    pub(crate) nfs_portmap: bool,
    /// How long after a start NFS clients get only the locks that they had before.
    pub(crate) nfs_grace: Duration,
    /// Whose identity the NFS door replaces; without it, the default for who runs the server.
    pub(crate) nfs_squash: Option<NfsSquash>,
    /// Address of the admin door.
    pub(crate) admin: Listen,
    /// Region that S3 clients sign for.
    pub(crate) region: String,
    /// Domains below which a host name names a bucket.
    pub(crate) domains: Vec<String>,
    /// Connections of each door at a time, where that was set.
    pub(crate) connections: Option<usize>,
    /// Requests in progress at the S3 and WebDAV doors each.
    pub(crate) requests: usize,
    /// Whether Signature Version 2 is taken.
    pub(crate) s3_sigv2: bool,
    /// Threads that serve network requests.
    pub(crate) threads: u16,
    /// Time that running requests are given at shutdown.
    pub(crate) drain: Duration,
    /// When it scrubs by itself.
    pub(crate) scrub: ScrubSettings,
}

/// Ranges of addresses, as a setting lists them.
fn ranges(name: &str, given: Option<Vec<String>>, default: [&str; 2]) -> Result<Vec<Cidr>, ConfigError> {
    given
        .unwrap_or_else(|| default.map(str::to_owned).into())
        .iter()
        .map(|range| range.trim().parse::<Cidr>().map_err(|error| ConfigError(format!("{name}: {error}"))))
        .collect()
}

/// The host, and port if it has one, of the URL of the WebDAV share.
fn url_authority(url: &str) -> Result<String, ConfigError> {
    let refuse =
        |why: &str| Err(ConfigError(format!("webdav-url `{url}` {why}; write it as in https://files.example/")));
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return refuse("does not begin with http:// or https://");
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return refuse("has a path: the proxy has to pass the share's paths on as they are");
    }
    if authority.is_empty() || !authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
    {
        return refuse("has no host name, or one with characters that no host name has");
    }
    Ok(authority.to_owned())
}

impl StoreConfig {
    /// Takes the settings of flags and environment over those of the file, if one is named, and checks them.
    ///
    /// # Errors
    /// Every setting that makes no sense, named, with what would.
    pub(crate) fn load(file: Option<&Path>, flags: StoreSettings) -> Result<Self, ConfigError> {
        let below = file.map(file::read).transpose()?.unwrap_or_default().0;
        Self::resolve(flags.over(below))
    }

    fn resolve(settings: StoreSettings) -> Result<Self, ConfigError> {
        let Some(data) = settings.data else {
            return Err(ConfigError(
                "no folder for the store; name one with --data DIR, STRATA_DATA or the key `data`".into(),
            ));
        };
        if data.as_os_str().is_empty() {
            return Err(ConfigError("`data` is empty; name the folder of the store".into()));
        }
        let mut remembered = Remembered::load(&data)?;
        // If nothing else is asked for now, the layout with which making the store began counts.
        let begun = remembered.take_if(|kept| !kept.made);
        let asked = settings.disk.as_ref().map(Vec::len).or(settings.disks.map(usize::from));
        let disks = match (settings.disk, &remembered) {
            (Some(mut disks), Some(Remembered { several: true, disks: known, .. })) => {
                let more: Vec<_> = known.iter().filter(|disk| !disks.contains(disk)).cloned().collect();
                disks.extend(more);
                disks
            }
            (Some(disks), _) => disks,
            (None, Some(remembered)) => remembered.disks.clone(),
            (None, None) => match (&begun, settings.disks) {
                (Some(begun), None) => begun.disks.clone(),
                (_, asked) => numbered_disks(&data, asked),
            },
        };
        check_distinct(&disks)?;
        let layout = match remembered {
            // With several sets, how the store was made says nothing about its layout any more.
            Some(Remembered { layout, several: true, .. }) => layout,
            Some(Remembered { layout, .. }) => {
                check_unchanged(&data, layout, asked, settings.parity)?;
                layout
            }
            None => {
                let begun = begun.filter(|begun| begun.disks == disks).map(|begun| begun.layout.parity);
                Layout::for_disks(u8::try_from(disks.len()).unwrap_or(u8::MAX), settings.parity.or(begun))?
            }
        };
        let memory = Memory::divide(settings.memory, settings.cache_size, machine_memory())?;
        let segment = settings.segment_size;
        if let Some(segment) = segment {
            in_range("segment-size", segment, SEGMENT_MIN, SEGMENT_MAX)?;
            if !segment.0.is_multiple_of(ByteSize::mib(1).0) {
                return Err(ConfigError(format!("segment-size {segment} is not a whole number of MiB")));
            }
        }
        let events_kept = settings.events_kept.unwrap_or(ByteSize(strata_runtime::EVENTS_KEPT_DEFAULT));
        let durability = settings.durability.unwrap_or_default();
        let top_bucket = settings.top_bucket.unwrap_or_else(|| TOP_NAME_DEFAULT.to_owned());
        strata_namespace::check_bucket(top_bucket.as_bytes())
            .map_err(|error| ConfigError(format!("`top-bucket`: {}", error.what)))?;
        let index_engine = settings.index_engine;
        Ok(Self { data, disks, layout, durability, top_bucket, index_engine, memory, segment, events_kept })
    }
}

impl Config {
    /// As [`StoreConfig::load`], with the doors.
    ///
    /// # Errors
    /// Every setting that makes no sense, named, with what would.
    pub(crate) fn load(file: Option<&Path>, store: StoreSettings, doors: DoorSettings) -> Result<Self, ConfigError> {
        let (store_below, doors_below) = file.map(file::read).transpose()?.unwrap_or_default();
        Self::resolve(StoreConfig::resolve(store.over(store_below))?, doors.over(doors_below))
    }

    /// The configuration of a process whose only door is a mount on `path`.
    ///
    /// # Errors
    /// A mount that would hide the store.
    pub(crate) fn mount_only(
        store: StoreConfig,
        path: PathBuf,
        allow_other: Option<bool>,
    ) -> Result<Self, ConfigError> {
        let off = Some(Listen::Off);
        let doors = DoorSettings {
            mount: Some(path),
            allow_other,
            s3_listen: off,
            webdav_listen: off,
            nfs_listen: off,
            admin_listen: off,
            ..DoorSettings::default()
        };
        Self::resolve(store, doors)
    }

    fn resolve(store: StoreConfig, doors: DoorSettings) -> Result<Self, ConfigError> {
        let ports = doors.ports.unwrap_or_default();
        let listen = |given: Option<Listen>, port: u16| {
            given.unwrap_or_else(|| {
                let port = if ports == Ports::Auto { 0 } else { port };
                Listen::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
            })
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads = doors.threads.unwrap_or_else(|| u16::try_from(cores).unwrap_or(THREADS_MAX).max(THREADS_MIN));
        if threads == 0 || threads > THREADS_MAX {
            return Err(ConfigError(format!("threads {threads} is outside 1 to {THREADS_MAX}")));
        }
        let drain_seconds = doors.drain_seconds.unwrap_or(DRAIN_SECONDS_DEFAULT);
        if drain_seconds > DRAIN_SECONDS_MAX {
            return Err(ConfigError(format!("drain-seconds {drain_seconds} is more than an hour")));
        }
        let nfs_grace_seconds = doors.nfs_grace_seconds.unwrap_or(NFS_GRACE_SECONDS_DEFAULT);
        if nfs_grace_seconds > NFS_GRACE_SECONDS_MAX {
            return Err(ConfigError(format!("nfs-grace-seconds {nfs_grace_seconds} is more than ten minutes")));
        }
        let region = doors.region.unwrap_or_else(|| "us-east-1".to_owned());
        let domains = doors.domain.unwrap_or_default();
        S3Config { region: region.clone(), domains: domains.clone(), ..S3Config::default() }
            .check()
            .map_err(|error| ConfigError(error.to_string()))?;
        let connections = limit("connections", doors.connections, CONNECTIONS_MAX)?;
        let requests = limit("requests", doors.requests, REQUESTS_MAX)?;
        let config = Self {
            nfs_clients: ranges("nfs-clients", doors.nfs_clients, NFS_CLIENTS_DEFAULT)?,
            trusted_proxies: ranges("trusted-proxies", doors.trusted_proxies, TRUSTED_PROXIES_DEFAULT)?,
            webdav_authority: doors.webdav_url.as_deref().map(url_authority).transpose()?,
            nfs_portmap: doors.nfs_portmap.unwrap_or(false),
            nfs_grace: Duration::from_secs(nfs_grace_seconds.into()),
            nfs_squash: doors.nfs_squash,
            mount: doors.mount,
            allow_other: doors.allow_other,
            s3: listen(doors.s3_listen, 9000),
            webdav: listen(doors.webdav_listen, 9001),
            nfs: listen(doors.nfs_listen, 12049),
            admin: listen(doors.admin_listen, 9002),
            region,
            domains,
            connections,
            requests: requests.unwrap_or(usize::try_from(store.memory.requests).unwrap_or(usize::MAX)),
            s3_sigv2: doors.s3_sigv2 != Some(Switch::Off),
            threads,
            drain: Duration::from_secs(drain_seconds.into()),
            scrub: ScrubSettings {
                interval: match doors.scrub_interval.unwrap_or(SCRUB_INTERVAL_DEFAULT) {
                    Interval::Off => None,
                    Interval::Every(time) => Some(time),
                },
                pace: doors.scrub_pace.unwrap_or(SCRUB_PACE_DEFAULT).0,
            },
            store,
        };
        config.check_addresses_differ()?;
        config.check_mount_outside_disks()?;
        Ok(config)
    }

    /// Whether the NFS door lets in programs of this machine alone.
    pub(crate) fn nfs_clients_are_local(&self) -> bool {
        // A range is within loopback if its address is, and if it is not wider than the range of all loopback addresses.
        self.nfs_clients.iter().map(Cidr::to_string).all(|range| {
            let (address, bits) = range.split_once('/').unwrap_or((&range, "0"));
            let bits: u8 = bits.parse().unwrap_or(0);
            match address.parse() {
                Ok(IpAddr::V4(address)) => address.is_loopback() && bits >= 8,
                Ok(IpAddr::V6(address)) => address.is_loopback() && bits == 128,
                Err(_) => false,
            }
        })
    }

    fn check_addresses_differ(&self) -> Result<(), ConfigError> {
        let doors = [("s3", self.s3), ("webdav", self.webdav), ("nfs", self.nfs), ("admin", self.admin)];
        for (i, (name, listen)) in doors.iter().enumerate() {
            for (other, other_listen) in &doors[..i] {
                if let (Listen::At(a), Listen::At(b)) = (listen, other_listen)
                    && a == b
                    && a.port() != 0
                {
                    return Err(ConfigError(format!("the doors {other} and {name} cannot both listen on {a}")));
                }
            }
        }
        Ok(())
    }

    /// A mount over a disk would hide the disk from the server that serves it.
    fn check_mount_outside_disks(&self) -> Result<(), ConfigError> {
        let Some(mount) = &self.mount else { return Ok(()) };
        match self.store.disks.iter().chain([&self.store.data]).find(|path| path.starts_with(mount)) {
            Some(hidden) => Err(ConfigError(format!(
                "mounting on {} would hide {} of the store; mount somewhere else",
                mount.display(),
                hidden.display()
            ))),
            None => Ok(()),
        }
    }
}

/// DIR/disk0 and so on: as many as asked, else as many as an earlier start made, else one. A hole in the numbers is a
/// missing disk, not the end of them.
fn numbered_disks(data: &Path, asked: Option<u8>) -> Vec<PathBuf> {
    let path = |number: u8| data.join(format!("disk{number}"));
    let found = (0..DISKS_MAX).rev().find(|number| path(*number).is_dir()).map(|last| last + 1);
    (0..asked.or(found).unwrap_or(1)).map(path).collect()
}

/// A store keeps the layout it was made with; a setting that says otherwise is a slip.
fn check_unchanged(data: &Path, layout: Layout, disks: Option<usize>, parity: Option<u8>) -> Result<(), ConfigError> {
    let made = usize::from(layout.data + layout.parity);
    let data = data.display();
    if let Some(asked) = disks.filter(|asked| *asked != made) {
        return Err(ConfigError(format!(
            "the store in {data} has {made} disks ({layout}), not {asked}; name all of them, the missing ones too"
        )));
    }
    if let Some(asked) = parity.filter(|asked| *asked != layout.parity) {
        return Err(ConfigError(format!("the store in {data} was made with parity {}, not {asked}", layout.parity)));
    }
    Ok(())
}

fn check_distinct(disks: &[PathBuf]) -> Result<(), ConfigError> {
    for (i, disk) in disks.iter().enumerate() {
        if disk.as_os_str().is_empty() {
            return Err(ConfigError("a disk's path is empty".into()));
        }
        if disks[..i].contains(disk) {
            return Err(ConfigError(format!("disk {} is named twice; each disk needs its own folder", disk.display())));
        }
    }
    Ok(())
}

fn limit(key: &str, given: Option<u32>, max: u32) -> Result<Option<usize>, ConfigError> {
    match given {
        Some(number) if !(1..=max).contains(&number) => {
            Err(ConfigError(format!("{key} {number} is outside 1 to {max}")))
        }
        given => Ok(given.and_then(|number| usize::try_from(number).ok())),
    }
}

/// Memory of this machine, or 1 TiB where the kernel does not say.
fn machine_memory() -> ByteSize {
    let total_kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
    });
    total_kib.map_or(ByteSize::mib(1 << 20), |kib| ByteSize(kib.saturating_mul(1024)))
}
