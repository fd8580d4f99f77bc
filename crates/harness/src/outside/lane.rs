//! A store with its clients, through any number of crashes: started, looked through, put under load, cut off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::outside::check::{self, Trouble};
use crate::outside::door::Clients;
use crate::outside::rng::Rng;
use crate::outside::server::{Doors, Place, Server};
use crate::outside::shared::SharedKeys;
use crate::outside::worker::{Ended, Load, Tally, Worker, answered};

/// Keys that all workers write.
const SHARED_KEYS: usize = 6;

/// A store, and what its clients know of it.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Where it is.
    pub(crate) place: Place,
    /// Random choices about it.
    pub(crate) rng: Rng,
    workers: Vec<Worker>,
    shared: SharedKeys,
}

impl Lane {
    /// A lane whose store does not exist yet.
    pub(crate) fn new(place: Place, workers: usize, mut rng: Rng) -> Self {
        let workers = (0..workers).map(|id| Worker::new(id, rng.fork(id as u64))).collect();
        Self { place, workers, shared: SharedKeys::new(SHARED_KEYS), rng }
    }

    /// Makes the store with what the clients need: the bucket and a directory for each. The server is then killed.
    ///
    /// # Errors
    /// The store cannot be made.
    pub(crate) fn make(&mut self) -> Result<()> {
        let mut server = self.place.spawn()?;
        let (doors, _) = server.doors()?;
        let mut clients = answered(Clients::new(&doors), "the doors of a new store")?;
        answered(clients.make_bucket(), "the first bucket")?;
        for worker in &self.workers {
            answered(clients.s3.send(("PUT", &format!("{}/", worker.base()), ""), &[], b""), "a directory")?;
        }
        server.kill();
        Ok(())
    }

    /// Starts a server and waits for its doors; gives the time that took.
    ///
    /// # Errors
    /// [`Trouble::Violation`]: whatever state the disks are in, they are within what a server must start on.
    pub(crate) fn start(&self) -> Result<(Server, Doors, Duration), Trouble> {
        let mut server = self.place.spawn().map_err(|error| Trouble::Lost(format!("{error:#}")))?;
        match server.doors() {
            Ok((doors, took)) => Ok((server, doors, took)),
            Err(error) => Err(Trouble::Violation(format!("no restart: {error:#}"))),
        }
    }

    /// Looks through everything the clients know of; `undecided` where the store takes no writes.
    ///
    /// # Errors
    /// What is not as it must be, or that the server went away meanwhile.
    pub(crate) fn check(&mut self, doors: &Doors, undecided: bool) -> Result<(), Trouble> {
        let mut clients = Clients::new(doors)?;
        for worker in &mut self.workers {
            check::worker(worker, &mut clients, &mut self.rng, undecided)?;
        }
        check::shared(&self.shared, &mut clients, &mut self.rng, undecided)
    }

    /// Puts the server under load for `time`, then cuts it off with `cut`, which leaves no server behind or one that
    /// fails. It is given a flag to set where nothing counts that the server says from then on.
    ///
    /// # Errors
    /// A client was told something wrong, or the server died before it was cut off.
    pub(crate) fn load(
        &mut self,
        server: &mut Server,
        doors: &Doors,
        (time, may_refuse): (Duration, bool),
        tally: &Tally,
        cut: impl FnOnce(&mut Server, &AtomicBool) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let (over, void) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = &self.shared;
        let load = &Load { over: &over, tally, shared, may_refuse, void: &void };
        let mut died = false;
        let mut cut_off = Ok(());
        let violations: Vec<String> = std::thread::scope(|scope| {
            let clients = |worker: &mut Worker| match Clients::new(doors) {
                Ok(mut clients) => worker.work(&mut clients, load),
                Err(_) => Ended::InOrder,
            };
            let running: Vec<_> = self.workers.iter_mut().map(|worker| scope.spawn(move || clients(worker))).collect();
            std::thread::sleep(time);
            died = !server.runs();
            cut_off = cut(server, &void);
            over.store(true, Ordering::Relaxed);
            let ended = running.into_iter().map(|worker| worker.join());
            ended
                .filter_map(|ended| match ended {
                    Ok(Ended::InOrder) => None,
                    Ok(Ended::Violation(told)) => Some(told),
                    Err(panic) => Some(crate::report::panic_text(&*panic)),
                })
                .collect()
        });
        cut_off?;
        if died {
            return Err(Trouble::Violation(format!("the server ended by itself: {}", server.last_words())));
        }
        if violations.is_empty() { Ok(()) } else { Err(Trouble::Violation(violations.join("; "))) }
    }
}
