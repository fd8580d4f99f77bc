//! Row `gateways`: several sessions over one store, each a name space of its own, whose changes interrupt each other.
//!
//! It is what an engine for many gateways would do, in one thread and from one seed: a change is computed, another session makes
//! one of its own, and then the first is committed if every row it read is as it was, as far as such an engine looks
//! (`strata_seam::rehearsal`). A change that was committed although it would have come out differently, or would tell otherwise, is a
//! violation: it relied on something that no row stands for. So is everything that a check of the store finds afterwards.
//!
//! Beside that it is held against a model:
//!
//! - *Trash* (`trash.rs`): folders go into a desktop's trash while others change what is in them, and any session does the next step of what has to
//!   follow. What was thrown away is where it went at once. In the end everything belongs to the bucket that it lies in, and usage adds up.
//! - *Files* (`files.rs`): what is stored, and what each session has written and not sealed yet, which it alone reads. A file that any
//!   session has open is there, whoever removed it; once nobody has, it is erased.
//! - *Locks* (`locking.rs`): nothing is accepted that a lock of WebDAV forbids, whichever session granted it, and none ends but by who
//!   holds it or by time. Processes never hold what is in each other's way, and none of a session that is gone holds anything.
//! - *Events* (`told.rs`): each committed change is told once, in the order of its inode's changes, and none that was thrown away; who
//!   follows them knows the tree.
//!
//! Sessions end as in a crash, at any moment that a step may come, and others take their place. What a session alone has in memory by its
//! nature is not shared, and that is what is tested of it: staged bytes are read by their session alone, lie over what the file has when they
//! are sealed, and end with the session. Not in here: pins (a reader keeps replaced content only from its own session's replacements),
//! removed inodes that a kernel refers to, claims of changes of trees that take many commits, and the limits of the number of locks.

mod files;
mod locking;
mod place;
mod step;
mod told;
mod trash;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use strata_content::{Content, ContentError, DedupDomain, Tx};
use strata_namespace::{Durability, Identity, Namespace};
use strata_seam::rehearsal;
use strata_seam::sim::{SimRng, SimWorld};
use strata_seam::{Clock, SessionId};

use super::rig::{Rig, leftovers, root, violations};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;
use files::{Files, Own};
use locking::{Actor, Granteds, holds_agree};
use place::BUCKETS;
use step::{Effect, Step, actor, was_in_the_way};

/// The row.
pub(crate) const ROW: Row = Row {
    name: "gateways",
    id: "R16",
    about: "several sessions over one store, with open files, locks and events; each change interrupted by another's before it is committed",
    run,
};

/// Sessions at a time.
const GATEWAYS: usize = 3;
/// Changes of one seed.
const STEPS: u64 = 60;
/// How much time passes before workers do what they do once a second.
const IDLE_NANOS: u64 = 6_000_000_000;

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sized(400, 20_000);
    let name = |number: u64| format!("seed-{}", options.seed.wrapping_add(number));
    let tally = cases::run(options, report, count, name, |number, tally| {
        let seed = options.seed.wrapping_add(number);
        tally.count("seeds", 1);
        if let Err(wrong) = one(seed, options.case.is_some(), tally) {
            tally.broken(format!("seed {seed}: {wrong}"));
        }
    });
    report.goal("seeds", tally.of("seeds"), 20_000.0);
    for what in [
        "changes",
        "changes interrupted",
        "changes made",
        "files opened",
        "locks granted",
        "sessions ended",
        "thrown away",
        "steps of following",
        "events",
    ] {
        report.figure(what, tally.of(what));
    }
    Ok(())
}

/// One session of the store.
#[derive(Clone)]
struct Gateway {
    namespace: Arc<Namespace>,
    session: SessionId,
}

/// One seed: the sessions, and what is known of what they should have.
struct Run {
    clock: Arc<strata_seam::sim::SimClock>,
    /// Reads what is stored, and has nothing of its own.
    watcher: Arc<Namespace>,
    gateways: RefCell<Vec<Gateway>>,
    sessions: Cell<u32>,
    /// In the middle of a change.
    busy: Cell<Option<usize>>,
    files: RefCell<Files>,
    locks: RefCell<Granteds>,
    wrong: RefCell<Option<String>>,
    opened: Cell<u64>,
    ended: Cell<u64>,
}

impl Run {
    fn begin(world: &SimWorld, watcher: &Arc<Namespace>) -> Result<Self, String> {
        let run = Self {
            clock: world.clock(),
            watcher: Arc::clone(watcher),
            gateways: RefCell::default(),
            sessions: Cell::new(watcher.session().0),
            busy: Cell::new(None),
            files: RefCell::default(),
            locks: RefCell::default(),
            wrong: RefCell::default(),
            opened: Cell::new(0),
            ended: Cell::new(0),
        };
        for _ in 0..GATEWAYS {
            let gateway = run.come()?;
            run.gateways.borrow_mut().push(gateway);
            run.files.borrow_mut().own.push(Own::default());
        }
        Ok(run)
    }

    /// One session more.
    fn come(&self) -> Result<Gateway, String> {
        self.sessions.set(self.sessions.get() + 1);
        let session = SessionId(self.sessions.get());
        let (store_id, boot_id, durability) = (self.watcher.store_id(), u64::from(session.0), Durability::Strict);
        let identity = Identity { store_id, boot_id, uid: 0, gid: 0, durability };
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let namespace = Namespace::beside(Arc::clone(self.watcher.store()), clock, identity, session);
        Ok(Gateway { namespace: namespace.map_err(|error| format!("a session could not begin: {error:?}"))?, session })
    }

    fn namespace(&self, at: usize) -> Arc<Namespace> {
        Arc::clone(&self.gateways.borrow()[at].namespace)
    }

    fn session(&self, at: usize) -> u64 {
        u64::from(self.gateways.borrow()[at].session.0)
    }

    /// A session ends with all it has in memory, another notices, and one more begins in its place.
    fn restart(&self, at: usize) {
        let gone = self.gateways.borrow()[at].session;
        self.files.borrow_mut().own[at] = Own::default();
        let other = (0..GATEWAYS).find(|other| *other != at && Some(*other) != self.busy.get()).unwrap_or(at);
        let ended = self.namespace(other).end_session(gone).map_err(|error| format!("no end of a session: {error:?}"));
        match ended.and_then(|()| self.come()) {
            Ok(gateway) => self.gateways.borrow_mut()[at] = gateway,
            Err(wrong) => _ = self.wrong.borrow_mut().get_or_insert(wrong),
        }
        self.ended.set(self.ended.get() + 1);
    }

    /// Has a session take a step. Whether it was done.
    fn take(&self, at: usize, step: &Step, by: Actor) -> bool {
        let done = step.attempt(self, at, by);
        let (effect, touched) = done.map_or((None, Vec::new()), |done| (Some(done.effect), done.touched));
        let (accepted, namespace) = (effect.is_some(), self.namespace(at));
        // What was written before is stored before anything else is done to the file.
        self.files.borrow_mut().settle(at, &namespace);
        let forbidden = self.locks.borrow().forbids(namespace.now(), by, &touched);
        let wrong = forbidden.map_or(Ok(()), Err).and_then(|()| self.note(at, &namespace, effect));
        let wrong = wrong.and_then(|()| self.locks.borrow_mut().look(&namespace, accepted.then_some(by)));
        if let Err(wrong) = wrong {
            self.wrong.borrow_mut().get_or_insert(wrong);
        }
        accepted
    }

    /// What a step that was done changes in what is known.
    fn note(&self, at: usize, namespace: &Namespace, effect: Option<Effect>) -> Result<(), String> {
        let mut files = self.files.borrow_mut();
        match effect {
            None | Some(Effect::None) => {}
            Some(Effect::Opened(ino, cut)) => {
                self.opened.set(self.opened.get() + 1);
                files.opened(at, ino);
                if cut {
                    files.cut(ino, 0);
                }
                files.track(&self.watcher, ino);
            }
            Some(Effect::Wrote(ino, offset, bytes)) => {
                files.track(&self.watcher, ino);
                files.wrote(at, ino, offset, bytes);
            }
            Some(Effect::Cut(ino, len)) => files.cut(ino, len),
            Some(Effect::Replaced(ino, content)) => files.replaced(ino, content),
            Some(Effect::Thrown(from, to)) => trash::is_there(&self.watcher, &from, &to)?,
            Some(Effect::Joined(ino)) => files.look_again(&self.watcher, ino),
            Some(Effect::Synced(ino)) if namespace.has_staged(ino) => {
                return Err(format!("inode {ino} was synced, and has bytes that are not stored"));
            }
            Some(Effect::Synced(_)) => {}
            Some(Effect::Closed(ino, stored)) => {
                files.closed(at, ino);
                if stored && namespace.has_staged(ino) {
                    return Err(format!("inode {ino} was closed, and has bytes that are not stored"));
                }
            }
            Some(Effect::Locked(lock)) => self.locks.borrow_mut().granted(&self.watcher, lock),
            Some(Effect::Held(ino, refused)) => {
                let sessions: Vec<u64> = (0..GATEWAYS).map(|at| self.session(at)).collect();
                let held = holds_agree(namespace, ino, &sessions)?;
                if let Some(refused) = refused.filter(|refused| !was_in_the_way(refused, &held)) {
                    return Err(format!("nothing was in the way of a lock that was refused: {refused:?}"));
                }
            }
        }
        Ok(())
    }

    /// What is wrong by now.
    fn wrong(&self) -> Option<String> {
        let reported = rehearsal::take_reports().pop().or_else(|| self.wrong.borrow_mut().take());
        reported.or_else(|| {
            let gateways = self.gateways.borrow();
            let namespaces: Vec<&Namespace> = gateways.iter().map(|gateway| &*gateway.namespace).collect();
            self.files.borrow_mut().hold_against(&self.watcher, &namespaces).err()
        })
    }

    /// Everybody closes what is open, and workers do what is left.
    fn end(&self) {
        let nobody = Actor(None);
        for at in 0..GATEWAYS {
            while self.files.borrow().open_one(at, 0).is_some() {
                self.take(at, &Step::Close(0, true), nobody);
            }
        }
        self.clock.advance(IDLE_NANOS);
        (0..GATEWAYS).for_each(|at| _ = self.take(at, &Step::Idle, nobody));
        // Each once: the last ones find nothing to do but to let buckets go.
        let mut at = 0;
        while self.take(at % GATEWAYS, &Step::Follow, nobody) {
            at += 1;
        }
    }
}

/// A run of one seed; what is wrong.
fn one(seed: u64, told: bool, tally: &mut Tally) -> Result<(), String> {
    let world = SimWorld::new(seed);
    let _nobody_reported = rehearsal::take_reports();
    let store = Rig::small((1, 0)).open(&world).map_err(|error| error.to_string())?;
    let watcher = store.namespace();
    let mut rng = SimRng::new(seed);
    for bucket in BUCKETS {
        watcher.create_bucket(&root(), bucket, None).map_err(|error| error.to_string())?;
    }
    trash::make(watcher).map_err(|error| error.to_string())?;
    domains_stay_apart(watcher)?;
    let run = Rc::new(Run::begin(&world, watcher)?);
    let mut trail = Vec::new();
    for _ in 0..STEPS {
        let at = rng.below(GATEWAYS as u64) as usize;
        let (step, by) = (Step::of(&mut rng), actor(&mut rng));
        let other = (at + 1 + rng.below(GATEWAYS as u64 - 1) as usize) % GATEWAYS;
        let meanwhile = (!rng.one_in(4)).then(|| {
            let meanwhile = if rng.one_in(3) { step.rival(&mut rng) } else { Step::of(&mut rng) };
            (meanwhile, actor(&mut rng))
        });
        trail.push(format!("{at} {by:?}: {step:?} | {other}: {meanwhile:?}"));
        tally.count("changes", 1);
        if matches!(step, Step::Idle) {
            run.clock.advance(IDLE_NANOS);
        }
        run.busy.set(Some(at));
        if let Some((meanwhile, by)) = meanwhile {
            let run = Rc::clone(&run);
            rehearsal::interlude(Box::new(move || _ = run.take(other, &meanwhile, by)));
        }
        let made = run.take(at, &step, by);
        tally.count("changes made", u64::from(made));
        match &step {
            Step::Throw(..) => tally.count("thrown away", u64::from(made)),
            Step::Follow => tally.count("steps of following", u64::from(made)),
            _ => {}
        }
        tally.count("changes interrupted", u64::from(rehearsal::take_interlude().is_none()));
        // Beside one case, after every step: it says which.
        let wrong = run.wrong().or_else(|| if told { violations(watcher).pop() } else { None });
        if let Some(wrong) = wrong {
            return Err(after(&trail, told, &wrong));
        }
    }
    run.busy.set(None);
    run.end();
    tally.count("files opened", run.opened.get());
    tally.count("sessions ended", run.ended.get());
    tally.count("locks granted", run.locks.borrow().count);
    // Nothing is open any more.
    let counted = locking::counts_agree(watcher).and_then(|()| trash::all_followed(watcher)).err();
    let wrong = run.wrong().or(counted).into_iter().chain(violations(watcher)).chain(leftovers(watcher)).next();
    match wrong.map_or_else(|| told::hold_against(watcher), Err) {
        Ok(events) => tally.count("events", events),
        Err(wrong) => return Err(after(&trail, told, &wrong)),
    }
    Ok(())
}

/// Content of one dedup domain refers to no chunk of another, whoever says so.
fn domains_stay_apart(ns: &Namespace) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Debug| format!("content for two domains: {error:?}");
    let store = ns.store();
    let mut ingest = ns.ingest(&root(), BUCKETS[0]).map_err(|error| told(&error))?;
    ingest.push(b"of the common domain").map_err(|error| told(&error))?;
    let common = ingest.finish().map_err(|error| told(&error))?;
    let attached = |tx: &mut Tx<'_>, content: &Content| tx.attach(content);
    // Its chunk is there only with an owner, who lets it go at once below.
    let owned = store.transact(false, |tx| attached(tx, &common)).map_err(|error| told(&error))?.value;
    let other = DedupDomain::of(1, 0);
    let foreign = store.content(other, owned.clone()).map_err(|error| told(&error))?;
    let crossed = store.transact(false, |tx| attached(tx, &foreign));
    store.transact(false, |tx| tx.release(&owned)).map_err(|error| told(&error))?;
    match crossed {
        Err(ContentError::OtherDomain(_)) => Ok(()),
        crossed => Err(format!("content of another dedup domain was to refer to a common chunk: {crossed:?}")),
    }
}

/// What is wrong, with the step after which it was; `told` prints all of them.
fn after(trail: &[String], told: bool, wrong: &str) -> String {
    if told {
        trail.iter().for_each(|step| eprintln!("  {step}"));
    }
    format!("{wrong}; after {}", trail.last().map_or("", String::as_str))
}

#[cfg(test)]
mod tests;
