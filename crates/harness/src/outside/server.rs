//! The real program on a folder: started, killed and started again on the same data, its doors found by what it writes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;

use crate::options::Options;
use crate::outside::clock::Moment;

/// How long a server may take to open its doors before it counts as hung.
const START_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The program to try: that of `--strata`, else the one beside this program.
pub(crate) fn program(options: &Options) -> Result<PathBuf> {
    let program = match &options.strata {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("strata"),
    };
    ensure!(
        program.is_file(),
        "{} is not there: build it with `cargo build --release -p strata-server`, or name it with --strata",
        program.display()
    );
    Ok(program)
}

/// The first bytes of the program's hash, which tell in a result what was tried.
///
/// # Errors
/// It cannot be read.
pub(crate) fn fingerprint(program: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(program)?)?;
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Whether this process may mount: root, with the kernel's device there.
pub(crate) fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists()
}

/// What a running server wrote into `doors.json`.
#[derive(Clone, Debug)]
pub(crate) struct Doors(Value);

impl Doors {
    /// A text; empty where there is none.
    pub(crate) fn text(&self, door: &str, field: &str) -> String {
        self.0[door][field].as_str().unwrap_or_default().to_owned()
    }

    /// A number; zero where there is none.
    pub(crate) fn number(&self, door: &str, field: &str) -> u64 {
        self.0[door][field].as_u64().unwrap_or_default()
    }

    /// Whether this door is open.
    pub(crate) fn has(&self, door: &str) -> bool {
        !self.0[door].is_null()
    }
}

/// A folder for a store, and how it is served.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    program: PathBuf,
    /// Holds the store's folder, its mount point and what its servers said.
    pub(crate) folder: PathBuf,
    /// The disks, in order.
    pub(crate) disks: Vec<PathBuf>,
    /// Of the store that is made.
    pub(crate) parity: usize,
    /// Whether the drive is mounted.
    pub(crate) mount: bool,
}

impl Place {
    /// A place below `folder`, with disks inside the store's folder.
    pub(crate) fn new(program: &Path, folder: PathBuf, disks: usize, parity: usize, mount: bool) -> Self {
        let disks = (0..disks).map(|disk| folder.join("data").join(format!("disk{disk}"))).collect();
        Self { program: program.to_owned(), folder, disks, parity, mount }
    }

    /// Disks that must be there for the store to take changes; with fewer it may be read (docs/operate/running.md).
    pub(crate) fn write_quorum(&self) -> usize {
        self.disks.len() - self.parity + usize::from(self.parity >= 2)
    }

    /// The store's folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What its servers said.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The program, with a clean environment.
    fn strata(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STRATA_")) {
            command.env_remove(name);
        }
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Starts a server and returns at once.
    pub(crate) fn spawn(&self) -> Result<Server> {
        fs::create_dir_all(self.data())?;
        // What a killed server left there would be taken for the word of the new one.
        if let Err(error) = fs::remove_file(self.data().join("doors.json"))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = self.strata();
        command.args(["serve", "--ports", "auto", "--segment-size", "8MiB", "--cache-size", "16MiB"]);
        command.arg("--data").arg(self.data()).args(["--parity", &self.parity.to_string()]);
        for disk in &self.disks {
            command.arg("--disk").arg(disk);
        }
        if self.mount {
            command.arg("--mount").arg(self.folder.join("mnt"));
        }
        let begun = Moment::now();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().context("the program cannot be started")?;
        Ok(Server { child, begun, data: self.data(), log: self.log() })
    }

    /// Runs another command of the program on the store to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> io::Result<Output> {
        let mut command = self.strata();
        command.args(arguments).arg("--data").arg(self.data());
        for disk in &self.disks {
            command.arg("--disk").arg(disk);
        }
        command.output()
    }

    /// Runs a command of the program beside the server to its end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> io::Result<Output> {
        self.strata().args(arguments).arg("--data").arg(self.data()).output()
    }

    /// A command of the program beside the server, to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.strata();
        command.args(arguments).arg("--data").arg(self.data());
        command
    }

    /// Starts another command of the program on the store, which goes on while its server is killed.
    pub(crate) fn beside(&self, command: &'static str) -> Result<Beside> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut strata = self.strata();
        strata.arg(command).arg("--data").arg(self.data()).stdout(Stdio::null()).stderr(log);
        Ok(Beside { command, child: strata.spawn()? })
    }

    /// Takes away a mount that a killed server left.
    pub(crate) fn unmount(&self) {
        let at = self.folder.join("mnt");
        while self.mount && rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH).is_ok() {}
    }
}

/// A command beside a server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Beside {
    command: &'static str,
    child: Child,
}

impl Beside {
    /// Waits until it is gone, as it must be soon after its server.
    ///
    /// # Errors
    /// It hangs.
    pub(crate) fn ends(mut self) -> Result<()> {
        let begun = Moment::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begun.elapsed() < START_PATIENCE, "strata {} hangs after its server was killed", self.command);
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that was started. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    begun: Moment,
    data: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Waits until all doors are open; gives them with the time since the start.
    ///
    /// # Errors
    /// The server ended by itself or hangs, with the end of its log.
    pub(crate) fn doors(&mut self) -> Result<(Doors, Duration)> {
        let file = self.data.join("doors.json");
        while self.begun.elapsed() < START_PATIENCE {
            if let Ok(text) = fs::read(&file)
                && let Ok(doors) = serde_json::from_slice(&text)
            {
                return Ok((Doors(doors), self.begun.elapsed()));
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended by itself with {status}: {}", self.last_words());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("the server opened no doors within {START_PATIENCE:?}: {}", self.last_words())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Stops all its threads where they are; what they asked of the kernel goes on, and none of them hears of it.
    ///
    /// # Errors
    /// It is gone, or does not stand still.
    pub(crate) fn freeze(&self) -> Result<()> {
        let begun = Moment::now();
        kill_process(Pid::from_child(&self.child), Signal::STOP)?;
        // The call only asks for it. Who waits for a disk (D) stops before it comes back from there.
        while self.threads()?.iter().any(|state| !['T', 't', 'D', 'Z', 'X'].contains(state)) {
            ensure!(begun.elapsed() < START_PATIENCE, "a server that was told to stand still runs on");
            std::thread::yield_now();
        }
        Ok(())
    }

    /// What the kernel says that its threads do, one letter each.
    fn threads(&self) -> Result<Vec<char>> {
        let mut states = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end while we look.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
            // Behind the name, which may hold anything but is closed by the last parenthesis.
            states.extend(stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()));
        }
        Ok(states)
    }

    /// Lets it open `spare` files more than it has open, and no further one. Returns the limit it had.
    ///
    /// # Errors
    /// It is gone, or its limit may not be changed.
    pub(crate) fn limit_files(&self, spare: u64) -> Result<Rlimit> {
        let pid = Pid::from_child(&self.child);
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count() as u64;
        // A limit above this process's own takes privilege.
        let limit = Rlimit { current: Some(open + spare), maximum: getrlimit(Resource::Nofile).maximum };
        Ok(prlimit(Some(pid), Resource::Nofile, limit)?)
    }

    /// Gives it the limit back that it had.
    ///
    /// # Errors
    /// As [`limit_files`](Self::limit_files).
    pub(crate) fn restore_files(&self, limit: Rlimit) -> Result<()> {
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit)?;
        Ok(())
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // It may be gone already; what matters is that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
