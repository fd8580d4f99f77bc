//! Subjects: what is measured, started on a folder of its own and taken down without a trace.

mod peers;
mod places;
mod strata;

pub(crate) use strata::{fsck, program, reclaim, status};

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::Moment;
use crate::options::{Durability, Options};
use crate::report::Role;
use crate::{process, s3, watchdog};

/// How long a server may take to come up, where nobody says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to go.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// What can be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recipe {
    /// The server that stores nothing.
    Reference,
    /// A folder of the machine's own file system, as a mount.
    OwnFileSystem,
    /// A FUSE file system in memory.
    MemoryFuse,
    /// StrataFS.
    Strata(Durability),
    /// SeaweedFS, all in one process.
    SeaweedFs,
    /// JuiceFS over a folder, its metadata in SQLite.
    JuiceFs,
    /// rclone over a folder.
    Rclone,
}

/// A way into a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// S3.
    S3,
    /// WebDAV.
    WebDav,
    /// A mount.
    Mount,
    /// NFS.
    Nfs,
}

/// The WebDAV door of a subject.
#[derive(Clone, Debug)]
pub(crate) struct WebDav {
    /// `host:port`.
    pub(crate) address: String,
    /// Path of a collection that may be written to, with a slash at its end.
    pub(crate) path: String,
    /// User and password, as Basic authentication has them; none where nobody is asked.
    pub(crate) login: Option<(String, String)>,
}

/// A running server.
pub(crate) struct Subject {
    /// In the tables.
    pub(crate) name: String,
    /// In the comparison.
    pub(crate) role: Role,
    /// S3, if asked for.
    pub(crate) s3: Option<s3::Endpoint>,
    /// WebDAV, if asked for.
    pub(crate) webdav: Option<WebDav>,
    /// Folder of the mount, if asked for, that may be written to.
    pub(crate) mount: Option<PathBuf>,
    /// `host:port` of NFS, if asked for.
    pub(crate) nfs: Option<String>,
    /// Where its data is.
    pub(crate) data: PathBuf,
    /// How long it may take to come up.
    pub(crate) patience: Duration,
    /// What is to hold its index, where that was said.
    pub(crate) index_engine: Option<String>,
    mounted_at: Vec<PathBuf>,
    servers: Vec<Child>,
    folder: Option<tempfile::TempDir>,
}

impl Recipe {
    /// What the options ask for: the reference first where `with_reference`, ours, and peers that are installed.
    pub(crate) fn wanted(options: &Options, with_reference: bool) -> Vec<Self> {
        let mut wanted: Vec<Self> = with_reference.then_some(Self::Reference).into_iter().collect();
        wanted.push(Self::Strata(options.durability));
        if options.peers {
            let other = match options.durability {
                Durability::Strict => Durability::Relaxed,
                Durability::Relaxed => Durability::Strict,
            };
            wanted.push(Self::Strata(other));
            for peer in [Self::SeaweedFs, Self::JuiceFs, Self::Rclone] {
                if peers::program(peer, options).is_some() {
                    wanted.push(peer);
                } else {
                    eprintln!("{peer:?} is not installed and is left out: packaging/bench-peers.sh installs it");
                }
            }
        }
        wanted
    }

    /// Starts it in a fresh folder below `below`, with the doors it has of those in `doors`.
    ///
    /// # Errors
    /// That it did not come up, with the end of what it printed.
    pub(crate) async fn start(self, options: &Options, below: &Path, doors: &[Door]) -> Result<Subject> {
        match self {
            Self::Reference => reference(below),
            Self::OwnFileSystem => places::own(below),
            Self::MemoryFuse => places::memory(below).await,
            Self::Strata(durability) => strata::start(options, below, doors, durability).await,
            peer => peers::start(peer, options, below, doors).await,
        }
    }
}

fn reference(below: &Path) -> Result<Subject> {
    let mut subject = Subject::new("reference", Role::Reference, below)?;
    let program = std::env::current_exe()?;
    let mut server = Command::new(program)
        .arg("--serve-reference")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("the reference server cannot be started")?;
    let stdout = server.stdout.take();
    subject.servers.push(server);
    let mut address = String::new();
    BufReader::new(stdout.context("the reference server has no output")?).read_line(&mut address)?;
    let address = address.trim().to_owned();
    subject.webdav = Some(WebDav { address: address.clone(), path: "/".to_owned(), login: None });
    subject.s3 = Some(s3::Endpoint {
        address,
        region: "us-east-1".to_owned(),
        access_key: "reference".to_owned(),
        secret_key: "reference".to_owned(),
    });
    Ok(subject)
}

impl Subject {
    fn new(name: &str, role: Role, below: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(name.split(' ').next().unwrap_or(name)).tempdir_in(below)?;
        Ok(Self {
            name: name.to_owned(),
            role,
            s3: None,
            webdav: None,
            mount: None,
            nfs: None,
            data: folder.path().join("data"),
            patience: PATIENCE,
            index_engine: None,
            mounted_at: Vec::new(),
            servers: Vec::new(),
            folder: Some(folder),
        })
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("."), tempfile::TempDir::path)
    }

    /// Runs `command` as a server of this subject, its output going to a file.
    fn spawn(&mut self, command: &mut Command) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        // A group of its own, so that what it starts goes with it.
        let server = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn();
        self.servers.push(server.with_context(|| format!("{:?} cannot be started", command.get_program()))?);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// The end of what its servers printed.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let from = log.char_indices().nth_back(1500).map_or(0, |(at, _)| at);
        log[from..].to_owned()
    }

    /// Waits until `ready` says yes.
    async fn until(&mut self, what: &str, mut ready: impl AsyncFnMut(&Self) -> bool) -> Result<()> {
        let start = Moment::now();
        while !ready(self).await {
            let dead = self.servers.iter_mut().any(|server| matches!(server.try_wait(), Ok(Some(_))));
            if dead || start.elapsed() > self.patience {
                bail!("{} did not come up: no {what}; it last said:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// A client of the S3 door.
    ///
    /// # Errors
    /// That the door was not asked for.
    pub(crate) fn s3_client(&self) -> Result<s3::Client> {
        Ok(s3::Client::new(self.s3.as_ref().context("the subject has no S3 door")?))
    }

    /// Process ids of its servers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Child::id).collect()
    }

    /// Name and role, for the report.
    pub(crate) fn who(&self) -> (&str, Role) {
        (&self.name, self.role)
    }

    /// Peak resident memory so far, MiB.
    pub(crate) fn peak_rss_mib(&self) -> f64 {
        process::peak_rss_mib(&self.pids())
    }

    /// Kills it as a loss of the process would.
    pub(crate) fn kill(&mut self) {
        watchdog::kill_groups(&self.pids());
        for mut server in self.servers.drain(..) {
            // One that is gone already is as dead as one that is killed here.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Waits until the mount at `at` shows another file system than its parent.
    async fn until_mounted(&mut self, at: &Path) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| std::fs::metadata(path).map(|of| of.dev()).ok();
        let outside = at.parent().and_then(device);
        self.mounted_at.push(at.to_owned());
        let mounted = async |_: &Self| device(at).is_some_and(|inside| Some(inside) != outside);
        self.until("mount", mounted).await?;
        self.mount = Some(at.to_owned());
        Ok(())
    }

    /// Ends its servers in good order; its data stays until it is dropped.
    pub(crate) fn end(&mut self) {
        self.ask_to_end(END_PATIENCE);
        self.kill();
        for at in self.mounted_at.drain(..) {
            // Usually the server has unmounted itself, and then this fails.
            let _ = rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH);
        }
    }

    /// Asks its servers to end and waits for that.
    ///
    /// # Errors
    /// That it takes them longer than `patience`.
    pub(crate) fn end_within(&mut self, patience: Duration) -> Result<()> {
        let ended = self.ask_to_end(patience);
        self.kill();
        ensure!(ended, "{} did not end within {} s of being asked", self.name, patience.as_secs());
        Ok(())
    }

    /// Says whether they ended.
    fn ask_to_end(&mut self, patience: Duration) -> bool {
        for server in &self.servers {
            if let Some(pid) = i32::try_from(server.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let start = Moment::now();
        loop {
            if self.servers.iter_mut().all(|server| matches!(server.try_wait(), Ok(Some(_)))) {
                return true;
            }
            if start.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ports for programs that cannot choose one themselves: below those that the kernel gives to connections going out, so
/// that none is taken between here and there.
const PORTS: std::ops::Range<u16> = 11_000..20_000;
/// SeaweedFS serves gRPC this far above each of its ports.
const GRPC_ABOVE: u16 = 10_000;

/// A TCP port that is free, as is the one [`GRPC_ABOVE`] it, and that this run has not given out before.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in PORTS {
        // Runs side by side start at different places.
        let next = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(next % PORTS.len() as u32)?;
        if free(port) && free(port + GRPC_ABOVE) {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

/// Whether something listens at `address`.
async fn listens(address: &str) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}
