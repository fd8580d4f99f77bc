//! A store on small disks of its own (memory file systems, so only for root): filled until it refuses, emptied and filled
//! again, and its server killed at any moment of that. What was acknowledged is there, what was deleted is not, no removal is
//! refused, and what was removed can be written again within seconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::outside::check::Trouble;
use crate::outside::client::Failure;
use crate::outside::clock::Moment;
use crate::outside::door::{BUCKET, Clients};
use crate::outside::lane::Lane;
use crate::outside::rng::Rng;
use crate::outside::server::Place;

/// Bytes of each disk: a dozen segments and a half of those that the stores here have.
const DISK: &str = "size=100m";
/// Bytes of an object.
const OBJECT: usize = 700_000;
/// Objects, at most: several times what fits.
const OBJECTS_MAX: u64 = 4000;
/// Servers that one such store has.
const SERVERS: u64 = 6;
/// Longest that a server is left to itself before it is killed, milliseconds.
const LIFE_MS_MAX: u64 = 4096;
/// How long room that was given back may take to be there, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The disks of a place. Dropping it takes them away.
struct Disks(Vec<PathBuf>);

impl Disks {
    fn mount(place: &Place) -> anyhow::Result<Self> {
        let mut mounted = Self(Vec::new());
        for disk in &place.disks {
            std::fs::create_dir_all(disk)?;
            let size = std::ffi::CString::new(DISK)?;
            mount("tmpfs", disk.as_path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str()))?;
            mounted.0.push(disk.clone());
        }
        Ok(mounted)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.0 {
            // Whoever still uses it keeps it until then.
            let _ = unmount(disk.as_path(), UnmountFlags::DETACH);
        }
    }
}

/// What the client knows: of each object the seed of its bytes, or that it may be there or not.
#[derive(Default)]
struct Known {
    objects: BTreeMap<u64, Option<u64>>,
    next: u64,
    /// What the last refusal said.
    refusal: String,
}

/// How many times a server was killed.
///
/// # Errors
/// A promise was broken.
pub(super) fn one(place: &Place, mut rng: Rng) -> Result<u64, Trouble> {
    let lost = |error: anyhow::Error| Trouble::Lost(format!("{error:#}"));
    let _disks = Disks::mount(place).map_err(lost)?;
    let mut lane = Lane::new(place.clone(), 0, rng.fork(1));
    lane.make().map_err(lost)?;
    let mut known = Known::default();
    for _ in 0..SERVERS {
        let (mut server, doors, _) = lane.start()?;
        let mut clients = Clients::new(&doors)?;
        known.check(&mut clients)?;
        let life = Duration::from_millis(1 + rng.magnitude(LIFE_MS_MAX));
        let done = std::thread::scope(|scope| {
            let worked = scope.spawn(|| known.work(&mut clients, &mut rng));
            std::thread::sleep(life);
            server.kill();
            worked.join().unwrap_or_else(|panic| Err(Trouble::Violation(crate::report::panic_text(&*panic))))
        });
        match done {
            Ok(()) | Err(Trouble::Lost(_)) => {}
            Err(violation) => return Err(violation),
        }
        place.unmount();
    }
    // And once to the end, undisturbed.
    let (server, doors, _) = lane.start()?;
    let mut clients = Clients::new(&doors)?;
    known.check(&mut clients)?;
    known.fill(&mut clients)?;
    known.empty(&mut clients, |_| true)?;
    known.put_soon(&mut clients).map_err(|trouble| match trouble {
        Trouble::Lost(told) => Trouble::Violation(format!("the server went away: {told}: {}", server.last_words())),
        Trouble::Violation(told) => Trouble::Violation(format!("{told}; {}", status(place))),
    })?;
    known.check(&mut clients)?;
    Ok(SERVERS)
}

impl Known {
    /// Until the server is gone.
    fn work(&mut self, clients: &mut Clients, rng: &mut Rng) -> Result<(), Trouble> {
        loop {
            self.fill(clients)?;
            let odd = rng.within(0..2);
            self.empty(clients, |number| number % 2 == odd)?;
            self.put_soon(clients)?;
        }
    }

    /// One object; `false` where there is no room.
    fn put(&mut self, clients: &mut Clients) -> Result<bool, Trouble> {
        self.next += 1;
        let number = self.next;
        let before = self.objects.insert(number, None);
        let stored = clients.s3.send(("PUT", &path(number), ""), &[], &bytes(number));
        match stored {
            Ok(_) => {
                self.objects.insert(number, Some(number));
                Ok(true)
            }
            Err(Failure::Refused { code: code @ (503 | 507), said }) => {
                self.refusal = format!("{code}: {said}");
                debug_assert!(before.is_none(), "numbers are used once");
                self.objects.remove(&number);
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }

    fn fill(&mut self, clients: &mut Clients) -> Result<(), Trouble> {
        for _ in 0..OBJECTS_MAX {
            if !self.put(clients)? {
                return Ok(());
            }
        }
        Err(Trouble::Violation("a store on small disks is never full".to_owned()))
    }

    fn empty(&mut self, clients: &mut Clients, goes: impl Fn(u64) -> bool) -> Result<(), Trouble> {
        let gone: Vec<u64> = self.objects.keys().copied().filter(|number| goes(*number)).collect();
        for number in gone {
            self.objects.insert(number, None);
            match clients.s3.send(("DELETE", &path(number), ""), &[], b"") {
                Ok(_) => drop(self.objects.remove(&number)),
                Err(Failure::Refused { code, said }) => {
                    return Err(Trouble::Violation(format!("a full store refuses a removal with {code}: {said}")));
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// An object that finds room within [`PATIENCE`].
    fn put_soon(&mut self, clients: &mut Clients) -> Result<(), Trouble> {
        let begun = Moment::now();
        while !self.put(clients)? {
            if begun.elapsed() > PATIENCE {
                return Err(Trouble::Violation(format!(
                    "half of a full store was removed, and {PATIENCE:?} later nothing fits: {}",
                    self.refusal
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Everything that was acknowledged is as it was sent, and from here on is known.
    fn check(&mut self, clients: &mut Clients) -> Result<(), Trouble> {
        for (number, seed) in std::mem::take(&mut self.objects) {
            let found = match clients.s3.send(("GET", &path(number), ""), &[], b"") {
                Ok(answer) => Some(answer.body),
                Err(failure) if failure.is_absent() => None,
                Err(other) => return Err(other.into()),
            };
            match (found, seed) {
                (Some(found), _) if found == bytes(number) => drop(self.objects.insert(number, Some(number))),
                (Some(_), _) => return Err(Trouble::Violation(format!("object {number} has other bytes"))),
                (None, None) => {}
                (None, Some(_)) => {
                    return Err(Trouble::Violation(format!("object {number} was acknowledged and is gone")));
                }
            }
        }
        Ok(())
    }
}

/// What the running server tells of its room and its mover.
fn status(place: &Place) -> String {
    match place.ask(&["status", "--json"]) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("no status: {error}"),
    }
}

fn path(number: u64) -> String {
    format!("/{BUCKET}/full{number}")
}

fn bytes(number: u64) -> Vec<u8> {
    Rng::new(number).bytes(OBJECT)
}
