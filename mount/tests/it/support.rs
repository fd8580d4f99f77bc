//! A store on folders of a temporary directory, mounted by this process, and short helpers for the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strata_check::check_store;
use strata_disk::FileDisk;
use strata_ledger::{Geometry, Options};
use strata_mount::{MountOptions, Mounted, mount};
use strata_namespace::{
    Attr, Caller, Condition, ContentSettings, Door, DoorNumber, Durability, Namespace, ObjectMeta, Op,
};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Disk, SystemClock, SystemEntropy};

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);

/// The bucket most tests work in.
pub(crate) const BUCKET: &str = "work";
/// How long a change of another door may take to be seen here before a test calls it lost.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// A mounted store. Dropping it unmounts, checks every invariant of the store, and removes it.
pub(crate) struct Drive {
    store: Option<OpenStore>,
    mounted: Option<Mounted>,
    top: PathBuf,
    _dir: tempfile::TempDir,
}

/// Whether this process can mount; says why not.
pub(crate) fn can_mount() -> bool {
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    let able = rustix::process::geteuid().is_root() && device;
    if !able {
        eprintln!("skipped: mounting needs root and /dev/fuse");
    }
    able
}

/// Whether a program is installed; says so if it is not.
pub(crate) fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Opens the store below `dir`, or creates it: a 2+1 set.
pub(crate) fn open_store(dir: &Path) -> OpenStore {
    let disks = (0..3).map(|n| {
        let path = dir.join(format!("disk{n}"));
        fs::create_dir_all(&path).expect("a folder");
        Arc::new(FileDisk::open(&path).expect("a disk")) as Arc<dyn Disk>
    });
    let config = StoreConfig {
        disks: disks.collect(),
        create: Some(Geometry { data_shards: 2, parity_shards: 1 }),
        index_dir: Some(dir.join("index")),
        index_engine: None,
        index_cache_bytes: 4 << 20,
        ledger: Options { segment_len: 16 << 20, ..Options::default() },
        content: ContentSettings { cache_bytes: 16 << 20, ..ContentSettings::default() },
        durability: Durability::Strict,
        owner: (0, 0),
        threads: true,
    };
    OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).expect("the store opens")
}

/// Opens the store below `dir` and mounts it on `dir/mnt`.
pub(crate) fn serve(dir: &Path, options: MountOptions) -> (OpenStore, Mounted) {
    let store = open_store(dir);
    let mounted = mount(Arc::clone(store.namespace()), &dir.join("mnt"), options).expect("mounted");
    (store, mounted)
}

impl Drive {
    /// A new store with one bucket; `None`, after saying why, where nothing can be mounted.
    pub(crate) fn new() -> Option<Self> {
        Self::with(MountOptions::default())
    }

    /// The same with other options.
    pub(crate) fn with(options: MountOptions) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Other users must be able to enter.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let (store, mounted) = serve(dir.path(), options);
        let top = mounted.path().join(BUCKET);
        fs::create_dir(&top).expect("a bucket");
        Some(Self { store: Some(store), mounted: Some(mounted), top, _dir: dir })
    }

    /// A path in the bucket.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    /// The bucket's directory.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    /// The directory of buckets.
    pub(crate) fn mount_point(&self) -> &Path {
        self.mounted.as_ref().expect("mounted").path()
    }

    /// What lies below.
    pub(crate) fn ns(&self) -> &Arc<Namespace> {
        self.store.as_ref().expect("open").namespace()
    }

    /// Unmounts before the test ends.
    pub(crate) fn unmount(&mut self) {
        self.mounted.take().expect("mounted").unmount().expect("unmounted");
    }

    /// The attributes of a path in the bucket, as the name space has them.
    pub(crate) fn attr(&self, path: &str) -> Attr {
        let path = format!("{BUCKET}/{path}");
        self.ns().resolve(&other_door(), path.as_bytes()).expect("it is there")
    }

    /// Stores an object through another door.
    pub(crate) fn put(&self, key: &str, data: &[u8]) {
        let op = other_door();
        let mut ingest = self.ns().ingest(&op, BUCKET).expect("an ingest");
        ingest.push(data).expect("pushed");
        let content = ingest.finish().expect("content");
        self.ns()
            .put_object(&op, BUCKET, key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())
            .expect("stored");
    }

    /// Reads an object through another door.
    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        let (info, reader) = self.ns().get_object(&other_door(), BUCKET, key.as_bytes()).expect("an object");
        let mut out = Vec::new();
        while (out.len() as u64) < info.attr.size {
            out.extend_from_slice(&reader.read(out.len() as u64, 1 << 20).expect("read"));
        }
        out
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        drop(self.mounted.take());
        let Some(store) = self.store.take() else { return };
        if !std::thread::panicking() {
            let report = check_store(store.namespace(), true, &mut |_| {}).expect("checked");
            assert_eq!(report.violations, Vec::<String>::new());
        }
        store.close().expect("closed");
    }
}

/// A request of the superuser through a door that is not the mount.
pub(crate) fn other_door() -> Op {
    Op::new(Caller::root(&S3))
}

/// Runs a program in `dir` and hands back what it printed.
///
/// # Panics
/// If it fails.
pub(crate) fn run(dir: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir)
        .output()
        .expect("started");
    succeeded(&format!("{program} {args:?}"), &output)
}

/// What a program printed.
///
/// # Panics
/// If it failed.
pub(crate) fn succeeded(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Waits until `seen` holds, for what another door has changed.
#[expect(clippy::disallowed_methods, reason = "waits for the real kernel")]
pub(crate) fn soon(what: &str, seen: impl Fn() -> bool) {
    let start = Instant::now();
    while !seen() {
        assert!(start.elapsed() < SEEN_WITHIN, "{what} was not seen");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The number of an error of the operating system.
///
/// # Panics
/// If there was none.
pub(crate) fn errno<T>(outcome: std::io::Result<T>) -> i32 {
    match outcome {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.raw_os_error().expect("an error of the system"),
    }
}

/// A generator of numbers that are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of `0 .. end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Bytes that neither compress nor repeat.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}
