//! Starts the binary on a temporary folder, and leaves nothing behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a server may take to open its doors, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The binary, with a clean environment.
pub(crate) fn strata() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_strata")))
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STRATA_")) {
        command.env_remove(name);
    }
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    strata().args(arguments).output().expect("the binary starts")
}

/// What it said on standard error, for a person.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder for a store, with a server on it or without.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The store's folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The same as text for a command line.
    pub(crate) fn data_arg(&self) -> String {
        self.data().display().to_string()
    }

    /// Another path beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a drive is mounted.
    pub(crate) fn drive(&self) -> PathBuf {
        self.beside("drive")
    }

    /// Starts a server of `disks` disks with further arguments; returns once its doors are open.
    pub(crate) fn serve(&self, disks: u8, more: &[&str]) -> Server<'_> {
        let disks = ["--disks".to_owned(), disks.to_string()];
        let more: Vec<String> = disks.into_iter().chain(more.iter().map(|&argument| argument.to_owned())).collect();
        self.spawn(&more).wait_for_doors()
    }

    /// The same with the drive mounted, where this machine can.
    pub(crate) fn serve_with_drive(&self, disks: u8) -> Server<'_> {
        if can_mount() {
            self.serve(disks, &["--mount", &self.drive().display().to_string()])
        } else {
            self.serve(disks, &[])
        }
    }

    /// Starts a server again, which finds out by itself how many disks there are.
    pub(crate) fn serve_again(&self, more: &[&str]) -> Server<'_> {
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        self.spawn(&more).wait_for_doors()
    }

    /// Starts a server on disks of their own; returns once its doors are open.
    pub(crate) fn serve_on(&self, disks: &[&Path], more: &[&str]) -> Server<'_> {
        let mut arguments: Vec<String> = Vec::new();
        for disk in disks {
            arguments.extend(["--disk".to_owned(), disk.display().to_string()]);
        }
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        self.spawn(&arguments).wait_for_doors()
    }

    /// Starts a server that may have `files` open at a time, with further arguments.
    pub(crate) fn serve_with_files(&self, disks: u8, files: u32, more: &[&str]) -> Server<'_> {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_strata")]);
        let disks = ["--disks".to_owned(), disks.to_string()];
        let more: Vec<String> = disks.into_iter().chain(more.iter().map(|&argument| argument.to_owned())).collect();
        self.spawn_by(limited, &more, Stdio::null()).wait_for_doors()
    }

    /// Starts a server of one disk that prints there.
    pub(crate) fn serve_printing(&self, output: impl Into<Stdio>) -> Server<'_> {
        let program = Command::new(env!("CARGO_BIN_EXE_strata"));
        self.spawn_by(program, &["--disks".to_owned(), "1".to_owned()], output.into()).wait_for_doors()
    }

    fn spawn(&self, more: &[String]) -> Server<'_> {
        self.spawn_by(Command::new(env!("CARGO_BIN_EXE_strata")), more, Stdio::null())
    }

    fn spawn_by(&self, command: Command, more: &[String], output: Stdio) -> Server<'_> {
        let log = self.beside("stderr");
        let append = || File::options().create(true).append(true).open(&log).expect("a log file");
        let child = clean(command)
            .args(["serve", "--data", &self.data_arg()])
            .args(["--ports", "auto", "--segment-size", "16MiB", "--cache-size", "32MiB"])
            .args(more)
            .stdout(output)
            .stderr(append())
            .spawn()
            .expect("the binary starts");
        Server { place: self, child, doors: Value::Null }
    }
}

/// Whether this machine lets this user mount. Says why not, once per test.
pub(crate) fn can_mount() -> bool {
    let device = rustix::fs::access("/dev/fuse", rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok();
    let helper = Command::new("fusermount3").arg("--version").output().is_ok();
    let able = device && (helper || rustix::process::geteuid().is_root());
    if !able {
        eprintln!("without the drive: it needs /dev/fuse, open to this user, and root or fusermount3");
    }
    able
}

/// A running server. Dropping it stops it.
pub(crate) struct Server<'a> {
    pub(crate) place: &'a Place,
    child: Child,
    /// What it wrote into `doors.json`.
    pub(crate) doors: Value,
}

impl Server<'_> {
    fn wait_for_doors(mut self) -> Self {
        let file = self.place.data().join("doors.json");
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            // The file of a killed predecessor may still lie there until this server has the lock.
            let own = std::fs::read_to_string(self.place.data().join("lock")).unwrap_or_default();
            if own.trim() == self.child.id().to_string()
                && let Ok(text) = std::fs::read(&file)
            {
                self.doors = serde_json::from_slice(&text).expect("doors.json is whole as soon as it is there");
                return self;
            }
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                panic!("the server ended with {status}: {}", self.log());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("the server opened no doors: {}", self.log());
    }

    /// A text within `doors.json`.
    pub(crate) fn door(&self, door: &str, field: &str) -> String {
        self.doors[door][field].as_str().unwrap_or_else(|| panic!("doors.json lacks {door}.{field}")).to_owned()
    }

    /// What it wrote to standard error so far, and what servers before it on this place did.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.beside("stderr")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server takes signals");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("the server did not end: {}", self.log());
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            for _ in 0..500 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(LOOK_EVERY);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a killed server left mounted would keep the folder from being removed.
        let drive = self.drive();
        if rustix::mount::unmount(&drive, rustix::mount::UnmountFlags::DETACH).is_err() {
            let _ = Command::new("fusermount3").args(["-u", "-z", "-q"]).arg(&drive).output();
        }
    }
}

/// Reproducible bytes that neither compress nor repeat.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}
