//! Small workloads over a small tree: every kind of step alone, every two in a row, samples of three.

use strata_runtime::OpenStore;
use strata_seam::sim::{SimRng, SimWorld, Snapshot};

use super::model::{Model, Seen, seen};
use super::mover::Across;
use super::rig::{Layout, Rig, root};
use super::step::Step;

/// Every kind of step once, at a place of [`base`] where it has something to do.
pub(crate) fn kinds() -> Vec<Step> {
    let s = str::to_owned;
    vec![
        Step::Checkpoint,
        Step::Reclaim,
        Step::PutAcross(s("d1/f0"), 1007, Across::Early),
        Step::PutAcross(s("f0"), 2011, Across::Fresh),
        Step::PutAcross(s("d1/f0"), 3011, Across::Read),
        Step::PutAcross(s("f0"), 4011, Across::Slow),
        Step::Put(s("d2/d0/f0"), 17),
        Step::Put(s("f0"), 24),
        Step::PutAbsent(s("d0/f2"), 9),
        Step::Multipart(s("d2/f2"), 25),
        Step::Abort(s("f0"), 24),
        Step::Abandon(5),
        Step::Delete(s("d0/f1")),
        Step::Copy(s("d0/f0"), s("d1/f0")),
        Step::Mkdir(s("d1/d1")),
        Step::Create(s("f2")),
        Step::Write(s("d0/f0"), 1007),
        Step::Append(s("f1"), 2011),
        Step::Truncate(s("d0/f0"), 7001),
        Step::Unlink(s("f0")),
        Step::UnlinkOpen(s("d0/f0")),
        Step::Rmdir(s("d2")),
        Step::Rename(s("f0"), s("f1")),
        Step::Rename(s("d0"), s("d2")),
        Step::Exchange(s("f0"), s("f1")),
        Step::Link(s("d0/f0"), s("d1/f1")),
        Step::Chmod(s("f0"), 0o600),
        Step::Collect,
        Step::Heal,
        Step::Scrub,
    ]
}

/// The steps every workload starts from: a file with two names, an object in a directory that only its key made, a file
/// long enough for pages, an empty directory.
fn base() -> Vec<Step> {
    let s = str::to_owned;
    vec![
        Step::Put(s("f0"), 16),
        Step::Put(s("d0/f1"), 1501),
        Step::Put(s("d0/f0"), 24_000 + 39_992),
        Step::Mkdir(s("d1")),
        Step::Mkdir(s("d2")),
        Step::Link(s("f0"), s("d1/f2")),
        Step::Put(s("f1"), 2999),
    ]
}

/// Sequences of steps: all of one, all of two, then `samples` of three.
pub(crate) fn sequences(seed: u64, pairs: usize, samples: usize) -> Vec<Vec<Step>> {
    let kinds = kinds();
    let mut rng = SimRng::new(seed);
    let mut all: Vec<Vec<Step>> = kinds.iter().map(|step| vec![step.clone()]).collect();
    let mut two: Vec<_> = kinds.iter().flat_map(|a| kinds.iter().map(move |b| vec![a.clone(), b.clone()])).collect();
    // Another sample with each seed where not all are wanted.
    for at in 0..pairs.min(two.len()) {
        let other = at + rng.below((two.len() - at) as u64) as usize;
        two.swap(at, other);
    }
    all.extend(two.into_iter().take(pairs));
    let draw = |rng: &mut SimRng| kinds[rng.below(kinds.len() as u64) as usize].clone();
    all.extend((0..samples).map(|_| (0..3).map(|_| draw(&mut rng)).collect()));
    all
}

/// A workload ready to be run again and again from the same state.
pub(crate) struct Workload {
    pub(crate) rig: Rig,
    pub(crate) world: SimWorld,
    /// Where every run starts: no process runs, everything of before is durable.
    pub(crate) start: Snapshot,
    pub(crate) steps: Vec<Step>,
    /// The tree before the first step.
    pub(crate) model: Model,
}

impl Workload {
    /// Prepares the base tree and the steps over it.
    pub(crate) fn new(layout: Layout, seed: u64, steps: Vec<Step>) -> Self {
        let rig = Rig::small(layout);
        let world = SimWorld::new(seed);
        let mut model = Model::default();
        let store = rig.make(&world).expect("blank disks take a store");
        for step in base() {
            let op = root();
            step.apply(store.namespace(), &op).expect("a healthy store takes every step of the base");
            store.namespace().settle_blocking(&op).expect("and makes it durable");
            assert!(model.apply(&step));
        }
        drop(store);
        world.kill_process();
        let start = world.snapshot();
        Self { rig, world, start, steps, model }
    }

    /// The tree after none, one, two ... of the steps, by the model, checked against a run without any failure.
    pub(crate) fn states(&self) -> Result<Vec<Seen>, String> {
        self.world.restore(&self.start);
        let store = self.rig.open(&self.world).map_err(|error| format!("the base cannot be opened: {error:?}"))?;
        let mut model = self.model.clone();
        let mut states = vec![model.seen()];
        for step in &self.steps {
            let done = run(&store, step);
            let expected = model.apply(step);
            if done.is_ok() != expected {
                return Err(format!("{step:?} without any failure: {done:?}, and should be {expected}"));
            }
            let found = seen(store.namespace()).map_err(|error| format!("after {step:?}: {error:?}"))?;
            if found != model.seen() {
                return Err(format!("after {step:?}: {}", super::model::difference(&found, &model.seen())));
            }
            states.push(found);
        }
        Ok(states)
    }
}

/// Does a step as a door does: the answer leaves when what it says is durable.
pub(crate) fn run(store: &OpenStore, step: &Step) -> strata_namespace::Result<()> {
    let op = root();
    step.apply(store.namespace(), &op)?;
    store.namespace().settle_blocking(&op)
}
