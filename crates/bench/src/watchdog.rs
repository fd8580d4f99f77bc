//! A limit on how long one measurement may take. Past it the servers are killed, whereupon everything that waits for them
//! fails, system calls in a dead mount included: so one mechanism serves all suites, and no peer can hold a run up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Watches servers until it is dropped.
pub(crate) struct Watchdog {
    bitten: Arc<AtomicBool>,
    /// Dropped, it tells the thread that all is well.
    _end: Sender<()>,
}

impl Watchdog {
    /// Kills the process groups of `servers` after `patience`. They must be children not yet waited for, so that their
    /// numbers stay theirs.
    pub(crate) fn over(servers: Vec<u32>, patience: Duration) -> Self {
        let (end, ended) = channel();
        let bitten = Arc::new(AtomicBool::new(false));
        let bites = Arc::clone(&bitten);
        std::thread::spawn(move || {
            if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                bites.store(true, Ordering::Release);
                kill_groups(&servers);
            }
        });
        Self { bitten, _end: end }
    }

    /// Whether it has killed them.
    pub(crate) fn has_bitten(&self) -> bool {
        self.bitten.load(Ordering::Acquire)
    }
}

/// Kills the process groups that `leaders` lead, with all that they started.
pub(crate) fn kill_groups(leaders: &[u32]) {
    for pid in leaders.iter().filter_map(|leader| i32::try_from(*leader).ok().and_then(Pid::from_raw)) {
        // A group without members is as dead as one that is killed here.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        // A shell that waits for a child of its own: both have to go.
        Command::new("sh").args(["-c", "sleep 60 & wait"]).process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_server_that_takes_too_long_is_killed() {
        let mut server = sleeper();
        let watchdog = Watchdog::over(vec![server.id()], Duration::from_millis(50));
        assert_eq!(server.wait().unwrap().signal(), Some(9));
        assert!(watchdog.has_bitten());
    }

    #[test]
    fn a_server_that_was_in_time_lives_on() {
        let mut server = sleeper();
        drop(Watchdog::over(vec![server.id()], Duration::from_millis(50)));
        std::thread::sleep(Duration::from_millis(150));
        assert!(server.try_wait().unwrap().is_none());
        kill_groups(&[server.id()]);
        server.wait().unwrap();
    }
}
