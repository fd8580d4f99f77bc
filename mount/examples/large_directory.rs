//! A directory of very many long names: made, listed, sought in and removed, with the time and the memory it takes.
//!
//! `cargo run --release -p strata-mount --example large_directory -- COUNT [NAME-LEN [FOLDER]]`. As root the directory is
//! also listed, sought in and removed through a mount; without, through the name space alone. Everything is made below
//! FOLDER (a temporary one by default), which needs about 1 KiB for each name.

use std::fs::{self, File};
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{RawDir, SeekFrom, seek};
use strata_disk::FileDisk;
use strata_ledger::{Geometry, Options};
use strata_mount::{MountOptions, mount};
use strata_namespace::{
    Caller, ContentSettings, Door, DoorNumber, Durability, ListQuery, Namespace, NewNode, NodeKind, Op,
};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Disk, Ino, SystemClock, SystemEntropy};

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);
static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);
static NFS: Door = Door { has_opens: false, ..Door::of_uids("nfs", DoorNumber::new(3), &[]) };

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Positions, each with the name that a seek to it has to find.
type Told = Vec<(u64, Vec<u8>)>;

/// How often a position is sought.
const SEEKS: usize = 200;

/// A value of this process in KiB, as the kernel counts it.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn step<T>(what: &str, count: usize, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let done = run()?;
    let seconds = begun.elapsed().as_secs_f64();
    let (now, most) = (memory("VmRSS") >> 10, memory("VmHWM") >> 10);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what:<36} {seconds:>9.2} s {:>9.0}/s   memory {now} MiB, at most {most}", count as f64 / seconds)?;
    Ok(done)
}

fn op(door: &'static Door) -> Op {
    Op::new(Caller::root(door))
}

fn name(number: usize, len: usize) -> Vec<u8> {
    let mut name = format!("{number:010}-").into_bytes();
    name.resize(len.max(name.len()), b'n');
    name
}

fn open(dir: &Path) -> Result<OpenStore> {
    let mut disks = Vec::new();
    for n in 0..3 {
        let path = dir.join(format!("disk{n}"));
        fs::create_dir_all(&path)?;
        disks.push(Arc::new(FileDisk::open(&path)?) as Arc<dyn Disk>);
    }
    let config = StoreConfig {
        disks,
        create: Some(Geometry { data_shards: 2, parity_shards: 1 }),
        index_dir: Some(dir.join("index")),
        index_engine: None,
        index_cache_bytes: 64 << 20,
        ledger: Options::default(),
        content: ContentSettings { cache_bytes: 64 << 20, ..ContentSettings::default() },
        durability: Durability::Strict,
        owner: (0, 0),
        threads: true,
    };
    Ok(OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy)?)
}

fn make(ns: &Namespace, dir: Ino, count: usize, len: usize) -> Result<()> {
    let node = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
    for n in 0..count {
        ns.mknod(&op(&NFS), dir, &name(n, len), node)?;
    }
    let op = op(&NFS);
    ns.fsync(&op, dir)?;
    Ok(ns.settle_blocking(&op)?)
}

fn read_all(ns: &Namespace, dir: Ino) -> Result<usize> {
    let (mut cursor, mut count) = (Vec::new(), 0);
    loop {
        let page = ns.readdir(&op(&NFS), dir, &cursor, 1024)?;
        count += page.entries.len();
        match page.entries.into_iter().next_back() {
            Some(last) if !page.end => cursor = last.cursor,
            _ => return Ok(count),
        }
    }
}

fn list_all(ns: &Namespace) -> Result<usize> {
    let (mut after, mut count) = (None, 0);
    loop {
        let query = ListQuery { prefix: b"large/".to_vec(), delimiter: None, after, limit: 1000 };
        let page = ns.list(&op(&S3), "work", &query)?;
        count += page.objects.len();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(count),
        }
    }
}

/// Goes through a directory by the kernel; every `every`th name with the position behind it.
fn read_mounted(dir: &File, every: usize) -> Result<(usize, Told)> {
    let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
    let (mut count, mut told, mut last) = (0, Vec::new(), None);
    seek(dir, SeekFrom::Start(0))?;
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(at) = last.take() {
            told.push((at, entry.file_name().to_bytes().to_vec()));
        }
        count += 1;
        if count % every == 0 {
            last = Some(entry.next_entry_cookie());
        }
    }
    Ok((count, told))
}

fn seek_mounted(dir: &File, told: &Told) -> Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); 4096];
    for n in 0..SEEKS {
        let (at, expected) = &told[n * 7919 % told.len()];
        seek(dir, SeekFrom::Start(*at))?;
        let mut entries = RawDir::new(dir, &mut buffer);
        let entry = entries.next().ok_or("the directory ended")??;
        if entry.file_name().to_bytes() != &expected[..] {
            return Err(format!("position {at} leads to {:?}", entry.file_name()).into());
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().ok_or("how many names?")?.parse()?;
    let len: usize = args.next().map_or(Ok(250), |len| len.parse())?;
    let below = args.next().map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(below)?;
    let store = open(folder.path())?;
    let ns = store.namespace();
    ns.create_bucket(&op(&S3), "work", None)?;
    let bucket = ns.resolve(&op(&S3), b"work")?.ino;
    let dir = ns.mkdir(&op(&S3), bucket, b"large", 0o755)?.ino;
    step("made", count, || make(ns, dir, count, len))?;
    let wrong = |found: usize, wanted: usize| if found == wanted { Ok(()) } else { Err(format!("{found} found")) };
    wrong(step("read by inode, as NFS and WebDAV do", count, || read_all(ns, dir))?, count)?;
    wrong(step("listed by key, as S3 does", count, || list_all(ns))?, count + 1)?;
    if rustix::process::geteuid().is_root() {
        let mounted = mount(Arc::clone(ns), &folder.path().join("mnt"), MountOptions::default())?;
        let path = mounted.path().join("work/large");
        let open = File::open(&path)?;
        let (found, told) = step("read through the mount", count, || read_mounted(&open, count / 1000 + 1))?;
        wrong(found, count + 2)?;
        step("sought through the mount", SEEKS, || seek_mounted(&open, &told))?;
        drop(open);
        step("removed through the mount", count, || Ok(fs::remove_dir_all(&path)?))?;
        mounted.unmount()?;
    } else {
        step("removed", count, || Ok(ns.remove_tree(&op(&WEBDAV), bucket, b"large")?))?;
    }
    wrong(read_all(ns, bucket)?, 0)?;
    store.close()?;
    Ok(())
}
