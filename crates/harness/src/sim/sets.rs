//! The erasure sets of a simulated store: which it has, which may join it, and which disks are given at an opening.
//!
//! Whether a set is one of the store is decided by the store alone, and by an opening that can write where a crash or an
//! error left it open; it is read off its status ([`Sets::settle`]). What it says must follow from what was asked of it.

use strata_ledger::{Ledger, SetState, Status};
use strata_seam::SetId;
use strata_seam::sim::{SimRng, SimWorld};

use super::layout::frames;
use super::rig::{Layout, Rig, segments_of};
use super::trouble::Struck;

/// One store in so many has several sets in its life.
const SEVERAL_ONE_IN: u64 = 3;
/// Most sets at a time.
const SETS_MAX: usize = 3;
/// Makes the choices of this module others than those of the row that has the same seed.
const SALT: u64 = 0x5e75_0f5e_7500_0000;

/// Where a set stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It is one of the store. One that is being emptied may be found to have left.
    In { number: u16, id: SetId, draining: bool },
    /// It was to join, and only an opening tells whether it did.
    Asked,
    /// It was to join and did not: its disks may be given to another try.
    Outside,
}

#[derive(Clone, Debug)]
struct Group {
    layout: Layout,
    disks: Vec<String>,
    standing: Standing,
}

impl Group {
    fn new(nth: u8, layout: Layout) -> Self {
        let disks = (0..layout.0 + layout.1).map(|index| match nth {
            // As in a store that only ever has one.
            0 => Rig::disk_name(usize::from(index)),
            _ => format!("s{nth}d{index:02}"),
        });
        let disks = disks.collect();
        Self { layout, disks, standing: Standing::Outside }
    }

    fn is_in(&self) -> bool {
        matches!(self.standing, Standing::In { .. })
    }

    fn struck(&self) -> Struck {
        (self.layout.1, self.disks.clone())
    }
}

/// What a status is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum View {
    /// A store just opened that takes writes: what it says counts from here on.
    Opened,
    /// One that takes none: the next opening may say otherwise.
    Undecided,
    /// A running store: of a set whose joining failed it does not know more.
    Running,
}

/// What an opening, or a look at the running store, showed to have become of sets.
#[derive(Default, Debug)]
pub(crate) struct Settled {
    /// Sets that joined.
    pub(crate) joined: u64,
    /// Sets that left.
    pub(crate) left: u64,
    /// Disks that are none of the store, and were thought to be, or to become some.
    pub(crate) gone: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Sets {
    /// For what is done to sets alone: a store of one set draws nothing from it.
    pub(crate) rng: SimRng,
    several: bool,
    groups: Vec<Group>,
    /// Sets thought of so far.
    made: u8,
    /// Whether a call that changes the list of sets failed, so that nobody knows which list counts.
    pub(crate) unsure: bool,
}

impl Sets {
    /// A store that is to be made with one set.
    pub(crate) fn new(seed: u64, layout: Layout) -> Self {
        let mut rng = SimRng::new(seed ^ SALT);
        let first = Group { standing: Standing::Asked, ..Group::new(0, layout) };
        Self { several: rng.one_in(SEVERAL_ONE_IN), rng, groups: vec![first], made: 1, unsure: false }
    }

    /// Whether there may be more than one in the course of time.
    pub(crate) fn are_several(&self) -> bool {
        self.several
    }

    fn members(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.is_in())
    }

    /// The disks of the sets of the store.
    pub(crate) fn disks(&self) -> Vec<String> {
        self.members().flat_map(|group| group.disks.iter().cloned()).collect()
    }

    /// The disks to give at an opening: also those of a set that may have joined.
    pub(crate) fn offered(&self) -> Vec<String> {
        let given = self.groups.iter().filter(|group| group.standing != Standing::Outside);
        given.flat_map(|group| group.disks.iter().cloned()).collect()
    }

    /// The same by set, with how many of each may be in trouble.
    pub(crate) fn struck(&self) -> Vec<Struck> {
        self.groups.iter().filter(|group| group.standing != Standing::Outside).map(Group::struck).collect()
    }

    /// Disks of the smallest set.
    pub(crate) fn narrowest(&self) -> u64 {
        self.members().map(|group| group.disks.len() as u64).min().unwrap_or(1)
    }

    /// Whether a set is being emptied.
    pub(crate) fn is_draining(&self) -> bool {
        self.members().any(|group| matches!(group.standing, Standing::In { draining: true, .. }))
    }

    /// Notes that a set is about to be emptied: from now on it may be gone at any opening.
    pub(crate) fn note_draining(&mut self, which: u16) {
        for group in &mut self.groups {
            if let Standing::In { number, draining, .. } = &mut group.standing {
                *draining |= *number == which;
            }
        }
    }

    /// Whether a set may be asked to join: one that did not the last time, or a new one.
    pub(crate) fn may_add(&self) -> bool {
        self.members().count() < SETS_MAX
    }

    /// The layout and disks of the set that joins next, of any of these layouts. The other value says whether its disks
    /// are none of the store's for sure.
    pub(crate) fn ask(&mut self, layouts: &[Layout]) -> (Layout, Struck, bool) {
        let pending = self.groups.iter().position(|group| !group.is_in());
        let nth = pending.unwrap_or_else(|| {
            let last = self.groups.last().map(|group| group.layout);
            let others: Vec<Layout> = layouts.iter().copied().filter(|layout| Some(*layout) != last).collect();
            let layout = others[self.rng.below(others.len() as u64) as usize];
            self.groups.push(Group::new(self.made, layout));
            self.made += 1;
            self.groups.len() - 1
        });
        let group = &mut self.groups[nth];
        let outside = group.standing == Standing::Outside;
        group.standing = Standing::Asked;
        (group.layout, group.struck(), outside)
    }

    /// Notes that the set that was asked to join was refused, and nobody told of it.
    pub(crate) fn refused(&mut self) {
        self.groups.iter_mut().filter(|group| group.standing == Standing::Asked).for_each(|group| {
            group.standing = Standing::Outside;
        });
    }

    /// Compares with what the store says of itself, and believes it as far as it knows.
    pub(crate) fn settle(&mut self, status: &Status, view: View) -> Result<Settled, String> {
        let decided = view != View::Undecided;
        let mut settled = Settled::default();
        for shown in &status.sets {
            let is_it = |group: &&mut Group| matches!(group.standing, Standing::In { id, .. } if id == shown.set);
            let labels = || status.disks[shown.disks.clone()].iter().map(|disk| &disk.label);
            if let Some(group) = self.groups.iter_mut().find(is_it) {
                let Standing::In { number, draining, .. } = &mut group.standing else { continue };
                let layout = (shown.geometry.data_shards, shown.geometry.parity_shards);
                if *number != shown.number || group.layout != layout {
                    return Err(format!(
                        "set {number} of {:?} is now set {} of {layout:?}",
                        group.layout, shown.number
                    ));
                }
                if decided {
                    *draining = shown.state == SetState::Draining;
                }
                continue;
            }
            let asked = |group: &&mut Group| {
                group.standing == Standing::Asked && labels().any(|label| group.disks.contains(label))
            };
            let Some(group) = self.groups.iter_mut().find(asked) else {
                return Err(format!("set {} is one of the store, and nobody added it", shown.number));
            };
            if decided {
                let draining = shown.state == SetState::Draining;
                group.standing = Standing::In { number: shown.number, id: shown.set, draining };
                settled.joined += 1;
            }
        }
        let mut left = Vec::new();
        for (nth, group) in self.groups.iter_mut().enumerate() {
            match group.standing {
                Standing::In { id, .. } if status.sets.iter().any(|shown| shown.set == id) => {}
                Standing::In { number, draining: false, .. } => {
                    return Err(format!("set {number} is none of the store any more, and was not being emptied"));
                }
                Standing::In { .. } if decided => left.push(nth),
                Standing::Asked if view == View::Opened => {
                    group.standing = Standing::Outside;
                    settled.gone.extend(group.disks.iter().cloned());
                }
                _ => {}
            }
        }
        for nth in left.into_iter().rev() {
            settled.left += 1;
            settled.gone.extend(self.groups.remove(nth).disks);
        }
        self.unsure &= view != View::Opened;
        Ok(settled)
    }

    /// Every disk is in its place: those of a set are the ones that its places name. An empty disk may have gone to
    /// another set than that of the one it was put in for.
    pub(crate) fn note_places(&mut self, status: &Status) {
        for group in &mut self.groups {
            let Standing::In { id, .. } = group.standing else { continue };
            if let Some(shown) = status.sets.iter().find(|shown| shown.set == id) {
                group.disks = status.disks[shown.disks.clone()].iter().map(|disk| disk.label.clone()).collect();
            }
        }
    }
}

/// A segment of the log that lies on a disk of another set than its own. What was overruled there by a later opening, and
/// files that were made ahead and never written, do no harm and stay until that segment is given back.
pub(crate) fn misplaced(ledger: &Ledger, status: &Status, world: &SimWorld) -> Option<String> {
    let on = |set: u16| {
        let shown = status.sets.iter().find(|shown| shown.number == set);
        shown.map_or(&[][..], |shown| &status.disks[shown.disks.clone()])
    };
    let newest = |disk: &str, segment| newest_epoch(world, disk, &format!("seg-{segment:08x}"));
    status.disks.iter().find_map(|disk| {
        segments_of(world, &disk.label).into_iter().find_map(|segment| {
            let home = ledger.set_of(segment).filter(|home| *home != disk.set)?;
            let here = newest(&disk.label, segment.0)?;
            let there = on(home).iter().filter_map(|other| newest(&other.label, segment.0)).max();
            let overruled = there.map_or(segment >= ledger.writing(), |there| there > here);
            let what = format!("{} of set {} has frames of segment {segment} of set {home}", disk.label, disk.set);
            (!overruled).then_some(what)
        })
    })
}

/// A segment that some disk of its set has frames of and another has no file of, if there is one, in words. The one being written is
/// left out. Only of a store in which every disk is whole.
pub(crate) fn unnamed(ledger: &Ledger, status: &Status, world: &SimWorld) -> Option<String> {
    ledger.segments().into_iter().filter(|segment| *segment < ledger.writing()).find_map(|segment| {
        let home = ledger.set_of(segment)?;
        let set = status.sets.iter().find(|set| set.number == home)?;
        let disks = &status.disks[set.disks.clone()];
        let (have, lack): (Vec<_>, Vec<_>) =
            disks.iter().partition(|disk| segments_of(world, &disk.label).contains(&segment));
        let file = format!("seg-{:08x}", segment.0);
        let first =
            lack.first().filter(|_| have.iter().any(|disk| newest_epoch(world, &disk.label, &file).is_some()))?;
        Some(format!("{} has no file of segment {segment}, and others have", first.label))
    })
}

/// The highest epoch that the frames of a file name.
fn newest_epoch(world: &SimWorld, disk: &str, file: &str) -> Option<u64> {
    let bytes = world.peek(disk, file)?;
    let fields = frames(world, disk).into_iter().flatten();
    let epochs = fields.filter(|field| field.file == file && field.what == "frame epoch").filter_map(|field| {
        let at = usize::try_from(field.offset).ok()?;
        Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    });
    epochs.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_stores_has_several_sets_and_the_names_of_their_disks_differ() {
        let several = (0..300).filter(|seed| Sets::new(*seed, (2, 1)).are_several()).count();
        assert!((70..130).contains(&several), "{several}");
        let mut sets = Sets::new(1, (2, 1));
        assert_eq!(sets.offered(), (0..3).map(Rig::disk_name).collect::<Vec<_>>());
        sets.groups[0].standing = Standing::In { number: 0, id: SetId([1; 16]), draining: false };
        let (layout, (parity, disks), outside) = sets.ask(&[(2, 1), (1, 2)]);
        assert_eq!((layout, parity, outside), ((1, 2), 2, true), "of another layout");
        assert_eq!(sets.offered().len(), 6);
        sets.refused();
        assert_eq!((sets.offered().len(), sets.disks().len()), (3, 3));
        assert_eq!(sets.ask(&[(2, 1)]).1.1, disks, "the same disks are given again");
    }
}
