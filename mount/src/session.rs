//! The life of a mount: made, served, told of foreign changes, unmounted by us or by somebody else.
//!
//! Order at the end: the notifying thread is stopped first (an invalidation in flight could otherwise wait for a mount
//! that is being taken apart), then the mount is removed, then the request threads end by themselves, then what
//! programs left open is closed in the name space.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use strata_namespace::Namespace;

use crate::attach::{self, Detach};
use crate::door::MountDoor;
use crate::error::MountError;
use crate::handler::Handler;
use crate::metrics::MountMetrics;
use crate::notify::{self, FEED_MAX, Feed, FuseKernel};
use crate::operations::DOOR;
use crate::options::MountOptions;

/// How often a busy mount is tried again.
const BUSY_RETRY: Duration = Duration::from_millis(20);
/// How long the request threads may take to end once the mount is gone.
const END_MAX: Duration = Duration::from_secs(10);

/// How the mount was made, and so how it is removed.
enum Way {
    /// By this process, as this device.
    Direct { device: String },
    /// By the helper program, for a process without the right to mount.
    Helper(SessionUnmounter),
}

/// A mounted name space. Dropping it unmounts.
pub struct Mounted {
    at: PathBuf,
    way: Way,
    grace: Duration,
    requests: Option<JoinHandle<io::Result<()>>>,
    finishing: Arc<AtomicBool>,
    notices: Option<JoinHandle<()>>,
    feed: Arc<Feed>,
    metrics: Arc<MountMetrics>,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounted").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Mounts the name space at `at`, which is created if it is missing.
///
/// A mount left there by a process that died is removed first. Returns when the mount answers; requests are served by
/// threads of their own until it is unmounted. One mount per name space and process: a second one would not be told
/// what is changed through the first.
///
/// # Errors
/// See [`MountError`]; nothing is mounted then.
pub fn mount(ns: Arc<Namespace>, at: &Path, options: MountOptions) -> Result<Mounted, MountError> {
    let at = attach::prepare(at)?;
    let failed = |source: io::Error| MountError::Handshake { at: at.clone(), source };
    // Subscribed before the kernel can have cached anything.
    let changes = ns.changes(FEED_MAX, Some(&DOOR));
    let door = Arc::new(MountDoor::new(ns, options.clone()).map_err(failed)?);
    let (session, way) = match connect(&at, &options, &door) {
        Ok(connected) => connected,
        Err(error) => {
            door.finish();
            return Err(error);
        }
    };
    let mut mounted = Mounted {
        at: at.clone(),
        way,
        grace: options.unmount_grace,
        requests: None,
        finishing: Arc::clone(&door.finishing),
        notices: None,
        feed: Arc::clone(&door.feed),
        metrics: Arc::clone(&door.metrics),
    };
    // From here on dropping `mounted` cleans up.
    let device = session.as_fd().try_clone_to_owned().map_err(failed)?;
    let kernel = FuseKernel { notifier: session.notifier(), device };
    let requests = std::thread::Builder::new().name(String::from("strata-fuse")).spawn(move || session.run());
    mounted.requests = Some(requests.map_err(failed)?);
    let sizes = Arc::downgrade(&door.ns);
    let (feed, nodes, metrics) = (Arc::clone(&door.feed), Arc::clone(&door.nodes), Arc::clone(&door.metrics));
    mounted.notices = Some(notify::start(feed, changes, kernel, sizes, nodes, metrics).map_err(failed)?);
    if options.read_ahead_kib > 0
        && let Some(line) = attach::mounted_at(&at)
    {
        attach::raise_read_ahead(&line.device, options.read_ahead_kib);
    }
    tracing::info!(at = %at.display(), writeback = options.writeback, threads = options.threads(), "mounted");
    Ok(mounted)
}

/// Mounts and shakes hands.
fn connect(at: &Path, options: &MountOptions, door: &Arc<MountDoor>) -> Result<(Session<Handler>, Way), MountError> {
    let root = rustix::process::geteuid().is_root();
    let mut config = Config::default();
    config.n_threads = Some(options.threads());
    config.clone_fd = true;
    config.acl = if options.others(root) { SessionACL::All } else { SessionACL::Owner };
    let notifier = Arc::new(OnceLock::new());
    let handler = Handler::new(Arc::clone(door), Arc::clone(&notifier));
    if let Some(fd) = attach::attach(at, options)? {
        let device = attach::mounted_at(at).map_or_else(String::new, |line| line.device);
        return match Session::from_fd(handler, fd, config.acl, config) {
            Ok(session) => {
                notifier.get_or_init(|| session.notifier());
                Ok((session, Way::Direct { device }))
            }
            Err(source) => {
                attach::detach_by_force(at, &device)?;
                Err(MountError::Handshake { at: at.to_path_buf(), source })
            }
        };
    }
    config.mount_options = vec![
        MountOption::FSName(options.source.clone()),
        MountOption::Subtype(String::from("strata")),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
        if options.read_only { MountOption::RO } else { MountOption::RW },
    ];
    let mut session = Session::new(handler, at, &config).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => MountError::OthersNotAllowed { at: at.to_path_buf(), source },
        _ => MountError::NotAllowed { at: at.to_path_buf(), source },
    })?;
    notifier.get_or_init(|| session.notifier());
    let unmounter = session.unmount_callable();
    Ok((session, Way::Helper(unmounter)))
}

impl Mounted {
    /// Where it is mounted: the path without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Counters; they stay readable after the mount has ended.
    #[must_use]
    pub fn metrics(&self) -> Arc<MountMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Whether the mount has ended, be it that somebody ran `umount`.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.requests.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether the kernel shows it and requests are answered. Asks no file of it: were this process killed while it waits for
    /// its own answer, neither could end.
    #[must_use]
    pub fn serves(&self) -> bool {
        !self.has_ended() && attach::mounted_at(&self.at).is_some_and(|line| line.kind == attach::FS_TYPE)
    }

    /// Waits until somebody else unmounts.
    ///
    /// # Errors
    /// [`MountError::Serve`] if the requests threads ended with an error.
    pub fn join(mut self) -> Result<(), MountError> {
        let ended = self.requests.take().map_or(Ok(()), |requests| self.ended(requests));
        self.stop_notices();
        ended
    }

    /// Unmounts. Programs that still use the mount get [`MountOptions::unmount_grace`] to finish; then they are cut
    /// off. What they wrote is kept.
    ///
    /// # Errors
    /// [`MountError::Unmount`] if the mount could not be removed, [`MountError::Serve`] if serving had failed before.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.take_down()
    }

    fn ended(&self, requests: JoinHandle<io::Result<()>>) -> Result<(), MountError> {
        let served =
            requests.join().unwrap_or_else(|_| Err(io::Error::other("a thread that serves requests panicked")));
        match served {
            // The connection was cut while a thread was taking a request: an ordinary end, with another error number.
            Err(cut) if cut.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            served => served.map_err(|source| MountError::Serve { at: self.at.clone(), source }),
        }
    }

    fn stop_notices(&mut self) {
        self.feed.stop();
        if let Some(notices) = self.notices.take() {
            // It has no result; a panic in it has been reported where it happened.
            let _ = notices.join();
        }
    }

    fn take_down(&mut self) -> Result<(), MountError> {
        let Some(requests) = self.requests.take() else {
            self.stop_notices();
            return self.remove(&|| true);
        };
        self.stop_notices();
        let removed = self.remove(&|| requests.is_finished());
        let deadline = now() + END_MAX;
        // Files that programs left open are stored, however long that takes.
        while !requests.is_finished() && (now() < deadline || self.finishing.load(Ordering::Acquire)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !requests.is_finished() {
            // Detached by somebody with `umount -l` and in use, on a system whose control files are out of reach: the
            // threads end with the last user or with this process.
            let source = io::Error::other("programs still hold files of the detached mount open");
            return Err(MountError::Unmount { at: self.at.clone(), source });
        }
        removed.and(self.ended(requests))
    }

    /// Removes the mount from its path, by force after the grace period.
    fn remove(&mut self, ended: &dyn Fn() -> bool) -> Result<(), MountError> {
        let at = self.at.clone();
        let device = match &mut self.way {
            Way::Direct { device } => device.clone(),
            Way::Helper(unmounter) => {
                return unmounter.unmount().map_err(|source| MountError::Unmount { at, source });
            }
        };
        let deadline = now() + self.grace;
        loop {
            if attach::detach(&at, &device)? == Detach::Done {
                break;
            }
            if now() >= deadline {
                tracing::warn!(at = %at.display(), "still in use after the grace period; its users are cut off");
                return attach::detach_by_force(&at, &device);
            }
            std::thread::sleep(BUSY_RETRY);
        }
        // Detached out of sight and still in use: wait for the users as long as for those of a visible mount.
        while !ended() && now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if ended() { Ok(()) } else { attach::detach_by_force(&at, &device) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if (self.requests.is_some() || self.notices.is_some())
            && let Err(error) = self.take_down()
        {
            tracing::error!(%error, "unmounting failed");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "waits for the real kernel and real programs; nothing of the store depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
